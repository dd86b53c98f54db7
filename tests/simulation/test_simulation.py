"""Some thousand lives with fresh seeds, the lives in which something was found before, and that defects are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

#: Lives that broke an invariant once, by what happened in them.
FOUND = {
    "a lost submit takes the row of a synchronous one that was answered": 59,
    "an id that belongs to an answered synchronous request is handed to a lost job": 258,
    "a lost synchronous request is not found by its response format": 350,
    "a lost request with a data URI as text is not found": 492,
    "several lost requests with the same image are not found": 1829,
    "a lost submit takes the row of an answered synchronous one whose time of sending is not known": 208795,
    "a generation whose owner cannot be read counts as one's own": 1020377,
}

#: One life of 5,000 still breaks an invariant (README.md, "What does not hold yet"): with that, more than three of 2,000 are
#: seen once in a thousand runs. It becomes 0 with the last of them.
MOST_BROKEN = 3


def simulate(*options: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, which has the hash seed that lives need."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("OXEN")},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_lives_with_fresh_seeds() -> None:
    """Of 2,000 lives no more break an invariant than is known; the seeds are printed, so that a failure can be repeated."""
    run = simulate("--lives", "2000", "--jobs", "2")  # half a minute on two idle cores
    print(run.stdout)
    assert "2,000 lives" in run.stdout, run.stdout + run.stderr
    assert run.stdout.count("broken, seed") <= MOST_BROKEN, run.stdout


def test_a_seed_repeats_its_life() -> None:
    """The same seed gives the same history, to the millisecond, in another process too."""
    first, second = (simulate("--seed", "7").stdout for _ in range(2))
    assert len(first.splitlines()) > 10
    assert first == second


@pytest.mark.parametrize("what", FOUND)
def test_found_before(what: str) -> None:
    """A life in which an invariant was broken once holds it now."""
    run = simulate("--seed", str(FOUND[what]), "--keep")
    assert run.returncode == 0, run.stdout


def test_a_defect_is_found_and_made_smaller() -> None:
    """With a known defect put back, a life soon breaks an invariant, and its history is printed."""
    run = simulate("--defect", "attach writes a row that can be sent", "--lives", "2000")
    assert run.returncode == 1
    assert "BROKEN" in run.stdout
