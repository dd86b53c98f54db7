"""The journal: what was submitted, on disk. The intent is written before anything is sent, the ids and every change after."""

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
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

from oxenvideo.errors import ConfigurationError, OxenVideoError
from oxenvideo.jobs.status import NEXT, State, Status, Step

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
# Version 2: where files go, whether a submission was attached, when it was sent by the service's clock (``fingerprint``
# is what was sent), and whether a job that may not have arrived is to be cancelled. The first version wrote an attached
# one as planned first, under a key without "-"; where a kernel died in between, it must not be sent.
_SECOND = """
ALTER TABLE submission ADD COLUMN directory TEXT;
ALTER TABLE submission ADD COLUMN attached INTEGER NOT NULL DEFAULT 0;
ALTER TABLE submission ADD COLUMN sent_at_service REAL;
ALTER TABLE generation ADD COLUMN cancel_requested INTEGER NOT NULL DEFAULT 0;
UPDATE submission SET attached=1 WHERE instr(key, '-') = 0;
UPDATE generation SET delivered=1 WHERE generation_id IS NULL
    AND submission IN (SELECT key FROM submission WHERE attached=1);
UPDATE submission SET step='refused' WHERE attached=1 AND step='planned';
"""
_MIGRATIONS = (_SCHEMA, _SECOND)  # the version that is kept in the file counts those that were applied
_JOINED = (
    "SELECT g.*, s.account, s.owner, s.notebook, s.batch, s.request, s.fingerprint, s.count, s.synchronous, s.step,"
    " s.created_at, s.sent_at, s.sent_at_service, s.directory, s.attached"
    " FROM generation g JOIN submission s ON s.key = g.submission"
)


@dataclass(frozen=True)
class Plan:
    """A submission as it is first written: one request, and for each of its jobs (key, name, place in the batch)."""

    key: str
    base_url: str
    account: str
    request: dict[str, Any]
    jobs: Sequence[tuple[str, str | None, int | None]]
    model: str
    synchronous: bool = False
    batch: str | None = None
    position: int = 0
    save_as: str | None = None
    directory: Path | None = None


@dataclass(frozen=True)
class Entry:
    """One job in the journal with its submission; times are unix seconds. ``request`` and ``sent`` are JSON values."""

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
    sent: dict[str, Any] | None
    count: int
    synchronous: bool
    step: Step
    created_at: float
    sent_at: float | None
    sent_at_service: float | None
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
    directory: Path | None
    attached: bool
    cancel_requested: bool

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Entry:
        """The entry of a row; raises ValueError where the row is damaged."""
        values = dict(row)
        del values["updated_at"]
        fingerprint = values.pop("fingerprint")
        try:
            values["request"] = request = json.loads(values["request"])
            if not isinstance(request["model"], str) or not isinstance(request["parameters"], dict):
                raise ValueError("it holds no request")
            values["sent"] = json.loads(fingerprint) if fingerprint else None
            values["step"] = Step(values["step"])
            values["cost"] = Decimal(values["cost"]) if values["cost"] is not None else None
            for name in ("path", "directory"):
                values[name] = Path(values[name]) if values[name] else None
            for name in ("delivered", "synchronous", "attached", "cancel_requested"):
                values[name] = bool(values[name])
            return cls(**values)
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise ValueError(f"The journal's entry of a {row['model']} cannot be read ({error}).") from None


class _PatientConnection(sqlite3.Connection):
    """A connection whose statements wait for other kernels, at most ``patience`` seconds.

    SQLite's own wait cannot be interrupted, does not cover a change of the journal mode, and soon looks only every 0.1 s,
    so that kernels which write much may take turns without us. Its timeout is short here, and each try begins it again.
    """

    patience = 10.0

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        end = time.monotonic() + self.patience
        while True:
            try:
                return super().execute(sql, parameters)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
            time.sleep(0.005)


class Journal:
    """The record of submissions, shared by all kernels of this user (SQLite in WAL mode).

    Methods are safe from any thread of the process that opened it; in a forked child they raise OxenVideoError. Each
    commit is on the disk before its method returns (``synchronous=FULL``): after a power cut, what was sent is not sent
    again. ``clock`` gives unix seconds. Raises ConfigurationError where the file cannot be written.
    """

    def __init__(self, path: Path, *, notebook: str | None = None, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.owner = uuid.uuid4().hex
        self.notebook = notebook
        self._clock = clock
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._registered = False
        self._db: sqlite3.Connection | None
        try:
            self._db = self._open()
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"Cannot write the journal {path}: {error}. Nothing was sent; free the disk, or set OXENVIDEO_DATA_DIR."
            ) from None
        _open_journals.add(self)

    def _open(self) -> sqlite3.Connection:
        make_private_directory(self.path.parent)
        # The journal holds prompts and links. The files that SQLite puts beside it take on the same mode. A file that is
        # there is left to SQLite: closing it here would free the locks of this process's other journals, and the next
        # kernel that ends would remove the log to which they write.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        db = sqlite3.connect(
            self.path, timeout=0.05, check_same_thread=False, isolation_level=None, factory=_PatientConnection
        )
        db.row_factory = sqlite3.Row
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("BEGIN IMMEDIATE")
            self._migrate(db)
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(_MIGRATIONS):
            raise OSError("it was written by a newer oxenvideo")
        for statements in _MIGRATIONS[version:]:
            for statement in statements.split(";\n"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version={len(_MIGRATIONS)}")

    def close(self) -> None:
        """Close the file. What this kernel left unfinished is for others to take up from now on."""
        if os.getpid() != self._pid:
            return
        _open_journals.discard(self)
        with contextlib.suppress(sqlite3.Error), self._reading() as db:
            db.execute("DELETE FROM owner WHERE owner=?", (self.owner,))
            db.close()

    def before_fork(self) -> None:
        """Close the file until ``after_fork``. It is opened again when it is needed.

        A child must not inherit SQLite's record of the locks that this process holds: it would wait for a lock that nobody
        frees, and its commits would go to a file that this process removes when it ends.
        """
        self._lock.acquire()
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def after_fork(self) -> None:
        """Go on, in the process that forked."""
        self._lock.release()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._pid:
            raise OxenVideoError("This process was forked from one that uses oxenvideo: make a new Session in it.")
        with self._lock:
            if self._db is None:
                try:
                    self._db = self._open()
                except OSError as error:
                    raise sqlite3.OperationalError(str(error)) from None
            if self._db.in_transaction:  # an interrupt came between two statements; what follows must not be part of it
                self._db.execute("ROLLBACK")
            yield self._db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            try:
                db.execute("BEGIN IMMEDIATE")  # an interrupt while it waits for another kernel undoes it too
                if not self._registered:
                    db.execute(
                        "INSERT OR IGNORE INTO owner VALUES (?,?,?,?,?)",
                        (self.owner, socket.gethostname(), self._pid, process_start(self._pid), self.notebook),
                    )
                yield db
                db.execute("COMMIT")
                self._registered = True
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled it back already
                    db.execute("ROLLBACK")
                raise

    def new_key(self) -> str:
        """A key that no other submission, job or batch has, in this or another kernel's part of the journal."""
        return f"{self.owner}-{next(self._numbers)}"

    # Writing

    def plan(self, plans: Iterable[Plan]) -> None:
        """Write what is going to be sent, all of it or nothing."""
        with self._transaction() as db:
            for plan in plans:
                self._insert(db, plan, Step.PLANNED)

    def attach(self, plan: Plan, generation_id: str) -> None:
        """Write a job that somebody else submitted, in a step from which it can never be sent.

        Raises sqlite3.IntegrityError where the journal has a job with this id.
        """
        with self._transaction() as db:
            self._insert(db, plan, Step.ACCEPTED, attached=True)
            db.execute(
                "UPDATE generation SET generation_id=?, status='queued' WHERE submission=?", (generation_id, plan.key)
            )

    def _insert(self, db: sqlite3.Connection, plan: Plan, step: Step, *, attached: bool = False) -> None:
        now = self._clock()
        db.execute(
            "INSERT INTO submission (key, owner, base_url, account, notebook, batch, position, request, count, synchronous,"
            " step, created_at, directory, attached) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                plan.key, self.owner, plan.base_url, plan.account, self.notebook, plan.batch, plan.position,
                json.dumps(plan.request), len(plan.jobs), int(plan.synchronous), step, now,
                str(plan.directory) if plan.directory else None, int(attached),
            ),
        )  # fmt: skip
        db.executemany(
            "INSERT INTO generation (key, submission, position, name, base_url, model, status, submitted_at, updated_at,"
            " save_as, place) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            [
                (
                    key, plan.key, i, name, plan.base_url, plan.model, Status.SUBMITTING, now, now, plan.save_as, place,
                )
                for i, (key, name, place) in enumerate(plan.jobs)
            ],
        )  # fmt: skip

    def claim_sending(self, submission: str, sent: dict[str, Any], sent_at_service: float | None) -> bool:
        """Write that this submission is sent now, before each POST; False where another kernel has taken it over."""
        with self._reading() as db:  # one statement, a transaction by itself
            changed = db.execute(
                "UPDATE submission SET step='sending', sent_at=?, sent_at_service=?, fingerprint=?"
                " WHERE key=? AND owner=? AND step='planned' AND attached=0",
                (self._clock(), sent_at_service, _json(sent), submission, self.owner),
            ).rowcount
        return changed == 1

    def forget_sent_at(self, submission: str) -> None:
        """Write that it is not known when a submission of ours was sent by the service's clock."""
        with self._transaction() as db:
            db.execute("UPDATE submission SET sent_at_service=NULL WHERE key=? AND owner=?", (submission, self.owner))

    def step(self, submission: str, step: Step) -> None:
        """Write how far a submission of ours has come. After ``refused`` nothing of it is to be brought back."""
        before = [s for s in Step if step in NEXT[s]]
        with self._transaction() as db:
            ours = db.execute(
                f"UPDATE submission SET step=? WHERE key=? AND owner=? AND step IN ({','.join('?' * len(before))})",  # noqa: S608 - only marks
                (step, submission, self.owner, *before),
            ).rowcount
            if ours and step is Step.REFUSED:
                db.execute("UPDATE generation SET delivered=1 WHERE submission=?", (submission,))

    def withdraw(self, key: str) -> None:
        """Take a job out of its submission before that is sent."""
        with self._transaction() as db:
            db.execute("UPDATE generation SET status='cancelled', delivered=1 WHERE key=?", (key,))

    def forget(self, key: str) -> None:
        """Write that nothing of this job is to be brought back."""
        with self._transaction() as db:
            db.execute("UPDATE generation SET delivered=1 WHERE key=?", (key,))

    def accept(self, submission: str, ids: Sequence[tuple[str, str]], *, told: bool = True) -> bool:
        """Write the service's ids of a submission, as (key of the job, generation id).

        ``told`` ids are those that the service gave in answer to this very submit. Whoever else claims one, by attaching
        it meanwhile, gives it up. Ids that were found in a list are not taken from anybody: False, changing nothing.
        """
        try:
            self.accept_all([(submission, ids)])
        except sqlite3.IntegrityError:
            if not told:
                return False
            with self._transaction() as db:
                for key, generation_id in ids:
                    db.execute(
                        "UPDATE generation SET generation_id=NULL, delivered=1 WHERE generation_id=? AND key<>? AND"
                        " base_url=(SELECT base_url FROM submission WHERE key=?)",
                        (generation_id, key, submission),
                    )
                self._write_ids(db, [(submission, ids)])
        return True

    def accept_all(self, answers: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
        """Write the ids of several submissions; IntegrityError, changing nothing, where one is claimed already."""
        with self._transaction() as db:
            self._write_ids(db, answers)

    def _write_ids(self, db: sqlite3.Connection, answers: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
        now = self._clock()
        db.executemany(
            "UPDATE generation SET generation_id=?, status='queued', updated_at=? WHERE key=?",
            [(generation_id, now, key) for _, ids in answers for key, generation_id in ids],
        )
        db.executemany("UPDATE submission SET step='accepted' WHERE key=?", [(key,) for key, _ in answers])

    def answered(self, submission: str, key: str, result_url: str) -> None:
        """Write where the result of a synchronous request is: without an id, this is all there is."""
        with self._transaction() as db:
            db.execute(
                "UPDATE generation SET result_url=?, status='downloading', updated_at=? WHERE key=?",
                (result_url, self._clock(), key),
            )
            db.execute("UPDATE submission SET step='accepted' WHERE key=?", (submission,))

    def record(self, changes: Iterable[tuple[str, State]]) -> None:
        """Write the present state of some jobs, by key; nothing for those that another kernel took over."""
        rows = [
            (
                state.status, state.result_url, state.error_message or (str(state.error) if state.error else None),
                str(state.cost) if state.cost is not None else None, state.finished_at,
                str(state.path) if state.path else None, int(state.is_delivered), int(state.cancel_requested),
                self._clock(), key, self.owner,
            )
            for key, state in changes
        ]  # fmt: skip
        with self._transaction() as db:
            db.executemany(
                "UPDATE generation SET status=?, result_url=?, error_message=?, cost=coalesce(?, cost), finished_at=?,"
                " path=?, delivered=?, cancel_requested=?, updated_at=?"
                " WHERE key=? AND (SELECT owner FROM submission s WHERE s.key = submission)=?",
                rows,
            )

    def take_over(self, submission: str, previous_owner: str) -> bool:
        """Make a dead kernel's submission ours; False where another kernel was faster."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE submission SET owner=?, notebook=coalesce(?, notebook) WHERE key=? AND owner=?",
                (self.owner, self.notebook, submission, previous_owner),
            ).rowcount
        return changed == 1

    # Reading

    def open_entries(
        self, *, notebook: str | None = None, damaged: Callable[[str], object] = lambda message: None
    ) -> list[Entry]:
        """What is unfinished or undelivered, of one notebook or of all, and belongs to this kernel or to a dead one.

        ``damaged`` is called with one line for each entry that cannot be read; the others are not affected.
        """
        found = self._entries("g.delivered = 0", (), damaged=damaged)
        alive = self._live_owners({entry.owner for entry in found} - {self.owner})
        return [e for e in found if e.owner not in alive and (notebook is None or e.notebook == notebook)]

    def entries(self, *, limit: int = 100, offset: int = 0) -> list[Entry]:
        """All jobs in the journal, newest first."""
        return self._entries("1", (limit, offset), "ORDER BY s.created_at DESC, g.position LIMIT ? OFFSET ?")

    def entry(self, key: str) -> Entry | None:
        """The entry of a job, by this package's own key."""
        return next(iter(self._entries("g.key = ?", (key,))), None)

    def find(self, generation_id: str, base_url: str | None = None) -> Entry | None:
        """The entry that claims this id, if any."""
        where, given = ("", ()) if base_url is None else (" AND g.base_url = ?", (base_url,))
        return next(iter(self._entries(f"g.generation_id = ?{where}", (generation_id, *given))), None)

    def claimed(self, base_url: str, ids: Iterable[str]) -> dict[str, bool]:
        """Those of ``ids`` that the journal has, each with whether it was attached (True) or submitted (False)."""
        query = (
            "SELECT g.generation_id, s.attached FROM generation g JOIN submission s ON s.key = g.submission"
            " WHERE g.base_url=? AND g.generation_id IN (SELECT value FROM json_each(?))"
        )
        with self._reading() as db:
            return {row[0]: bool(row[1]) for row in db.execute(query, (base_url, json.dumps(list(ids))))}

    def unsettled_elsewhere(self, base_url: str) -> tuple[list[Entry], list[Entry]]:
        """What other kernels have sent and do not know the outcome of, of living ones and of ended ones.

        Each entry is the first job of its submission.
        """
        where = "s.step IN ('sending', 'unknown') AND s.base_url=? AND s.owner<>? AND s.fingerprint IS NOT NULL"
        sent = self._entries(f"{where} AND g.position=0", (base_url, self.owner))
        alive = self._live_owners({entry.owner for entry in sent})
        return [entry for entry in sent if entry.owner in alive], [entry for entry in sent if entry.owner not in alive]

    def answered_without_id(self, base_url: str) -> list[Entry]:
        """Synchronous jobs that were answered, which have no id, or refused, perhaps after they were acted on."""
        where = "s.synchronous=1 AND s.step IN ('accepted', 'refused') AND g.generation_id IS NULL AND s.base_url=?"
        return self._entries(f"{where} AND s.fingerprint IS NOT NULL", (base_url,))

    def typical_seconds(self, model: str, base_url: str) -> float | None:
        """The median of what this machine's last 25 finished jobs of the model took, in seconds; None without any."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT finished_at - submitted_at FROM generation WHERE model=? AND base_url=? AND status='succeeded'"
                " AND finished_at > submitted_at ORDER BY finished_at DESC LIMIT 25",
                (model, base_url),
            ).fetchall()
        return median(row[0] for row in rows) if rows else None

    def _entries(
        self,
        where: str,
        given: tuple[Any, ...],
        tail: str = "ORDER BY s.created_at, s.position, g.position",
        damaged: Callable[[str], object] = lambda message: None,
    ) -> list[Entry]:
        query = f"{_JOINED} WHERE {where} {tail}"  # both additions are literals of this module
        with self._reading() as db:
            rows = db.execute(query, given).fetchall()
        entries = []
        for row in rows:
            try:
                entries.append(Entry.from_row(row))
            except ValueError as error:
                damaged(str(error))
        return entries

    def _live_owners(self, owners: Iterable[str]) -> set[str]:
        return {owner for owner in owners if self.is_alive(owner)}

    def is_alive(self, owner: str) -> bool:
        """Whether the kernel of this owner still runs, on this machine."""
        with self._reading() as db:
            row = db.execute("SELECT host, pid, started FROM owner WHERE owner=?", (owner,)).fetchone()
        if row is None or row["host"] != socket.gethostname():
            return False
        return bool(process_start(row["pid"]) == row["started"] != "")


_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()
_forked: list[Journal] = []  # those that wait for the end of a fork


def _before_fork() -> None:
    for journal in list(_open_journals):
        journal.before_fork()
        _forked.append(journal)


def _after_fork() -> None:
    while _forked:
        _forked.pop().after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_forked.clear)


def process_start(pid: int) -> str:
    """When a process began, in a form that no other process with the same number has; empty where there is none."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        # Both times move with this machine's clock, so their difference does not.
        return f"{process.create_time() - psutil.boot_time():.2f}"
    except psutil.Error:
        return ""


def make_private_directory(path: Path) -> None:
    """Make a directory, and its parents, that only this user can read."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)
