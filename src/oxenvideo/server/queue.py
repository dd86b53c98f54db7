"""The queue: all generations in one SQLite table, which several servers on one data directory may share."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATUSES = ("queued", "processing", "succeeded", "failed", "cancelled")
ACTIVE = ("queued", "processing")
MAX_ATTEMPTS = 2

Filters = Mapping[str, Sequence[str]]  # columns and the values that they may have
NO_FILTERS: Filters = {}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
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
"""
# Earlier versions knew several users.
_WITHOUT_USERS = "DROP INDEX IF EXISTS generations_of_user; ALTER TABLE generations DROP COLUMN user;"


@dataclass(frozen=True)
class Generation:
    """One row: a request and its state. Times are unix seconds; ``cost`` is US dollars as decimal text.

    ``owner`` is the id of the server that renders it.
    """

    seq: int
    id: str
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
        """Whether it is queued or being rendered."""
        return self.status in ACTIVE


class Queue:
    """The table, over one connection that one thread uses. ``owner`` is the id of this server."""

    def __init__(self, path: Path, owner: str) -> None:
        self._owner = owner
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        if any(column["name"] == "user" for column in self._db.execute("PRAGMA table_info(generations)")):
            self._db.executescript(_WITHOUT_USERS)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def enqueue(
        self,
        model: str,
        parameters: Mapping[str, Any],
        *,
        count: int = 1,
        namespace: str,
        repo: str | None = None,
        directory: str | None = None,
        delay: float = 0.0,
    ) -> list[Generation]:
        """Add ``count`` generations of one request, all or none. They start after ``delay`` seconds at the earliest."""
        now = time.time()
        text = json.dumps(parameters)
        ids = [str(uuid.uuid4()) for _ in range(count)]
        rows = [
            (id_, self._owner, model, text, variation, namespace, repo, directory, now + delay, now)
            for variation, id_ in enumerate(ids)
        ]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT INTO generations (id, owner, model, media_type, status, parameters, variation,"
                " namespace, repo, directory, not_before, enqueued_at)"
                " VALUES (?, ?, ?, 'video', 'queued', ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        return [found for id_ in ids if (found := self.get(id_)) is not None]

    def claim(self) -> Generation | None:
        """Take the oldest generation that may start, or None. Two callers never get the same one."""
        now = time.time()
        return self._changed(
            "status = 'processing', started_at = ?, attempts = attempts + 1",
            "seq = (SELECT seq FROM generations WHERE status = 'queued' AND owner = ? AND not_before <= ?"
            " ORDER BY seq LIMIT 1)",
            now, self._owner, now,
        )  # fmt: skip

    def next_due(self) -> float | None:
        """Return when the next queued generation may start (unix seconds), or None if none is queued."""
        (due,) = self._db.execute(
            "SELECT min(not_before) FROM generations WHERE status = 'queued' AND owner = ?", (self._owner,)
        ).fetchone()
        return None if due is None else float(due)

    def succeed(self, id_: str, cost: str) -> Generation | None:
        """Complete a running generation; None if it is not running any more, such as after a cancellation."""
        return self._end(id_, "succeeded", "cost", cost)

    def fail(self, id_: str, message: str) -> Generation | None:
        """Fail a running generation; None if it is not running any more."""
        return self._end(id_, "failed", "error_message", message)

    def release(self, id_: str) -> None:
        """Put a running generation back at its place in the queue."""
        self._changed("status = 'queued', started_at = NULL", "id = ? AND status = 'processing'", id_)

    def cancel(self, id_: str) -> Generation | None:
        """Cancel a queued or running generation and return it. One that has ended is returned as it is."""
        now = time.time()
        self._changed(
            "status = 'cancelled', completed_at = ?", "id = ? AND status IN ('queued', 'processing')", now, id_
        )
        return self.get(id_)

    def get(self, id_: str) -> Generation | None:
        """Return a generation, or None."""
        row = self._db.execute("SELECT * FROM generations WHERE id = ?", (id_,)).fetchone()
        return None if row is None else _generation(row)

    def select(
        self, filters: Filters = NO_FILTERS, *, newest_first: bool = False, limit: int = -1, offset: int = 0
    ) -> list[Generation]:
        """List generations, oldest first by default."""
        where, values = _condition(filters)
        order = "DESC" if newest_first else "ASC"
        rows = self._db.execute(
            f"SELECT * FROM generations WHERE {where} ORDER BY seq {order} LIMIT ? OFFSET ?",  # noqa: S608
            [*values, limit, offset],
        )
        return [_generation(row) for row in rows]

    def costs(self, filters: Filters) -> list[str | None]:
        """Return the cost of every generation of a listing."""
        where, values = _condition(filters)
        return [row[0] for row in self._db.execute(f"SELECT cost FROM generations WHERE {where}", values)]  # noqa: S608

    def take_over(self, is_alive: Callable[[str], bool]) -> int:
        """Put the unfinished generations of servers that are not alive into this server's queue; return how many."""
        active = "status IN ('queued', 'processing')"
        owners = self._db.execute(f"SELECT DISTINCT owner FROM generations WHERE {active}").fetchall()  # noqa: S608
        return sum(
            self._db.execute(
                f"UPDATE generations SET owner = ?, status = 'queued', started_at = NULL WHERE owner = ? AND {active}",  # noqa: S608
                (self._owner, owner),
            ).rowcount
            for (owner,) in owners
            if not is_alive(owner)
        )

    def _end(self, id_: str, status: str, column: str, value: str) -> Generation | None:
        change = f"status = ?, {column} = ?, completed_at = ?"
        return self._changed(change, "id = ? AND status = 'processing'", status, value, time.time(), id_)

    def _changed(self, change: str, where: str, *values: object) -> Generation | None:
        rows = self._db.execute(f"UPDATE generations SET {change} WHERE {where} RETURNING *", values).fetchall()  # noqa: S608
        return _generation(rows[0]) if rows else None


def _condition(filters: Filters) -> tuple[str, list[str]]:
    terms = [f"{column} IN ({', '.join('?' * len(values))})" for column, values in filters.items()]
    return " AND ".join(terms) or "TRUE", [value for values in filters.values() for value in values]


def _generation(row: sqlite3.Row) -> Generation:
    fields = dict(row)
    fields["parameters"] = json.loads(fields["parameters"])
    return Generation(**fields)
