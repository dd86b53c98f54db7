"""What a fault is: something that a service does, and what must become of the videos asked for meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from faulty import Behaviour, FaultyService

MODEL = "kling-video-v2-6-pro-text-to-video"
PROMPT = "A red balloon floating upward"


class End(Enum):
    """How it must end; in every case nothing was submitted twice."""

    DELIVERED = "delivered"  # all that was asked for is a whole video on disk
    REFUSED = "refused"  # the service said no: no job there, one clear error here
    UNCONFIRMED = "unconfirmed"  # nobody can know: a person is asked
    FAILED = "failed"  # the service could not make it, and its reason is told
    CANCELLED = "cancelled"
    FETCHED_LATER = "fetched later"  # the download failed with one clear error, and resume brings the video


Arrange = Callable[[FaultyService], object]


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    ``does`` and ``then`` are its words in the table. ``arrange`` scripts the service beforehand, ``meanwhile`` acts once
    the videos were asked for. ``jobs`` are asked for one by one, or ``together`` in one request. ``posts`` is how many
    submits the service may see at most, ``jobs_there`` how many jobs it must have in the end where that is not ``jobs``.
    ``says`` stands in the error's message. ``service`` and ``session`` are options of the two.
    """

    group: str
    does: str
    then: str
    arrange: Arrange = lambda service: None
    meanwhile: Arrange = lambda service: None
    end: End = End.DELIVERED
    jobs: int = 1
    together: int = 1
    posts: int | None = None
    jobs_there: int | None = None
    says: str = ""
    service: Mapping[str, Any] = field(default_factory=dict)
    session: Mapping[str, Any] = field(default_factory=dict)


def scripted(route: str, *behaviours: Behaviour) -> Arrange:
    """The next requests of a route are treated so."""
    return lambda service: service.script(route, *behaviours)


def always(route: str, behaviour: Behaviour) -> Arrange:
    """All requests of a route are treated so."""
    return lambda service: service.always(route, behaviour)


def both(*steps: Arrange) -> Arrange:
    """One after the other."""

    def arrange(service: FaultyService) -> None:
        for step in steps:
            step(service)

    return arrange
