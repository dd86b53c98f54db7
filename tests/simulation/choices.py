"""Everything that a life leaves to chance: each choice is a function of the seed and of the question's own name."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection

_MASK = (1 << 64) - 1
Address = tuple[str, int]


class Choices:
    """Answers questions such as ("fault of POST", third time) with numbers that depend on nothing else.

    So a choice can be suppressed, which answers it with the harmless value 0, without changing the others: that is
    how a failing life is made smaller. ``suppressed`` holds addresses (question, which time) and whole questions.
    ``taken`` lists the addresses whose answers were not harmless.
    """

    def __init__(self, seed: int, suppressed: Collection[Address | str] = ()) -> None:
        self.seed = seed
        self.taken: list[Address] = []
        self._base = (seed * 0x9E3779B97F4A7C15) & _MASK
        self._suppressed = frozenset(suppressed)
        self._asked: dict[str, list[int]] = {}

    def fraction(self, question: str) -> float:
        """A number from 0 (harmless) up to, but not including, 1."""
        state = self._asked.get(question)
        if state is None:
            state = self._asked[question] = [0, zlib.crc32(question.encode()) * 0xD1342543DE82EF95]
        number = state[0]
        state[0] = number + 1
        if self._suppressed and (question in self._suppressed or (question, number) in self._suppressed):
            return 0.0
        x = (self._base + state[1] + number * 0xBF58476D1CE4E5B9) & _MASK  # splitmix64
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((x ^ (x >> 31)) >> 11) / (1 << 53)

    def pick(self, question: str, count: int) -> int:
        """A whole number from 0 to ``count`` - 1."""
        answer = int(self.fraction(question) * count)
        if answer:
            self.taken.append((question, self._asked[question][0] - 1))
        return answer

    def happens(self, question: str, probability: float) -> bool:
        """True in this share of the cases; the harmless answer is False."""
        if probability > 0 and self.fraction(question) > 1 - probability:
            self.taken.append((question, self._asked[question][0] - 1))
            return True
        return False

    def between(self, question: str, low: float, high: float) -> float:
        """A number from ``low`` to ``high``, the small ones more often (evenly by magnitude where ``low`` is above 0)."""
        part = self.fraction(question)
        return low * math.exp(part * math.log(high / low)) if low > 0 else low + part * part * (high - low)
