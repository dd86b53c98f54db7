"""Completion notices on their way to who listens now; nothing is kept for who comes later."""

from __future__ import annotations

import asyncio
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator

from oxenvideo.server.queue import Generation

# A listener this far behind is not reading; it loses the newest notices and finds them by listing.
BACKLOG = 10_000


class EventHub:
    """Hands each ended generation to the streams of its user."""

    def __init__(self) -> None:
        # Weakly held, so that a stream whose client left before it began leaves nothing here.
        self._listeners: defaultdict[str, weakref.WeakSet[asyncio.Queue[Generation | None]]]
        self._listeners = defaultdict(weakref.WeakSet)
        self._closed = False

    def publish(self, generation: Generation) -> None:
        """Tell the user's streams, and nobody else's."""
        for queue in list(self._listeners[generation.user]):
            if queue.qsize() < BACKLOG:
                queue.put_nowait(generation)

    def listen(self, user: str) -> AsyncIterator[Generation]:
        """Stand from this call on; yields until the hub closes."""
        queue: asyncio.Queue[Generation | None] = asyncio.Queue()
        self._listeners[user].add(queue)
        if self._closed:
            queue.put_nowait(None)
        return _drain(queue)

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        for queues in self._listeners.values():
            for queue in queues:
                queue.put_nowait(None)


async def _drain(queue: asyncio.Queue[Generation | None]) -> AsyncIterator[Generation]:
    while (generation := await queue.get()) is not None:
        yield generation
