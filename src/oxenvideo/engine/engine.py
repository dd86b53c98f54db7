"""The background thread and its event loop, on which everything is submitted, watched, downloaded and written down."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from oxenvideo.client.credentials import Target
from oxenvideo.errors import OxenVideoError, WaitTimeout
from oxenvideo.jobs.generation import TICK, Cancellation, Generation
from oxenvideo.jobs.job import Job, Registry, Submission
from oxenvideo.jobs.journal import Journal, Plan
from oxenvideo.jobs.status import TERMINAL, Status, Step
from oxenvideo.jobs.threads import DaemonThreads
from oxenvideo.settings import Settings

if TYPE_CHECKING:
    from oxenvideo.client.client import Client
    from oxenvideo.engine.service import Service

T = TypeVar("T")
log = logging.getLogger("oxenvideo")


class Engine:
    """Runs jobs in the background. Public methods are for other threads; they return at once or wait in ticks.

    ``recall`` makes the job of a key that only the journal still has. With ``loop`` given there is no thread, and
    everything runs on that loop. ``clock`` gives unix seconds, ``client_factory`` makes the client of a service.
    """

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        *,
        recall: Callable[[Engine, str], Job | None] = lambda engine, key: None,
        loop: asyncio.AbstractEventLoop | None = None,
        clock: Callable[[], float] = time.time,
        client_factory: Callable[..., Client] | None = None,
    ) -> None:
        self.journal = journal
        self.settings = settings
        self.registry = Registry(journal, clock)
        self._recall = recall
        self._client_factory = client_factory
        self._services: dict[tuple[str, str], Service] = {}  # by address and account
        self._handles: WeakValueDictionary[str, Generation] = WeakValueDictionary()
        self._handles_lock = threading.Lock()
        self._arrived: list[Submission] = []  # on the loop, in this turn of it
        self._pid = os.getpid()
        self._loop = loop
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self.closed = False

    # From any thread

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Write the submissions down and send them, in order, some at a time."""
        self._running_loop().call_soon_threadsafe(self._arrive, submissions)

    def start(self, submission: Submission) -> None:
        """Go on with a submission that is in the journal, from the step that it has reached."""
        self._running_loop().call_soon_threadsafe(lambda: self.service(submission.target).start(submission))

    def look_again(self, submission: Submission) -> None:
        """Look once more for a submission of which it is not known whether the service has it."""
        self._act(lambda service: service.look_again(submission), submission.target)

    def run(
        self, coroutine: Callable[[Service], Coroutine[Any, Any, T]], target: Target, timeout: float | None = 60.0
    ) -> T:
        """Run something against a service on the loop and wait for it; WaitTimeout after ``timeout`` seconds."""
        future = self.spawn(coroutine, target)
        try:
            return self._result(future, timeout)
        except (WaitTimeout, KeyboardInterrupt):
            future.cancel()
            raise

    def spawn(self, coroutine: Callable[[Service], Coroutine[Any, Any, T]], target: Target) -> Future[T]:
        """Run something against a service on the loop, without waiting for it."""

        async def begin() -> T:
            return await coroutine(self.service(target))

        loop, work = self._running_loop(), begin()
        return asyncio.run_coroutine_threadsafe(work, loop)

    def cancel(self, job: Job, timeout: float | None) -> Cancellation:
        """Ask the service to cancel, and say what became of that; with no timeout (seconds), ask and do not wait."""
        if (status := job.state.status) in TERMINAL:
            paid = status is Status.SUCCEEDED and not job.submission.target.is_local
            charged = " It was too late: the video is charged." if paid else ""
            return Cancellation(f"It had already ended as {status}.{charged}", cancelled=status is Status.CANCELLED)
        future = self.spawn(lambda service: service.cancel(job), job.submission.target)
        if timeout is None:
            return Cancellation("Asked the service to cancel.", cancelled=False)
        try:
            return self._result(future, timeout)
        except WaitTimeout:
            return Cancellation(f"The service has not answered for {timeout:g} s; the request stands.", cancelled=False)

    def download(self, job: Job) -> None:
        """Fetch the file of a job again."""
        self._act(lambda service: service.download_again(job), job.submission.target)

    def _act(self, act: Callable[[Service], None], target: Target) -> None:
        """Call ``act`` on the loop. On return that has happened, so that a wait begins after it."""

        async def begin(service: Service) -> None:
            act(service)

        if threading.current_thread() is self._thread:
            act(self.service(target))
        else:
            self.run(begin, target, 5.0)

    def handle(self, job: Job) -> Generation:
        """The one handle on a job."""
        with self._handles_lock:
            handle = self._handles.get(job.key)
            if handle is None:
                handle = self._handles[job.key] = Generation(job, self)
            return handle

    def find(self, key: str) -> Generation | None:
        """The generation of a key: a live one, or one from the journal."""
        job = self.registry.get(key) or self._recall(self, key)
        return self.handle(job) if job is not None else None

    def monotonic(self) -> float:
        """Seconds by the clock of the loop."""
        return self._running_loop().time()

    def generations(self) -> list[Generation]:
        """Those that are running or still referred to."""
        return [self.handle(job) for job in self.registry.jobs()]

    def reconfigure(self, settings: Settings) -> None:
        """Take on other settings for what is submitted from now on."""
        self.settings = settings
        for service in list(self._services.values()):
            service.settings = settings

    def check_usable(self) -> None:
        """Raise OxenVideoError in a forked process: the thread and the journal belong to the process that made them."""
        if os.getpid() != self._pid:
            raise OxenVideoError("This process was forked from one that uses oxenvideo: make a new Session in it.")

    def close(self, timeout: float = 0.4) -> None:
        """Stop, and leave unfinished work for ``resume``; takes at most ``timeout`` seconds. Waits end with WaitTimeout."""
        if os.getpid() != self._pid:
            return  # a forked copy of the process ends: the thread, the journal and the server are the original's
        with self._start_lock:
            self.closed = True
            loop, thread = self._loop, self._thread
        self.registry.close()
        atexit.unregister(self.close)
        if loop is not None and thread is not None and thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it ended by itself just now
                loop.call_soon_threadsafe(lambda: loop.create_task(self._stop()))
            if thread is not threading.current_thread():
                thread.join(timeout)
        for service in list(self._services.values()):
            service.kill_server()
        if thread is None:  # else the thread closes it at its end
            self.journal.close()

    # The thread

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        self.check_usable()
        with self._start_lock:
            if self.closed:
                raise OxenVideoError("oxenvideo was shut down here; load the extension again.")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._live, args=(self._loop,), name="oxenvideo-engine", daemon=True
                )
                self._thread.start()
                atexit.register(self.close)
                if (processes := sys.modules.get("multiprocessing")) and processes.parent_process():
                    processes.util.Finalize(None, self.close, exitpriority=0)  # such a child ends without atexit
            return self._loop

    def _live(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(_log_unhandled)
        loop.set_default_executor(DaemonThreads("oxenvideo-blocking", most=16))
        try:
            loop.run_forever()
            loop.run_until_complete(_end_tasks())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            self.journal.close()

    def _result(self, future: Future[T], timeout: float | None) -> T:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = TICK if end is None else min(TICK, max(0.0, end - time.monotonic()))
            try:
                return future.result(left)
            except CancelledError:
                raise OxenVideoError("oxenvideo was shut down here before there was an answer.") from None
            except TimeoutError:
                if future.done():
                    raise
                if self.closed or (end is not None and time.monotonic() >= end):
                    raise WaitTimeout(f"No answer within {timeout or 0:g} s.") from None

    async def _stop(self) -> None:
        try:
            self.registry.flush()
            for service in self._services.values():
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(0.2):
                        await service.close()
        finally:
            asyncio.get_running_loop().stop()

    # On the loop

    def service(self, target: Target) -> Service:
        """The engine's side of a service, made when it is first needed."""
        which = target.base_url, target.account
        service = self._services.get(which)
        if service is None:
            from oxenvideo.engine.service import Service  # the slow import of httpx must not hold up the first cell

            service = Service(target, self.settings, self.registry, self.find, self._client_factory)
            self._services[which] = service
        return service

    def _arrive(self, submissions: Sequence[Submission]) -> None:
        if not self._arrived:  # one write for all that come in this turn of the loop
            asyncio.get_running_loop().call_soon(self._plan_arrived)
        self._arrived.extend(submissions)

    def _plan_arrived(self) -> None:
        arrived, self._arrived = self._arrived, []
        plans: dict[Submission, Plan] = {}
        for submission in arrived:
            try:
                plans[submission] = self._plan(submission)
            except Exception as error:
                self._refuse_unplanned(submission, error)
        try:
            self.journal.plan(plans.values())
        except Exception as error:
            for submission in plans:
                self._refuse_unplanned(submission, error)
            return
        for submission in plans:
            self.service(submission.target).start(submission)

    def _plan(self, submission: Submission) -> Plan:
        if submission.request.has_media:
            # Bytes given in a cell must outlive the kernel as the rest of the request does.
            submission.request = submission.request.stored(self.settings.data_dir / "media")
        return plan_of(submission)

    def _refuse_unplanned(self, submission: Submission, error: Exception) -> None:
        log.debug("a submission cannot be written down", exc_info=error)
        submission.step = Step.REFUSED  # the journal does not have it
        submission.refuse(OxenVideoError(f"Nothing was sent: the journal cannot be written ({error})."))


def plan_of(submission: Submission) -> Plan:
    """A submission as the journal first writes it."""
    return Plan(
        key=submission.key,
        base_url=submission.target.base_url,
        account=submission.target.account,
        request=submission.request.to_json(),
        jobs=[(job.key, job.name, job.index) for job in submission.jobs],
        model=submission.request.model,
        synchronous=submission.synchronous,
        batch=submission.batch,
        position=submission.position,
        save_as=submission.save_as,
        directory=submission.directory,
    )


async def _end_tasks() -> None:
    """Cancel all other tasks, and then those that close the asynchronous generators which these leave open."""
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        del left, task  # the last reference to such a generator; a task to close it begins in the next turn of the loop
        await asyncio.sleep(0)


def _log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error("oxenvideo's engine: %s", context.get("message"), exc_info=context.get("exception"))
