"""Sends each submission exactly once: written to the journal before it goes out, and never again where its outcome is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from oxenvideo import errors
from oxenvideo.client.client import Client
from oxenvideo.client.responses import Rendered, encode
from oxenvideo.client.retry import Backoff
from oxenvideo.jobs.job import Submission
from oxenvideo.jobs.status import Step
from oxenvideo.request.request import VideoRequest, sent_parameters
from oxenvideo.settings import Pace

# Answers that say no: the service did not act, and sending the same again would not help.
_REFUSALS = (errors.AuthenticationFailed, errors.InsufficientCredits, errors.BadRequest, errors.NotFound)
_REDIRECTS = (301, 302, 307, 308)  # a 303 may follow on something that was done
_SYNCHRONOUS_AT_ONCE = 8  # each holds a connection for minutes


class Submitter:
    """Sends the submissions of one service in order, at most ``at_once`` together.

    ``in_flight`` holds those whose answers are still to come.
    """

    def __init__(self, open_client: Callable[[], Awaitable[Client]], pace: Pace, at_once: int) -> None:
        self._open = open_client
        self._pace = pace
        self._turns = asyncio.Semaphore(at_once)
        self._synchronous_turns = asyncio.Semaphore(_SYNCHRONOUS_AT_ONCE)
        self.in_flight: list[Submission] = []
        self._rate_limit = RateLimit(pace.backoff)
        self._unreached: tuple[float, float] | None = None  # by the loop's clock: since when, and when last tried

    async def send(self, submission: Submission, request: VideoRequest) -> Rendered | None:
        """Send it. Afterwards the service has it (``accepted``), or may have it (``sending``), or no jobs are left.

        A synchronous submission returns the service's answer. Raises OxenVideoError where the service does not have it.
        """
        async with self._synchronous_turns if submission.synchronous else self._turns:
            while submission.jobs:
                async with self._rate_limit.turn(alone=not submission.synchronous):
                    client = await self._open()
                    if not submission.jobs:
                        break  # all were cancelled meanwhile
                    plain = request.body(count=len(submission.jobs))
                    body = encode(plain)
                    # Nothing is awaited from here to the request, so what is written is what is sent.
                    submission.claim(sent_parameters(plain), client.service_time())
                    self.in_flight.append(submission)
                    try:
                        return await self._post(client, submission, body)
                    except (errors.ConnectionFailed, errors.RateLimited) as error:
                        submission.advance(Step.PLANNED)  # the service certainly does not have it
                        pause = self._pause_after(error)
                        submission.tell(notice=f"{error} Trying again in {max(1, round(pause))} s.")
                    except errors.ServiceError as error:
                        self._unreached = None
                        if isinstance(error, _REFUSALS) or error.status_code in _REDIRECTS:
                            submission.compare_clock(client.service_time())
                            raise
                        self._lose(submission, error)
                        return None
                    except errors.OutcomeUnknown as error:
                        self._unreached = None
                        self._lose(submission, error)
                        return None
                    finally:
                        self.in_flight.remove(submission)
                await asyncio.sleep(pause)
        return None

    async def _post(self, client: Client, submission: Submission, body: bytes) -> Rendered | None:
        answer = None
        if submission.synchronous:
            answer = await client.generate(body)
            submission.compare_clock(client.service_time())
        else:
            accepted = await client.enqueue(body)
            submission.accept([one.generation_id for one in accepted])
        self._unreached = None
        self._rate_limit.passed()
        return answer

    def _lose(self, submission: Submission, why: errors.ServiceError | errors.OutcomeUnknown) -> None:
        submission.advance(Step.UNKNOWN)
        submission.tell(notice=f"{why} Looking for it at the service; it is not sent again.")

    def _pause_after(self, error: errors.ConnectionFailed | errors.RateLimited) -> float:
        """Seconds until it may be sent again; raises ConnectionFailed where no connection was made for too long."""
        now = asyncio.get_running_loop().time()
        if isinstance(error, errors.RateLimited):
            self._unreached = None
            return self._rate_limit.refused(error.retry_after)
        since, last = self._unreached or (now, now)
        if now - last > max(self._pace.reach, 60.0):
            since = now  # an earlier failure that has nothing to do with this one
        self._unreached = (since, now)
        if now - since >= self._pace.reach:
            raise errors.ConnectionFailed(f"{error} Nothing was sent; run the cell again later.") from None
        attempt = 1 + int((now - since) / self._pace.backoff.first)
        return self._pace.backoff.delay(min(attempt, 6))


class RateLimit:
    """The pace of submits: together while all is well, and after a 429 one at a time, when the service said.

    The pause that one of them is told holds for all.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._refusals = 0
        self._not_before = 0.0  # by the loop's clock
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, *, alone: bool = True) -> AsyncIterator[None]:
        """Wait for a turn, which lasts as long as the block. A request that lasts minutes does not go ``alone``."""
        if self._refusals and alone:
            async with self._alone:
                if self._refusals:
                    await self._pause_is_over()
                    yield
                    return
        await self._pause_is_over()
        yield

    async def _pause_is_over(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._not_before - loop.time()) > 0:
            await asyncio.sleep(left)

    def refused(self, retry_after: float | None) -> float:
        """The service answered 429: returns the seconds until the next turn."""
        self._refusals += 1
        now = asyncio.get_running_loop().time()
        self._not_before = max(self._not_before, now + self._backoff.delay(self._refusals, retry_after=retry_after))
        return self._not_before - now

    def passed(self) -> None:
        """The service took one."""
        self._refusals = 0
