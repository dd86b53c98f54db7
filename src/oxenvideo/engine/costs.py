"""Looks up what jobs really cost: from the history, for all that ended lately in one request."""

from __future__ import annotations

import asyncio
import logging

from oxenvideo.client.client import Client
from oxenvideo.errors import OxenVideoError
from oxenvideo.jobs.job import Job

log = logging.getLogger("oxenvideo")

# Seconds after which the history is asked, again and again: the cost is null there until it has been charged.
_LOOKS = (2.0, 10.0, 60.0, 300.0)
_PAGE = 1000  # rows, the most that the service gives at once
_MOST_PAGES = 6
_AT_A_TIME = 50  # rows that are taken in before other work has its turn


class Costs:
    """Fills in the cost of ended jobs, with a few requests for any number of them."""

    def __init__(self, client: Client, looks: tuple[float, ...] = _LOOKS) -> None:
        self._client = client
        self._looks = looks
        self._wanted: dict[str, tuple[Job, float]] = {}  # by the service's id, with since when, by the loop's clock
        self._look_number = 0
        self._task: asyncio.Task[None] | None = None

    def ask_for(self, job: Job) -> None:
        """Have the cost of a job looked up before long, where it is not known."""
        state = job.state
        if state.generation_id is None or state.cost is not None:
            return
        self._wanted[state.generation_id] = job, asyncio.get_running_loop().time()
        self._look_number = min(self._look_number, 1)  # soon, and yet not at every end of one of many
        if self._task is None or self._task.done():
            self._look_number = 0
            self._task = asyncio.create_task(self._look_now_and_then())

    def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()

    async def _look_now_and_then(self) -> None:
        while self._wanted:
            await asyncio.sleep(self._looks[min(self._look_number, len(self._looks) - 1)])
            self._look_number += 1
            try:
                await self._look()
            except OxenVideoError:
                pass  # a cost that is not known is shown as not known
            except Exception:
                log.exception("Looking up costs failed by an unforeseen error")
            too_old = asyncio.get_running_loop().time() - sum(self._looks)
            self._wanted = {i: (job, since) for i, (job, since) in self._wanted.items() if since > too_old}

    async def _look(self) -> None:
        size = min(_PAGE, max(50, 2 * len(self._wanted)))
        missing = set(self._wanted)
        for number in range(1, _MOST_PAGES + 1):
            page = await self._client.history(page=number, page_size=size)
            for row, seen in enumerate(page.generations):
                if row % _AT_A_TIME == _AT_A_TIME - 1:
                    await asyncio.sleep(0)  # a long page holds up nothing else
                missing.discard(seen.generation_id)
                if seen.cost is not None and seen.generation_id in self._wanted:
                    job, _ = self._wanted.pop(seen.generation_id)
                    job.see(seen)
            if not missing or number >= page.total_pages:
                return
