"""The queue: all generations in one SQLite table, which several servers on one data directory may share."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger("oxenvideo.server")

T = TypeVar("T")

RETRY_SECONDS = 1.0  # pause after an error of the database
_TIMEOUT = 10.0  # seconds for which a change waits for another server's
STATUSES = ("queued", "processing", "succeeded", "failed", "cancelled")
ACTIVE = ("queued", "processing")

Filters = Mapping[str, Sequence[str]]  # columns and the values that they may have
NO_FILTERS: Filters = {}

_IS_ACTIVE = "status IN ('queued', 'processing')"
_START = "status = 'processing', started_at = ?, attempts = attempts + 1"
_SCHEMA = f"""
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
CREATE TABLE IF NOT EXISTS placements (
    id TEXT NOT NULL,
    engine TEXT NOT NULL,
    remote_id TEXT NOT NULL,
    is_current INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (id, engine)
) STRICT;
CREATE INDEX IF NOT EXISTS generations_active ON generations (status, owner, seq) WHERE {_IS_ACTIVE};
"""
_ADDED = {"on_engine": "INTEGER NOT NULL DEFAULT 0", "deaths": "INTEGER NOT NULL DEFAULT 0"}


@dataclass(frozen=True)
class Generation:
    """One row: a request and its state. Times are unix seconds; ``cost`` is US dollars as decimal text.

    ``owner`` is the id of the server that renders it. ``on_engine`` is whether an engine of the user makes the video,
    and ``deaths`` counts the engines that ended while they had the job.
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
    on_engine: int
    deaths: int


class Queue:
    """The table, over one connection that one thread uses. ``owner`` is the id of this server."""

    def __init__(self, path: Path, owner: str) -> None:
        self._owner = owner
        self._db = sqlite3.connect(path, timeout=_TIMEOUT, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._keep_log()
        self._db.executescript(f"PRAGMA synchronous = NORMAL; {_SCHEMA}")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            present = {row["name"] for row in self._db.execute("PRAGMA table_info(generations)")}
            for name in _ADDED.keys() - present:
                self._db.execute(f"ALTER TABLE generations ADD COLUMN {name} {_ADDED[name]}")

    def _keep_log(self) -> None:
        """Turn on the write-ahead log. SQLite's timeout does not cover this change, in which two servers may meet."""
        end = time.monotonic() + _TIMEOUT
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
            time.sleep(0.02)

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
        on_engine: bool = False,
    ) -> list[Generation]:
        """Add ``count`` generations of one request, all or none. They start after ``delay`` seconds at the earliest."""
        now = time.time()
        common = (self._owner, model, json.dumps(parameters), namespace, repo, directory, now + delay, now, on_engine)
        rows = [(str(uuid.uuid4()), variation, *common) for variation in range(count)]
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT INTO generations (status, media_type, id, variation, owner, model, parameters,"
                " namespace, repo, directory, not_before, enqueued_at, on_engine)"
                " VALUES ('queued', 'video', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
        return [found for row in rows if (found := self.get(row[0])) is not None]

    def claim(self) -> Generation | None:
        """Take the oldest preview that may start, or None. Two callers never get the same one."""
        now = time.time()
        return self._update(
            _START,
            "seq = (SELECT seq FROM generations WHERE status = 'queued' AND owner = ? AND not_before <= ?"
            " AND NOT on_engine ORDER BY seq LIMIT 1)",
            now, self._owner, now,
        )  # fmt: skip

    def next_due(self) -> float | None:
        """Return when the next queued preview may start (unix seconds), or None if none is queued."""
        query = "SELECT min(not_before) FROM generations WHERE status = 'queued' AND owner = ? AND NOT on_engine"
        due: float | None = self._db.execute(query, (self._owner,)).fetchone()[0]
        return due

    def claim_on(self, engine: str, models: Iterable[str], loaded: str | None) -> tuple[Generation, str | None] | None:
        """Take a generation for an engine, and return it with the engine's id of it, if it has one.

        Generations that the engine has already come first, then those of the model that is ``loaded``, then the oldest.
        """
        now = time.time()
        row = self._db.execute(
            "SELECT seq, remote_id FROM generations g LEFT JOIN placements p ON p.id = g.id AND is_current"
            " WHERE status = 'queued' AND owner = ? AND not_before <= ? AND on_engine"
            " AND model IN (SELECT value FROM json_each(?)) AND ifnull(engine, ?) = ?"
            " ORDER BY engine IS NULL, model IS NOT ?, seq LIMIT 1",
            (self._owner, now, json.dumps(list(models)), engine, engine, loaded),
        ).fetchone()
        if row is None:
            return None
        claimed = self._update(_START, "seq = ? AND status = 'queued' AND owner = ?", now, row["seq"], self._owner)
        return None if claimed is None else (claimed, row["remote_id"])

    def place(self, id_: str, engine: str, remote_id: str) -> None:
        """Store that an engine has a generation under this id of its own."""
        self._db.execute("INSERT OR REPLACE INTO placements VALUES (?, ?, ?, 1)", (id_, engine, remote_id))

    def forget(self, id_: str, engine: str) -> None:
        """Note that an engine does not have a generation any more."""
        self._db.execute("DELETE FROM placements WHERE id = ? AND engine = ?", (id_, engine))

    def engines(self) -> set[str]:
        """Return the engines that have generations."""
        return {row[0] for row in self._db.execute("SELECT DISTINCT engine FROM placements WHERE is_current")}

    def abandon(self, engine: str, models: Iterable[str]) -> int:
        """Free the queued generations of these models that an engine has for other engines; return how many."""
        change = (
            "UPDATE placements SET is_current = 0 WHERE engine = ? AND is_current AND id IN (SELECT id FROM generations"
            " WHERE status = 'queued' AND owner = ? AND model IN (SELECT value FROM json_each(?)))"
        )
        return self._db.execute(change, (engine, self._owner, json.dumps(list(models)))).rowcount

    def unwanted(self, engine: str) -> list[tuple[Generation, str]]:
        """Return the generations that an engine may still run and that it is to stop, each with the engine's id of it."""
        rows = self._db.execute(
            "SELECT g.*, remote_id FROM placements p JOIN generations g ON g.id = p.id"
            " WHERE engine = ? AND (NOT is_current OR status NOT IN ('queued', 'processing'))",
            (engine,),
        )
        return [(_generation({key: row[key] for key in row.keys()[:-1]}), row["remote_id"]) for row in rows]

    def died(self, id_: str) -> int:
        """Count an engine that ended while it had a running generation; return how many did."""
        row = self._update("deaths = deaths + 1", "id = ?", id_)
        return 0 if row is None else row.deaths

    def succeed(self, id_: str, cost: str) -> Generation | None:
        """Complete a running generation; None if it is not running any more, such as after a cancellation."""
        change = "status = 'succeeded', cost = ?, completed_at = ?"
        return self._update(change, "id = ? AND status = 'processing'", cost, time.time(), id_)

    def fail(self, id_: str, message: str) -> Generation | None:
        """Fail a running generation; None if it is not running any more."""
        change = "status = 'failed', error_message = ?, completed_at = ?"
        return self._update(change, "id = ? AND status = 'processing'", message, time.time(), id_)

    def release(self, id_: str) -> None:
        """Put a running generation back at its place in the queue."""
        self._update("status = 'queued', started_at = NULL", "id = ? AND status = 'processing'", id_)

    def cancel(self, id_: str) -> Generation | None:
        """Cancel a queued or running generation and return it. One that has ended is returned as it is."""
        self._update("status = 'cancelled', completed_at = ?", f"id = ? AND {_IS_ACTIVE}", time.time(), id_)
        return self.get(id_)

    def get(self, id_: str) -> Generation | None:
        """Return a generation, or None."""
        return next(iter(self.select({"id": (id_,)})), None)

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
        owners = self._db.execute(f"SELECT DISTINCT owner FROM generations WHERE {_IS_ACTIVE}").fetchall()  # noqa: S608
        change = "UPDATE generations SET owner = ?, status = 'queued', started_at = NULL"
        return sum(
            self._db.execute(f"{change} WHERE owner = ? AND {_IS_ACTIVE}", (self._owner, owner)).rowcount
            for (owner,) in owners
            if not is_alive(owner)
        )

    def _update(self, change: str, where: str, *values: object) -> Generation | None:
        rows = self._db.execute(f"UPDATE generations SET {change} WHERE {where} RETURNING *", values).fetchall()  # noqa: S608
        return _generation(rows[0]) if rows else None


async def stored(write: Callable[[], T]) -> T:
    """Call ``write`` until the database takes it; return its result. A second call must do no harm."""
    is_logged = False
    while True:
        try:
            return write()
        except sqlite3.Error:
            if not is_logged:
                log.exception("The database refuses a change. It is tried again until it is stored.")
            is_logged = True
        await asyncio.sleep(RETRY_SECONDS)


class Presence:
    """A locked file that shows that this server is alive. The system unlocks it when the process ends."""

    def __init__(self, data_dir: Path) -> None:
        self.id = uuid.uuid4().hex
        self._dir = data_dir / "servers"
        self._dir.mkdir(parents=True, exist_ok=True)
        self._file = self._path(self.id).open("wb")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_alive(self, owner: str) -> bool:
        """Return whether the server of this id is running; remove the file of one that is not."""
        if owner == self.id:
            return True
        try:
            with self._path(owner).open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        self._path(owner).unlink(missing_ok=True)
        return False

    def leave(self) -> None:
        """Unlock the file and remove it."""
        self._file.close()
        self._path(self.id).unlink(missing_ok=True)

    def _path(self, owner: str) -> Path:
        return self._dir / f"{owner}.lock"


def _condition(filters: Filters) -> tuple[str, list[str]]:
    terms = [f"{column} IN ({', '.join('?' * len(values))})" for column, values in filters.items()]
    return " AND ".join(terms) or "TRUE", [value for values in filters.values() for value in values]


def _generation(row: sqlite3.Row | Mapping[str, Any]) -> Generation:
    return Generation(**{**dict(row), "parameters": json.loads(row["parameters"])})
