"""Generation: the handle on one video in the making, readable from any thread, waitable from code and coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from oxenvideo.errors import GenerationCancelled, GenerationFailed, OutcomeUnknown, WaitTimeout
from oxenvideo.jobs.status import State, Status

if TYPE_CHECKING:
    from PIL.Image import Image

    from oxenvideo.request.request import VideoRequest

log = logging.getLogger("oxenvideo")

#: A wait looks up this often (seconds), so that an interrupt gets through at once.
TICK = 0.2


class Cancellation(str):
    """What became of asking to cancel: the text for a person, and ``cancelled``, whether nothing more will come."""

    cancelled: bool

    def __new__(cls, text: str, *, cancelled: bool) -> Self:
        """Make the text and carry the verdict."""
        made = super().__new__(cls, text)
        made.cancelled = cancelled
        return made


class Port(Protocol):
    """What a Generation needs of whoever runs it."""

    def cancel(self, generation: Generation, timeout: float | None) -> Cancellation:
        """Ask the service to cancel and say what became of it; with no timeout, ask and do not wait."""

    def notify(self, callback: Callable[[Generation], object], generation: Generation) -> None:
        """Call a person's callback, away from the engine."""

    def download(self, generation: Generation) -> None:
        """Fetch the file again."""


class Generation:
    """One video, from the request to the file.

    Attributes are read at any time from any thread. ``id`` is the service's id (None until it gave one), ``key`` is this
    package's own, known from the start. ``index`` is its place in its batch, from 0. ``cost``
    is in US dollars, None until the service has told.
    """

    def __init__(
        self,
        request: VideoRequest,
        *,
        key: str,
        port: Port,
        name: str | None = None,
        index: int | None = None,
        state: State | None = None,
    ) -> None:
        self.request = request
        self.key = key
        self.name = name
        self.index = index
        self._port = port
        self._state = state or State()
        self._settled = threading.Event()
        self._abandoned: str | None = None
        self._lock = threading.Lock()
        self._observers: list[Callable[[Generation], object]] = []
        self._callbacks: list[Callable[[Generation], object]] = []
        if self._state.is_settled:
            self._settled.set()

    # What is known

    @property
    def state(self) -> State:
        """Everything known at this moment, immutable."""
        return self._state

    @property
    def status(self) -> Status:
        """Where it stands: a string such as ``"queued"``; see Status."""
        return self._state.status

    @property
    def id(self) -> str | None:
        """The service's generation_id."""
        return self._state.generation_id

    @property
    def path(self) -> Path | None:
        """The downloaded file."""
        return self._state.path

    @property
    def result_url(self) -> str | None:
        """The service's presigned URL; it expires."""
        return self._state.result_url

    @property
    def error_message(self) -> str | None:
        """Why there is no video: the service's own words where it gave any."""
        if self._state.error_message:
            return self._state.error_message
        return str(self._state.error) if self._state.error else None

    @property
    def cost(self) -> Decimal | None:
        """US dollars charged, None until known."""
        return self._state.cost

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status.is_terminal

    def __repr__(self) -> str:
        label = f"{self.name}: " if self.name else ""
        return f"<Generation {label}{self.status} {self.request.model}>"

    # Waiting

    def wait(self, timeout: float | None = None) -> Self:
        """Block until the video is here and return this Generation; ``timeout`` in seconds.

        Raises GenerationFailed, GenerationCancelled, WaitTimeout, DownloadFailed, or OutcomeUnknown where nobody can tell
        whether the service has the request. Giving up the wait, by timeout or interrupt, leaves the generation running;
        so does closing the session, which ends the wait with WaitTimeout.
        """
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while not (state := self._state).is_settled:
                left = TICK if end is None else min(TICK, end - time.monotonic())
                if left <= 0 or self._abandoned:
                    raise self._timed_out(timeout)
                self._settled.wait(left)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"Stopped waiting. {self._goes_on()}") from None
        return self._outcome(state)

    def __await__(self) -> Generator[None, None, Self]:
        return self.wait_async().__await__()

    async def wait_async(self, timeout: float | None = None) -> Self:
        """The same as ``wait`` for coroutines; cancelling the waiting task leaves the generation running."""
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        woken = asyncio.Event()

        def wake(_: Generation) -> None:
            if self._settled.is_set():
                with contextlib.suppress(RuntimeError):  # the loop that waited was closed meanwhile
                    loop.call_soon_threadsafe(woken.set)

        self.observe(wake)
        try:
            while not (state := self._state).is_settled:
                # The tick is for the interrupt key: on a quiet loop it would be noticed only when something happens.
                left = TICK if end is None else min(TICK, end - loop.time())
                if left <= 0 or self._abandoned:
                    raise self._timed_out(timeout)
                try:
                    await asyncio.wait_for(woken.wait(), left)
                except TimeoutError:
                    continue
                woken.clear()  # it may go on: what could not be found may turn up
        finally:
            self.unobserve(wake)
        return self._outcome(state)

    def _outcome(self, state: State) -> Self:
        if state.status is Status.CANCELLED:
            raise GenerationCancelled(f"{self._label} was cancelled.", self)
        if state.status is Status.FAILED:
            why = state.error_message or (str(state.error) if state.error else "The service gave no reason.")
            raise GenerationFailed(why, self) from state.error
        if state.status is Status.UNCONFIRMED or (state.path is None and state.error is not None):
            raise state.error or OutcomeUnknown("It is not known whether the service has this request.")
        return self

    def _timed_out(self, timeout: float | None) -> WaitTimeout:
        if timeout is None or self._abandoned:
            return WaitTimeout(f"{self._label} was {self.status}: {self._abandoned}")
        return WaitTimeout(f"{self._label} is still {self.status} after {timeout:g} s. {self._goes_on()}")

    def _goes_on(self) -> str:
        return f"{self._label} goes on; cancel it with .cancel() or `%oxenvideo cancel {self.name or self.id or ''}`."

    @property
    def _label(self) -> str:
        return self.name or "The generation"

    # Acting

    def cancel(self, timeout: float | None = 10.0) -> Cancellation:
        """Ask the service to cancel; the answer says whether it agreed, and whether it was already too late.

        ``timeout`` is how long to wait for that answer, in seconds; None asks without waiting.
        """
        return self._port.cancel(self, timeout)

    def download(self) -> Self:
        """Fetch the file again, where an earlier download failed or the file was deleted."""
        self._port.download(self)
        return self

    def on_change(self, callback: Callable[[Generation], object]) -> None:
        """Call ``callback(generation)`` on each change of status, in order, on a thread of its own.

        One that has already ended calls it at once, so that no end is missed.
        """
        with self._lock:
            self._callbacks.append(callback)
            ended = self.done
        if ended:
            self._port.notify(callback, self)

    def observe(self, observer: Callable[[Generation], object]) -> None:
        """Call ``observer`` on every change of state, on the engine's thread: it must be tiny and not raise."""
        with self._lock:
            self._observers.append(observer)

    def unobserve(self, observer: Callable[[Generation], object]) -> None:
        """Take an observer back."""
        with self._lock:
            if observer in self._observers:
                self._observers.remove(observer)

    def put(self, state: State) -> None:
        """Replace the state and tell those who watch. For the engine's thread only."""
        before = self._state
        with self._lock:
            self._state = state
            callbacks = tuple(self._callbacks) if state.status != before.status else ()
            observers = tuple(self._observers)
        if state.is_settled:
            self._settled.set()
        else:
            self._settled.clear()
        for observer in observers:
            try:
                observer(self)
            except Exception:  # one who looks on must not stop the engine
                log.exception("An observer of %s raised", self)
        for callback in callbacks:
            self._port.notify(callback, self)

    def abandon(self, why: str) -> None:
        """Nobody here follows it any more, so waits end; ``why`` is told to those who wait."""
        self._abandoned = why

    # Frames

    def frame(self, t: float) -> Image:
        """The picture at ``t`` seconds from the start; negative counts from the end. Needs the ``local`` extra."""
        from oxenvideo.media.frames import frame_at

        return frame_at(self._file(), t)

    def last_frame(self) -> Image:
        """The last picture, to go on from. Needs the ``local`` extra."""
        from oxenvideo.media.frames import last_frame

        return last_frame(self._file())

    def _file(self) -> Path:
        path = self.wait().path
        if path is None:
            raise GenerationFailed(f"{self._label} has no file here: call .download() first.", self)
        return path
