"""What was submitted, on disk: the intent before it is sent, the id after, every change, the file."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any, Literal

from oxenvideo.errors import ConfigurationError
from oxenvideo.state import State, Status

# A submission's way: planned (nothing sent; safe to send) → sending (may have arrived) → accepted | refused | unknown.
# "unknown" is settled by finding it at the service, or by a person.
Step = Literal["planned", "sending", "accepted", "refused", "unknown"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS owner (
    owner TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, started TEXT NOT NULL, notebook TEXT
);
CREATE TABLE IF NOT EXISTS submission (
    key TEXT PRIMARY KEY, owner TEXT NOT NULL, base_url TEXT NOT NULL, account TEXT NOT NULL, notebook TEXT,
    batch TEXT, position INTEGER NOT NULL DEFAULT 0, request TEXT NOT NULL, fingerprint TEXT, count INTEGER NOT NULL,
    synchronous INTEGER NOT NULL DEFAULT 0, step TEXT NOT NULL, created_at REAL NOT NULL, sent_at REAL
);
CREATE TABLE IF NOT EXISTS generation (
    key TEXT PRIMARY KEY, submission TEXT NOT NULL, position INTEGER NOT NULL, name TEXT, base_url TEXT NOT NULL,
    generation_id TEXT, model TEXT NOT NULL, status TEXT NOT NULL, result_url TEXT, error_message TEXT, cost TEXT,
    submitted_at REAL, finished_at REAL, path TEXT, delivered INTEGER NOT NULL DEFAULT 0, updated_at REAL NOT NULL,
    save_as TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS claimed ON generation (base_url, generation_id) WHERE generation_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS undelivered ON generation (delivered) WHERE delivered = 0;
CREATE INDEX IF NOT EXISTS of_submission ON generation (submission);
CREATE INDEX IF NOT EXISTS by_model ON generation (model, base_url, status);
CREATE INDEX IF NOT EXISTS unsettled ON submission (step) WHERE step IN ('planned', 'sending', 'unknown');
PRAGMA user_version = 1;
"""


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


@dataclass(frozen=True)
class Plan:
    """A submission as it is first written down: one request of ``len(generations)`` generations."""

    key: str
    base_url: str
    account: str
    request: dict[str, Any]
    generations: Sequence[tuple[str, str | None]]  # (key, name) of each
    model: str
    synchronous: bool = False
    batch: str | None = None
    position: int = 0
    save_as: str | None = None


class Journal:
    """The record of submissions, shared by all kernels of this user (SQLite, WAL).

    Methods are safe from any thread. Commits are not flushed to the platter one by one (``synchronous=NORMAL``): a killed
    process loses nothing, a power cut may lose the last moment, which the service's own history still shows.
    """

    def __init__(self, path: Path, *, notebook: str | None = None) -> None:
        self.path = path
        self.owner = uuid.uuid4().hex
        self.notebook = notebook
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=10.0, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
            with self._transaction():
                self._db.execute(
                    "INSERT INTO owner VALUES (?,?,?,?,?)",
                    (self.owner, socket.gethostname(), os.getpid(), _process_start(os.getpid()), notebook),
                )
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"Cannot write the journal {path}: {error}. Nothing was sent; free the disk, or set OXENVIDEO_DATA_DIR."
            ) from None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # Writing

    def plan(self, plans: Iterable[Plan]) -> None:
        """Write down what is going to be sent, all of it or nothing."""
        now = time.time()
        with self._transaction():
            for plan in plans:
                self._db.execute(
                    "INSERT INTO submission VALUES (?,?,?,?,?,?,?,?,NULL,?,?,'planned',?,NULL)",
                    (
                        plan.key, self.owner, plan.base_url, plan.account, self.notebook, plan.batch, plan.position,
                        json.dumps(plan.request), len(plan.generations), int(plan.synchronous), now,
                    ),
                )  # fmt: skip
                self._db.executemany(
                    "INSERT INTO generation (key, submission, position, name, base_url, model, status, submitted_at,"
                    " updated_at, save_as) VALUES (?,?,?,?,?,?,?,?,?,?)",
                    [
                        (key, plan.key, i, name, plan.base_url, plan.model, Status.SUBMITTING, now, now, plan.save_as)
                        for i, (key, name) in enumerate(plan.generations)
                    ],
                )

    def claim_sending(self, submission: str, fingerprint: dict[str, Any]) -> bool:
        """Write that this submission goes out now; False where another kernel has taken it. Before every POST."""
        with self._transaction():
            changed = self._db.execute(
                "UPDATE submission SET step='sending', sent_at=?, fingerprint=? WHERE key=? AND owner=? AND step='planned'",
                (time.time(), json.dumps(fingerprint), submission, self.owner),
            ).rowcount
        return changed == 1

    def unsent(self, submission: str) -> None:
        """The request never left, or the service refused to take it for now: it is safe to send later."""
        with self._transaction():
            self._db.execute(
                "UPDATE submission SET step='planned' WHERE key=? AND step IN ('sending', 'unknown')", (submission,)
            )

    def step(self, submission: str, step: Step) -> None:
        """Write how the submission ended."""
        with self._transaction():
            self._db.execute("UPDATE submission SET step=? WHERE key=?", (step, submission))

    def accept(self, submission: str, ids: Sequence[tuple[str, str]]) -> bool:
        """Write the service's ids ((key, generation_id) pairs); False, changing nothing, where one is claimed already."""
        try:
            with self._transaction():
                for key, generation_id in ids:
                    self._db.execute(
                        "UPDATE generation SET generation_id=?, status='queued', updated_at=? WHERE key=?",
                        (generation_id, time.time(), key),
                    )
                self._db.execute("UPDATE submission SET step='accepted' WHERE key=?", (submission,))
        except sqlite3.IntegrityError:
            return False
        return True

    def record(self, changes: Iterable[tuple[str, State]]) -> None:
        """Write the present state of some generations, by key."""
        rows = [
            (
                state.status, state.result_url, state.error_message or (str(state.error) if state.error else None),
                str(state.cost) if state.cost is not None else None, state.finished_at,
                str(state.path) if state.path else None, int(_is_delivered(state)), time.time(), key,
            )
            for key, state in changes
        ]  # fmt: skip
        with self._transaction():
            self._db.executemany(
                "UPDATE generation SET status=?, result_url=?, error_message=?, cost=coalesce(?, cost), finished_at=?,"
                " path=?, delivered=?, updated_at=? WHERE key=?",
                rows,
            )

    def take_over(self, submission: str, previous_owner: str) -> bool:
        """Make a dead kernel's submission ours; False where somebody else was faster."""
        with self._transaction():
            changed = self._db.execute(
                "UPDATE submission SET owner=?, notebook=coalesce(?, notebook) WHERE key=? AND owner=?",
                (self.owner, self.notebook, submission, previous_owner),
            ).rowcount
        return changed == 1

    # Reading

    def open_entries(self, *, notebook: str | None = None) -> list[Entry]:
        """Everything unfinished or undelivered, of one notebook or of all, of kernels that no longer live and our own."""
        found = self._entries("g.delivered = 0", ())
        alive = self._live_owners({entry.owner for entry in found} - {self.owner})
        return [e for e in found if e.owner not in alive and (notebook is None or e.notebook == notebook)]

    def entries(self, *, limit: int = 100, offset: int = 0) -> list[Entry]:
        """All journalled generations, newest first."""
        return self._entries("1", (limit, offset), "ORDER BY s.created_at DESC, g.position LIMIT ? OFFSET ?")

    def find(self, generation_id: str, base_url: str | None = None) -> Entry | None:
        """The entry that claims this id, if any."""
        where, given = "g.generation_id = ?", [generation_id]
        if base_url is not None:
            where += " AND g.base_url = ?"
            given.append(base_url)
        return next(iter(self._entries(where, tuple(given))), None)

    def of_submission(self, submission: str) -> list[Entry]:
        """The generations of one submission, in order."""
        return self._entries("s.key = ?", (submission,), "ORDER BY g.position")

    def claimed(self, base_url: str, ids: Iterable[str]) -> set[str]:
        """Those of ``ids`` that some journalled generation already stands for."""
        wanted = list(ids)
        taken: set[str] = set()
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            marks = ",".join("?" * len(part))
            query = f"SELECT generation_id FROM generation WHERE base_url=? AND generation_id IN ({marks})"  # noqa: S608
            with self._lock:
                taken.update(row[0] for row in self._db.execute(query, (base_url, *part)))
        return taken

    def in_flight_elsewhere(self, base_url: str, fingerprint: dict[str, Any]) -> bool:
        """Whether a living other kernel has an identical submission on its way, which could be the one we see."""
        with self._lock:
            owners = {
                row[0]
                for row in self._db.execute(
                    "SELECT owner FROM submission WHERE step='sending' AND base_url=? AND fingerprint=? AND owner<>?",
                    (base_url, json.dumps(fingerprint), self.owner),
                )
            }
        return bool(self._live_owners(owners))

    def typical_seconds(self, model: str, base_url: str) -> float | None:
        """Median of what this machine's last 25 finished jobs of the model took, in seconds; None without any."""
        with self._lock:
            rows = self._db.execute(
                "SELECT finished_at - submitted_at FROM generation WHERE model=? AND base_url=? AND status='succeeded'"
                " AND finished_at > submitted_at ORDER BY finished_at DESC LIMIT 25",
                (model, base_url),
            ).fetchall()
        return median(row[0] for row in rows) if rows else None

    def _entries(
        self, where: str, given: tuple[Any, ...], tail: str = "ORDER BY s.created_at, s.position"
    ) -> list[Entry]:
        query = (  # both additions are literals of this module
            "SELECT g.*, s.account, s.owner, s.notebook, s.batch, s.request, s.fingerprint, s.count, s.synchronous,"
            " s.step, s.created_at, s.sent_at FROM generation g JOIN submission s ON s.key = g.submission"
            " WHERE " + where + " " + tail
        )
        with self._lock:
            rows = self._db.execute(query, given).fetchall()
        return [_entry(row) for row in rows]

    def _live_owners(self, owners: Iterable[str]) -> set[str]:
        live = set()
        with self._lock:
            for owner in owners:
                row = self._db.execute("SELECT host, pid, started FROM owner WHERE owner=?", (owner,)).fetchone()
                if row and row["host"] == socket.gethostname() and _process_start(row["pid"]) == row["started"]:
                    live.add(owner)
        return live


def _is_delivered(state: State) -> bool:
    """Whether there is nothing left to bring back: ended without a video, or the file is here."""
    if state.status in (Status.FAILED, Status.CANCELLED):
        return True
    return state.status is Status.SUCCEEDED and (state.path is not None or state.error is None)


def _entry(row: sqlite3.Row) -> Entry:
    values = dict(row)
    for name in ("updated_at",):
        values.pop(name)
    values["request"] = json.loads(values["request"])
    values["fingerprint"] = json.loads(values["fingerprint"]) if values["fingerprint"] else None
    values["cost"] = Decimal(values["cost"]) if values["cost"] is not None else None
    values["path"] = Path(values["path"]) if values["path"] else None
    values["delivered"] = bool(values["delivered"])
    values["synchronous"] = bool(values["synchronous"])
    return Entry(**values)


def _process_start(pid: int) -> str:
    """What tells a process from a later one with the same number; empty where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
    except OSError:
        return ""
    else:
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    if os.name == "nt":
        return "alive"  # without /proc: a wrong "alive" only keeps another kernel's work untouched
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"
