"""Calls users' callbacks in the order of the changes, on a thread of its own: they may block and raise."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger("oxenvideo")

_Call = tuple[Callable[[Any], object], Any]


class CallbackThread:
    """A daemon thread that calls functions with one argument each."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[list[_Call] | None] = queue.SimpleQueue()
        self._gathered: list[_Call] = []  # by the engine's loop, in this turn
        threading.Thread(target=self._run, name="oxenvideo-callbacks", daemon=True).start()

    def call(self, callback: Callable[[Any], object], argument: object) -> None:
        """Have ``callback(argument)`` called; from any thread."""
        self._queue.put([(callback, argument)])

    def call_from_loop(self, callback: Callable[[Any], object], argument: object) -> None:
        """The same from the engine's loop. The calls of one turn go over together, because waking a thread is expensive."""
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._gathered.append((callback, argument))

    def close(self) -> None:
        """End the thread after the calls that are waiting."""
        self._queue.put(None)

    def _hand_over(self) -> None:
        calls, self._gathered = self._gathered, []
        self._queue.put(calls)

    def _run(self) -> None:
        while (calls := self._queue.get()) is not None:
            while calls:
                callback, argument = calls.pop(0)
                try:
                    callback(argument)
                except BaseException:  # a SystemExit of the user's must not end the thread either
                    log.exception("An on_change callback raised an exception. The video is not affected.")
                del callback, argument  # or the last one would be kept alive
