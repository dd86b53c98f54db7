"""Some lives, the lives in which something was found before, and that defects are found."""

from __future__ import annotations

import os
import re
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
    "a lost submit takes the failed job of a refused synchronous request": 1083172,
    "a failed job of a refused synchronous request may be of a lost submit": 1011337,
    "the refused synchronous request is of another kernel": 1011834,
    "a lost synchronous request beside a refused one": 1048687,
    "a refused synchronous request is sent after the kernel of a lost submit was killed": 1048829,
    "several answered requests beside a refused one": 1061395,
    "two lost synchronous requests beside a refused one": 1069394,
    "a list comes from an older copy than what the watcher has read": 1027728,
    "a submit is lost while the lists for another are read": 1072903,
    "one submit accounts for a job that was made before it was sent": 1058243,
    "a search decides while the journal does not know of a synchronous answer": 6001285,
    "a cancellation that the full disk has not taken is called certain": 1026851,
    "a cancelled submit is resumed because the disk was full": 1054009,
    "the same id is attached twice at the same time": 1040199,
    "the user attaches a job whose image cannot be compared": 1069725,
    "the user attaches a stranger's job before there is a question": 1095245,
    "the user attaches the job of a synchronous request that is answered later": 1087535,
    "a file is deleted before its delivery is written down": 1032586,
    "a stranger's job is taken where ours were refused": 1036924,
    "a stranger's job is taken where an earlier one of ours was shown": 5000503,
    "a person cancels while the kernel is closed": 1783706969,
    "an equal submit that is no longer looked for has its share": 30002418,
    "the owner of a colleague's video is not told": 30012192,
    "the user attaches the failed job of a refused synchronous request": 30027913,
    "the same, while the refusal is still to come": 30036344,
    "an earlier resume said that the only copy of a video is lost": 20017423,
    "the user attaches the job of another kernel's submit that is still to be answered": 70000603,
    "two equal videos are lost after a refused synchronous request": 80010645,
    "two equal videos are lost, one of them by a kernel that has ended": 1920250720,
    "the lost job itself is attached while an older list is read": 90005682,
    "the service's clock is set while a synchronous request is answered": 91003396,
    "the user attaches a job whose image cannot be compared before there is a question": 93074862,
    "the share of another kernel's submit is taken from what is too new for it": 95023570,
    "a list shows the lost job while the owners of others are asked for": 249091996,
    "a kernel sees a video fail and ends, while another attaches it": 1605025127,
    "the user attaches the failed job of a synchronous request that was refused without a reason": 353046159,
    "a kernel is closed while the disk is full": 1520580377,
    "a kernel is killed between the claim and the sending of a request whose image may look like another": 1520589064,
}


def simulate(*options: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
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


def test_lives() -> None:
    """None of 300 lives breaks an invariant. They are the same in each run; CI plays 2,000 with fresh seeds too."""
    run = simulate("--lives", "300", "--first-seed", "1", "--jobs", "1")
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "300 lives" in run.stdout


def test_a_seed_repeats_its_life() -> None:
    """The same seed gives the same history, to the millisecond, in another process too."""
    first, second = (simulate("--seed", "7").stdout for _ in range(2))
    assert len(first.splitlines()) > 10
    assert first == second


@pytest.fixture(scope="module")
def verdicts() -> dict[int, str]:
    """What became of each life that broke an invariant once: its last line, and the lines before where it breaks one."""
    run = simulate("--seed", *map(str, FOUND.values()), "--keep")
    print(run.stderr)
    lives = re.finditer(r"(.*?)^seed (\d+): .*?$", run.stdout, re.MULTILINE | re.DOTALL)
    return {int(life[2]): life[0] for life in lives}


@pytest.mark.parametrize("what", FOUND)
def test_found_before(what: str, verdicts: dict[int, str]) -> None:
    """A life in which an invariant was broken once holds it now."""
    assert verdicts[FOUND[what]].endswith("all invariants hold"), verdicts[FOUND[what]]


def test_a_defect_is_found_and_made_smaller() -> None:
    """With a known defect put back, a life soon breaks an invariant, and its history is printed."""
    run = simulate(
        "--defect", "attach writes a row that can be sent", "--lives", "20", "--first-seed", "1", "--jobs", "1"
    )
    assert run.returncode == 1
    assert "BROKEN" in run.stdout
