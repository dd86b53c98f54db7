"""`%load_ext oxenvideo` over `import IPython`, each in a fresh interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator

from .rows import Row, at_most, figure

REPEATS = 15
IPYTHON = "import time; begun = time.perf_counter(); import IPython; took = time.perf_counter() - begun; "
SHELL = IPYTHON + "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance(); "
LOAD = (
    "begun = time.perf_counter(); shell.run_line_magic('load_ext', 'oxenvideo'); took = time.perf_counter() - begun; "
)


def rows() -> Iterator[Row]:
    loading = statistics.median(_seconds(SHELL + LOAD) for _ in range(REPEATS))
    ipython = statistics.median(_seconds(IPYTHON) for _ in range(REPEATS))
    note = f"median of {REPEATS} fresh interpreters"
    yield at_most("%load_ext oxenvideo, over import IPython", 1000 * loading, 30, "ms", note)
    yield figure("import IPython", 1000 * ipython, "ms", note)


def _seconds(code: str) -> float:
    command = [sys.executable, "-c", code + "print(took)"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()[-1])
