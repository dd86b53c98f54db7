"""What the server does for an adapter that runs a job: fetch inputs, store the engine's id, publish progress."""

from __future__ import annotations

import asyncio
import base64
import io
import logging

from oxenvideo.server.engines.engine import JobFailed
from oxenvideo.server.events import Endings, Progress
from oxenvideo.server.queue import Queue
from oxenvideo.server.renderer import InputRules, RenderError

log = logging.getLogger("oxenvideo.server")

_APART = 0.5  # seconds between two updates of a job
_MAX_PREVIEW = 16 * 1024 * 1024
_PREVIEW_SIZE = (320, 320)


class JobHost:
    """The `Host` of one job that runs on an engine. ``remote_id`` is the engine's id of the job, if it has one."""

    def __init__(
        self, id_: str, engine: str, remote_id: str | None, queue: Queue, endings: Endings, rules: InputRules
    ) -> None:
        self.remote_id = remote_id
        self._id = id_
        self._engine = engine
        self._queue = queue
        self._endings = endings
        self._rules = rules
        self._steps: tuple[int, int] | None = None
        self._picture: bytes | None = None  # not yet published
        self._preview: str | None = None
        self._changed = asyncio.Event()
        self._changed.set()  # that the job has begun is published too

    async def fetch(self, uri: str) -> bytes:
        """Return the content at an input URI."""
        from oxenvideo.server import fetch  # httpx is slow to import, and only jobs of engines need it here

        try:
            return await asyncio.to_thread(fetch.fetch, uri, self._rules)
        except RenderError as error:
            raise JobFailed(str(error)) from None

    def accepted(self, remote_id: str) -> None:
        """Store the engine's id of this job."""
        self.remote_id = remote_id
        self.store()

    def rejected(self) -> None:
        """Forget the stored id."""
        self.remote_id = None
        self.store()

    def store(self) -> None:
        """Write the engine's id of this job as it is known here."""
        if self.remote_id is None:
            self._queue.forget(self._id, self._engine)
        else:
            self._queue.place(self._id, self._engine, self.remote_id)

    def report(self, step: int, total: int, preview: bytes | None = None) -> None:
        """Note the progress, which `publish` publishes."""
        if 0 <= step <= total and total > 0:
            self._steps = step, total
        if preview is not None and len(preview) <= _MAX_PREVIEW:
            self._picture = preview
        self._changed.set()

    @property
    def shown(self) -> dict[str, object]:
        """What a client sees of the job: the name of the engine, and the progress as far as it is known."""
        shown: dict[str, object] = {"name": self._engine}
        if self._steps is not None:
            shown |= {"step": self._steps[0], "total": self._steps[1]}
        return shown if self._preview is None else shown | {"preview": self._preview}

    async def publish(self) -> None:
        """Publish progress, at most two times a second, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._picture is not None:
                picture, self._picture = self._picture, None
                self._preview = await asyncio.to_thread(_small, picture) or self._preview
            self._endings.publish(Progress(self._id, self.shown))
            await asyncio.sleep(_APART)


def _small(content: bytes) -> str | None:
    """Return a small JPEG of a picture as a data URI, or None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP")) as picture:
            small = picture.convert("RGB")
            small.thumbnail(_PREVIEW_SIZE)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        log.info("A preview picture of an engine could not be read.")
        return None
    file = io.BytesIO()
    small.save(file, "JPEG", quality=60)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
