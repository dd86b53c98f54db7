"""A pool of daemon threads for blocking calls: none of them keeps the process alive."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_Work = tuple["Future[Any]", Callable[[], Any]]


class DaemonThreads(ThreadPoolExecutor):
    """An executor for an event loop whose threads are daemons.

    The interpreter waits for the standard one when it exits, so a name lookup that hangs, or a file on a slow disk, would
    delay the shutdown of a kernel. It is a ThreadPoolExecutor by name, because loops accept nothing else.
    """

    def __init__(self, most: int = 16) -> None:
        super().__init__(max_workers=1)
        self._most = most
        self._guard = threading.Lock()
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._count = 0
        self._waiting = 0  # calls that no thread has taken yet
        self._busy = 0
        self._ended = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call on one of the threads."""
        future: Future[T] = Future()
        with self._guard:
            if self._ended:
                raise RuntimeError("no calls are taken after shutdown")
            self._work.put((future, lambda: fn(*args, **kwargs)))
            self._waiting += 1
            if self._waiting > self._count - self._busy and self._count < self._most:
                self._count += 1
                threading.Thread(target=self._run, name=f"oxenvideo-blocking-{self._count}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; those that run are left to end by themselves."""
        with self._guard:
            self._ended = True
            for _ in range(self._count):
                self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            future, call = work
            with self._guard:
                self._waiting -= 1
                self._busy += 1
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # to be raised where the result is asked for
                    future.set_exception(error)
            with self._guard:
                self._busy -= 1
            del work, future, call
