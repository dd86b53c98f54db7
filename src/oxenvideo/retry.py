"""When to try a request again, and after how many seconds."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from oxenvideo.errors import (
    ConnectionFailed,
    OutcomeUnknown,
    OxenVideoError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
    UnexpectedAnswer,
)

T = TypeVar("T")

LONGEST_PACE = 3600.0  # seconds; a service that names a longer one is asked again after an hour


@dataclass(frozen=True)
class Backoff:
    """Exponential delays with full jitter between half and the whole of the step, in seconds."""

    first: float = 0.5
    factor: float = 2.0
    most: float = 30.0

    def delay(self, attempt: int, *, retry_after: float | None = None, chance: float | None = None) -> float:
        """Seconds to wait before the attempt after ``attempt`` failures (1 is the first failure).

        A pace that the service named (``retry_after``) is kept in place of the steps: never shortened, up to an hour, and
        a little longer, so that many who were told the same do not come back at the same moment.
        """
        step = min(self.first * self.factor ** min(max(attempt, 1) - 1, 30), self.most)
        spread = random.random() if chance is None else chance  # noqa: S311 - jitter is no secret
        if retry_after is None:
            return step * (0.5 + spread / 2)
        return min(max(retry_after, self.first / 2), LONGEST_PACE) * (1 + spread / 10)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds named by a ``Retry-After`` header (RFC 9110: seconds or an HTTP date), None where it names none.

    ``now`` is the time by the clock that made the date, in unix seconds.
    """
    if not value:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


#: Failures that may be gone in a moment; an answer that is no answer (a proxy's page, half a body) is one of them.
PASSING = (ConnectionFailed, OutcomeUnknown, ServiceUnavailable, RateLimited, UnexpectedAnswer)


def pace_of(error: OxenVideoError) -> float | None:
    """Seconds that the service asked to wait, None where it did not."""
    return error.retry_after if isinstance(error, ServiceError) else None


async def persist(
    ask: Callable[[], Awaitable[T]],
    *,
    attempts: int = 5,
    backoff: Backoff = Backoff(first=0.3, most=8.0),
) -> T:
    """The answer of ``ask``, asked again after a passing failure; the last failure is raised.

    Never for what costs money: a submit has rules of its own.
    """
    for attempt in range(1, attempts):
        try:
            return await ask()
        except PASSING as error:
            await asyncio.sleep(backoff.delay(attempt, retry_after=pace_of(error)))
    return await ask()
