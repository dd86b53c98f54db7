"""The ends of generations, told to event streams and to waiting requests as they happen."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator

from oxenvideo.server.queue import Generation, Queue

# A stream with this many unread notices is not being read. It loses the newest ones; listing the queue shows them.
_MAX_UNREAD = 10_000
# Another server on the same data directory may end a generation. It is noticed after this many seconds.
_POLL_SECONDS = 1.0

Stream = asyncio.Queue[Generation | None]


class Endings:
    """Tells event streams and waiting requests which generations have ended."""

    def __init__(self) -> None:
        # Weak references, so that a stream whose client has left leaves nothing behind.
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._is_closed = False

    def publish(self, row: Generation | None) -> None:
        """Notify every stream. None ends it."""
        for stream in list(self._streams):
            with contextlib.suppress(asyncio.QueueFull):
                stream.put_nowait(row)

    def close(self) -> None:
        """End all streams, also those that are opened later."""
        self._is_closed = True
        self.publish(None)

    def stream(self) -> AsyncIterator[Generation]:
        """Return the generations that succeed or fail from this call on, until `close`."""
        return _completed(self._open())

    async def wait(self, row: Generation, queue: Queue) -> Generation:
        """Wait until a generation has ended; return it as it is then."""
        stream = self._open()
        while row.is_active:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stream.get(), _POLL_SECONDS)
            row = queue.get(row.id) or row
        return row

    def _open(self) -> Stream:
        stream: Stream = asyncio.Queue(_MAX_UNREAD)
        self._streams.add(stream)
        if self._is_closed:
            stream.put_nowait(None)
        return stream


async def _completed(stream: Stream) -> AsyncIterator[Generation]:
    while (row := await stream.get()) is not None:
        if row.status != "cancelled":
            yield row
