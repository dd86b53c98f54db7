"""Cancels jobs wherever they are, and finds out what became of that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from oxenvideo.client.client import Client
from oxenvideo.client.responses import Observation
from oxenvideo.client.retry import Backoff, persist
from oxenvideo.errors import OxenVideoError
from oxenvideo.jobs.generation import Cancellation
from oxenvideo.jobs.job import Job
from oxenvideo.jobs.status import Status, Step

_AT_ONCE = 8  # requests; cancelling a large batch must leave room for other requests
_BACKOFF = Backoff(first=0.3, most=5.0)


class Canceller:
    """Cancels the jobs of one service, each once, however often that is asked for meanwhile."""

    def __init__(self, open_client: Callable[[], Awaitable[Client]]) -> None:
        self._open = open_client
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._tasks: dict[Job, asyncio.Task[Cancellation]] = {}

    async def cancel(self, job: Job) -> Cancellation:
        """Cancel a job and say whether the service agreed. It goes on when nobody waits for the answer any more."""
        task = self._tasks.get(job)
        if task is None:
            task = self._tasks[job] = asyncio.create_task(self._cancel(job))
            task.add_done_callback(lambda _: self._tasks.pop(job, None))
        return await asyncio.shield(task)

    def stop(self) -> None:
        """Ask no more."""
        for task in self._tasks.values():
            task.cancel()

    async def _cancel(self, job: Job) -> Cancellation:
        if job.state.remote is None and (answer := await self._without_id(job)) is not None:
            return answer
        if job.state.is_over_at_service:
            return _outcome(job, job.state.remote or "")
        async with self._turns:
            try:
                # Both requests can be repeated without harm.
                seen = await persist(lambda: self._ask(job.state.generation_id or ""), backoff=_BACKOFF)
            except OxenVideoError as error:
                return Cancellation(f"Not cancelled, as far as is known: {error} It goes on.", cancelled=False)
        job.see(seen)
        outcome = _outcome(job, seen.status)
        return Cancellation(f"{outcome} {seen.notice}", cancelled=outcome.cancelled) if seen.notice else outcome

    async def _ask(self, generation_id: str) -> Observation:
        """Ask, then look: the service's answer to a DELETE is the same whether or not it was too late."""
        client = await self._open()
        await client.cancel(generation_id)
        return await client.generation(generation_id)

    async def _without_id(self, job: Job) -> Cancellation | None:
        """The answer for a job that may not have reached the service; None where the service turns out to have it."""
        submission = job.submission
        if submission.step is Step.PLANNED and not job.state.is_settled:
            if not submission.withdraw(job):
                uncertain = "Not sent. If this kernel ends before the journal can be written, resume sends it."
                return Cancellation(uncertain, cancelled=True)
            return Cancellation("Cancelled before it was sent; nothing is charged.", cancelled=True)
        if submission.step is Step.AMBIGUOUS:
            submission.give_up(job)
            return Cancellation(
                "Given up. The service may have a generation of it: see %oxenvideo history.", cancelled=False
            )
        await job.until(lambda state: state.generation_id is not None or state.is_settled)
        if job.state.generation_id is not None:
            return None
        if job.state.status is Status.UNCONFIRMED:
            job.update(cancel_requested=True)
            return Cancellation(
                "It is not known whether the service has it. If it is found, it is cancelled.", cancelled=False
            )
        cancelled = job.state.status is Status.CANCELLED
        return Cancellation("There is nothing at the service to cancel.", cancelled=cancelled)


def _outcome(job: Job, status: str) -> Cancellation:
    match status:
        case Status.CANCELLED:
            return Cancellation("The service cancelled it.", cancelled=True)
        case Status.SUCCEEDED:
            charged = "" if job.submission.target.is_local else ", and is charged"
            return Cancellation(f"Too late: the video was already finished{charged}.", cancelled=False)
        case Status.FAILED:
            return Cancellation("Too late: it had already failed.", cancelled=False)
        case _:
            return Cancellation(f"The service took the request and still calls it {status}.", cancelled=False)
