"""Sending each request once: journalled before it goes out, and never again where its outcome is unknown."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from oxenvideo.client import responses
from oxenvideo.client.client import Client
from oxenvideo.client.responses import Rendered
from oxenvideo.engine import recovery_match
from oxenvideo.engine.media_inputs import depends_on_others
from oxenvideo.engine.rate_limit import Gate
from oxenvideo.engine.recovery import Search
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
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.journal_writer import Ledger
from oxenvideo.jobs.status import State, Status
from oxenvideo.jobs.submission import Submission, put
from oxenvideo.pace import Pace
from oxenvideo.request.request import VideoRequest

log = logging.getLogger("oxenvideo")

# Answers that say no: the service did not act, and asking again as it stands would not help.
_REFUSALS = (AuthenticationFailed, InsufficientCredits, BadRequest, NotFound)
_REDIRECTS = (301, 302, 307, 308)  # a 303 may follow on something that was done
_SYNCHRONOUS_AT_ONCE = 8  # each holds a connection for minutes


class Home(Protocol):
    """What a Submitter needs of its channel."""

    base_url: str
    ledger: Ledger
    pace: Pace

    async def open(self) -> Client: ...  # noqa: D102
    async def stream_ready(self) -> None: ...  # noqa: D102
    async def prepare(self, request: VideoRequest, waiting: Callable[[str], None]) -> VideoRequest: ...  # noqa: D102
    def change(self, generation: Generation, state: State) -> None: ...  # noqa: D102
    def accepted(self, submission: Submission, ids: Sequence[str], *, told: bool) -> bool: ...  # noqa: D102
    def rendered(self, submission: Submission, result: Rendered) -> None: ...  # noqa: D102


class Submitter:
    """Sends submissions in order, a bounded number at a time."""

    def __init__(self, home: Home, at_once: int) -> None:
        self._home = home
        self._at_once = at_once
        self._gate = Gate(home.pace.backoff)
        self._queue: asyncio.Queue[Submission] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers = 0
        self._synchronous = asyncio.Semaphore(_SYNCHRONOUS_AT_ONCE)
        self._sending: set[Submission] = set()
        self._search = Search(home, self._sending)
        self._unreached: tuple[float, float] | None = (
            None  # monotonic: since when no connection is made, and last tried
        )

    def submit(self, submission: Submission) -> None:
        """Send it when its turn comes. One that waits for others, or whose answer takes minutes, holds nobody up."""
        if submission.synchronous or depends_on_others(submission.request):
            self._spawn(self._apart(submission))
            return
        self._queue.put_nowait(submission)
        if self._workers < self._at_once:
            self._workers += 1
            self._spawn(self._work())

    def look_for(self, submission: Submission) -> None:
        """Settle a submission whose answer was lost, here or in a kernel that is no more."""
        self._search.begin(submission)

    def holds(self, submission: Submission) -> bool:
        """Whether it may have reached the service already, its answer being waited or looked for."""
        return submission in self._sending or self._search.holds(submission)

    def stop(self) -> None:
        """Send nothing more."""
        for task in self._tasks:
            task.cancel()
        self._search.stop()

    def fail(self, submission: Submission, error: OxenVideoError) -> None:
        """End all its generations with an error; nothing of it is under way."""
        self._home.ledger.step(submission.key, "refused")
        for generation in submission.generations:
            self._put(generation, local=Status.FAILED, error=error, notice=None, finished_at=time.time())
        submission.settled.set()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # One submission

    async def _work(self) -> None:
        while True:
            await self._handle(await self._queue.get())

    async def _apart(self, submission: Submission) -> None:
        if not submission.synchronous:
            await self._handle(submission)
            return
        async with self._synchronous:
            await self._handle(submission)

    async def _handle(self, submission: Submission) -> None:
        """See one through; whatever happens, it ends in a state that is told, and the worker lives on."""
        try:
            prepared = await self._prepare(submission)
            await self._send(submission, prepared)
        except OxenVideoError as error:
            self.fail(submission, error)
        except Exception as error:
            log.exception("A submit failed in an unforeseen way")
            if submission in self._sending:
                self._lose(submission, OutcomeUnknown(f"After sending, {type(error).__name__}: {error}."))
            else:
                self.fail(submission, OxenVideoError(f"Nothing was sent: {type(error).__name__}: {error}"))
        finally:
            self._sending.discard(submission)

    async def _prepare(self, submission: Submission) -> VideoRequest:
        def waiting(label: str) -> None:
            for generation in submission.generations:
                self._put(generation, local=Status.WAITING, notice=f"Waits for {label}.")

        prepared = await self._home.prepare(submission.request, waiting)
        for generation in submission.generations:
            self._put(generation, local=Status.SUBMITTING, notice=None)
        return prepared

    async def _send(self, submission: Submission, prepared: VideoRequest) -> None:
        """Until the service has it, has refused it, or may have it."""
        body, count = b"", 0
        while submission.generations:
            async with self._gate.turn(alone=not submission.synchronous):
                client = await self._home.open()
                await self._home.stream_ready()
                if not submission.generations:
                    return  # all cancelled meanwhile
                if count != len(submission.generations):
                    count = len(submission.generations)
                    plain = prepared.body(count=count)
                    body, submission.fingerprint = responses.encode(plain), recovery_match.fingerprint(plain)
                # From here to the request nothing is awaited, so that what is claimed is what is sent.
                self._claim(submission)
                submission.since = time.time()
                self._sending.add(submission)
                pause = await self._post(client, submission, body)
            if pause is None:
                return
            await asyncio.sleep(pause)

    def _claim(self, submission: Submission) -> None:
        try:
            ours = self._home.ledger.claim(submission.key, submission.fingerprint)
        except sqlite3.Error as error:
            raise OxenVideoError(f"Nothing was sent: the journal cannot be written ({error}).") from None
        if not ours:
            raise OxenVideoError("Another kernel has taken this request over; see %oxenvideo history.")

    async def _post(self, client: Client, submission: Submission, body: bytes) -> float | None:
        """Send it once; returns seconds after which it may be sent again, None where that must not be."""
        try:
            if submission.synchronous:
                self._home.rendered(submission, await client.generate(body))
            else:
                accepted = await client.enqueue(body)
                self._home.accepted(submission, [one.generation_id for one in accepted], told=True)
        except ConnectionFailed as error:
            return self._unreachable(submission, error)
        except RateLimited as error:
            self._unreached = None
            pause = self._gate.refused(error.retry_after)
            self._not_sent(submission, str(error), pause)
            return 0.0  # the gate holds it
        except (OutcomeUnknown, ServiceError) as error:
            self._unreached = None
            if isinstance(error, _REFUSALS) or getattr(error, "status_code", None) in _REDIRECTS:
                raise
            self._lose(submission, error)
        else:
            self._unreached = None
            self._gate.passed()
        return None

    def _unreachable(self, submission: Submission, error: ConnectionFailed) -> float:
        """No connection: wait and try again, for as long as that may be a passing thing."""
        now, patience = time.monotonic(), self._home.pace.reach
        since, last = self._unreached or (now, now)
        if now - last > max(patience, 60.0):
            since = now  # that was another time
        self._unreached = (since, now)
        if now - since >= patience:
            raise ConnectionFailed(f"{error} Nothing was sent; run the cell again later.") from None
        attempt = 1 + int((now - since) / self._home.pace.backoff.first)
        pause = self._home.pace.backoff.delay(min(attempt, 6))
        self._not_sent(submission, str(error), pause)
        return pause

    def _not_sent(self, submission: Submission, why: str, pause: float) -> None:
        """The service has not got it: say so, and that it is tried again."""
        self._home.ledger.step(submission.key, "planned")
        self._sending.discard(submission)
        for generation in submission.generations:
            self._put(generation, notice=f"{why} Trying again in {max(1, round(pause))} s.")

    def _lose(self, submission: Submission, why: OxenVideoError) -> None:
        self._home.ledger.step(submission.key, "unknown")
        self._sending.discard(submission)
        for generation in submission.generations:
            self._put(generation, notice=f"{why} Looking for it at the service; it is not sent again.")
        self.look_for(submission)

    def _put(self, generation: Generation, **changes: Any) -> None:
        put(self._home.change, generation, **changes)
