"""The state machine of a job: its statuses, the steps of its submission, and which may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from oxenvideo.client.responses import Observation, Progress
from oxenvideo.errors import OxenVideoError


class Step(StrEnum):
    """How far a submission has come. Only a planned one may be sent."""

    PLANNED = "planned"  # written down; nothing was sent
    SENDING = "sending"  # it may have reached the service
    UNKNOWN = "unknown"  # its answer was lost; the service's lists are searched for it
    AMBIGUOUS = "ambiguous"  # several generations could be it; only the user can say which
    ACCEPTED = "accepted"  # the service has it, under known ids
    REFUSED = "refused"  # the service does not have it


#: Which step may follow which. A step that was sent becomes planned again only where the service certainly has not got it.
NEXT: Mapping[Step, frozenset[Step]] = {
    Step.PLANNED: frozenset({Step.SENDING, Step.REFUSED}),
    Step.SENDING: frozenset({Step.PLANNED, Step.UNKNOWN, Step.AMBIGUOUS, Step.ACCEPTED, Step.REFUSED}),
    Step.UNKNOWN: frozenset({Step.AMBIGUOUS, Step.ACCEPTED}),
    Step.AMBIGUOUS: frozenset({Step.ACCEPTED, Step.REFUSED}),
    Step.ACCEPTED: frozenset(),
    Step.REFUSED: frozenset(),
}

LOST = frozenset({Step.SENDING, Step.UNKNOWN})


class Status(StrEnum):
    """Where a job stands: the service's five words, and five of our own."""

    WAITING = "waiting"  # ours: it needs the video of another job first
    SUBMITTING = "submitting"  # ours: on its way to the service
    UNCONFIRMED = "unconfirmed"  # ours: it was sent, and whether it arrived cannot be found out
    QUEUED = "queued"
    PROCESSING = "processing"
    UNKNOWN = "unknown"  # ours: the service used a word that its documentation does not have
    DOWNLOADING = "downloading"  # ours: it succeeded at the service, and its file is being fetched
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended, well or not."""
        return self in TERMINAL


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})
# The service's words in their order. An observation never takes a job back to an earlier rank, because reads overtake one
# another and the event stream overtakes them all.
_RANK = {"queued": 0, "processing": 1, "succeeded": 2, "failed": 2, "cancelled": 2}
_LAST_RANK = 2
_STATUS = {word: Status(word) for word in _RANK}
_DETAILS = (
    "generation_id",
    "result_url",
    "error_message",
    "enqueued_at",
    "started_at",
    "completed_at",
    "cost",
    "progress",
)


@dataclass(frozen=True, slots=True)
class State:
    """Everything that can change about a job; replaced as a whole, so that threads read it without a lock.

    ``local`` is the status until the service has given an id; ``remote``, the service's word, is the status from then
    on. ``submitted_at`` and ``finished_at`` are by this machine's clock and the other times by the service's, all in unix
    seconds. ``error`` is what ended the job here, ``notice`` what is wrong for the moment. ``fetching`` is whether the
    file is still to be fetched; ``received`` and ``expected`` are bytes of the download. ``cost`` is in US dollars.
    ``progress`` is what an engine of the user has counted so far.
    ``cancel_requested`` is set where the user cancelled a job of which it was not known whether the service has it.

    Four fields follow from the others and are computed once, because they are read often: ``status``, the one word that
    users see; ``is_settled``, whether a wait is over, because the job has ended or only the user can say how it goes on;
    ``is_over_at_service``, whether the service will do nothing more for this job; and ``is_delivered``, whether nothing is
    left to bring back, because the job ended without a video or its file is here.
    """

    local: Status = Status.SUBMITTING
    remote: str | None = None
    fetching: bool = True
    generation_id: str | None = None
    result_url: str | None = None
    error_message: str | None = None
    error: OxenVideoError | None = None
    notice: str | None = None
    enqueued_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    submitted_at: float | None = None
    finished_at: float | None = None
    cost: Decimal | None = None
    progress: Progress | None = None
    path: Path | None = None
    received: int = 0
    expected: int | None = None
    cancel_requested: bool = False
    status: Status = field(init=False, compare=False)
    is_settled: bool = field(init=False, compare=False)
    is_over_at_service: bool = field(init=False, compare=False)
    is_delivered: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.remote is None:
            status, is_over = self.local, self.local in TERMINAL
        else:
            status, is_over = _STATUS.get(self.remote, Status.UNKNOWN), _RANK.get(self.remote) == _LAST_RANK
            if status is Status.SUCCEEDED and self.fetching:
                status = Status.DOWNLOADING
        object.__setattr__(self, "status", status)
        object.__setattr__(self, "is_settled", status in TERMINAL or status is Status.UNCONFIRMED)
        object.__setattr__(self, "is_over_at_service", is_over)
        has_result = status is not Status.SUCCEEDED or self.path is not None or self.error is None
        object.__setattr__(self, "is_delivered", status in TERMINAL and has_result)

    @property
    def elapsed(self) -> float | None:
        """Seconds from the submission to the end, where both are known."""
        if self.submitted_at is None or self.finished_at is None:
            return None
        return max(0.0, self.finished_at - self.submitted_at)


def advance(state: State, seen: Observation, now: float) -> State:
    """The state after an observation, whatever the order in which observations arrive.

    Ranks only grow. Where two final statuses disagree, a read (list or get) has the last word. Details such as the URL,
    times and cost are taken over where given, so a renewed URL replaces an expired one. ``now`` is in unix seconds.
    """
    if not _may_follow(state, seen):
        return state
    details: dict[str, Any] = {name: value for name in _DETAILS if (value := getattr(seen, name)) is not None}
    if state.remote is None:  # whatever ended it here, the service has it
        state = replace(state, error=None, finished_at=None)
    ended = _RANK.get(seen.status) == _LAST_RANK
    if ended and seen.status != "failed":
        details["error_message"] = None
    if ended and seen.status != "succeeded":
        details["result_url"] = None
    if ended and (seen.status != "succeeded" or not state.fetching):
        details["finished_at"] = state.finished_at or now  # a download ends later, with its file
    return replace(state, **details, remote=seen.status, notice=seen.notice)


def _may_follow(state: State, seen: Observation) -> bool:
    if state.remote is None or state.remote == seen.status:
        return True
    before, after = _RANK.get(state.remote, -1), _RANK.get(seen.status, -1)
    if before < _LAST_RANK:
        # An undocumented word ranks below all others. Only a read may introduce one, because reads come in order.
        return after >= before or (after == -1 and seen.authoritative)
    return after == _LAST_RANK and seen.authoritative
