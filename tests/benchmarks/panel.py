"""The panel with 200 jobs in a real JupyterLab: first paint, and its messages. Needs what the browser tests need."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator

from .race import ROOT
from .rows import Row, at_most

MEASURED = "tests/browser/test_panel_browser.py::test_two_hundred_jobs_are_light"  # the test prints what it measures


def rows() -> Iterator[Row]:
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", MEASURED]
    environment = os.environ | {"OXENVIDEO_REQUIRE_BROWSER": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    times = re.search(r"first paint with 200 jobs, ms: \[([\d, ]+)\]", done.stdout)
    messages = re.search(r"at most (\d+) in a second", done.stdout)
    if times is None or messages is None:
        raise RuntimeError(done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr.strip()[-300:])
    painted = [float(text) for text in times[1].split(",")]
    note = f"median of {len(painted)}; the fastest {min(painted):g} ms"
    yield at_most("panel with 200 jobs, first paint", statistics.median(painted), 300, "ms", note)
    yield at_most("panel with 200 jobs, widget messages a second", float(messages[1]), 20, note="the busiest second")
