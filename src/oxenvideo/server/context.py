"""What a route gets from its request: the state of the server, and the JSON body."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from oxenvideo.server.engines.scheduler import Scheduler
from oxenvideo.server.errors import invalid
from oxenvideo.server.events import Endings
from oxenvideo.server.models import Models
from oxenvideo.server.queue import Generation, Queue
from oxenvideo.server.repos import Repos
from oxenvideo.server.settings import Settings
from oxenvideo.server.signing import Signer
from oxenvideo.server.worker_pool import Pool

_MAX_DEPTH = 64


@dataclass(frozen=True)
class State:
    """The parts of one running server."""

    settings: Settings
    models: Models
    queue: Queue
    repos: Repos
    signer: Signer
    endings: Endings
    pool: Pool
    scheduler: Scheduler


def state_of(request: Request) -> State:
    """Return the state of the server that received this request."""
    state: State = request.app.state.server
    return state


def url_of(request: Request, row: Generation) -> str | None:
    """Return a URL of the video of a generation, at the origin that the client used, or None if it has none."""
    return state_of(request).signer.url(row, f"{request.url.scheme}://{request.url.netloc}")


async def json_body(request: Request) -> dict[str, Any]:
    """Read the body, which must be a JSON object; raise ApiError if it is not."""
    try:
        body = json.loads(await request.body())
        # Python reads numbers and halves of surrogate pairs that it could not send again.
        json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
        depth = _depth(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"The body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise invalid("The body must be a JSON object.")
    if depth > _MAX_DEPTH:
        raise invalid(f"The body is nested more than {_MAX_DEPTH} deep.")
    return body


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)
