"""Film: videos that are joined into one file, on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from oxenvideo.errors import InvalidRequest, OxenVideoError, WaitTimeout
from oxenvideo.jobs.displayed import Displayed
from oxenvideo.jobs.generation import TICK, Generation
from oxenvideo.jobs.status import Status
from oxenvideo.media import frames, mp4, transcode

if TYPE_CHECKING:
    from PIL.Image import Image


class Film(Displayed):
    """Several videos as one. ``inputs`` are Generations and Films, which are waited for, and files.

    ``status`` is processing, succeeded or failed; ``progress`` goes from 0 to 1; ``path`` is the file once it is here, and
    ``error_message`` says why there is none.
    """

    def __init__(self, inputs: Sequence[Generation | Film | Path], destination: Path) -> None:
        self.inputs = tuple(inputs)
        self.name = destination.stem
        self.progress = 0.0
        self.path: Path | None = None
        self.error: OxenVideoError | None = None
        self._destination = destination
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="oxenvideo-join", daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._ended.is_set()

    @property
    def status(self) -> Status:
        """Where it stands."""
        return Status.PROCESSING if not self.done else Status.FAILED if self.error is not None else Status.SUCCEEDED

    @property
    def error_message(self) -> str | None:
        """Why there is no file."""
        return str(self.error) if self.error is not None else None

    def __repr__(self) -> str:
        return f"<Film {self.name}: {self.summary}>"

    @property
    def summary(self) -> str:
        """One line: how it stands, and of how many videos it is."""
        if self.error is not None:
            return f"failed: {self.error}"
        videos = f"{len(self.inputs)} videos"
        if self.done:
            return f"joined from {videos}"
        waiting = sum(not given.done for given in self.inputs if not isinstance(given, Path))
        return f"waiting for {waiting} of {videos}" if waiting else f"joining {videos}"

    def wait(self, timeout: float | None = None) -> Self:
        """Block until the file is here and return this Film; ``timeout`` in seconds.

        Raises WaitTimeout, or the error that ended it. The film is still made where the wait is given up.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not self._ended.wait(TICK):  # the tick lets an interrupt through
            if end is not None and time.monotonic() >= end:
                raise WaitTimeout(f"{self.name} is not joined after {timeout:g} s. It goes on.")
        if self.error is not None:
            raise self.error
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._wait_async().__await__()

    async def _wait_async(self) -> Self:
        while not self.done:
            await asyncio.sleep(TICK / 4)
        return self.wait()

    def frame(self, t: float) -> Image:
        """The picture at ``t`` seconds from the start; a negative ``t`` counts from the end."""
        return frames.frame_at(self._file(), t)

    def last_frame(self) -> Image:
        """The last picture."""
        return frames.last_frame(self._file())

    def _file(self) -> Path:
        path = self.wait().path
        assert path is not None  # noqa: S101 - wait raises without one
        return path

    def _run(self) -> None:
        try:
            sources = [_source(given) for given in self.inputs]
            self.path = self._write(sources)
        except OxenVideoError as error:
            self.error = error
        except Exception as error:
            why = getattr(error, "strerror", None) or error
            self.error = OxenVideoError(f"The videos cannot be joined into {self._destination.name}: {why}.")
        self.progress = 1.0
        self._ended.set()

    def _write(self, sources: Sequence[Path]) -> Path:
        def report(done: float) -> None:
            self.progress = done

        from oxenvideo.engine import transfer  # it imports the HTTP client

        target = self._destination
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.stem}.{uuid.uuid4().hex}.part")
        try:
            transcode.join(sources, partial, report)
            record = {"joined": [_record(source) for source in sources]}
            names = ", ".join(source.name for source in sources)
            mp4.write_metadata(partial, record, title=self.name, comment=f"Joined from {names}")
            return transfer.put_in_place(partial, target)
        finally:
            partial.unlink(missing_ok=True)


def _source(given: Generation | Film | Path) -> Path:
    path = given if isinstance(given, Path) else given.wait().path
    if path is None:
        raise InvalidRequest("A video has no file here: call .download() first.")
    if not path.is_file():
        raise InvalidRequest(f"There is no file {path}.")
    return path


def _record(source: Path) -> dict[str, Any]:
    """The name of a file that was joined, and what its own metadata says."""
    try:
        own = mp4.read_metadata(source)
    except InvalidRequest:
        own = {}
    return {"file": source.name, **{key: own[key] for key in ("generation_id", "request", "joined") if key in own}}
