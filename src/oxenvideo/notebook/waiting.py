"""Waiting in a cell for videos, interruptible at once, with one line of status where there is only a terminal."""

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
from oxenvideo.notebook import card, grid

Item = Generation | Batch


def is_settled(item: Item) -> bool:
    """Whether a wait has nothing more to wait for."""
    generations = (item,) if isinstance(item, Generation) else item
    return all(g.state.is_settled for g in generations)


def one_line(item: Item) -> str:
    """How an item stands, with the time it has taken so far, or its file."""
    if isinstance(item, Batch):
        return grid.text(item)
    view = card.view_of(item, time.time())
    words = card.text(view)
    if item.path is not None:
        return f"{words} → {os.path.relpath(item.path)}"
    return words if item.done or view.elapsed is None else f"{words} {card.duration_text(view.elapsed)}"


def until_settled(items: Sequence[Item], timeout: float | None, *, in_terminal: bool) -> bool:
    """Wait; False when ``timeout`` (seconds) came first. KeyboardInterrupt says what goes on."""
    end = None if timeout is None else time.monotonic() + timeout
    status = _StatusLine(enabled=in_terminal)
    try:
        while not all(is_settled(item) for item in items):
            if end is not None and time.monotonic() >= end:
                return False
            status.show(_status([item for item in items if not is_settled(item)]))
            time.sleep(TICK / 2)
    except KeyboardInterrupt:
        names = ", ".join(item.name or "the video" for item in items if not is_settled(item))
        raise KeyboardInterrupt(
            f"Stopped waiting. {names} goes on at the service; cancel with %oxenvideo cancel NAME."
        ) from None
    finally:
        status.end()
    return True


def _status(running: Sequence[Item]) -> str:
    if len(running) <= 1:
        return "".join(map(one_line, running))
    generations = [g for item in running for g in ((item,) if isinstance(item, Generation) else item)]
    return f"Waiting for {Batch(generations).summary}"


def until_settled_nested(items: Sequence[Item], timeout: float | None) -> bool:
    """The same on the kernel's own running loop, whose tasks go on meanwhile: what ``nested_loops`` opts in to.

    Clicks wait all the same with ipykernel 7.4: it handles every message in one context, which the waiting cell holds.
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
                    continue  # how it ended is told by whoever waited
    except TimeoutError:
        return False
    return True


class _StatusLine:
    """One line in a terminal, written over itself."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled and sys.stdout.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        if self._enabled and text != self._shown:
            width = os.get_terminal_size().columns - 1
            sys.stdout.write("\r" + text[:width].ljust(min(len(self._shown), width)))
            sys.stdout.flush()
            self._shown = text[:width]

    def end(self) -> None:
        if self._enabled and self._shown:
            sys.stdout.write("\r" + " " * len(self._shown) + "\r")
            sys.stdout.flush()
