"""The record of a job, the one method that changes it, and the registry that indexes, writes and announces it.

A Submission is one POST, and its Jobs are the videos that it asks for. Everything known of them is here, and the journal
holds the same fields. The rules for what may follow what are in ``status``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from oxenvideo.client.responses import Observation
from oxenvideo.errors import OutcomeUnknown, OxenVideoError
from oxenvideo.jobs.journal import Journal
from oxenvideo.jobs.status import NEXT, TERMINAL, State, Status, Step, advance
from oxenvideo.jobs.threads import DaemonThreads

if TYPE_CHECKING:
    from oxenvideo.client.credentials import Target
    from oxenvideo.request.request import VideoRequest

log = logging.getLogger("oxenvideo")

# Seconds for which writes are gathered. Ids are written soon, because a kernel that is killed before has to search for
# them. A running status is written later, because the service repeats it. A final status is written on the next turn of
# the loop, or, where many come, this long after the write before or as soon as there are this many.
_IDS_WITHIN = 0.05
_STATES_WITHIN = 0.5
_ENDS_WITHIN = 0.2
_ENDS_TOGETHER = 4
_STATES_AT_ONCE = 20  # states that are written in one turn of the loop, which takes about a millisecond
_RETRY_AFTER = 2.0  # seconds after which a failed write is tried again

CLOCK_SLACK = 3.0  # seconds by which two readings of the service's clock may differ: it tells whole seconds


class Job:
    """One video that was asked for. ``key`` is this package's own id; ``index`` is the job's place in its batch, from 0.

    Any thread may read ``state``. Only the engine's thread calls ``update`` and ``see``.
    """

    __slots__ = ("__weakref__", "callbacks", "index", "key", "name", "observers", "state", "submission")

    def __init__(self, submission: Submission, key: str, name: str | None, index: int | None, state: State) -> None:
        self.submission = submission
        self.key = key
        self.name = name
        self.index = index
        self.state = state
        self.observers: tuple[Callable[[], object], ...] = ()  # called on the engine's thread
        self.callbacks: tuple[Callable[[Job], object], ...] = ()  # called on a thread of their own, by status
        submission.registry.add(self)

    def update(self, **changes: Any) -> None:
        """Change the state, have it written to the journal, and tell those who watch."""
        self._replace(replace(self.state, **changes))

    def see(self, seen: Observation) -> None:
        """Take in what the service said of this job."""
        self._replace(advance(self.state, seen, self.submission.registry.clock()))

    def end(self, **changes: Any) -> None:
        """Update a job that ends at this moment."""
        self.update(notice=None, finished_at=self.submission.registry.clock(), **changes)

    def _replace(self, state: State) -> None:
        if state != self.state:
            self.submission.registry.replace(self, state)

    async def until(self, holds: Callable[[State], bool]) -> None:
        """Return as soon as ``holds(state)``. For the engine's loop."""
        if holds(self.state):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def check() -> None:
            if holds(self.state) and not future.done():
                future.set_result(None)

        unsubscribe = self.submission.registry.observe(self, check)
        try:
            await future
        finally:
            unsubscribe()


@dataclass(eq=False, slots=True)
class Submission:
    """One POST: what is sent, where to, and how far it has come.

    ``jobs`` are the videos that it asks for; one that is cancelled before the request goes out leaves them. ``sent``
    holds the parameters exactly as they were sent. ``sent_at`` is when that was, in unix seconds by the service's clock,
    or None where that clock was not known; ``sent_monotonic`` is the same moment by the event loop's clock. ``attached``
    marks one that this package did not submit and can never send. Files go to ``directory``, named by ``save_as`` (a path
    or a pattern).
    """

    key: str
    target: Target
    request: VideoRequest
    registry: Registry
    jobs: Sequence[Job] = ()
    step: Step = Step.PLANNED
    synchronous: bool = False
    batch: str | None = None
    position: int = 0
    save_as: str | None = None
    directory: Path = Path()
    attached: bool = False
    sent: dict[str, Any] | None = None
    sent_at: float | None = None
    sent_monotonic: float = 0.0

    def advance(self, step: Step) -> bool:
        """Go on to another step; returns whether that is in the journal already. ValueError for a step that may not follow."""
        if step is self.step:
            return True
        if step not in NEXT[self.step]:
            raise ValueError(f"A submission that is {self.step} cannot become {step}.")
        self.step = step
        return self.registry.write(lambda: self.registry.journal.step(self.key, step))

    def claim(self, sent: dict[str, Any], sent_at: float | None) -> None:
        """Write down that this is sent now; called right before each POST. Raises OxenVideoError where it must not be."""
        if self.step is not Step.PLANNED or self.attached:
            raise OxenVideoError(f"Nothing was sent: the submission is already {self.step}.")
        try:
            self.registry.write_postponed()
            ours = self.registry.journal.claim_sending(self.key, sent, sent_at)
        except sqlite3.Error as error:
            raise OxenVideoError(f"Nothing was sent: the journal cannot be written ({error}).") from None
        if not ours:
            raise OxenVideoError("Another kernel has taken over this request; see %oxenvideo history.")
        self.step, self.sent, self.sent_at = Step.SENDING, sent, sent_at
        self.sent_monotonic = asyncio.get_running_loop().time()

    def accept(self, ids: Sequence[str], *, found: bool = False) -> bool:
        """Take the service's ids for these jobs.

        Ids that the answer to this very submit names are ours, whoever else claims them. Ids that were ``found`` in a
        list are taken from nobody: False, changing nothing, where another job has one of them.
        """
        pairs = list(zip(self.jobs, ids, strict=False))
        keys = [(job.key, generation_id) for job, generation_id in pairs]
        if found:
            if not self.registry.write_found_ids(self.key, keys):
                return False
        else:
            self.registry.write_ids(self.key, keys)
        self.step = Step.ACCEPTED
        for job, generation_id in pairs:
            job.update(generation_id=generation_id, remote="queued", error=None, notice=None)
        for job in self.jobs[len(pairs) :]:
            error = OxenVideoError(f"The service made only {len(pairs)} of {len(self.jobs)} generations.")
            job.end(local=Status.FAILED, error=error)
        if len(ids) > len(pairs):
            more = ", ".join(ids[len(pairs) :])
            notice = f"The service made more generations than were asked for. Fetch one with %oxenvideo attach: {more}"
            pairs[0][0].update(notice=notice)
        return True

    def compare_clock(self, service_time: float | None) -> None:
        """Forget when this was sent by the service's clock, where that clock was set while the answer was awaited.

        What the service made meanwhile may have a time of before the change or of after it.
        """
        if self.sent_at is None or service_time is None:
            return
        expected = self.sent_at + asyncio.get_running_loop().time() - self.sent_monotonic
        if abs(service_time - expected) > CLOCK_SLACK:
            self.sent_at = None
            self.registry.write(lambda: self.registry.journal.forget_sent_at(self.key))

    def take_result(self, url: str | None) -> None:
        """Take the result of a synchronous submission, which has no id; ``url`` is None while it is only in memory."""
        (job,) = self.jobs
        if url is None:
            self.advance(Step.ACCEPTED)
        else:
            self.registry.write(lambda: self.registry.journal.answered(self.key, job.key, url))
            self.step = Step.ACCEPTED
        job.update(remote="succeeded", result_url=url, notice=None)

    def refuse(self, error: OxenVideoError) -> None:
        """End every job with an error, because the service does not have this submission."""
        self.advance(Step.REFUSED)
        for job in self._without_id():
            job.end(local=Status.FAILED, error=error)

    def give_up(self, job: Job) -> None:
        """End a job of which only the user could say which generation it became."""
        job.end(local=Status.CANCELLED)
        if not self._without_id():
            self.advance(Step.REFUSED)

    def ask_user(self, why: str) -> None:
        """Tell the user that it is not known whether the service has these jobs."""
        for job in self._without_id():
            if str(job.state.error) != why:
                job.update(local=Status.UNCONFIRMED, error=OutcomeUnknown(why), notice=None)

    def withdraw(self, job: Job) -> bool:
        """Take a job out of a submission that was not sent; returns whether that is in the journal already."""
        self.jobs = [other for other in self.jobs if other is not job]
        if self.jobs:
            written = self.registry.write(lambda: self.registry.journal.withdraw(job.key))
        else:
            written = self.advance(Step.REFUSED)
        job.end(local=Status.CANCELLED, error=None)
        return written

    def tell(self, **changes: Any) -> None:
        """Update the jobs to which the service has given no id and that have not ended."""
        for job in self._without_id():
            job.update(**changes)

    def _without_id(self) -> list[Job]:
        return [job for job in self.jobs if job.state.remote is None and not job.state.is_over_at_service]


class Registry:
    """All live jobs of one kernel. What changes is written to the journal, in order and in batches, and announced.

    What happened at the service stays true where it cannot be written: such a write is tried again. Everything but
    ``observe`` and ``call`` is for the engine's loop. ``clock`` gives unix seconds.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self.journal = journal
        self.clock = clock
        self._by_key: WeakValueDictionary[str, Job] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._callbacks = DaemonThreads("oxenvideo-callbacks", most=1)  # one, so that calls keep their order
        self._changed: dict[str, Job] = {}
        self._ids: list[tuple[str, Sequence[tuple[str, str]]]] = []
        self._postponed: deque[Callable[[], object]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._complained = False
        self._flushed_at = -_ENDS_WITHIN

    # Jobs

    def add(self, job: Job) -> None:
        """Index a job; it is forgotten when nothing refers to it any more."""
        self._by_key[job.key] = job

    def get(self, key: str) -> Job | None:
        """The live job of a key."""
        return self._by_key.get(key)

    def find(self, target: Target, generation_id: str) -> Job | None:
        """The live job that has the service's id."""
        alike = (job for job in self.jobs() if job.state.generation_id == generation_id)
        return next((job for job in alike if job.submission.target == target), None)

    def jobs(self) -> list[Job]:
        """All live jobs. Safe from any thread."""
        return [job for reference in self._by_key.valuerefs() if (job := reference()) is not None]

    # Announcing

    def observe(self, job: Job, observer: Callable[[], object]) -> Callable[[], None]:
        """Call ``observer()`` on each change of state, on the engine's thread; the answer takes that back."""
        with self._lock:
            job.observers = (*job.observers, observer)

        def unsubscribe() -> None:
            with self._lock:
                job.observers = tuple(other for other in job.observers if other is not observer)

        return unsubscribe

    def call_on_change(self, job: Job, callback: Callable[[Job], object]) -> None:
        """Call ``callback(job)`` on each change of status, on a thread of its own; at once where the job has ended."""
        with self._lock:
            job.callbacks = (*job.callbacks, callback)
            ended = job.state.status in TERMINAL
        if ended:
            self._call(callback, job)

    def replace(self, job: Job, state: State) -> None:
        """Replace the state of a job, note it for the journal, and tell those who watch it."""
        with self._lock:  # a callback that is added meanwhile is called here or there, and not in both places
            before, job.state = job.state, state
            callbacks = job.callbacks
        status = state.status
        steps = (state.received, state.progress) != (before.received, before.progress)
        if status is not before.status or not steps:  # not each step of a download or an engine
            self._note(job, state)
        for observer in job.observers:
            try:
                observer()
            except Exception:  # an observer must not stop the engine
                log.exception("An observer of a job raised an exception")
        if status is not before.status:
            for callback in callbacks:
                self._call(callback, job)

    def _call(self, callback: Callable[[Job], object], job: Job) -> None:
        with contextlib.suppress(RuntimeError):  # closed
            self._callbacks.submit(_logged, callback, job)

    def close(self) -> None:
        """Make no further callbacks after those that are waiting."""
        self._callbacks.shutdown(wait=False)

    # Writing

    def _note(self, job: Job, state: State) -> None:
        self._changed[job.key] = job
        if not state.is_settled:
            self._schedule(_STATES_WITHIN)
        elif len(self._changed) >= _ENDS_TOGETHER:
            self._schedule(0.0)
        else:
            self._schedule(max(0.0, self._flushed_at + _ENDS_WITHIN - asyncio.get_running_loop().time()))

    def write_ids(self, submission: str, ids: Sequence[tuple[str, str]]) -> None:
        """Have the ids that the service told us written before long, as (key of the job, generation id).

        A kernel that dies before then leaves a submission that is ``sending``, and the next one finds it in the
        service's list, as one that died just before the answer.
        """
        self._ids.append((submission, ids))
        self._schedule(_IDS_WITHIN)

    def write_found_ids(self, submission: str, ids: Sequence[tuple[str, str]]) -> bool:
        """Write ids that were found in a list; False where another job has one, or the journal cannot be written."""
        try:
            self.write_postponed()
            self._write_ids()
            return self.journal.accept(submission, ids, told=False)
        except sqlite3.Error as error:
            self._complain(error)
            return False

    def unwritten_ids(self) -> set[str]:
        """Ids that the service told us and that the journal does not know yet."""
        return {generation_id for _, ids in self._ids for _, generation_id in ids}

    def write(self, work: Callable[[], object]) -> bool:
        """Write now, after what is waiting; False where the journal cannot be written now, and it is written later."""
        try:
            self.write_postponed()
            self._write_ids()
            work()
        except sqlite3.Error as error:
            self._postponed.append(work)
            self._complain(error)
            return False
        return True

    def write_postponed(self) -> None:
        """Write what could not be written before; raises sqlite3.Error where it still cannot be."""
        while self._postponed:
            self._postponed[0]()
            self._postponed.popleft()

    def flush(self, most: int | None = None) -> None:
        """Write what is unwritten, as far as the journal can be written: at ``most`` so many states, the rest soon."""
        self._timer = None
        self._flushed_at = asyncio.get_running_loop().time()
        try:
            self.write_postponed()
            self._write_ids()
            if self._changed:
                written = list(islice(self._changed.values(), most))
                self.journal.record([(job.key, job.state) for job in written])
                for job in written:
                    del self._changed[job.key]
            if self._changed:
                self._schedule(0.0)
            self._complained = False
        except sqlite3.Error as error:
            self._complain(error)

    def _write_ids(self) -> None:
        if not self._ids:
            return
        try:
            self.journal.accept_all(self._ids)
        except sqlite3.IntegrityError:  # somebody attached one of them meanwhile
            for submission, ids in self._ids:
                self.journal.accept(submission, ids, told=True)
        self._ids = []

    def _complain(self, error: sqlite3.Error) -> None:
        if not self._complained:
            self._complained = True
            log.warning(
                "The journal %s cannot be written (%s). Trying again; until then a restart loses track of running videos.",
                self.journal.path,
                error,
            )
        self._schedule(_RETRY_AFTER)

    def _schedule(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self.flush, _STATES_AT_ONCE)


def _logged(callback: Callable[[Job], object], job: Job) -> None:
    try:
        callback(job)
    except BaseException:  # a SystemExit of the user's must not end the thread either
        log.exception("An on_change callback raised an exception. The video is not affected.")
