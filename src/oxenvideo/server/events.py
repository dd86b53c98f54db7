"""The progress and the ends of generations, told to event streams and to waiting requests as they happen."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oxenvideo.server.queue import ACTIVE, Generation, Queue

# A stream with this many unread notices is not being read. It loses the newest ones; listing the queue shows them.
_MAX_UNREAD = 10_000
_MAX_UNREAD_PROGRESS = 100  # the next progress makes up for one that was left out
# Another server on the same data directory may end a generation. It is noticed after this many seconds.
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Progress:
    """How far an engine has come with a generation. ``shown`` are the fields that a client sees."""

    id: str
    shown: Mapping[str, Any]


Stream = asyncio.Queue[Generation | Progress | None]


class Endings:
    """Tells event streams and waiting requests which generations have ended."""

    def __init__(self) -> None:
        # Weak references, so that a stream whose client has left leaves nothing behind.
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._is_closed = False

    def publish(self, row: Generation | Progress | None) -> None:
        """Notify every stream. None ends it."""
        for stream in list(self._streams):
            if isinstance(row, Progress) and stream.qsize() > _MAX_UNREAD_PROGRESS:
                continue
            with contextlib.suppress(asyncio.QueueFull):
                stream.put_nowait(row)

    def close(self) -> None:
        """End all streams, also those that are opened later."""
        self._is_closed = True
        self.publish(None)

    def open(self) -> Stream:
        """Return a stream of what happens from this call on. Its last item, after `close`, is None."""
        stream: Stream = asyncio.Queue(_MAX_UNREAD)
        self._streams.add(stream)
        if self._is_closed:
            stream.put_nowait(None)
        return stream

    async def wait(self, row: Generation, queue: Queue) -> Generation:
        """Wait until a generation has ended; return it as it is then."""
        stream = self.open()
        while row.status in ACTIVE:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await stream.get()
            row = queue.get(row.id) or row
        return row
