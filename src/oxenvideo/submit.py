"""Sending each request once: journalled before it goes out, and never again where its outcome is unknown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from oxenvideo import recover
from oxenvideo.client import Client
from oxenvideo.errors import (
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    InsufficientCredits,
    NotFound,
    OutcomeUnknown,
    OxenVideoError,
    RateLimited,
    ServiceError,
)
from oxenvideo.generation import Generation
from oxenvideo.inputs import depends_on_others
from oxenvideo.journal import Journal, Step
from oxenvideo.request import VideoRequest
from oxenvideo.state import Observation, State, Status
from oxenvideo.watch import Pace
from oxenvideo.wire import Rendered

# Answers that say no: the service did not act, and asking again as it stands would not help.
_REFUSALS = (AuthenticationFailed, InsufficientCredits, BadRequest, NotFound)
_REACH_ATTEMPTS = 8  # connections tried before a request is given up as never sent, over about two minutes
_CLOCK_SLACK = 3.0  # seconds by which the service's whole-second clock and ours may differ unnoticed
_STATUSES = (None, "succeeded", "failed", "cancelled")  # None lists the active ones
_LATEST_LOOK = 900.0  # seconds after which a lost submit is no longer looked for in this kernel


@dataclass(eq=False)
class Submission:
    """One POST and the generations that it asks for; ``save_as`` names the files (a path, or a pattern)."""

    request: VideoRequest
    generations: Sequence[Generation]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    synchronous: bool = False
    batch: str | None = None
    position: int = 0
    save_as: str | None = None
    fingerprint: dict[str, Any] = field(default_factory=dict)
    since: float = 0.0  # when it was sent, by this machine's clock
    lost_at: float | None = None  # monotonic, when its answer was lost
    cancelled: bool = False
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # accepted, refused, or not to be found


class Home(Protocol):
    """What a Submitter needs of its channel."""

    base_url: str
    journal: Journal
    pace: Pace

    async def open(self) -> Client: ...  # noqa: D102
    async def stream_ready(self) -> None: ...  # noqa: D102
    async def prepare(self, request: VideoRequest, waiting: Callable[[str], None]) -> VideoRequest: ...  # noqa: D102
    def change(self, generation: Generation, state: State) -> None: ...  # noqa: D102
    def accepted(self, submission: Submission, ids: Sequence[str]) -> None: ...  # noqa: D102
    def rendered(self, submission: Submission, result: Rendered) -> None: ...  # noqa: D102


class Submitter:
    """Sends submissions in order, a bounded number at a time, and settles those whose answers were lost."""

    def __init__(self, home: Home, at_once: int) -> None:
        self._home = home
        self._at_once = at_once
        self._queue: asyncio.Queue[Submission] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._others: set[asyncio.Task[None]] = set()
        self._sending: set[Submission] = set()
        self._lost: list[Submission] = []
        self._searching: asyncio.Task[None] | None = None
        self._not_before = 0.0  # monotonic; the pace that a 429 named holds for everything

    def submit(self, submission: Submission) -> None:
        """Send it when its turn comes. One that waits for others, or whose answer takes minutes, holds nobody up."""
        if submission.synchronous or depends_on_others(submission.request):
            task = asyncio.create_task(self._handle(submission))
            self._others.add(task)
            task.add_done_callback(self._others.discard)
            return
        self._queue.put_nowait(submission)
        if len(self._workers) < self._at_once:
            self._workers.append(asyncio.create_task(self._work()))

    def look_for(self, submission: Submission) -> None:
        """Settle a submission whose answer was lost, here or in a kernel that is no more."""
        submission.lost_at = time.monotonic()
        submission.settled.clear()
        self._lost.append(submission)
        if self._searching is None or self._searching.done():
            self._searching = asyncio.create_task(self._search())

    def holds(self, submission: Submission) -> bool:
        """Whether it may have reached the service already, its answer being waited or looked for."""
        return submission in self._sending or submission in self._lost

    def stop(self) -> None:
        """Send nothing more."""
        for task in (*self._workers, *self._others, *([self._searching] if self._searching else [])):
            task.cancel()

    def fail(self, submission: Submission, error: OxenVideoError, step: Step = "refused") -> None:
        """End all its generations with an error; nothing of it is under way."""
        with contextlib.suppress(Exception):  # the journal itself may be what failed
            self._home.journal.step(submission.key, step)
        for generation in submission.generations:
            self._put(generation, local=Status.FAILED, error=error, notice=None, finished_at=time.time())
        submission.settled.set()

    # One submission

    async def _work(self) -> None:
        while True:
            await self._handle(await self._queue.get())

    async def _handle(self, submission: Submission) -> None:
        try:
            prepared = await self._prepare(submission)
            if prepared is not None:
                await self._send(submission, prepared)
        except OxenVideoError as error:
            self.fail(submission, error)
        except Exception as error:
            if submission in self._sending:
                raise  # sent or not is unknown: the journal says "sending", and resume settles it
            self.fail(submission, OxenVideoError(f"Nothing was sent: {type(error).__name__}: {error}"))
            raise
        finally:
            self._sending.discard(submission)

    async def _prepare(self, submission: Submission) -> VideoRequest | None:
        def waiting(label: str) -> None:
            for generation in submission.generations:
                self._put(generation, local=Status.WAITING, notice=f"Waits for {label}.")

        prepared = await self._home.prepare(submission.request, waiting)
        if submission.cancelled:
            return None
        for generation in submission.generations:
            self._put(generation, local=Status.SUBMITTING, notice=None)
        return prepared

    async def _send(self, submission: Submission, prepared: VideoRequest) -> None:
        home = self._home
        client = await home.open()
        body = prepared.body()
        submission.fingerprint = recover.fingerprint(body)
        unreached = 0
        while True:
            await self._turn(submission)
            await home.stream_ready()
            if submission.cancelled:
                return
            if not home.journal.claim_sending(submission.key, submission.fingerprint):
                raise OxenVideoError("Another kernel has taken this request over; see %oxenvideo history.")
            submission.since = time.time()
            self._sending.add(submission)
            try:
                if submission.synchronous:
                    result = await client.generate(body)
                else:
                    ids = [one.generation_id for one in await client.enqueue(body)]
            except ConnectionFailed as error:
                unreached += 1
                if unreached >= _REACH_ATTEMPTS:
                    raise ConnectionFailed(f"{error} Nothing was sent; run the cell again later.") from None
                await self._later(submission, str(error), unreached, None)
            except RateLimited as error:
                await self._later(submission, str(error), 1, error.retry_after)
            except _REFUSALS as error:
                home.journal.step(submission.key, "refused")
                raise error from None
            except (OutcomeUnknown, ServiceError) as error:
                self._lose(submission, error)
                return
            else:
                if submission.synchronous:
                    home.rendered(submission, result)
                else:
                    home.accepted(submission, ids)
                return

    async def _turn(self, submission: Submission) -> None:
        while (left := self._not_before - time.monotonic()) > 0 and not submission.cancelled:
            await asyncio.sleep(min(left, 1.0))

    async def _later(self, submission: Submission, why: str, attempt: int, retry_after: float | None) -> None:
        """The service has not got it: say so, and come back at its pace or ours."""
        self._home.journal.unsent(submission.key)
        self._sending.discard(submission)
        pause = self._home.pace.backoff.delay(attempt, retry_after=retry_after)
        self._not_before = max(self._not_before, time.monotonic() + pause)
        for generation in submission.generations:
            self._put(generation, notice=f"{why} Trying again in {max(1, round(pause))} s.")

    def _put(self, generation: Generation, **changes: Any) -> None:
        state = generation.state
        if state.remote is None and not state.status.is_terminal:
            self._home.change(generation, replace(state, **changes))

    # Lost answers

    def _lose(self, submission: Submission, why: OxenVideoError) -> None:
        self._home.journal.step(submission.key, "unknown")
        self._sending.discard(submission)
        for generation in submission.generations:
            self._put(generation, notice=f"{why} Looking for it at the service; it is not sent again.")
        self.look_for(submission)

    async def _search(self) -> None:
        """Look at the service's lists until every lost submission is settled or has been looked for long enough."""
        pause = min(0.5, self._home.pace.confirm / 4)
        while self._lost:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 60.0)
            try:
                client = await self._home.open()
                await self._look(client)
            except OxenVideoError as error:
                for submission in self._lost:
                    for generation in submission.generations:
                        self._put(generation, notice=f"{error} Looking for it again soon; it is not sent again.")
                continue  # a failed look is no evidence
            now = time.monotonic()
            for submission in list(self._lost):
                age = now - (submission.lost_at or now)
                if age >= self._home.pace.confirm:
                    self._give_to_person(submission, ambiguous=False)
                if age >= _LATEST_LOOK or submission.cancelled:
                    self._lost.remove(submission)

    async def _look(self, client: Client) -> None:
        namespaces = {s.request.target_namespace for s in self._lost}
        listed: dict[str, Observation] = {}
        for namespace in namespaces:
            for status in _STATUSES:
                for seen in await client.queue(status=status, namespace=namespace):
                    listed[seen.generation_id] = seen
        claimed = self._home.journal.claimed(self._home.base_url, listed)
        groups: dict[str, list[Submission]] = {}
        for submission in self._lost:
            groups.setdefault(json.dumps(submission.fingerprint, sort_keys=True), []).append(submission)
        for same in groups.values():
            if not self._identical_is_on_its_way(same[0]):
                self._settle(same, listed, claimed, client.clock_offset or 0.0)

    def _identical_is_on_its_way(self, submission: Submission) -> bool:
        """Whether what the list shows could belong to a submit that is still waiting for its answer."""
        mine = any(other.fingerprint == submission.fingerprint for other in self._sending)
        return mine or self._home.journal.in_flight_elsewhere(self._home.base_url, submission.fingerprint)

    def _settle(
        self, same: Sequence[Submission], listed: dict[str, Observation], claimed: set[str], ahead: float
    ) -> None:
        lost = [recover.Lost(s.key, s.fingerprint, len(s.generations), s.since + ahead - _CLOCK_SLACK) for s in same]
        verdict = recover.judge(lost, listed.values(), claimed)
        for submission in same:
            found = verdict.adopted.get(submission.key)
            if found is not None:
                self._lost.remove(submission)
                self._home.accepted(submission, [seen.generation_id for seen in found])
            elif submission.key in verdict.ambiguous:
                self._give_to_person(submission, ambiguous=True)

    def _give_to_person(self, submission: Submission, *, ambiguous: bool) -> None:
        if ambiguous:
            why = (
                "The answer to this submit was lost, and the service has more than one generation that could be it. "
                "See %oxenvideo history, and bring the right one back with %oxenvideo attach ID."
            )
        else:
            why = (
                "The answer to this submit was lost, and the service shows no generation like it. If it is run again and "
                "the first one arrived after all, both are paid. %oxenvideo resume looks for it again."
            )
        for generation in submission.generations:
            self._put(generation, local=Status.UNCONFIRMED, error=OutcomeUnknown(why), notice=None)
        submission.settled.set()
