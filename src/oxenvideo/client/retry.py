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

LONGEST_PACE = 3600.0  # seconds; a longer delay that the service names is shortened to this


@dataclass(frozen=True)
class Backoff:
    """Exponential delays in seconds, each a random part of its step between half and the whole."""

    first: float = 0.5
    factor: float = 2.0
    most: float = 30.0

    def delay(self, attempt: int, *, retry_after: float | None = None, chance: float | None = None) -> float:
        """Seconds to wait after ``attempt`` failures.

        The delay that the service named (``retry_after``) replaces the step. It is limited to an hour and lengthened at
        random by up to a tenth, so that not all clients come back at the same moment. ``chance``, from 0 to 1, replaces
        the random number.
        """
        step = min(self.first * self.factor ** min(max(attempt, 1) - 1, 30), self.most)
        spread = random.random() if chance is None else chance  # noqa: S311 - jitter needs no cryptography
        if retry_after is None:
            return step * (0.5 + spread / 2)
        return min(max(retry_after, self.first / 2), LONGEST_PACE) * (1 + spread / 10)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """The seconds in a ``Retry-After`` header (RFC 9110: seconds or an HTTP date); None if there are none.

    ``now`` is the time in unix seconds by the clock that made the date.
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


# UnexpectedAnswer is one of them because a proxy's page or half a body is usually gone on the next attempt.
PASSING = (ConnectionFailed, OutcomeUnknown, ServiceUnavailable, RateLimited, UnexpectedAnswer)
"""Failures that another attempt may not meet."""


def pace_of(error: OxenVideoError) -> float | None:
    """The seconds that the service asked to wait, or None."""
    return error.retry_after if isinstance(error, ServiceError) else None


async def persist(
    ask: Callable[[], Awaitable[T]], *, attempts: int = 5, backoff: Backoff = Backoff(first=0.3, most=8.0)
) -> T:
    """The result of ``ask``, called again after a failure in ``PASSING``; the last failure is raised.

    Never use this for a submit, which costs money each time.
    """
    for attempt in range(1, attempts):
        try:
            return await ask()
        except PASSING as error:
            await asyncio.sleep(backoff.delay(attempt, retry_after=pace_of(error)))
    return await ask()
