"""The search for lost answers as it once was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oxenvideo.engine import recovery, service
from oxenvideo.jobs.job import Submission

Parameters = Mapping[str, Any]


def _compare(prepared: Any) -> None:
    """Put ``prepared(sent, other)``, which gives both as they are compared, before the comparison."""
    exact = recovery.could_be

    def could_be(sent: Parameters, other: Parameters, **options: bool) -> bool:
        return exact(*prepared(sent, other), **options)

    recovery.could_be = service.could_be = could_be


def missing_parameter_matches() -> None:
    """What was sent and is not in the row counts as equal."""
    _compare(lambda sent, other: ({name: value for name, value in sent.items() if name in other}, other))


def extra_parameter_matches() -> None:
    """What is in the row and was not sent counts as equal."""
    _compare(lambda sent, other: (sent, {name: value for name, value in other.items() if name in sent}))


def shots_match_any_prompt() -> None:
    """A request of several shots is compared by the other parameters alone, so that a plain one counts as equal."""

    def without_prompts(sent: Parameters, other: Parameters) -> tuple[Parameters, Parameters]:
        if "multi_prompt" not in sent:
            return sent, other
        prompts = ("prompt", "multi_prompt")
        return tuple({n: v for n, v in one.items() if n not in prompts} for one in (sent, other))  # type: ignore[return-value]

    _compare(without_prompts)


def ambiguity_does_not_last() -> None:
    """When the user has attached one of two candidates, the search takes the other."""
    decide = recovery.decide

    def decide_anew(lost: Any, free: Any, attached: Any = (), elsewhere: Any = ()) -> recovery.Decision:
        return decide(lost, free, (), elsewhere)

    def carry_out(self: recovery.Recovery, decision: recovery.Decision) -> None:
        for submission in list(self._lost):
            if submission.key in decision.ambiguous:
                submission.ask_user(recovery.AMBIGUOUS)  # and it stays among the lost
        original(self, recovery.Decision(decision.adopted, frozenset()))

    original = recovery.Recovery._carry_out
    recovery.decide = decide_anew
    recovery.Recovery._carry_out = carry_out  # type: ignore[method-assign]
    service.Service.lost_job_like = lambda self, seen: None  # type: ignore[method-assign, assignment]


def sent_by_our_clock() -> None:
    """The moment of a submit is kept in this machine's time, and translated to the service's when it is looked for."""
    claim = Submission.claim

    def claim_by_our_clock(self: Submission, sent: dict[str, Any], sent_at: float | None) -> None:
        claim(self, sent, self.registry.clock())

    def describe(self: recovery.Recovery, submission: Submission, service_time: float | None) -> recovery.Lost:
        ours = self._registry.clock()
        ahead = (ours if service_time is None else service_time) - ours
        since = (submission.sent_at or 0.0) + ahead - recovery._CLOCK_SLACK
        return recovery.Lost(submission.key, submission.sent or {}, len(submission.jobs), since)

    Submission.claim = claim_by_our_clock  # type: ignore[method-assign]
    recovery.Recovery._describe = describe  # type: ignore[method-assign]
