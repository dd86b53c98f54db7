"""One daemon thread with its own loop, on which everything is submitted, watched, downloaded and written down."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import hashlib
import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from oxenvideo import media
from oxenvideo.channel import Channel
from oxenvideo.config import Target
from oxenvideo.errors import OxenVideoError, WaitTimeout
from oxenvideo.generation import TICK, Cancellation, Generation
from oxenvideo.journal import Journal, Plan, Step
from oxenvideo.state import Observation, State
from oxenvideo.submit import Submission
from oxenvideo.watch import Pace

T = TypeVar("T")
log = logging.getLogger("oxenvideo")

_FLUSH = 0.05  # seconds for which changes are gathered before they are written to the journal together


@dataclass(frozen=True)
class Limits:
    """How much happens at once, and how large things may be; ``inline`` is bytes of a media file sent as a data URI."""

    submits: int = 8
    downloads: int = 4
    inline: int = media.DEFAULT_INLINE_LIMIT


@dataclass(frozen=True)
class Setup:
    """What the engine needs to know beforehand. ``media_repo`` (namespace/name) takes media too large to be sent inline."""

    data_dir: Path
    pace: Pace = field(default_factory=Pace)
    local_pace: Pace = field(default_factory=lambda: Pace(poll=1.0, first_poll=0.3))
    limits: Limits = field(default_factory=Limits)
    download: bool = True
    download_dir: Path = Path("videos")
    media_repo: str | None = None
    client_timeout: float = 30.0


def account_of(target: Target) -> str:
    """What tells one key's jobs from another's in the journal, without telling the key."""
    if target.is_local or target.api_key is None:
        return "local"
    return hashlib.sha256(target.api_key.reveal().encode()).hexdigest()[:16]


class Engine:
    """Runs generations in the background. Public methods are for other threads; they return at once or wait in ticks."""

    def __init__(self, journal: Journal, setup: Setup) -> None:
        self.journal = journal
        self.setup = setup
        self.known: weakref.WeakValueDictionary[str, Generation] = weakref.WeakValueDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._channels: dict[Target, Channel] = {}
        self._channel_of: weakref.WeakKeyDictionary[Generation, Channel] = weakref.WeakKeyDictionary()
        self._unwritten: dict[str, State] = {}
        self._callbacks: queue.SimpleQueue[tuple[Callable[[Generation], object], Generation] | None] | None = None
        self._closed = False

    # From any thread

    def submit(self, target: Target, submissions: Sequence[Submission]) -> None:
        """Write the submissions down and send them, in order, some at a time."""
        for submission in submissions:
            for generation in submission.generations:
                self.known[generation.key] = generation
        self._call(self._submit, target, submissions)

    def adopt(self, target: Target, submission: Submission, step: Step) -> None:
        """Go on with a submission from the journal, wherever it stands."""
        for generation in submission.generations:
            self.known[generation.key] = generation
        self._call(self._adopt, target, submission, step)

    def bring(self, target: Target, submission: Submission, seen: Observation, *, journalled: bool) -> None:
        """Follow a generation that the service has, with what was just seen of it."""
        for generation in submission.generations:
            self.known[generation.key] = generation
        self._call(self._bring, target, submission, seen, journalled)

    def ask(
        self, coroutine: Callable[[Channel], Coroutine[Any, Any, T]], target: Target, timeout: float | None = 60.0
    ) -> T:
        """Run something against a service on the engine's loop and wait for it; WaitTimeout after ``timeout`` seconds."""
        return self._result(self._run(self._ask(coroutine, target)), timeout)

    def spawn(self, coroutine: Callable[[Channel], Coroutine[Any, Any, None]], target: Target) -> None:
        """Run something against a service in the background; that it failed is only logged."""
        self._run(self._quietly(coroutine, target))

    def cancel(self, generation: Generation, timeout: float | None) -> Cancellation:
        """See Generation.cancel."""
        if generation.done:
            return Cancellation(
                f"It had already ended as {generation.status}.", cancelled=generation.status == "cancelled"
            )
        future = self._run(self._cancel(generation))
        if timeout is None:
            return Cancellation("Asked the service to cancel.", cancelled=False)
        try:
            return self._result(future, timeout)
        except WaitTimeout:
            return Cancellation(f"The service has not answered for {timeout:g} s; the request stands.", cancelled=False)

    def download(self, generation: Generation) -> None:
        """See Generation.download."""
        self._call(self._download, generation)

    def notify(self, callback: Callable[[Generation], object], generation: Generation) -> None:
        """Call a person's callback on the callback thread, in the order of the changes."""
        with self._start_lock:
            if self._callbacks is None:
                self._callbacks = queue.SimpleQueue()
                thread = threading.Thread(
                    target=_call_back, args=(self._callbacks,), name="oxenvideo-callbacks", daemon=True
                )
                thread.start()
        self._callbacks.put((callback, generation))

    def close(self, timeout: float = 0.4) -> None:
        """Stop, and leave unfinished work for ``resume``; takes at most ``timeout`` seconds."""
        with self._start_lock:
            self._closed = True
            loop, thread = self._loop, self._thread
            if self._callbacks is not None:
                self._callbacks.put(None)
        atexit.unregister(self.close)
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._shut_down()))
            thread.join(timeout)
        for channel in self._channels.values():
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

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())
        except OxenVideoError:
            coroutine.close()
            raise

    def _result(self, future: concurrent.futures.Future[T], timeout: float | None) -> T:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return future.result(TICK)
            except TimeoutError:
                if future.done():
                    raise
                if end is not None and time.monotonic() >= end:
                    raise WaitTimeout(f"No answer within {timeout:g} s.") from None

    async def _shut_down(self) -> None:
        self._flush()
        for channel in self._channels.values():
            with contextlib.suppress(Exception):
                await channel.close()
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

    def change(self, generation: Generation, state: State) -> None:
        """Put a new state in place, tell whoever watches, and have it written down."""
        if state == generation.state:
            return
        progress_only = state.status == generation.state.status and state.received != generation.state.received
        generation.put(state)
        if not progress_only:
            if not self._unwritten:
                asyncio.get_running_loop().call_later(_FLUSH, self._flush)
            self._unwritten[generation.key] = state

    def _flush(self) -> None:
        changes, self._unwritten = self._unwritten, {}
        if changes:
            self.journal.record(changes.items())

    def _submit(self, target: Target, submissions: Sequence[Submission]) -> None:
        channel = self.channel(target)
        try:
            self.journal.plan([self._plan(target, s) for s in submissions])
        except Exception as error:
            log.debug("the journal refused", exc_info=True)
            for submission in submissions:
                channel.fail(submission, OxenVideoError(f"Nothing was sent: the journal cannot be written ({error})."))
            return
        for submission in submissions:
            self._enter(channel, submission)
            channel.submit(submission)

    def _adopt(self, target: Target, submission: Submission, step: Step) -> None:
        channel = self.channel(target)
        self._enter(channel, submission)
        channel.adopt(submission, step)

    def _bring(self, target: Target, submission: Submission, seen: Observation, journalled: bool) -> None:
        channel = self.channel(target)
        if not journalled:
            self.journal.plan([self._plan(target, submission)])
        self._enter(channel, submission)
        channel.bring(submission, seen)

    def _enter(self, channel: Channel, submission: Submission) -> None:
        for generation in submission.generations:
            self._channel_of[generation] = channel

    def _plan(self, target: Target, submission: Submission) -> Plan:
        # Bytes given in a cell must outlive the kernel as the rest of the request does.
        store = self.setup.data_dir / "media"
        parameters = media.replace(submission.request.parameters, lambda leaf: leaf.store(store))
        request = submission.request = submission.request.with_(parameters=parameters)
        for generation in submission.generations:
            generation.request = request
        return Plan(
            key=submission.key,
            base_url=target.base_url,
            account=account_of(target),
            request=request.to_json(),
            generations=[(g.key, g.name) for g in submission.generations],
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
        return await self._channel_of[generation].cancel(generation)

    def _download(self, generation: Generation) -> None:
        self._channel_of[generation].download_again(generation)


def _call_back(calls: queue.SimpleQueue[tuple[Callable[[Generation], object], Generation] | None]) -> None:
    while (call := calls.get()) is not None:
        callback, generation = call
        try:
            callback(generation)
        except Exception:
            log.exception("An on_change callback raised; the generation itself is not affected.")


def _log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error("oxenvideo's engine: %s", context.get("message"), exc_info=context.get("exception"))
