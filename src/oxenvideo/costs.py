"""What generations really cost: asked of the history, for all that ended lately in one request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from oxenvideo.client import Client
from oxenvideo.errors import OxenVideoError
from oxenvideo.generation import Generation
from oxenvideo.state import Observation

# Seconds after which the history is asked, again and again: the cost is null there until it has been charged.
_LOOKS = (2.0, 10.0, 60.0, 300.0)


class Costs:
    """Fills in the cost of ended generations, a few requests for any number of them."""

    def __init__(
        self, client: Client, observed: Callable[[Generation, Observation], None], looks: tuple[float, ...] = _LOOKS
    ) -> None:
        self._client = client
        self._observed = observed
        self._looks = looks
        self._wanted: dict[str, Generation] = {}
        self._task: asyncio.Task[None] | None = None

    def ask_for(self, generation: Generation) -> None:
        """Have this one's cost looked up before long."""
        if generation.id is not None:
            self._wanted[generation.id] = generation
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._look())

    def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()

    async def _look(self) -> None:
        for pause in self._looks:
            await asyncio.sleep(pause)
            with contextlib.suppress(OxenVideoError):  # a cost that is not known is shown as not known
                page = await self._client.history(page_size=min(1000, max(50, 2 * len(self._wanted))))
                for seen in page.generations:
                    generation = self._wanted.get(seen.generation_id)
                    if generation is not None and seen.cost is not None:
                        del self._wanted[seen.generation_id]
                        self._observed(generation, seen)
            if not self._wanted:
                return
        self._wanted.clear()
