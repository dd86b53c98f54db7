"""Follows many jobs with few requests: one event stream, and a list now and then as the authority."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import attrgetter

from oxenvideo.client.client import Client
from oxenvideo.client.responses import Observation
from oxenvideo.client.retry import pace_of
from oxenvideo.errors import AuthenticationFailed, NotFound, OxenVideoError, RateLimited
from oxenvideo.jobs.job import Job
from oxenvideo.jobs.status import Status
from oxenvideo.settings import Pace

log = logging.getLogger("oxenvideo")

_READ_ONE_BY_ONE = 3  # up to this many are read by id; more by one list for each final status
_READS_A_ROUND = 20
_AT_A_TIME = 50  # rows of a list that are taken in before other work has its turn
_EARLY_EVENTS = 1_000  # events that are kept for ids that no answer has named yet
_LOST_AFTER = 3  # answers "unknown id" before one is believed
_LISTS_BROKEN = 3  # failures of the list in a row after which jobs are read by id instead
_ROUNDS_APART = 0.2  # seconds between two rounds, however often one is asked for


class Watcher:
    """Follows the jobs of one service until each has ended there. The stream and the lists become the same observations.

    ``revive`` is awaited after a failure, before the next attempt, because an embedded server may have to be started again.
    ``others`` is told of each generation in a list that is not followed.
    """

    def __init__(
        self, client: Client, pace: Pace, revive: Callable[[], Awaitable[object]], others: Callable[[Observation], None]
    ) -> None:
        self._client = client
        self._pace = pace
        self._revive = revive
        self._others = others
        self._jobs: dict[str, list[Job]] = {}  # by the service's id, those that are followed
        self._early: OrderedDict[str, Observation] = OrderedDict()
        self._unknown_id: dict[str, tuple[int, float]] = {}  # how often the service did not know an id, and since when
        self._stream_answered = asyncio.Event()  # it is open, or it cannot be had for now
        self._look_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._idle_since: float | None = None
        self._unreachable: str | None = None
        self._list_failures = 0
        self._unclear_rounds = 0

    async def stream_opened(self) -> None:
        """Return when the stream is open, so that nothing enqueued from now on is missed, or when it cannot be had."""
        self._start()
        if self._stream_answered.is_set():
            return
        try:
            async with asyncio.timeout(self._pace.stream_start):
                await self._stream_answered.wait()
        except TimeoutError:
            self._stream_answered.set()  # the lists make up for a slow stream, and the next submit does not wait for it

    async def ended(self, job: Job, *, look: bool = False) -> None:
        """Return when a job that has an id has ended at the service; ``look`` has the next list made now."""
        generation_id = job.state.generation_id or ""
        self._start()
        self._jobs.setdefault(generation_id, []).append(job)
        if look:
            self._look_now.set()
        if (early := self._early.pop(generation_id, None)) is not None:
            _tell(job, early)
        try:
            await job.until(_is_over)
        finally:
            self._jobs[generation_id].remove(job)
            if not self._jobs[generation_id]:
                del self._jobs[generation_id]
                self._unknown_id.pop(generation_id, None)

    def stop(self) -> None:
        """Close the stream and make no further lists."""
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
        """No unforeseen error may end the watching: every job would then be waited for without end."""
        while True:
            try:
                return await work()
            except Exception:
                log.exception("Watching was interrupted by an unforeseen error, and goes on")
                await asyncio.sleep(self._pace.first_poll)

    async def _recover(self) -> None:
        with contextlib.suppress(OxenVideoError):  # what is wrong shows in the next attempt
            await self._revive()

    # The stream

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            heard, missing = False, False
            named: float | None = None
            try:
                async with self._client.events() as events:
                    self._stream_answered.set()
                    if self._jobs:
                        self._look_now.set()  # some may have ended while there was no stream
                    async for seen in events:
                        heard = True
                        self._hear(seen)
            except OxenVideoError as error:
                missing = isinstance(error, NotFound) or getattr(error, "status_code", None) in (405, 406, 501)
                named = pace_of(error)
                await self._recover()
            self._stream_answered.set()
            failures = 1 if heard or loop.time() - began > self._pace.poll else failures + 1
            pause = self._pace.backoff.delay(failures, retry_after=named)
            await asyncio.sleep(self._pace.stream_retry if missing else pause)

    def _hear(self, seen: Observation) -> None:
        if seen.generation_id in self._jobs:
            self._see(seen)
            return
        if seen.progress is not None:
            return
        # The end of a job whose submit is still being answered, or somebody else's.
        self._early[seen.generation_id] = seen
        if len(self._early) > _EARLY_EVENTS:
            self._early.popitem(last=False)

    # The lists

    async def _list_now_and_then(self) -> None:
        failures = 0
        pause = self._pace.first_poll
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._look_now.wait()
            self._look_now.clear()
            if not self._jobs:
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
                # Not sooner, whoever asks: the service has enough to do.
                await asyncio.sleep(self._pace.backoff.delay(failures, retry_after=pace_of(error)))
                self._look_now.set()
            else:
                failures = 0
                self._say_unreachable(None)

    def _linger_is_over(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._idle_since = self._idle_since or now
        return now - self._idle_since >= self._pace.linger

    async def _round(self) -> float:
        """Look at every job once, with few requests; returns the seconds until the next round."""
        asked = dict(self._jobs)  # a job that is submitted while the answer is on its way cannot be in it
        namespaces = list(dict.fromkeys(jobs[0].submission.request.target_namespace for jobs in asked.values()))
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
        gone = [i for i in asked if i not in listed and i in self._jobs]
        whole = not self._list_failures
        if len(gone) > _READ_ONE_BY_ONE and whole:
            for status in ("succeeded", "failed", "cancelled"):
                try:
                    await self._list(status, namespaces)
                except (RateLimited, AuthenticationFailed):
                    raise
                except OxenVideoError:
                    whole = False  # the rest is read by id
        clear = await self._read([i for i in gone if i in self._jobs][:_READS_A_ROUND], listed=whole)
        self._unclear_rounds = 0 if clear and whole else self._unclear_rounds + 1
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
                (self._see if seen.generation_id in self._jobs else self._others)(seen)
        return listed

    def _see(self, seen: Observation) -> None:
        self._unknown_id.pop(seen.generation_id, None)
        for job in list(self._jobs.get(seen.generation_id, ())):
            _tell(job, seen)

    async def _read(self, ids: Sequence[str], *, listed: bool) -> bool:
        """Read some jobs by id, each whatever becomes of the others; returns whether the service told of all of them.

        ``listed`` is whether this round's lists were read, so that it is the service which answers.
        """
        clear = True
        for generation_id in ids:
            if generation_id not in self._jobs:
                continue
            try:
                self._see(await self._client.generation(generation_id))
            except NotFound as error:
                clear = False
                if listed or error.type is not None:
                    self._count_unknown(generation_id)
                else:  # a gateway may answer 404 while the service behind it is away
                    self._notice(generation_id, str(error))
            except (RateLimited, AuthenticationFailed):
                raise
            except OxenVideoError as error:
                clear = False
                self._notice(generation_id, str(error))
            if generation_id in self._jobs:  # those that were not read this time come first the next
                self._jobs[generation_id] = self._jobs.pop(generation_id)
        return clear

    def _count_unknown(self, generation_id: str) -> None:
        now = asyncio.get_running_loop().time()
        times, since = self._unknown_id.get(generation_id, (0, now))
        self._unknown_id[generation_id] = times + 1, since
        # A copy of the service that lags behind may not know a new id for a moment.
        if times + 1 >= _LOST_AFTER and now - since >= self._pace.confirm:
            error = NotFound(
                f"The service knows no generation {generation_id!r} under this key (HTTP 404).", status_code=404
            )
            for job in list(self._jobs.get(generation_id, ())):  # an event may have ended them meanwhile
                job.end(remote=None, local=Status.FAILED, error=error)

    def _say_unreachable(self, why: str | None) -> None:
        if why is None and self._unreachable is None:
            return
        self._unreachable = why
        for generation_id in list(self._jobs):
            self._notice(generation_id, why)

    def _notice(self, generation_id: str, why: str | None) -> None:
        notice = f"{why} Trying again; the job itself goes on." if why else None
        for job in self._jobs.get(generation_id, ()):
            if job.state.notice != notice:
                job.update(notice=notice)


_is_over = attrgetter("is_over_at_service")


def _tell(job: Job, seen: Observation) -> None:
    try:
        job.see(seen)
    except Exception:
        log.exception("An observation of a job was lost by an unforeseen error; the next list repeats it")
