"""What the routes share: the parts of one running server."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from oxenvideo.server.errors import invalid
from oxenvideo.server.events import EventHub
from oxenvideo.server.models import Models
from oxenvideo.server.queue import Generation, Queue
from oxenvideo.server.repos import Repos
from oxenvideo.server.settings import Settings
from oxenvideo.server.signed_urls import Signer
from oxenvideo.server.worker_pool import Pool

# Another server on the same data directory may end a generation; this is how soon it is noticed, in seconds.
_LOOK = 1.0
_MAX_DEPTH = 64


@dataclass
class ServerState:
    """The parts of one running server."""

    settings: Settings
    models: Models
    queue: Queue
    repos: Repos
    signer: Signer
    hub: EventHub
    pool: Pool = field(init=False)
    _waiting: dict[str, list[asyncio.Event]] = field(default_factory=dict)

    def finished(self, row: Generation) -> None:
        """Tell everybody of a generation that succeeded or failed."""
        self.hub.publish(row)
        self.ended(row)

    def ended(self, row: Generation) -> None:
        """Let those go on who wait for this generation."""
        for waiting in self._waiting.pop(row.id, ()):
            waiting.set()

    async def end_of(self, row: Generation) -> Generation:
        """Wait until the generation has ended; return it as it is then."""
        while row.is_active:
            waiting = asyncio.Event()
            self._waiting.setdefault(row.id, []).append(waiting)
            try:
                await asyncio.wait_for(waiting.wait(), _LOOK)
            except TimeoutError:
                self._waiting[row.id].remove(waiting)
            row = self.queue.get(row.id) or row
        return row


def state_of(request: Request) -> ServerState:
    """Return the server that this request came to."""
    state: ServerState = request.app.state.server
    return state


async def json_body(request: Request) -> dict[str, Any]:
    """Read the body, which must be a JSON object."""
    content = await request.body()
    try:
        body = json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
        if b"\\ud" in content.lower():  # half a character can be written so, and never be sent again
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise invalid(f"The body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise invalid("The body must be a JSON object.")
    if _is_deep(body):
        raise invalid(f"The body is nested more than {_MAX_DEPTH} deep.")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    return number


def _is_deep(body: object) -> bool:
    level: list[object] = [body]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)
