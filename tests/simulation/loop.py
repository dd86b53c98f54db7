"""Virtual time: one heap of what happens next, and event loops that run on it, one for each kernel."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


class Timeline:
    """What happens next in the whole world: to the network, the service, the people and every kernel."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = itertools.count()

    def at(self, when: float, call: Callable[..., object], *args: Any) -> None:
        """Have something called at a time."""
        heapq.heappush(self._heap, (when, next(self._order), call, args))

    def after(self, seconds: float, call: Callable[..., object], *args: Any) -> None:
        """Have something called after some seconds."""
        heapq.heappush(self._heap, (self.now + seconds, next(self._order), call, args))

    def run(self, until: float) -> None:
        """Let everything happen up to a time."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, _, call, args = heapq.heappop(heap)
            if when > self.now:
                self.now = when
            call(*args)
        self.now = max(self.now, until)


class KernelLoop(asyncio.AbstractEventLoop):
    """The event loop of one kernel. ``delay`` tells the seconds from one turn to the next; ``stepped`` is called before each
    callback. A dead loop runs nothing more, and nothing is taken apart: as with a killed process."""

    def __init__(
        self, timeline: Timeline, *, origin: float, delay: Callable[[], float], stepped: Callable[[], None]
    ) -> None:
        self.dead = False
        self._timeline = timeline
        self._origin = origin
        self._delay = delay
        self._stepped = stepped
        self._ready: deque[asyncio.Handle] = deque()
        self._due = False
        self._running = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits for its turn."""
        return not self._ready

    def time(self) -> float:
        return self._timeline.now + self._origin

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._enter(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timeline.at(when - self._origin, self._enter, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, **options)

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """A blocking call: takes place as a whole, a moment later, on no loop."""
        future = self.create_future()
        self._timeline.after(self._delay(), self._call_blocking, future, func, args)
        return future

    def _call_blocking(self, future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if self.dead or future.cancelled():
            return
        outer = events._get_running_loop()
        events._set_running_loop(None)
        try:
            result = func(*args)
        except BaseException as error:
            if not self.dead:
                self.call_soon(_settle, future, None, error)
        else:
            self.call_soon(_settle, future, result, None)
        finally:
            events._set_running_loop(outer)

    def _enter(self, handle: asyncio.Handle) -> None:
        if self.dead or handle._cancelled:
            return
        self._ready.append(handle)
        self._wake()

    def _wake(self) -> None:
        if not self._due and not self._running and not self.dead:
            self._due = True
            self._timeline.after(self._delay(), self._turn)

    def _turn(self) -> None:
        """One iteration of the loop: everything that is ready now."""
        self._due = False
        outer = events._get_running_loop()
        events._set_running_loop(self)
        self._running = True
        try:
            for _ in range(len(self._ready)):
                self._stepped()
                if self.dead:
                    return
                handle = self._ready.popleft()
                if not handle._cancelled:
                    handle._run()
        finally:
            self._running = False
            events._set_running_loop(outer)
        if self._ready:
            self._wake()

    # What asyncio asks of a loop besides

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.dead

    def is_closed(self) -> bool:
        return False

    def close(self) -> None:
        self.dead = True

    def stop(self) -> None:
        """A kernel that is closed goes on, without the engine."""

    def set_default_executor(self, executor: object) -> None:
        pass

    def set_exception_handler(self, handler: object) -> None:
        pass

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nothing may fail unseen while the kernel lives."""
        if not self.dead:
            self.failed(context)

    def failed(self, context: dict[str, Any]) -> None:
        """Replaced by the life, which writes it into the history."""


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
