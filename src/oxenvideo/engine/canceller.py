"""Cancelling a generation wherever it stands, and finding out what became of that."""

from __future__ import annotations

import asyncio
from typing import Protocol
from weakref import WeakKeyDictionary

from oxenvideo.client.client import Client
from oxenvideo.errors import OxenVideoError
from oxenvideo.jobs.generation import Cancellation, Generation
from oxenvideo.jobs.status import Observation, Status
from oxenvideo.jobs.submission import Submission
from oxenvideo.retry import Backoff, persist

_AT_ONCE = 8  # requests; the cancelling of a large batch must not crowd out all else
_BACKOFF = Backoff(first=0.3, most=5.0)
_ENDS = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)


class Home(Protocol):
    """What a Canceller needs of its channel."""

    async def open(self) -> Client: ...  # noqa: D102
    def observed(self, generation: Generation, seen: Observation) -> None: ...  # noqa: D102
    def submission_of(self, generation: Generation) -> Submission | None: ...  # noqa: D102
    def may_have_arrived(self, submission: Submission) -> bool: ...  # noqa: D102
    def withdraw(self, submission: Submission, generation: Generation) -> None: ...  # noqa: D102


class Canceller:
    """Cancels generations of one service, each once, however often that is asked for meanwhile."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tasks: WeakKeyDictionary[Generation, asyncio.Task[Cancellation]] = WeakKeyDictionary()

    async def cancel(self, generation: Generation) -> Cancellation:
        """Cancel it, and say whether the service agreed; goes on when nobody waits for the answer any more."""
        task = self._tasks.get(generation)
        if task is None or task.done():
            task = self._tasks[generation] = asyncio.create_task(self._cancel(generation))
        return await asyncio.shield(task)

    def stop(self) -> None:
        """Ask no more."""
        for task in self._tasks.values():
            task.cancel()

    async def _cancel(self, generation: Generation) -> Cancellation:
        if generation.id is None:
            answer = await self._without_id(generation)
            if answer is not None:
                return answer
        if generation.state.remote in _ENDS:
            return _verdict(generation.state.remote or "")
        async with self._slots:
            try:
                # Both requests may be repeated without harm.
                seen = await persist(lambda: self._ask(generation.id or ""), backoff=_BACKOFF)
            except OxenVideoError as error:
                return Cancellation(f"Not cancelled, as far as is known: {error} It goes on.", cancelled=False)
        self._home.observed(generation, seen)
        return _verdict(seen.status)

    async def _ask(self, generation_id: str) -> Observation:
        """Ask, then look: the service's answer to a DELETE is the same whether or not it was too late."""
        client = await self._home.open()
        await client.cancel(generation_id)
        return await client.generation(generation_id)

    async def _without_id(self, generation: Generation) -> Cancellation | None:
        """What there is to say of one that may not have reached the service; None where it turned out that it has."""
        nothing = "There is nothing at the service to cancel."
        submission = self._home.submission_of(generation)
        if submission is None:
            return Cancellation(nothing, cancelled=generation.status is Status.CANCELLED)
        if generation.status is not Status.UNCONFIRMED and not self._home.may_have_arrived(submission):
            self._home.withdraw(submission, generation)
            return Cancellation("Cancelled before it was sent; nothing is charged.", cancelled=True)
        await submission.settled.wait()
        if generation.id is not None:
            return None
        if generation.status is Status.UNCONFIRMED:
            submission.unwanted.add(generation)
            return Cancellation(
                "It is not known whether the service has it; where it turns up here, it is cancelled.", cancelled=False
            )
        return Cancellation(nothing, cancelled=generation.status is Status.CANCELLED)


def _verdict(status: str) -> Cancellation:
    match status:
        case Status.CANCELLED:
            return Cancellation("The service cancelled it.", cancelled=True)
        case Status.SUCCEEDED:
            return Cancellation("Too late: the video was already finished, and is charged.", cancelled=False)
        case Status.FAILED:
            return Cancellation("Too late: it had already failed.", cancelled=False)
        case _:
            return Cancellation(f"The service took the request and still calls it {status}.", cancelled=False)
