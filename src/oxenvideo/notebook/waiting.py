"""Waiting in a cell for videos: interruptible at once, with one status line in a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from oxenvideo.errors import OxenVideoError
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import TICK, Generation
from oxenvideo.notebook.card import Item, one_line


def is_settled(item: Item) -> bool:
    """Whether waiting for an item has ended."""
    return all(g.state.is_settled for g in ((item,) if isinstance(item, Generation) else item))


def wait(items: Sequence[Item], timeout: float | None, *, in_terminal: bool) -> bool:
    """Wait until all are settled; False if ``timeout`` (seconds) came first.

    An interrupt raises KeyboardInterrupt with a message: the videos are still made.
    """
    end = None if timeout is None else time.monotonic() + timeout
    status = _StatusLine(enabled=in_terminal)
    try:
        while running := [item for item in items if not is_settled(item)]:
            if end is not None and time.monotonic() >= end:
                return False
            if len(running) == 1:
                status.show(one_line(running[0]))
            else:
                every = [g for item in running for g in ((item,) if isinstance(item, Generation) else item)]
                status.show(f"Waiting for {Batch(every).summary}")
            time.sleep(TICK / 2)
    except KeyboardInterrupt:
        names = ", ".join(item.name or "the video" for item in items if not is_settled(item))
        raise KeyboardInterrupt(
            f"Stopped waiting. {names} goes on at the service; cancel with %oxenvideo cancel NAME."
        ) from None
    finally:
        status.clear()
    return True


def wait_nested(items: Sequence[Item], timeout: float | None) -> bool:
    """Like ``wait``, on the kernel's own event loop, whose tasks go on meanwhile: what ``nested_loops`` enables.

    Button clicks are still delayed with ipykernel 7.4: it handles all messages in one context, which the cell holds.
    """
    patch = import_module("nest_asyncio2" if find_spec("nest_asyncio2") else "nest_asyncio")
    patch.apply()
    return bool(asyncio.get_event_loop().run_until_complete(_settle(items, timeout)))


async def _settle(items: Sequence[Item], timeout: float | None) -> bool:
    try:
        async with asyncio.timeout(timeout):
            for item in items:
                try:
                    await item.wait_async()
                except OxenVideoError:
                    continue  # the cell that waits reports failures afterwards
    except TimeoutError:
        return False
    return True


class _StatusLine:
    """One line in a terminal that overwrites itself."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled and sys.stdout.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        if self._enabled and text != self._shown:
            width = os.get_terminal_size().columns - 1
            sys.stdout.write("\r" + text[:width].ljust(min(len(self._shown), width)))
            sys.stdout.flush()
            self._shown = text[:width]

    def clear(self) -> None:
        if self._enabled and self._shown:
            sys.stdout.write("\r" + " " * len(self._shown) + "\r")
            sys.stdout.flush()
