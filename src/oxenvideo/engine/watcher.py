"""Knowing how many generations stand, with few requests: one event stream, and a list now and then as the authority."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from oxenvideo.client.client import Client
from oxenvideo.errors import AuthenticationFailed, NotFound, OxenVideoError, RateLimited
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import Observation
from oxenvideo.pace import Pace
from oxenvideo.retry import pace_of

log = logging.getLogger("oxenvideo")

_READ_ONE_BY_ONE = 3  # up to this many are read by id; more by one list for each way of ending
_READS_A_ROUND = 20
_AT_A_TIME = 50  # rows of a list that are taken in before anything else has its turn
_EARLY_EVENTS = 1_000  # events kept for ids that no answer has named yet
_LOST_AFTER = 3  # times that the service may say "unknown id" before it is believed
_LISTS_BROKEN = 3  # failures of the list in a row after which generations are read by id instead
_ROUNDS_APART = 0.2  # seconds; any number of wishes to look make at most five rounds a second


class Watcher:
    """Watches the generations of one service until each has ended; both sources become the same observations.

    ``revive`` is awaited after a failure, before the next attempt: a server of our own may have to be started again.
    """

    def __init__(
        self,
        client: Client,
        pace: Pace,
        *,
        observed: Callable[[Generation, Observation], None],
        changed: Callable[..., None],
        vanished: Callable[[Generation], None],
        revive: Callable[[], Awaitable[object]],
    ) -> None:
        self.jobs: dict[str, Generation] = {}
        self._client = client
        self._pace = pace
        self._observed = observed
        self._changed = changed
        self._vanished = vanished
        self._revive = revive
        self._early: OrderedDict[str, Observation] = OrderedDict()
        self._unknown_id: dict[str, tuple[int, float]] = {}  # times, and since when (monotonic)
        self._stream_answered = asyncio.Event()  # it stands, or there is none for now: no use in waiting for it
        self._look_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._idle_since: float | None = None
        self._unreachable: str | None = None
        self._list_failures = 0
        self._unclear_rounds = 0

    # What others call

    async def ready(self) -> None:
        """Return when the stream stands, so that nothing enqueued from now on is missed; or when it is not to be had."""
        self._start()
        if self._stream_answered.is_set():
            return
        try:
            await asyncio.wait_for(self._stream_answered.wait(), self._pace.stream_start)
        except TimeoutError:
            self._stream_answered.set()  # slow to connect: the lists cover for it, and the next submit does not wait

    def add(self, generation: Generation) -> None:
        """Watch a generation that has an id."""
        assert generation.id is not None  # noqa: S101 - narrows the type
        self._start()
        self.jobs[generation.id] = generation
        if (early := self._early.pop(generation.id, None)) is not None:
            self._tell(generation, early)

    def discard(self, generation: Generation) -> None:
        """Stop watching one."""
        if generation.id is not None and self.jobs.get(generation.id) is generation:
            del self.jobs[generation.id]
            self._unknown_id.pop(generation.id, None)

    def look(self) -> None:
        """Have the next list made now."""
        self._look_now.set()

    def stop(self) -> None:
        """Close the stream and stop listing."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._stream_answered.clear()

    def _start(self) -> None:
        self._idle_since = None
        if not self._tasks:
            both = (self._listen, self._list_now_and_then)
            self._tasks = [asyncio.create_task(self._keep_going(work)) for work in both]

    async def _keep_going(self, work: Callable[[], Awaitable[None]]) -> None:
        """Nothing unforeseen may end the watching: it would leave every generation waiting for ever."""
        while True:
            try:
                return await work()
            except Exception:
                log.exception("Watching was interrupted in an unforeseen way, and goes on")
                await asyncio.sleep(self._pace.first_poll)

    def _tell(self, generation: Generation, seen: Observation) -> None:
        try:
            self._observed(generation, seen)
        except Exception:
            log.exception("An observation of %s was lost in an unforeseen way; the next list repeats it", generation)

    async def _recover(self) -> None:
        with contextlib.suppress(OxenVideoError):  # what is wrong shows in the next attempt
            await self._revive()

    # The stream

    async def _listen(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            heard, missing = False, False
            named: float | None = None
            try:
                async with self._client.events() as events:
                    self._stream_answered.set()
                    if self.jobs:
                        self.look()  # what ended while there was no stream
                    async for seen in events:
                        heard = True
                        self._hear(seen)
            except OxenVideoError as error:
                missing = isinstance(error, NotFound) or getattr(error, "status_code", None) in (405, 406, 501)
                named = pace_of(error)
                await self._recover()
            self._stream_answered.set()
            failures = 1 if heard or time.monotonic() - began > self._pace.poll else failures + 1
            pause = self._pace.backoff.delay(failures, retry_after=named)
            await asyncio.sleep(self._pace.stream_retry if missing else pause)

    def _hear(self, seen: Observation) -> None:
        generation = self.jobs.get(seen.generation_id)
        if generation is not None:
            self._tell(generation, seen)
            return
        # Perhaps the end of a job whose submit is still being answered; or somebody else's.
        self._early[seen.generation_id] = seen
        if len(self._early) > _EARLY_EVENTS:
            self._early.popitem(last=False)

    # The lists

    async def _list_now_and_then(self) -> None:
        failures = 0
        pause = self._pace.first_poll
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), pause)
            self._look_now.clear()
            if not self.jobs:
                failures, pause = 0, self._pace.first_poll
                if self._linger_is_over():
                    self.stop()
                    return
                continue
            try:
                pause = await self._round()
                await asyncio.sleep(min(_ROUNDS_APART, pause))
            except OxenVideoError as error:
                failures += 1
                if failures >= 2 or isinstance(error, AuthenticationFailed):
                    self._say_unreachable(str(error))
                await self._recover()
                # Not sooner than this, whoever asks: the service has enough to do.
                await asyncio.sleep(self._pace.backoff.delay(failures, retry_after=pace_of(error)))
                self.look()
            else:
                failures = 0
                self._say_unreachable(None)

    def _linger_is_over(self) -> bool:
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        return now - self._idle_since >= self._pace.linger

    async def _round(self) -> float:
        """Look at every generation once, with few requests; returns seconds until that is worth doing again."""
        asked = dict(self.jobs)  # what is submitted while the answer is on its way cannot be in it
        namespaces = {g.request.target_namespace for g in asked.values()}
        try:
            listed = await self._list(None, namespaces)
            self._list_failures = 0
        except RateLimited:
            raise
        except OxenVideoError:
            self._list_failures += 1
            if self._list_failures < _LISTS_BROKEN:
                raise
            listed = set()
        gone = [i for i in asked if i not in listed and i in self.jobs]
        if len(gone) > _READ_ONE_BY_ONE and not self._list_failures:
            for ending in ("succeeded", "failed", "cancelled"):
                await self._list(ending, namespaces)
        clear = await self._read([i for i in gone if i in self.jobs][:_READS_A_ROUND])
        self._unclear_rounds = 0 if clear and not self._list_failures else self._unclear_rounds + 1
        if not self._unclear_rounds:
            return self._pace.poll
        return min(self._pace.poll, self._pace.backoff.delay(self._unclear_rounds))

    async def _list(self, status: str | None, namespaces: Iterable[str | None]) -> set[str]:
        listed = set()
        for namespace in namespaces:
            for number, seen in enumerate(await self._client.queue(status=status, namespace=namespace)):
                if number % _AT_A_TIME == _AT_A_TIME - 1:
                    await asyncio.sleep(0)  # a long list holds up nothing else
                listed.add(seen.generation_id)
                self._see(seen)
        return listed

    def _see(self, seen: Observation) -> None:
        generation = self.jobs.get(seen.generation_id)
        if generation is not None:
            self._unknown_id.pop(seen.generation_id, None)
            self._tell(generation, seen)

    async def _read(self, ids: Sequence[str]) -> bool:
        """Read some by id, each whatever became of the others; returns whether all of them were told of."""
        clear = True
        for generation_id in ids:
            generation = self.jobs.get(generation_id)
            if generation is None:
                continue
            try:
                self._see(await self._client.generation(generation_id))
            except NotFound:
                clear = False
                self._count_unknown(generation_id, generation)
            except (RateLimited, AuthenticationFailed):
                raise
            except OxenVideoError as error:
                clear = False
                self._notice(generation, str(error))
            if generation_id in self.jobs:  # those that were not read this time come first the next
                self.jobs[generation_id] = self.jobs.pop(generation_id)
        return clear

    def _count_unknown(self, generation_id: str, generation: Generation) -> None:
        times, since = self._unknown_id.get(generation_id, (0, time.monotonic()))
        self._unknown_id[generation_id] = times + 1, since
        # A copy of the service that lags behind may not know a new id for a moment.
        if times + 1 >= _LOST_AFTER and time.monotonic() - since >= self._pace.confirm:
            self._vanished(generation)

    def _say_unreachable(self, why: str | None) -> None:
        if why is None and self._unreachable is None:
            return
        self._unreachable = why
        for generation in list(self.jobs.values()):
            self._notice(generation, why)

    def _notice(self, generation: Generation, why: str | None) -> None:
        notice = f"{why} Trying again; the job itself goes on." if why else None
        if generation.state.notice != notice:
            self._changed(generation, replace(generation.state, notice=notice))
