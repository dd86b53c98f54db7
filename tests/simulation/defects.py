"""Known defects, put back on purpose, to prove that the simulation finds such things.

Each function says what to replace in the package. A defect that needs two processes, a fork that
shares the journal's connection, lies outside of the simulation and has a test of its own.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oxenvideo.engine import recovery, service
from oxenvideo.engine.downloads import Downloads
from oxenvideo.errors import DownloadFailed
from oxenvideo.jobs.job import CLOCK_SLACK, Job, Submission
from oxenvideo.jobs.journal import Journal, Plan

from .life import play
from .shrink import kind

Parameters = Mapping[str, Any]
Replaced = list[tuple[Any, str, Any]]  # what a defect replaces: of which object, which name, by what

# Attaching


def attach_in_two_transactions() -> Replaced:
    """The row is planned, as for a submit; a kernel that dies before the id is written leaves one that resume sends."""

    def attach(self: Journal, plan: Plan, generation_id: str) -> None:
        self.plan([plan])
        self.accept(plan.key, [(plan.jobs[0][0], generation_id)], told=False)

    return [(Journal, "attach", attach)]


# The search for lost answers


def _compare(prepared: Any) -> Replaced:
    """Put ``prepared(sent, other)``, which gives both as they are compared, before the comparison."""
    exact = recovery.could_be

    def could_be(sent: Parameters, other: Parameters, **options: bool) -> bool:
        return exact(*prepared(sent, other), **options)

    return [(recovery, "could_be", could_be), (service, "could_be", could_be)]


def missing_parameter_matches() -> Replaced:
    """What was sent and is not in the row counts as equal."""
    return _compare(lambda sent, other: ({name: value for name, value in sent.items() if name in other}, other))


def extra_parameter_matches() -> Replaced:
    """What is in the row and was not sent counts as equal."""
    return _compare(lambda sent, other: (sent, {name: value for name, value in other.items() if name in sent}))


def shots_match_any_prompt() -> Replaced:
    """A request of several shots is compared by the other parameters alone, so that a plain one counts as equal."""

    def without_prompts(sent: Parameters, other: Parameters) -> tuple[Parameters, Parameters]:
        if "multi_prompt" not in sent:
            return sent, other
        prompts = ("prompt", "multi_prompt")
        return tuple({n: v for n, v in one.items() if n not in prompts} for one in (sent, other))  # type: ignore[return-value]

    return _compare(without_prompts)


def ambiguity_does_not_last() -> Replaced:
    """When the user has attached one of two candidates, the search takes the other."""
    decide = recovery.decide

    def decide_anew(lost: Any, free: Any, attached: Any = (), *others: Any) -> recovery.Decision:
        return decide(lost, free, (), *others)

    async def nobody(self: service.Service, seen: Any) -> None:
        return None

    def carry_out(self: recovery.Recovery, decision: recovery.Decision) -> None:
        for submission in list(self._lost):
            if submission.key in decision.ambiguous:
                submission.ask_user(recovery.AMBIGUOUS)  # and it stays among the lost
        original(self, recovery.Decision(decision.adopted, frozenset()))

    original = recovery.Recovery._carry_out
    return [
        (recovery, "decide", decide_anew),
        (recovery.Recovery, "_carry_out", carry_out),
        (service.Service, "lost_job_like", nobody),
    ]


def sent_by_our_clock() -> Replaced:
    """The moment of a submit is kept in this machine's time, and translated to the service's when it is looked for."""
    claim, decide = Submission.claim, recovery.decide
    ahead = 0.0  # of the service's clock, at this look

    def claim_by_our_clock(self: Submission, sent: dict[str, Any], sent_at: float | None) -> None:
        claim(self, sent, self.registry.clock())

    def describe(self: recovery.Recovery, submission: Submission, service_time: float | None) -> recovery.Lost:
        nonlocal ahead
        ahead = 0.0 if service_time is None else service_time - self._registry.clock()
        since = (submission.sent_at or 0.0) + ahead - CLOCK_SLACK
        return recovery.Lost(submission.key, submission.sent or {}, len(submission.jobs), since)

    def decide_by_our_clock(lost: Any, free: Any, attached: Any, *written: Any) -> recovery.Decision:
        return decide(lost, free, attached, *([by_our_clock(one) for one in ones] for ones in written))

    def by_our_clock(one: recovery.Lost) -> recovery.Lost:
        return dataclasses.replace(one, since=(one.since or 0.0) + ahead)

    return [
        (Submission, "claim", claim_by_our_clock),
        (recovery.Recovery, "_describe", describe),
        (recovery, "decide", decide_by_our_clock),
    ]


# Saving results


def drop_what_cannot_be_saved() -> Replaced:
    """The only copy of a video that came in an answer's body is gone after the first attempt to save it."""
    save = Downloads._save_kept

    def save_once(self: Downloads, job: Job, destination: Path) -> Path:
        try:
            return save(self, job, destination)
        except DownloadFailed:
            self._in_memory.pop(job.key, None)
            self._kept(job).unlink(missing_ok=True)
            raise

    return [(Downloads, "_save_kept", save_once)]


DEFECTS: dict[str, Callable[[], Replaced]] = {
    "attach writes a row that can be sent, and the id in a second transaction": attach_in_two_transactions,
    "a parameter that was sent may be missing in a row": missing_parameter_matches,
    "a row may have a parameter that was not sent": extra_parameter_matches,
    "a prompt is not compared where shots were sent": shots_match_any_prompt,
    "a search goes on after the user has decided": ambiguity_does_not_last,
    "the time of a submit is kept by this machine's clock": sent_by_our_clock,
    "a video in an answer's body is dropped where it cannot be saved": drop_what_cannot_be_saved,
}


def put_back(name: str) -> Replaced:
    """Put a defect back, named by the beginning of its description; the answer undoes it, given to ``replace``."""
    return replace(next(defect for text, defect in DEFECTS.items() if text.startswith(name))())


def replace(replaced: Replaced) -> Replaced:
    """Replace attributes; returns what was there before."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    return before


def prove(lives: int, first: int, jobs: int) -> int:
    """Print for each defect how many lives it takes until an invariant is broken that holds without it; 1 if one is missed."""
    missed = 0
    print("| defect | lives until found | what is broken |\n|---|---|---|", flush=True)
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for name, found, failure in pool.imap_unordered(_search, [(name, first, lives) for name in DEFECTS]):
            missed += found is None
            print(f"| {name} | {found or f'not within {lives:,}'} | {failure} |", flush=True)
    return 1 if missed else 0


def _search(given: tuple[str, int, int]) -> tuple[str, int | None, str]:
    name, first, lives = given
    undo = put_back(name)
    for number in range(lives):
        failure = play(first + number).failure
        if failure is not None:
            defect = replace(undo)
            if play(first + number).failure is None:
                return name, number + 1, f"{kind(failure)} (seed {first + number})"
            undo = replace(defect)  # it is broken without the defect too
    replace(undo)
    return name, None, ""
