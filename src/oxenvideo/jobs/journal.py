"""What was submitted, on disk: the intent before it is sent, the id after, every change, the file."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from oxenvideo.errors import ConfigurationError
from oxenvideo.jobs.processes import process_start
from oxenvideo.jobs.records import Entry, Plan, Step, is_delivered
from oxenvideo.jobs.status import State, Status

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
    save_as TEXT, place INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS claimed ON generation (base_url, generation_id) WHERE generation_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS undelivered ON generation (delivered) WHERE delivered = 0;
CREATE INDEX IF NOT EXISTS of_submission ON generation (submission);
CREATE INDEX IF NOT EXISTS finished ON generation (model, base_url, finished_at) WHERE status = 'succeeded';
CREATE INDEX IF NOT EXISTS unsettled ON submission (step) WHERE step IN ('planned', 'sending', 'unknown');
"""
_JOINED = (
    "SELECT g.*, s.account, s.owner, s.notebook, s.batch, s.request, s.fingerprint, s.count, s.synchronous, s.step,"
    " s.created_at, s.sent_at FROM generation g JOIN submission s ON s.key = g.submission"
)
_VERSION = 1  # of the tables; kept in the file


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
        self._numbers = itertools.count()
        try:
            self._db = self._open()
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"Cannot write the journal {path}: {error}. Nothing was sent; free the disk, or set OXENVIDEO_DATA_DIR."
            ) from None

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Prompts and links are nobody else's business; the files that SQLite puts beside it take on the same mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(self.path, timeout=5.0, check_same_thread=False, isolation_level=None)
        db.row_factory = sqlite3.Row
        try:
            _patiently(lambda: db.execute("PRAGMA journal_mode=WAL"))
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("BEGIN IMMEDIATE")
            self._prepare(db)
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise OSError("it was written by a newer oxenvideo")
        if version < _VERSION:
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version={_VERSION}")
        db.execute(
            "INSERT INTO owner VALUES (?,?,?,?,?)",
            (self.owner, socket.gethostname(), os.getpid(), process_start(os.getpid()), self.notebook),
        )

    def close(self) -> None:
        """Close the file; what this kernel left unfinished is from now on for others to take up."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.execute("DELETE FROM owner WHERE owner=?", (self.owner,))
            self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    def new_key(self) -> str:
        """A key that no other submission, generation or batch has, here or in another kernel's journal."""
        return f"{self.owner}-{next(self._numbers)}"

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
                    " updated_at, save_as, place) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                    [
                        (
                            key,
                            plan.key,
                            i,
                            name,
                            plan.base_url,
                            plan.model,
                            Status.SUBMITTING,
                            now,
                            now,
                            plan.save_as,
                            place,
                        )
                        for i, (key, name, place) in enumerate(plan.generations)
                    ],
                )

    def claim_sending(self, submission: str, fingerprint: dict[str, Any]) -> bool:
        """Write that this submission goes out now; False where another kernel has taken it. Before every POST."""
        with self._lock:  # one statement, a transaction by itself
            changed = self._db.execute(
                "UPDATE submission SET step='sending', sent_at=?, fingerprint=? WHERE key=? AND owner=? AND step='planned'",
                (time.time(), _json(fingerprint), submission, self.owner),
            ).rowcount
        return changed == 1

    def step(self, submission: str, step: Step) -> None:
        """Write how far a submission of ours has come. After ``refused`` there is nothing of it to bring back."""
        with self._transaction():
            ours = self._db.execute(
                "UPDATE submission SET step=? WHERE key=? AND owner=?", (step, submission, self.owner)
            ).rowcount
            if ours and step == "refused":
                self._db.execute("UPDATE generation SET delivered=1 WHERE submission=?", (submission,))

    def withdraw(self, key: str) -> None:
        """Take a generation out of its submission before that is sent."""
        with self._transaction():
            self._db.execute("UPDATE generation SET status='cancelled', delivered=1 WHERE key=?", (key,))

    def forget(self, key: str) -> None:
        """Write that there is nothing of this generation to bring back."""
        with self._transaction():
            self._db.execute("UPDATE generation SET delivered=1 WHERE key=?", (key,))

    def accept(self, submission: str, ids: Sequence[tuple[str, str]], *, told: bool = True) -> bool:
        """Write the service's ids ((key, generation_id) pairs) of a submission.

        ``told`` ids are those that the service gave in answer to this very submit: whoever else claims one (by attaching
        to it meanwhile) gives it up. Ids that were found in a list are not taken from anybody: False, changing nothing.
        """
        try:
            self.accept_all([(submission, ids)])
        except sqlite3.IntegrityError:
            if not told:
                return False
            with self._transaction():
                for key, generation_id in ids:
                    self._db.execute(
                        "UPDATE generation SET generation_id=NULL, delivered=1 WHERE generation_id=? AND key<>? AND"
                        " base_url=(SELECT base_url FROM submission WHERE key=?)",
                        (generation_id, key, submission),
                    )
                self._write_ids([(submission, ids)])
        return True

    def accept_all(self, answers: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
        """Write the ids of several submissions at once; IntegrityError, changing nothing, where one is claimed already."""
        with self._transaction():
            self._write_ids(answers)

    def _write_ids(self, answers: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
        now = time.time()
        self._db.executemany(
            "UPDATE generation SET generation_id=?, status='queued', updated_at=? WHERE key=?",
            [(generation_id, now, key) for _, ids in answers for key, generation_id in ids],
        )
        self._db.executemany("UPDATE submission SET step='accepted' WHERE key=?", [(key,) for key, _ in answers])

    def answered(self, submission: str, key: str, result_url: str) -> None:
        """Write the URL with which the synchronous endpoint answered: it is all there is, for lack of an id."""
        with self._transaction():
            self._db.execute(
                "UPDATE generation SET result_url=?, status='downloading', updated_at=? WHERE key=?",
                (result_url, time.time(), key),
            )
            self._db.execute("UPDATE submission SET step='accepted' WHERE key=?", (submission,))

    def record(self, changes: Iterable[tuple[str, State]]) -> None:
        """Write the present state of some generations, by key; of those that another kernel took over, nothing."""
        rows = [
            (
                state.status, state.result_url, state.error_message or (str(state.error) if state.error else None),
                str(state.cost) if state.cost is not None else None, state.finished_at,
                str(state.path) if state.path else None, int(is_delivered(state)), time.time(), key, self.owner,
            )
            for key, state in changes
        ]  # fmt: skip
        with self._transaction():
            self._db.executemany(
                "UPDATE generation SET status=?, result_url=?, error_message=?, cost=coalesce(?, cost), finished_at=?,"
                " path=?, delivered=?, updated_at=?"
                " WHERE key=? AND (SELECT owner FROM submission s WHERE s.key = submission)=?",
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

    def entry(self, key: str) -> Entry | None:
        """The entry of a generation, by this package's own key."""
        return next(iter(self._entries("g.key = ?", (key,))), None)

    def find(self, generation_id: str, base_url: str | None = None) -> Entry | None:
        """The entry that claims this id, if any."""
        where, given = "g.generation_id = ?", [generation_id]
        if base_url is not None:
            where += " AND g.base_url = ?"
            given.append(base_url)
        return next(iter(self._entries(where, tuple(given))), None)

    def claimed(self, base_url: str, ids: Iterable[str]) -> set[str]:
        """Those of ``ids`` that some journalled generation already stands for."""
        query = "SELECT generation_id FROM generation WHERE base_url=? AND generation_id IN (SELECT value FROM json_each(?))"
        with self._lock:
            return {row[0] for row in self._db.execute(query, (base_url, json.dumps(list(ids))))}

    def in_flight_elsewhere(self, base_url: str, fingerprint: dict[str, Any]) -> bool:
        """Whether a living other kernel has an identical submission on its way, which could be the one we see."""
        with self._lock:
            owners = {
                row[0]
                for row in self._db.execute(
                    "SELECT owner FROM submission WHERE step='sending' AND base_url=? AND fingerprint=? AND owner<>?",
                    (base_url, _json(fingerprint), self.owner),
                )
            }
        return bool(self._live_owners(owners))

    def is_followed_elsewhere(self, entry: Entry) -> bool:
        """Whether the kernel that an entry belongs to lives, and is not this one."""
        return entry.owner != self.owner and entry.owner in self._live_owners([entry.owner])

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
        self, where: str, given: tuple[Any, ...], tail: str = "ORDER BY s.created_at, s.position, g.position"
    ) -> list[Entry]:
        query = f"{_JOINED} WHERE {where} {tail}"  # both additions are literals of this module
        with self._lock:
            rows = self._db.execute(query, given).fetchall()
        return [Entry.of_row(row) for row in rows]

    def _live_owners(self, owners: Iterable[str]) -> set[str]:
        live = set()
        with self._lock:
            for owner in owners:
                row = self._db.execute("SELECT host, pid, started FROM owner WHERE owner=?", (owner,)).fetchone()
                if row and row["host"] == socket.gethostname() and process_start(row["pid"]) == row["started"] != "":
                    live.add(owner)
        return live


def _json(fingerprint: dict[str, Any]) -> str:
    return json.dumps(fingerprint, sort_keys=True)


def _patiently(work: Callable[[], object], seconds: float = 10.0) -> None:
    """SQLite's own patience does not cover a change of the journal mode, for which two kernels may meet."""
    end = time.monotonic() + seconds
    while True:
        try:
            work()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
