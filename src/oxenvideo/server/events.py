"""The ends of generations, told to event streams and to waiting requests as they happen."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator

from oxenvideo.server.queue import Generation, Queue

# A stream with this many unread notices is not being read. It loses the newest ones; listing the queue shows them.
_MAX_UNREAD = 10_000
# Another server on the same data directory may end a generation. It is noticed after this many seconds.
_POLL_SECONDS = 1.0


class Endings:
    """Tells event streams and waiting requests which generations have ended."""

    def __init__(self) -> None:
        # Weak references, so that a stream whose client has left leaves nothing behind.
        self._streams: weakref.WeakSet[asyncio.Queue[Generation | None]] = weakref.WeakSet()
        self._waiting: dict[str, asyncio.Event] = {}
        self._closed = False

    def publish(self, row: Generation) -> None:
        """Wake the requests that wait for this generation, and notify the streams unless it was cancelled."""
        if event := self._waiting.pop(row.id, None):
            event.set()
        for stream in list(self._streams) if row.status != "cancelled" else ():
            if stream.qsize() < _MAX_UNREAD:
                stream.put_nowait(row)

    def stream(self) -> AsyncIterator[Generation]:
        """Return the generations that succeed or fail from this call on, until `close`."""
        stream: asyncio.Queue[Generation | None] = asyncio.Queue()
        self._streams.add(stream)
        if self._closed:
            stream.put_nowait(None)
        return _drained(stream)

    async def wait(self, row: Generation, queue: Queue) -> Generation:
        """Wait until a generation has ended; return it as it is then."""
        while row.is_active:
            event = self._waiting.setdefault(row.id, asyncio.Event())
            try:
                await asyncio.wait_for(event.wait(), _POLL_SECONDS)
            except TimeoutError:
                self._waiting.pop(row.id, None)
            row = queue.get(row.id) or row
        return row

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for stream in self._streams:
            stream.put_nowait(None)


async def _drained(stream: asyncio.Queue[Generation | None]) -> AsyncIterator[Generation]:
    while (row := await stream.get()) is not None:
        yield row
