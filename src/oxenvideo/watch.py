"""Knowing how many generations stand, with few requests: one event stream, and a list now and then as the authority."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from oxenvideo.client import Client
from oxenvideo.errors import AuthenticationFailed, NotFound, OxenVideoError, ServiceError
from oxenvideo.generation import Generation
from oxenvideo.retry import Backoff
from oxenvideo.state import Observation

_READ_ONE_BY_ONE = 3  # up to this many are read by id; more by one list for each way of ending
_READS_A_ROUND = 20
_EARLY_EVENTS = 10_000  # events kept for ids that no answer has named yet
_LOST_AFTER = 3  # times that the service may say "unknown id" before it is believed


@dataclass(frozen=True)
class Pace:
    """How often things are looked at, in seconds.

    ``poll`` is between lists (the documentation advises 10 to 30 s for videos), ``first_poll`` after a submit,
    ``linger`` how long the stream stays open with nothing to watch, ``stream_start`` how long a submit waits for the
    stream to stand, ``stream_retry`` between attempts where the service says that it has no stream, ``confirm`` how long
    a submit with a lost answer is looked for before a person is asked.
    """

    poll: float = 10.0
    first_poll: float = 2.0
    linger: float = 20.0
    stream_start: float = 3.0
    stream_retry: float = 300.0
    confirm: float = 45.0
    backoff: Backoff = field(default_factory=Backoff)


class Watcher:
    """Watches the generations of one service until each has ended; both sources become the same observations."""

    def __init__(
        self,
        client: Client,
        pace: Pace,
        observed: Callable[[Generation, Observation], None],
        changed: Callable[..., None],
        vanished: Callable[[Generation], None],
    ) -> None:
        self.jobs: dict[str, Generation] = {}
        self._client = client
        self._pace = pace
        self._observed = observed
        self._changed = changed
        self._vanished = vanished
        self._early: OrderedDict[str, Observation] = OrderedDict()
        self._unknown_id: dict[str, int] = {}
        self._stream_answered = asyncio.Event()  # it stands, or there is none for now: no use in waiting for it
        self._stream_missing = False
        self._look_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._idle_since: float | None = None
        self._unreachable: str | None = None

    # What others call

    async def ready(self) -> None:
        """Return when the stream stands, so that nothing enqueued from now on is missed; or when it is not to be had."""
        self._start()
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
            self._observed(generation, early)

    def discard(self, generation: Generation) -> None:
        """Stop watching one."""
        if generation.id is not None:
            self.jobs.pop(generation.id, None)
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
            self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._list_now_and_then())]

    # The stream

    async def _listen(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            heard = False
            try:
                async with self._client.events() as events:
                    self._stream_answered.set()
                    if self.jobs:
                        self.look()  # what ended while there was no stream
                    async for seen in events:
                        heard = True
                        self._hear(seen)
            except ServiceError as error:
                self._stream_missing = error.status_code in (404, 405, 406, 501) or isinstance(error, NotFound)
            except OxenVideoError:
                self._stream_missing = False
            else:
                self._stream_missing = False
            self._stream_answered.set()
            failures = 1 if heard or time.monotonic() - began > self._pace.poll else failures + 1
            pause = self._pace.stream_retry if self._stream_missing else self._pace.backoff.delay(failures)
            await asyncio.sleep(pause)

    def _hear(self, seen: Observation) -> None:
        generation = self.jobs.get(seen.generation_id)
        if generation is not None:
            self._observed(generation, seen)
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
                await self._round()
            except OxenVideoError as error:
                failures += 1
                asked = error.retry_after if isinstance(error, ServiceError) else None
                pause = self._pace.backoff.delay(failures, retry_after=asked)
                if failures >= 2 or isinstance(error, AuthenticationFailed):
                    self._say_unreachable(str(error))
                # Not sooner than the pause, whoever asks: the service has enough to do.
                await asyncio.sleep(pause)
                self.look()
            else:
                failures, pause = 0, self._pace.poll
                self._say_unreachable(None)
                await asyncio.sleep(min(0.2, pause))  # any number of wishes to look make at most five rounds a second

    def _linger_is_over(self) -> bool:
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        return now - self._idle_since >= self._pace.linger

    async def _round(self) -> None:
        asked = dict(self.jobs)  # what is submitted while the answer is on its way cannot be in it
        namespaces = {g.request.target_namespace for g in asked.values()}
        listed: set[str] = set()
        for namespace in namespaces:
            for seen in await self._client.queue(namespace=namespace):
                listed.add(seen.generation_id)
                self._see(seen)
        gone = [i for i in asked if i not in listed and i in self.jobs]
        if len(gone) > _READ_ONE_BY_ONE:
            for ending in ("succeeded", "failed", "cancelled"):
                for namespace in namespaces:
                    for seen in await self._client.queue(status=ending, namespace=namespace):
                        self._see(seen)
            gone = [i for i in gone if i in self.jobs]
        await self._read(gone[:_READS_A_ROUND])

    def _see(self, seen: Observation) -> None:
        generation = self.jobs.get(seen.generation_id)
        if generation is not None:
            self._unknown_id.pop(seen.generation_id, None)
            self._observed(generation, seen)

    async def _read(self, ids: Collection[str]) -> None:
        for generation_id in ids:
            try:
                self._see(await self._client.generation(generation_id))
            except NotFound:
                count = self._unknown_id[generation_id] = self._unknown_id.get(generation_id, 0) + 1
                generation = self.jobs.get(generation_id)
                if count >= _LOST_AFTER and generation is not None:
                    self._vanished(generation)
                else:
                    self.look()

    def _say_unreachable(self, why: str | None) -> None:
        if why is None and self._unreachable is None:
            return
        self._unreachable = why
        notice = f"{why} Trying again; the job itself goes on." if why else None
        for generation in list(self.jobs.values()):
            if generation.state.notice != notice:
                self._changed(generation, replace(generation.state, notice=notice))
