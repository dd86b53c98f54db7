"""What the kernel tells the browser unasked: one plain thread, within a budget of messages.

A plain daemon thread reaches the front end at any time, also while a cell runs. It ends when there is nothing to tell.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger("oxenvideo")

_GAP = 0.06  # seconds between two messages: fewer than 17 a second in all
_NEWS_EVERY = 0.25  # seconds between two messages about jobs, however many change
_IDLE = 5.0  # seconds without anything to tell, after which the thread ends


class Courier:
    """Calls ``news`` soon after ``stir``, and posted work one piece at a time; each sends at most one message."""

    def __init__(self, news: Callable[[], object]) -> None:
        self._news = news
        self._stirred = False
        self._told_at = 0.0
        self._work: deque[Callable[[], object]] = deque()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def stir(self) -> None:
        """There is news of jobs. From any thread; returns at once."""
        self._stirred = True
        self._start()

    def post(self, work: Callable[[], object]) -> None:
        """Do this after what was posted before. From any thread; returns at once."""
        self._work.append(work)
        self._start()

    def close(self) -> None:
        """Tell nothing more."""
        self._closed = True
        self._wake.set()

    def _start(self) -> None:
        self._wake.set()
        with self._lock:
            if not self._closed and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="oxenvideo-panel", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        idle_since = time.monotonic()
        while not self._closed:
            due = self._told_at + _NEWS_EVERY - time.monotonic()
            if self._stirred and due <= 0:
                self._stirred = False
                self._told_at = time.monotonic()
                self._do(self._news)
            elif self._work:
                self._do(self._work.popleft())
            else:
                if not self._stirred and time.monotonic() - idle_since > _IDLE and self._ends():
                    return
                self._wake.wait(max(0.01, due) if self._stirred else _IDLE)
                self._wake.clear()
                continue
            idle_since = time.monotonic()
            time.sleep(_GAP)

    def _ends(self) -> bool:
        """Whether the thread may end; decided under the lock, so that no late word is left lying."""
        with self._lock:
            if self._stirred or self._work:
                return False
            self._thread = None
            return True

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            log.exception("The panel could not be brought up to date; the generations are not affected.")
