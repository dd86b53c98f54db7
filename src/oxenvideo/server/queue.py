"""The queue: every generation in one SQLite table, claimed atomically, kept across restarts."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATUSES = ("queued", "processing", "succeeded", "failed", "cancelled")
ACTIVE = ("queued", "processing")
MAX_ATTEMPTS = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    owner TEXT NOT NULL,
    model TEXT NOT NULL,
    media_type TEXT NOT NULL,
    status TEXT NOT NULL,
    parameters TEXT NOT NULL,
    variation INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    repo TEXT,
    directory TEXT,
    error_message TEXT,
    cost TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL,
    enqueued_at REAL NOT NULL,
    started_at REAL,
    completed_at REAL
) STRICT;
CREATE INDEX IF NOT EXISTS generations_active ON generations (status, owner, seq)
    WHERE status IN ('queued', 'processing');
CREATE INDEX IF NOT EXISTS generations_of_user ON generations (user, seq);
"""


@dataclass(frozen=True)
class Generation:
    """One row: what was asked, and how far it is. Times are unix seconds; ``cost`` is US dollars as decimal text."""

    seq: int
    id: str
    user: str
    owner: str
    model: str
    media_type: str
    status: str
    parameters: Mapping[str, Any]
    variation: int
    namespace: str
    repo: str | None
    directory: str | None
    error_message: str | None
    cost: str | None
    attempts: int
    not_before: float
    enqueued_at: float
    started_at: float | None
    completed_at: float | None

    @property
    def is_active(self) -> bool:
        """Whether it is still queued or being made."""
        return self.status in ACTIVE


@dataclass(frozen=True)
class Filter:
    """What a listing asks for; None asks for nothing in particular. No status means any."""

    statuses: tuple[str, ...] = STATUSES
    namespace: str | None = None
    model: str | None = None
    media_type: str | None = None
    repo: str | None = None
    directory: str | None = None

    def where(self, user: str) -> tuple[str, list[object]]:
        """Return the SQL condition and its values."""
        terms, values = ["user = ?"], [user]
        if self.statuses != STATUSES:
            terms.append(f"status IN ({', '.join('?' * len(self.statuses))})")
            values += self.statuses
        for column in ("namespace", "model", "media_type", "repo", "directory"):
            value = getattr(self, column)
            if value is not None:
                terms.append(f"{column} = ?")
                values.append(value)
        return " AND ".join(terms), [*values]


class Queue:
    """The table, through one connection of one thread; other processes may hold theirs on the same file."""

    def __init__(self, path: Path, owner: str) -> None:
        self._owner = owner
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def enqueue(
        self,
        user: str,
        model: str,
        parameters: Mapping[str, Any],
        *,
        count: int = 1,
        namespace: str,
        repo: str | None = None,
        directory: str | None = None,
        delay: float = 0.0,
    ) -> list[Generation]:
        """Add ``count`` generations of one request, all or none; they may start after ``delay`` seconds."""
        now = time.time()
        text = json.dumps(parameters)
        ids = [str(uuid.uuid4()) for _ in range(count)]
        rows = [
            (id_, user, self._owner, model, text, variation, namespace, repo, directory, now + delay, now)
            for variation, id_ in enumerate(ids)
        ]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT INTO generations (id, user, owner, model, media_type, status, parameters, variation,"
                " namespace, repo, directory, not_before, enqueued_at)"
                " VALUES (?, ?, ?, ?, 'video', 'queued', ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        return [found for id_ in ids if (found := self.get(id_)) is not None]

    def claim(self) -> Generation | None:
        """Take the oldest generation that is due, or None; no two callers ever get the same one."""
        rows = self._db.execute(
            "UPDATE generations SET status = 'processing', started_at = ?, attempts = attempts + 1"
            " WHERE seq = (SELECT seq FROM generations WHERE status = 'queued' AND owner = ? AND not_before <= ?"
            "              ORDER BY seq LIMIT 1) RETURNING *",
            (time.time(), self._owner, time.time()),
        ).fetchall()
        return _generation(rows[0]) if rows else None

    def next_due(self) -> float | None:
        """Return when the next queued generation may start (unix seconds), or None."""
        (due,) = self._db.execute(
            "SELECT min(not_before) FROM generations WHERE status = 'queued' AND owner = ?", (self._owner,)
        ).fetchone()
        return None if due is None else float(due)

    def succeed(self, id_: str, cost: str) -> Generation | None:
        """End a running generation well; None where it was cancelled meanwhile."""
        return self._end(id_, "status = 'succeeded', cost = ?", cost)

    def fail(self, id_: str, message: str) -> Generation | None:
        """End a running generation with a reason; None where it was cancelled meanwhile."""
        return self._end(id_, "status = 'failed', error_message = ?", message)

    def release(self, id_: str) -> None:
        """Put a running generation back in its place in the queue."""
        self._db.execute(
            "UPDATE generations SET status = 'queued', started_at = NULL WHERE id = ? AND status = 'processing'", (id_,)
        )

    def cancel(self, id_: str, user: str) -> Generation | None:
        """Cancel a queued or running generation, leave an ended one; None where the user has none of this id."""
        self._db.execute(
            "UPDATE generations SET status = 'cancelled', completed_at = ?"
            " WHERE id = ? AND user = ? AND status IN ('queued', 'processing')",
            (time.time(), id_, user),
        )
        return self.get(id_, user)

    def get(self, id_: str, user: str | None = None) -> Generation | None:
        """Return a generation, of this user where one is named."""
        row = self._db.execute(
            "SELECT * FROM generations WHERE id = ? AND (user = ? OR ? IS NULL)", (id_, user, user)
        ).fetchone()
        return None if row is None else _generation(row)

    def select(
        self, user: str, wanted: Filter, *, newest_first: bool = False, limit: int = -1, offset: int = 0
    ) -> list[Generation]:
        """List a user's generations, oldest first unless asked otherwise."""
        where, values = wanted.where(user)
        order = "DESC" if newest_first else "ASC"
        rows = self._db.execute(
            f"SELECT * FROM generations WHERE {where} ORDER BY seq {order} LIMIT ? OFFSET ?",  # noqa: S608
            [*values, limit, offset],
        )
        return [_generation(row) for row in rows]

    def costs(self, user: str, wanted: Filter) -> list[str | None]:
        """Return the cost of every generation of a listing; its length is the listing's."""
        where, values = wanted.where(user)
        rows = self._db.execute(f"SELECT cost FROM generations WHERE {where}", values)  # noqa: S608
        return [row[0] for row in rows]

    def owners(self) -> set[str]:
        """Return the servers that have unfinished generations."""
        rows = self._db.execute("SELECT DISTINCT owner FROM generations WHERE status IN ('queued', 'processing')")
        return {row[0] for row in rows}

    def take_over(self, dead: Iterable[str]) -> int:
        """Bring what dead servers left unfinished back into this server's queue; return how many."""
        return sum(
            self._db.execute(
                "UPDATE generations SET owner = ?, status = 'queued', started_at = NULL"
                " WHERE owner = ? AND status IN ('queued', 'processing')",
                (self._owner, owner),
            ).rowcount
            for owner in dead
        )

    def _end(self, id_: str, change: str, value: str) -> Generation | None:
        rows = self._db.execute(
            f"UPDATE generations SET {change}, completed_at = ? WHERE id = ? AND status = 'processing' RETURNING *",  # noqa: S608
            (value, time.time(), id_),
        ).fetchall()
        return _generation(rows[0]) if rows else None


def _generation(row: sqlite3.Row) -> Generation:
    fields = dict(row)
    fields["parameters"] = json.loads(fields["parameters"])
    return Generation(**fields)
