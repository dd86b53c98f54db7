"""Bringing finished videos home: a few downloads at a time, each to a file that is whole or not there."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from oxenvideo.client.client import Client
from oxenvideo.engine import transfer
from oxenvideo.errors import DownloadFailed, OxenVideoError
from oxenvideo.jobs import file_names
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import Observation, State
from oxenvideo.pace import Pace
from oxenvideo.retry import persist

log = logging.getLogger("oxenvideo")

_PROGRESS_EVERY = 0.5  # seconds between two changes of state that only tell bytes


class Home(Protocol):
    """What Deliveries need of their channel."""

    pace: Pace

    async def open(self) -> Client: ...  # noqa: D102
    def change(self, generation: Generation, state: State) -> None: ...  # noqa: D102
    def observed(self, generation: Generation, seen: Observation) -> None: ...  # noqa: D102


class Deliveries:
    """Fetches the files of generations that succeeded, ``at_once`` of them together, each of at most ``most`` bytes.

    ``directory`` tells where files go; what holds when a generation comes in holds for its file.
    """

    def __init__(self, home: Home, directory: Callable[[], Path], *, at_once: int, most: int) -> None:
        self._home = home
        self._directory = directory
        self._at_once = at_once
        self._most = most
        self._places: WeakKeyDictionary[Generation, tuple[Path, str | None]] = WeakKeyDictionary()
        self._queue: deque[Generation] = deque()
        self._under_way: set[Generation] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers = 0

    def name(self, generation: Generation, save_as: str | None, directory: Path | None = None) -> None:
        """Have its file named by a path or a pattern, in this directory or in what is the one for files now."""
        if save_as is not None or generation not in self._places:
            self._places[generation] = (directory or self._directory()).absolute(), save_as

    def bring(self, generation: Generation) -> None:
        """Fetch its file when it is its turn; once, however often that is asked for meanwhile."""
        if generation in self._under_way:
            return
        self._under_way.add(generation)
        self._queue.append(generation)
        if self._workers < self._at_once:
            self._workers += 1
            self._spawn(self._work())

    def store(self, generation: Generation, encoded: str, stored: Callable[[], None]) -> None:
        """Write a video that came in an answer's body (base64); ``stored`` is called when it is safe or has failed."""
        self._under_way.add(generation)
        self._spawn(self._store(generation, encoded, stored))

    def stop(self) -> None:
        """Break off; what is unfinished stays in the journal."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            while self._queue:
                generation = self._queue.popleft()
                await self._settle(generation, self._fetch(generation))
        finally:
            self._workers -= 1

    async def _store(self, generation: Generation, encoded: str, stored: Callable[[], None]) -> None:
        def write() -> Path:
            content = base64.b64decode(encoded)
            return transfer.store(
                content, self._destination(generation), finish=lambda p: file_names.stamp(p, generation)
            )

        await self._settle(generation, asyncio.to_thread(write))
        stored()

    async def _settle(self, generation: Generation, work: Awaitable[Path]) -> None:
        """Whatever becomes of it, the generation ends in a state that is told."""
        change = self._home.change
        try:
            path = await work
            size = path.stat().st_size
        except OxenVideoError as error:
            failure = error if isinstance(error, DownloadFailed) else DownloadFailed(f"Download failed: {error}")
            change(generation, _ended(generation.state, error=failure))
        except Exception as error:
            log.exception("A download failed in an unforeseen way")
            failure = DownloadFailed(f"Download failed: {type(error).__name__}: {error}. Try again with .download().")
            change(generation, _ended(generation.state, error=failure))
        else:
            change(generation, _ended(generation.state, path=path, received=size, expected=size, error=None))
        finally:
            self._under_way.discard(generation)

    async def _fetch(self, generation: Generation) -> Path:
        destination = self._destination(generation)
        # A kernel may have been killed after the file had its name, and before that was written down.
        if await asyncio.to_thread(file_names.is_of, destination, generation):
            return destination
        last = 0.0
        loop = asyncio.get_running_loop()

        def progress(received: int, expected: int | None) -> None:  # on the download's thread
            nonlocal last
            if time.monotonic() - last >= _PROGRESS_EVERY:
                last = time.monotonic()
                with contextlib.suppress(RuntimeError):  # the loop has just ended
                    loop.call_soon_threadsafe(tell, received, expected)

        def tell(received: int, expected: int | None) -> None:
            if generation in self._under_way:
                self._home.change(generation, replace(generation.state, received=received, expected=expected))

        async def renew() -> str:
            return await self._renewed(generation)

        url = generation.result_url
        if url is None:
            url = await persist(renew, attempts=8, backoff=self._home.pace.backoff)
        return await transfer.fetch(
            await self._home.open(),
            url,
            destination,
            renew=renew,
            progress=progress,
            backoff=self._home.pace.backoff,
            most=self._most,
            finish=lambda whole: file_names.stamp(whole, generation),
        )

    async def _renewed(self, generation: Generation) -> str:
        if generation.id is None:
            raise DownloadFailed("The result URL expired, and a synchronous request has no id by which to renew it.")
        seen = await (await self._home.open()).generation(generation.id)
        self._home.observed(generation, seen)
        if seen.result_url is None:
            raise DownloadFailed(f"The service has no result URL any more; the generation is {seen.status}.")
        return seen.result_url

    def _destination(self, generation: Generation) -> Path:
        directory, save_as = self._places.get(generation) or (self._directory().absolute(), None)
        return file_names.destination(generation, save_as, directory)


def _ended(state: State, **changes: Any) -> State:
    return replace(state, fetching=False, notice=None, finished_at=time.time(), **changes)
