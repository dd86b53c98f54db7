"""Calling people's callbacks in the order of the changes, on a thread of its own: they may block and raise."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable

from oxenvideo.jobs.generation import Generation

log = logging.getLogger("oxenvideo")

_Call = tuple[Callable[[Generation], object], Generation]


class Callbacks:
    """One daemon thread, started with the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[list[_Call] | None] | None = None
        self._gathered: list[_Call] = []  # by the engine's loop, in this turn of it

    def call(self, callback: Callable[[Generation], object], generation: Generation) -> None:
        """Have ``callback(generation)`` called, from any thread."""
        self._opened().put([(callback, generation)])

    def call_from_loop(self, callback: Callable[[Generation], object], generation: Generation) -> None:
        """The same from the engine's loop: what one turn of it brings goes over together, since waking a thread is dear."""
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._gathered.append((callback, generation))

    def close(self) -> None:
        """Make no further calls after those that are waiting."""
        with self._lock:
            if self._queue is not None:
                self._queue.put(None)
                self._queue = None

    def _hand_over(self) -> None:
        calls, self._gathered = self._gathered, []
        self._opened().put(calls)

    def _opened(self) -> queue.SimpleQueue[list[_Call] | None]:
        with self._lock:
            if self._queue is None:
                self._queue = queue.SimpleQueue()
                threading.Thread(target=_run, args=(self._queue,), name="oxenvideo-callbacks", daemon=True).start()
            return self._queue


def _run(queued: queue.SimpleQueue[list[_Call] | None]) -> None:
    while (calls := queued.get()) is not None:
        while calls:
            callback, generation = calls.pop(0)
            try:
                callback(generation)
            except Exception:
                log.exception("An on_change callback raised; the generation itself is not affected.")
            del callback, generation  # or the last one would be kept alive
