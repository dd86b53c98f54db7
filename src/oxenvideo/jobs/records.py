"""What goes into the journal and what comes out of it: plans of submissions, and one entry a generation."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from oxenvideo.jobs.status import State, Status

# A submission's way: planned (nothing sent; safe to send) → sending (may have arrived) → accepted | refused | unknown.
# "unknown" is settled by finding it at the service, or by a person.
Step = Literal["planned", "sending", "accepted", "refused", "unknown"]


@dataclass(frozen=True)
class Entry:
    """One journalled generation with its submission, as ``resume`` and ``history`` need it; times are unix seconds."""

    key: str
    submission: str
    position: int
    name: str | None
    base_url: str
    account: str
    owner: str
    notebook: str | None
    batch: str | None
    request: dict[str, Any]
    fingerprint: dict[str, Any] | None
    count: int
    synchronous: bool
    step: Step
    created_at: float
    sent_at: float | None
    generation_id: str | None
    model: str
    status: str
    result_url: str | None
    error_message: str | None
    cost: Decimal | None
    submitted_at: float | None
    finished_at: float | None
    path: Path | None
    delivered: bool
    save_as: str | None
    place: int | None

    @classmethod
    def of_row(cls, row: sqlite3.Row) -> Entry:
        """The entry that a row of the journal holds."""
        values = dict(row)
        values.pop("updated_at")
        values["request"] = json.loads(values["request"])
        values["fingerprint"] = json.loads(values["fingerprint"]) if values["fingerprint"] else None
        values["cost"] = Decimal(values["cost"]) if values["cost"] is not None else None
        values["path"] = Path(values["path"]) if values["path"] else None
        values["delivered"] = bool(values["delivered"])
        values["synchronous"] = bool(values["synchronous"])
        return cls(**values)


@dataclass(frozen=True)
class Plan:
    """A submission as it is first written down: one request of ``len(generations)`` generations.

    Each is (key, name, place in its batch).
    """

    key: str
    base_url: str
    account: str
    request: dict[str, Any]
    generations: Sequence[tuple[str, str | None, int | None]]
    model: str
    synchronous: bool = False
    batch: str | None = None
    position: int = 0
    save_as: str | None = None


def is_delivered(state: State) -> bool:
    """Whether there is nothing left to bring back: ended without a video, or the file is here."""
    if state.status in (Status.FAILED, Status.CANCELLED):
        return True
    return state.status is Status.SUCCEEDED and (state.path is not None or state.error is None)
