"""The browser tests on a machine without a browser."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize(("required", "outcome"), [("", "1 skipped"), ("1", "1 error")])
def test_without_a_browser_they_are_skipped_with_the_reason_or_fail_where_required(required: str, outcome: str) -> None:
    """A developer sees what is missing; continuous integration fails."""
    environment = os.environ | {"OXENVIDEO_CHROMIUM": "/nowhere/chromium", "OXENVIDEO_REQUIRE_BROWSER": required}
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "-p", "no:nbval"]  # which takes seconds to import
    command = [sys.executable, "-m", "pytest", *options, str(HERE / "test_voila_browser.py"), "-k", "cards"]
    done = subprocess.run(command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, timeout=300)
    assert outcome in done.stdout
    assert "there is no /nowhere/chromium: apt install chromium" in done.stdout
