"""Known defects, put back on purpose, to prove that the simulation finds such things.

Each is a function that changes the package for the rest of the process, and nothing undoes it. A defect that needs two
processes, a fork that shares the journal's connection, lies outside of the simulation and has a test of its own.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

from ..life import play
from ..shrink import kind
from . import attach, recovery, results

DEFECTS: dict[str, Callable[[], None]] = {
    "attach writes a row that can be sent, and the id in a second transaction": attach.two_transactions,
    "a parameter that was sent may be missing in a row": recovery.missing_parameter_matches,
    "a row may have a parameter that was not sent": recovery.extra_parameter_matches,
    "a prompt is not compared where shots were sent": recovery.shots_match_any_prompt,
    "a search goes on after the user has decided": recovery.ambiguity_does_not_last,
    "the time of a submit is kept by this machine's clock": recovery.sent_by_our_clock,
    "a video in an answer's body is dropped where it cannot be saved": results.drop_what_cannot_be_saved,
}


def put_back(name: str) -> None:
    """Put a defect back, named by the beginning of its description."""
    next(defect for text, defect in DEFECTS.items() if text.startswith(name))()


def prove(lives: int, first: int, jobs: int) -> int:
    """Print for each defect how many lives it takes until an invariant is broken; 1 if one is not found."""
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        results = [(name, pool.apply_async(_search, (name, first, lives))) for name in DEFECTS]
        missed = 0
        print("| defect | lives until found | what is broken |\n|---|---|---|", flush=True)
        for name, result in results:
            found, failure = result.get()
            missed += found is None
            print(f"| {name} | {found if found is not None else f'not within {lives:,}'} | {failure} |", flush=True)
    return 1 if missed else 0


def _search(name: str, first: int, lives: int) -> tuple[int | None, str]:
    put_back(name)
    for number in range(lives):
        outcome = play(first + number)
        if outcome.failure is not None:
            return number + 1, f"{kind(outcome.failure)} (seed {outcome.seed})"
    return None, ""
