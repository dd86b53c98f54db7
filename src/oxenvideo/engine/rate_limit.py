"""The pace of submits: together while all is well; after a 429 one at a time, when the service said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from oxenvideo.retry import Backoff


class Gate:
    """Lets submits through. The pace that one of them is told holds for all."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._refusals = 0
        self._not_before = 0.0  # monotonic
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, *, alone: bool = True) -> AsyncIterator[None]:
        """Wait for a turn; it lasts as long as the block. One that lasts minutes does not go ``alone``."""
        if self._refusals and alone:
            async with self._alone:
                if self._refusals:
                    await self._until()
                    yield
                    return
        await self._until()
        yield

    async def _until(self) -> None:
        while (left := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def refused(self, retry_after: float | None) -> float:
        """The service had too much: returns the seconds until the next turn."""
        self._refusals += 1
        pause = self._backoff.delay(self._refusals, retry_after=retry_after)
        self._not_before = max(self._not_before, time.monotonic() + pause)
        return self._not_before - time.monotonic()

    def passed(self) -> None:
        """The service took one."""
        self._refusals = 0
