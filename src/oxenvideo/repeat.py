"""Asking again, for requests that may be repeated without harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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
from oxenvideo.retry import Backoff

T = TypeVar("T")

#: Failures that may be gone in a moment; an answer that is no answer (a proxy's page, half a body) is one of them.
PASSING = (ConnectionFailed, OutcomeUnknown, ServiceUnavailable, RateLimited, UnexpectedAnswer)


def pace_of(error: OxenVideoError) -> float | None:
    """Seconds that the service asked to wait, None where it did not."""
    return error.retry_after if isinstance(error, ServiceError) else None


async def persist(
    ask: Callable[[], Awaitable[T]],
    *,
    attempts: int = 5,
    backoff: Backoff = Backoff(first=0.3, most=8.0),  # noqa: B008
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
