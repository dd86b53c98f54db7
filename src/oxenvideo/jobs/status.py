"""A generation's state as a pure machine: (state, observation) -> state, in any order, twice or never."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from oxenvideo.client.responses import Observation as Observation
from oxenvideo.errors import OxenVideoError


class Status(StrEnum):
    """Where a generation stands: the service's five words, and those that are only ours."""

    WAITING = "waiting"  # ours: for another generation that is an input of this one
    SUBMITTING = "submitting"  # ours: on its way to the service
    UNCONFIRMED = "unconfirmed"  # ours: sent, and whether it arrived cannot be found out
    QUEUED = "queued"
    PROCESSING = "processing"
    UNKNOWN = "unknown"  # ours: the service used a word that its documentation does not have
    DOWNLOADING = "downloading"  # ours: succeeded there, on its way here
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will change any more."""
        return self in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)


# How far along the service is. An observation never takes a generation back to an earlier rank: reads overtake one
# another, and the stream overtakes them all.
_RANK = {"queued": 0, "processing": 1, "succeeded": 2, "failed": 2, "cancelled": 2}
_TERMINAL_RANK = 2
_WORDS = {word: Status(word) for word in _RANK}
_DETAILS = ("generation_id", "result_url", "error_message", "enqueued_at", "started_at", "completed_at", "cost")


@dataclass(frozen=True, slots=True)
class State:
    """Everything known of a generation at one moment; replaced as a whole, so that threads read it without a lock.

    ``local`` speaks until the service has given an id, ``remote`` (the service's word) from then on. ``submitted_at``
    and ``finished_at`` are this machine's clock, the others the service's; all unix seconds. ``error`` is what ends or
    ended it here, ``notice`` what is wrong for the moment. ``received`` and ``expected`` are bytes of the download.
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
    path: Path | None = None
    received: int = 0
    expected: int | None = None

    @property
    def status(self) -> Status:
        """The one word for people."""
        if self.remote is None:
            return self.local
        if self.remote == Status.SUCCEEDED and self.fetching:
            return Status.DOWNLOADING
        return _WORDS.get(self.remote, Status.UNKNOWN)

    @property
    def is_settled(self) -> bool:
        """Whether a wait has nothing more to wait for: ended, or only a person can say how it goes on."""
        return self.status.is_terminal or self.status is Status.UNCONFIRMED

    @property
    def elapsed(self) -> float | None:
        """Seconds from submission to the end, where both are known."""
        if self.submitted_at is None or self.finished_at is None:
            return None
        return max(0.0, self.finished_at - self.submitted_at)


def advance(state: State, seen: Observation, now: float) -> State:
    """The state after an observation.

    Ranks only grow; an end is not taken back by a later, staler word; where two ends disagree a read has the last word.
    Details (URL, times, cost) are taken over where given, so a renewed URL replaces an expired one.
    """
    if not _accepts(state, seen):
        return state
    details: dict[str, Any] = {name: value for name in _DETAILS if (value := getattr(seen, name)) is not None}
    ended = _RANK.get(seen.status) == _TERMINAL_RANK
    if seen.status != Status.FAILED and ended:
        details["error_message"] = None
    if seen.status != Status.SUCCEEDED and ended:
        details["result_url"] = None
    return replace(
        state,
        **details,
        remote=seen.status,
        notice=None,
        # A download is still to come after "succeeded": the end here is the file's.
        finished_at=(state.finished_at or now) if ended and seen.status != Status.SUCCEEDED else state.finished_at,
    )


def _accepts(state: State, seen: Observation) -> bool:
    if state.remote is None or state.remote == seen.status:
        return True
    before = _RANK.get(state.remote, -1)
    after = _RANK.get(seen.status, -1)
    if before < _TERMINAL_RANK:
        # An undocumented word ranks below all others, and only a read, being in order, may introduce one.
        return after >= before or (after == -1 and seen.authoritative)
    return after == _TERMINAL_RANK and seen.authoritative
