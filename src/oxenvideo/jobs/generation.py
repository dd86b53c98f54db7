"""Generation: the user's handle on one video, readable from any thread, waitable from code and coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Generator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from oxenvideo.errors import GenerationCancelled, GenerationFailed, OutcomeUnknown, WaitTimeout
from oxenvideo.jobs.displayed import Displayed
from oxenvideo.jobs.job import Job
from oxenvideo.jobs.status import TERMINAL, State, Status

if TYPE_CHECKING:
    from PIL.Image import Image

    from oxenvideo.client.credentials import Target
    from oxenvideo.request.request import VideoRequest

#: Seconds after which a wait looks up, so that an interrupt gets through at once.
TICK = 0.2


class Cancellation(str):
    """What became of a request to cancel: one sentence, and ``cancelled``, whether no video will come."""

    cancelled: bool

    def __new__(cls, text: str, *, cancelled: bool) -> Self:
        """Make the sentence."""
        made = super().__new__(cls, text)
        made.cancelled = cancelled
        return made


class Controls(Protocol):
    """What the buttons of a handle do; the engine implements it."""

    def check_usable(self) -> None:
        """Raise OxenVideoError in a forked process, where nothing would ever change."""

    closed: bool
    """Whether nobody follows the jobs any more."""

    def handle(self, job: Job) -> Generation:
        """The one handle on a job."""

    def cancel(self, job: Job, timeout: float | None) -> Cancellation:
        """Ask the service to cancel and say what became of it; with no timeout, ask and do not wait."""

    def download(self, job: Job) -> None:
        """Fetch the file again."""


class Generation(Displayed):
    """One video, from the request to the file. Attributes can be read at any time from any thread."""

    def __init__(self, job: Job, controls: Controls) -> None:
        self._job = job
        self._controls = controls

    @property
    def request(self) -> VideoRequest:
        """What was asked for."""
        return self._job.submission.request

    @property
    def target(self) -> Target:
        """The service that makes it."""
        return self._job.submission.target

    @property
    def key(self) -> str:
        """This package's own id, known from the start."""
        return self._job.key

    @property
    def name(self) -> str | None:
        """The name that it was given, such as the variable of a cell."""
        return self._job.name

    @property
    def index(self) -> int | None:
        """Its place in its batch, from 0; None for one that was submitted alone."""
        return self._job.index

    @property
    def state(self) -> State:
        """Everything known at this moment, immutable."""
        return self._job.state

    @property
    def status(self) -> Status:
        """Where it stands: a string such as ``"queued"``; see Status."""
        return self._job.state.status

    @property
    def id(self) -> str | None:
        """The service's generation_id, None until the service has given one."""
        return self._job.state.generation_id

    @property
    def path(self) -> Path | None:
        """The downloaded file."""
        return self._job.state.path

    @property
    def result_url(self) -> str | None:
        """The service's presigned URL, which expires; None for a video that came in the body of an answer."""
        url = self._job.state.result_url
        return None if url is not None and url.startswith("file:") else url

    @property
    def error_message(self) -> str | None:
        """Why there is no video: the service's own words where it gave any."""
        state = self._job.state
        return state.error_message or (str(state.error) if state.error else None)

    @property
    def cost(self) -> Decimal | None:
        """US dollars charged, None until known."""
        return self._job.state.cost

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._job.state.status in TERMINAL

    def __repr__(self) -> str:
        label = f"{self.name}: " if self.name else ""
        return f"<Generation {label}{self.status} {self.request.model}>"

    # Waiting

    def wait(self, timeout: float | None = None) -> Self:
        """Block until the video is here and return this Generation; ``timeout`` in seconds.

        Raises GenerationFailed, GenerationCancelled, WaitTimeout, DownloadFailed, or OutcomeUnknown where nobody can tell
        whether the service has the request. The generation goes on where the wait is given up by timeout or interrupt,
        and where the session is closed, which ends the wait with WaitTimeout.
        """
        self._controls.check_usable()
        end = None if timeout is None else time.monotonic() + timeout
        woken = threading.Event()
        unsubscribe = observe(self, woken.set)
        try:
            while not (state := self._job.state).is_settled:
                left = TICK if end is None else min(TICK, end - time.monotonic())
                if left <= 0 or self._controls.closed:
                    raise self._given_up(timeout)
                woken.wait(left)
                woken.clear()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"Stopped waiting. {self._goes_on()}") from None
        finally:
            unsubscribe()
        return self._outcome(state)

    def __await__(self) -> Generator[None, None, Self]:
        return self.wait_async().__await__()

    async def wait_async(self, timeout: float | None = None) -> Self:
        """The same as ``wait`` for coroutines. Cancelling the task that waits leaves the generation running."""
        self._controls.check_usable()
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        woken = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop that waited was closed meanwhile
                loop.call_soon_threadsafe(woken.set)

        unsubscribe = observe(self, wake)
        try:
            while not (state := self._job.state).is_settled:
                left = TICK if end is None else min(TICK, end - loop.time())
                if left <= 0 or self._controls.closed:
                    raise self._given_up(timeout)
                # The tick is for the interrupt key: a quiet loop would notice it only when something happens.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await woken.wait()
                woken.clear()
        finally:
            unsubscribe()
        return self._outcome(state)

    def _given_up(self, timeout: float | None) -> WaitTimeout:
        if timeout is None or self._controls.closed:
            words = "oxenvideo was shut down here. The job goes on; resume brings it back."
            return WaitTimeout(f"{self._label} was {self.status}: {words}")
        return WaitTimeout(f"{self._label} is still {self.status} after {timeout:g} s. {self._goes_on()}")

    def _outcome(self, state: State) -> Self:
        if state.status is Status.CANCELLED:
            raise GenerationCancelled(f"{self._label} was cancelled.", self)
        if state.status is Status.FAILED:
            why = state.error_message or (str(state.error) if state.error else "The service gave no reason.")
            raise GenerationFailed(why, self) from state.error
        if state.status is Status.UNCONFIRMED or (state.path is None and state.error is not None):
            raise state.error or OutcomeUnknown("It is not known whether the service has this request.")
        return self

    def _goes_on(self) -> str:
        return f"{self._label} goes on; cancel it with .cancel() or `%oxenvideo cancel {self.name or self.id or ''}`."

    @property
    def _label(self) -> str:
        return self.name or "The generation"

    # Acting

    def cancel(self, timeout: float | None = 10.0) -> Cancellation:
        """Ask the service to cancel. The answer says whether it agreed, and whether it was already too late.

        ``timeout`` is how long to wait for that answer, in seconds; None asks without waiting.
        """
        return self._controls.cancel(self._job, timeout)

    def download(self) -> Self:
        """Fetch the file again, where an earlier download failed or the file was deleted."""
        self._controls.download(self._job)
        return self

    def on_change(self, callback: Callable[[Generation], object]) -> None:
        """Call ``callback(generation)`` on each change of status, in order, on a thread that all callbacks share.

        One that has already ended calls it at once, so that no end is missed.
        """
        self._controls.check_usable()
        controls = self._controls  # not the handle itself, which the job would then keep alive
        self._job.submission.registry.call_on_change(self._job, lambda job: callback(controls.handle(job)))

    # Frames

    def frame(self, t: float) -> Image:
        """The picture at ``t`` seconds from the start; a negative ``t`` counts from the end. Needs the ``local`` extra."""
        from oxenvideo.media.frames import frame_at

        return frame_at(self._file(), t)

    def last_frame(self) -> Image:
        """The last picture, for a video that continues this one. Needs the ``local`` extra."""
        from oxenvideo.media.frames import last_frame

        return last_frame(self._file())

    def _file(self) -> Path:
        path = self.wait().path
        if path is None:
            raise GenerationFailed(f"{self._label} has no file here: call .download() first.", self)
        return path


def observe(generation: Generation, observer: Callable[[], object]) -> Callable[[], None]:
    """Call ``observer()`` on each change of state, on the engine's thread; the answer takes that back.

    For the package's own displays: the observer must be quick and must not raise.
    """
    job = generation._job
    return job.submission.registry.observe(job, observer)
