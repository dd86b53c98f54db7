"""One daemon thread with its own loop, on which everything is submitted, watched, downloaded and written down."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from oxenvideo.credentials import Target
from oxenvideo.engine.callbacks import Callbacks
from oxenvideo.engine.executor import DaemonThreads
from oxenvideo.engine.service import Channel
from oxenvideo.errors import OxenVideoError, WaitTimeout
from oxenvideo.jobs.generation import TICK, Cancellation, Generation
from oxenvideo.jobs.journal import Journal
from oxenvideo.jobs.journal_writer import Ledger
from oxenvideo.jobs.records import Plan, Step
from oxenvideo.jobs.status import Observation, State, Status
from oxenvideo.jobs.submission import Submission
from oxenvideo.settings import Setup, account_of

T = TypeVar("T")
log = logging.getLogger("oxenvideo")


class Engine:
    """Runs generations in the background. Public methods are for other threads; they return at once or wait in ticks.

    ``recall`` makes a Generation of one that is only in the journal any more, by its key.
    """

    def __init__(self, journal: Journal, setup: Setup, recall: Callable[[Engine, str], Generation | None]) -> None:
        self.journal = journal
        self.ledger = Ledger(journal)
        self.setup = setup
        self.known: weakref.WeakValueDictionary[str, Generation] = weakref.WeakValueDictionary()
        self._recall = recall
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._arrived: list[tuple[Target, Sequence[Submission]]] = []
        self._arrived_lock = threading.Lock()
        self._channels: dict[Target, Channel] = {}
        self._channel_of: weakref.WeakKeyDictionary[Generation, Channel] = weakref.WeakKeyDictionary()
        self._callbacks = Callbacks()
        self._closed = False

    # From any thread

    def submit(self, target: Target, submissions: Sequence[Submission]) -> None:
        """Write the submissions down and send them, in order, some at a time."""
        for submission in submissions:
            self._know(submission.generations)
        with self._arrived_lock:
            first = not self._arrived
            self._arrived.append((target, submissions))
        if first:  # else the loop has been told, and takes this along: one write for all that came meanwhile
            self._call(self._take_arrived)

    def adopt(self, target: Target, submission: Submission, step: Step) -> None:
        """Go on with a submission from the journal, wherever it stands."""
        self._know(submission.generations)
        self._call(self._adopt, target, submission, step)

    def look_again(self, generation: Generation) -> None:
        """Look once more for a generation of which it is not known whether the service has it."""
        self._with_channel(generation, lambda channel: channel.look_again(generation))

    def ask(
        self, coroutine: Callable[[Channel], Coroutine[Any, Any, T]], target: Target, timeout: float | None = 60.0
    ) -> T:
        """Run something against a service on the engine's loop and wait for it; WaitTimeout after ``timeout`` seconds."""
        future = self._run(self._ask(coroutine, target))
        try:
            return self._result(future, timeout)
        except (WaitTimeout, KeyboardInterrupt):
            future.cancel()
            raise

    def spawn(self, coroutine: Callable[[Channel], Coroutine[Any, Any, None]], target: Target) -> None:
        """Run something against a service in the background; that it failed is only logged."""
        self._run(self._quietly(coroutine, target))

    def cancel(self, generation: Generation, timeout: float | None) -> Cancellation:
        """See Generation.cancel."""
        if generation.done:
            return _over(generation)
        future = self._run(self._cancel(generation))
        if timeout is None:
            return Cancellation("Asked the service to cancel.", cancelled=False)
        try:
            return self._result(future, timeout)
        except WaitTimeout:
            return Cancellation(f"The service has not answered for {timeout:g} s; the request stands.", cancelled=False)

    def download(self, generation: Generation) -> None:
        """See Generation.download."""
        self._with_channel(generation, lambda channel: channel.download_again(generation))

    def notify(self, callback: Callable[[Generation], object], generation: Generation) -> None:
        """Call a person's callback on the callback thread, in the order of the changes."""
        here = threading.current_thread() is self._thread
        (self._callbacks.call_from_loop if here else self._callbacks.call)(callback, generation)

    def generations(self) -> list[Generation]:
        """Those of this engine that are still referred to."""
        return [g for ref in self.known.valuerefs() if (g := ref()) is not None]  # one step: safe beside other threads

    def close(self, timeout: float = 0.4) -> None:
        """Stop, and leave unfinished work for ``resume``; takes at most ``timeout`` seconds. Waits end with WaitTimeout."""
        if os.getpid() != self._pid:
            return  # a forked copy of the process ends: the thread, the journal and the server are the original's
        with self._start_lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        self._callbacks.close()
        atexit.unregister(self.close)
        for generation in self.generations():
            generation.abandon("oxenvideo was shut down here. The job goes on; resume brings it back.")
        if loop is not None and thread is not None and thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it ended by itself just now
                loop.call_soon_threadsafe(self._begin_to_stop)
            if thread is not threading.current_thread():
                thread.join(timeout)
        for channel in list(self._channels.values()):
            channel.kill_server()
        if thread is None or not thread.is_alive():
            self.journal.close()

    # The thread

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._start_lock:
            if self._closed:
                raise OxenVideoError("oxenvideo was shut down here; load the extension again.")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._live, name="oxenvideo-engine", daemon=True)
                self._thread.start()
                atexit.register(self.close)
            return self._loop

    def _live(self) -> None:
        assert self._loop is not None  # noqa: S101 - narrows the type
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(_log_unhandled)
        self._loop.set_default_executor(DaemonThreads())
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self._loop.close()

    def _call(self, function: Callable[..., object], *given: object) -> None:
        self._running_loop().call_soon_threadsafe(function, *given)

    def _with_channel(self, generation: Generation, act: Callable[[Channel], object]) -> None:
        """Do something where a generation lives; on return it has begun, so that a wait begins after it."""
        channel = self.channel_of(generation)
        if channel is None:
            return
        if threading.current_thread() is self._thread:
            act(channel)
            return

        async def do() -> None:
            act(channel)

        self._result(self._run(do()), 5.0)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())
        except OxenVideoError:
            coroutine.close()
            raise

    def _result(self, future: concurrent.futures.Future[T], timeout: float | None) -> T:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = TICK if end is None else min(TICK, max(0.0, end - time.monotonic()))
            try:
                return future.result(left)
            except concurrent.futures.CancelledError:
                raise OxenVideoError("oxenvideo was shut down here before there was an answer.") from None
            except TimeoutError:
                if future.done():
                    raise
                if self._closed or (end is not None and time.monotonic() >= end):
                    raise WaitTimeout(f"No answer within {timeout or 0:g} s.") from None

    def _begin_to_stop(self) -> None:
        asyncio.get_running_loop().create_task(self._stop())

    async def _stop(self) -> None:
        try:
            self.ledger.flush()
            for channel in self._channels.values():
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(channel.close(), 0.2)
        finally:
            asyncio.get_running_loop().stop()

    # On the loop

    def channel(self, target: Target) -> Channel:
        """The channel to a service, made when it is first needed."""
        if target not in self._channels:
            self._channels[target] = Channel(self, target)
        return self._channels[target]

    def channel_of(self, generation: Generation) -> Channel | None:
        """Where a generation lives, None for one that is not of this engine."""
        return self._channel_of.get(generation)

    def find(self, key: str) -> Generation | None:
        """The Generation of a key: a live one, or one from the journal."""
        return self.known.get(key) or self._recall(self, key)

    def find_id(self, target: Target, generation_id: str) -> Generation | None:
        """The live Generation that stands for the service's id."""
        here = self.channel(target)
        alike = (g for g in self.generations() if g.id == generation_id and self.channel_of(g) is here)
        return next(alike, None)

    def follow(self, target: Target, generation: Generation, seen: Observation, save_as: str | None) -> None:
        """Take up a generation that the service has, as it was just seen."""
        self._know([generation])
        channel = self._channel_of[generation] = self.channel(target)
        channel.observed(generation, seen)
        channel.follow(generation, save_as)

    def plan(self, target: Target, submissions: Sequence[Submission]) -> None:
        """Write down what is going to be sent, all of it or nothing."""
        account = account_of(target)
        self.journal.plan([self._plan(target, account, submission) for submission in submissions])

    def change(self, generation: Generation, state: State) -> None:
        """Put a new state in place, tell whoever watches, and have it written down."""
        before = generation.state
        if state == before:
            return
        generation.put(state)
        if state.status != before.status or state.received == before.received:  # not each step of a download
            self.ledger.note(generation.key, state)

    def _know(self, generations: Sequence[Generation]) -> None:
        for generation in generations:
            self.known[generation.key] = generation

    def _take_arrived(self) -> None:
        with self._arrived_lock:
            arrived, self._arrived = self._arrived, []
        by_target: dict[Target, list[Submission]] = {}
        for target, submissions in arrived:
            by_target.setdefault(target, []).extend(submissions)
        for target, together in by_target.items():
            try:
                self._submit(target, together)
            except Exception as error:  # nobody may be left waiting for what was never begun
                log.exception("Submitting failed in an unforeseen way")
                failure = OxenVideoError(f"Nothing was sent: {type(error).__name__}: {error}")
                for generation in (g for submission in together for g in submission.generations):
                    if not generation.state.is_settled:
                        self.change(generation, replace(generation.state, local=Status.FAILED, error=failure))

    def _submit(self, target: Target, submissions: Sequence[Submission]) -> None:
        channel = self.channel(target)
        for submission in submissions:
            self._enter(channel, submission)
        try:
            self.plan(target, submissions)
        except Exception as error:
            log.debug("the journal refused", exc_info=True)
            for submission in submissions:
                channel.fail(submission, OxenVideoError(f"Nothing was sent: the journal cannot be written ({error})."))
            return
        for submission in submissions:
            channel.submit(submission)

    def _adopt(self, target: Target, submission: Submission, step: Step) -> None:
        channel = self.channel(target)
        self._enter(channel, submission)
        channel.adopt(submission, step)

    def _enter(self, channel: Channel, submission: Submission) -> None:
        for generation in submission.generations:
            self._channel_of[generation] = channel

    def _plan(self, target: Target, account: str, submission: Submission) -> Plan:
        # Bytes given in a cell must outlive the kernel as the rest of the request does.
        request = submission.request = submission.request.stored(self.setup.data_dir / "media")
        for generation in submission.generations:
            generation.request = request
        return Plan(
            key=submission.key,
            base_url=target.base_url,
            account=account,
            request=request.to_json(),
            generations=[(g.key, g.name, g.index) for g in submission.generations],
            model=submission.request.model,
            synchronous=submission.synchronous,
            batch=submission.batch,
            position=submission.position,
            save_as=submission.save_as,
        )

    async def _ask(self, coroutine: Callable[[Channel], Coroutine[Any, Any, T]], target: Target) -> T:
        channel = self.channel(target)
        await channel.open()
        return await coroutine(channel)

    async def _quietly(self, coroutine: Callable[[Channel], Coroutine[Any, Any, None]], target: Target) -> None:
        try:
            await self._ask(coroutine, target)
        except OxenVideoError as error:
            log.info("in the background: %s", error)

    async def _cancel(self, generation: Generation) -> Cancellation:
        channel = self.channel_of(generation)
        return _over(generation) if channel is None else await channel.cancel(generation)


def _over(generation: Generation) -> Cancellation:
    status = generation.status
    charged = " It was too late: the video is charged." if status == "succeeded" else ""
    return Cancellation(f"It had already ended as {status}.{charged}", cancelled=status == "cancelled")


def _log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error("oxenvideo's engine: %s", context.get("message"), exc_info=context.get("exception"))
