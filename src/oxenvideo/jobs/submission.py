"""One POST and the generations that it asks for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import State
from oxenvideo.request.request import VideoRequest


@dataclass(eq=False)
class Submission:
    """What is sent as one request; ``save_as`` names the files (a path, or a pattern).

    ``generations`` are those that are asked for: one that is cancelled before the request goes out leaves them.
    """

    request: VideoRequest
    generations: Sequence[Generation]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    synchronous: bool = False
    batch: str | None = None
    position: int = 0
    save_as: str | None = None
    directory: Path | None = None  # for the files; what is set when they come, where it is not told
    fingerprint: dict[str, Any] = field(default_factory=dict)
    since: float = 0.0  # when it was sent, by this machine's clock
    lost_at: float | None = None  # monotonic, when its answer was lost
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # accepted, refused, or not to be found
    unwanted: set[Generation] = field(default_factory=set)  # to be cancelled as soon as they turn up

    def drop(self, generation: Generation) -> None:
        """Ask for one less."""
        self.generations = [g for g in self.generations if g is not generation]


def put(change: Callable[[Generation, State], None], generation: Generation, **changes: Any) -> None:
    """Change what is known of a generation to which the service has given no id, and which has not ended."""
    state = generation.state
    if state.remote is not None or state.status.is_terminal:
        return
    if any(getattr(state, name) != value for name, value in changes.items()):
        change(generation, replace(state, **changes))
