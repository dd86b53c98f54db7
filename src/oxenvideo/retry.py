"""When to try again: pure functions from (attempt, failure) to seconds."""

from __future__ import annotations

import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class Backoff:
    """Exponential delays with full jitter between half and the whole of the step, in seconds."""

    first: float = 0.5
    factor: float = 2.0
    most: float = 30.0

    def delay(self, attempt: int, *, retry_after: float | None = None, chance: float | None = None) -> float:
        """Seconds to wait before the attempt after ``attempt`` failures (1 is the first failure).

        A pace that the service named (``retry_after``) is a floor, never shortened, and bounded to one hour.
        """
        step = min(self.first * self.factor ** min(attempt - 1, 30), self.most)
        spread = random.random() if chance is None else chance  # noqa: S311 - jitter is no secret
        jittered = step * (0.5 + spread / 2)
        return jittered if retry_after is None else max(min(retry_after, 3600.0), jittered * 0.1)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds named by a ``Retry-After`` header (RFC 9110: seconds or an HTTP date), None where it names none."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError):
        return None
