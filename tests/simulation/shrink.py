"""Making a failing life smaller: leave out faults and deeds as long as the same invariant is broken."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from .choices import Address
from .life import Outcome

Play = Callable[[int, Collection[Address | str]], Outcome]

# Questions about mere moments; without them a history is easier to read.
_MOMENTS = (
    "turn", "others are faster", "seconds on the way", "seconds in the queue", "seconds of rendering", "when somebody acts",
    "seconds until it is charged", "when a colleague acts", "when trouble begins", "seconds in which people act",
)  # fmt: skip


def kind(failure: str) -> str:
    """A failure without what differs from life to life."""
    text = re.sub(r"\{.*", "", failure)
    return re.sub(r"#?\b[0-9a-f-]*\d[0-9a-f-]*\b|'[^']*'", "…", text)[:100].strip()


def shrink(outcome: Outcome, play: Play, attempts: int = 300) -> tuple[set[Address | str], Outcome]:
    """What can be suppressed of a failing life, and the smallest life that was found."""
    wanted = kind(outcome.failure or "")
    suppressed: set[Address | str] = set()

    def fails_without(more: Collection[Address | str]) -> bool:
        nonlocal outcome, attempts
        attempts -= 1
        tried = play(outcome.seed, suppressed | set(more))
        if tried.failure is None or kind(tried.failure) != wanted:
            return False
        suppressed.update(more)
        outcome = tried
        return True

    for question in _MOMENTS:
        fails_without([question])
    size = max(1, len(outcome.taken) // 2)
    while attempts > 0:
        at, smaller = 0, False
        while at < len(outcome.taken) and attempts > 0:
            if fails_without(outcome.taken[at : at + size]):
                smaller = True
            else:
                at += size
        if size == 1 and not smaller:
            break
        size = max(1, size // 2)
    return suppressed, outcome
