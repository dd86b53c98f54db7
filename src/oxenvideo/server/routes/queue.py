"""Routes of generations: the queue, the synchronous endpoint, the history and the event stream."""

from __future__ import annotations

import asyncio
import base64
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from oxenvideo.server import models, responses, validation
from oxenvideo.server.context import State, json_body, state_of
from oxenvideo.server.errors import ApiError, ModelError, invalid, not_found
from oxenvideo.server.queue import ACTIVE, STATUSES, Filters, Generation
from oxenvideo.server.settings import USER

_MAX_GENERATIONS = 4
_MAX_PAGE_SIZE = 1000
_NOT_PARAMETERS = ("model", "num_generations", "target_namespace", "target_repo", "target_directory")


async def enqueue(request: Request) -> Response:
    """POST /api/ai/queue."""
    state, body = state_of(request), await json_body(request)
    count = body.get("num_generations", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MAX_GENERATIONS:
        raise invalid(f"num_generations must be an integer between 1 and {_MAX_GENERATIONS}")
    rows = _enqueue(state, body, count)
    return JSONResponse({"generations": [{"generation_id": row.id, "status": row.status} for row in rows]})


async def list_queue(request: Request) -> Response:
    """GET /api/ai/queue."""
    state = state_of(request)
    rows = state.queue.select(_filters(request, status=ACTIVE))
    base = responses.base_url(request)
    shown = [responses.generation_view(row, base, state.signer) for row in rows]
    return JSONResponse({"count": len(shown), "generations": shown})


async def show_generation(request: Request) -> Response:
    """GET /api/ai/queue/{generation_id}."""
    state = state_of(request)
    row = _row(state, request)
    return JSONResponse(responses.generation_view(row, responses.base_url(request), state.signer))


async def cancel_generation(request: Request) -> Response:
    """DELETE /api/ai/queue/{generation_id}."""
    state = state_of(request)
    row = state.queue.cancel(request.path_params["generation_id"])
    if row is None:
        raise not_found()
    if row.status == "cancelled":
        state.pool.interrupt(row.id)
        state.endings.publish(row)
    return JSONResponse({"status": "success", "generation_id": row.id})


async def generate(request: Request) -> Response:
    """POST /api/ai/videos/generate: enqueue, wait, and answer with the video."""
    state, body = state_of(request), await json_body(request)
    response_format = body.get("response_format") or "url"
    if response_format not in ("url", "b64_json"):
        raise invalid("response_format must be 'url' or 'b64_json'")
    model = state.models.get(str(body.get("model")))
    if model is not None and (problem := validation.prompt_problem(model, body)):
        raise ModelError(problem)
    (row,) = _enqueue(state, body, 1)
    row = await state.endings.wait(row, state.queue)
    if row.status != "succeeded":
        raise ModelError(row.error_message or "The generation was cancelled.")
    if response_format == "b64_json":
        content = await asyncio.to_thread(state.settings.results_dir.joinpath(f"{row.id}.mp4").read_bytes)
        video: dict[str, str | None] = {"b64_json": base64.b64encode(content).decode()}
    else:
        video = {"url": state.signer.url(row, responses.base_url(request))}
    return JSONResponse({"model": row.model, "created": int(time.time()), "videos": [video]})


async def list_history(request: Request) -> Response:
    """GET /api/ai/generations."""
    state = state_of(request)
    page = _number(request, "page", 1)
    size = min(_number(request, "page_size", 50), _MAX_PAGE_SIZE)
    wanted = _filters(request)
    costs = state.queue.costs(wanted)
    rows = state.queue.select(wanted, newest_first=True, limit=size, offset=(page - 1) * size)
    base = responses.base_url(request)
    return JSONResponse(
        {
            "count": len(rows),
            "generations": [responses.history_view(row, base, state.signer) for row in rows],
            "page_number": page,
            "page_size": size,
            "total_pages": max(1, math.ceil(len(costs) / size)),
            "total_entries": len(costs),
            "total_cost": models.total(costs),
        }
    )


async def show_history(request: Request) -> Response:
    """GET /api/ai/generations/{generation_id}."""
    state = state_of(request)
    shown = responses.history_view(_row(state, request), responses.base_url(request), state.signer)
    return JSONResponse({"status": "success", "status_message": "resource_found", "generation": shown})


async def events(request: Request) -> Response:
    """GET /api/events."""
    state, base = state_of(request), responses.base_url(request)
    ended = state.endings.stream()  # before the answer, so that nothing is lost after the client has seen it

    async def completions() -> AsyncIterator[ServerSentEvent]:
        async for row in ended:
            data = responses.event_data(row, base, state.signer)
            yield ServerSentEvent(event="media_generation_completed", data=data, sep="\n")

    return EventSourceResponse(
        completions(),
        sep="\n",
        ping=state.settings.keep_alive,
        ping_message_factory=lambda: ServerSentEvent(comment="keep-alive", sep="\n"),
    )


ROUTES = [
    Route("/api/ai/queue", enqueue, methods=["POST"]),
    Route("/api/ai/queue", list_queue, methods=["GET"]),
    Route("/api/ai/queue/{generation_id}", show_generation, methods=["GET"]),
    Route("/api/ai/queue/{generation_id}", cancel_generation, methods=["DELETE"]),
    Route("/api/ai/videos/generate", generate, methods=["POST"]),
    Route("/api/ai/generations", list_history, methods=["GET"]),
    Route("/api/ai/generations/{generation_id}", show_history, methods=["GET"]),
    Route("/api/events", events, methods=["GET"]),
]


def _enqueue(state: State, body: Mapping[str, Any], count: int) -> list[Generation]:
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise invalid("model is required")
    model = state.models.get(name)
    if model is None:
        raise ModelError(f"Model not found: {name}")
    if not models.makes(model, "video"):
        detail = None if not models.makes(model, "image") else "The embedded server makes videos only."
        raise ApiError(415, "unsupported_media_type", detail)
    target = {key: _text(body, f"target_{key}") for key in ("namespace", "repo", "directory")}
    namespace = target["namespace"] or USER
    state.repos.check(namespace, target["repo"], target["directory"])
    rows = state.queue.enqueue(
        name,
        {key: value for key, value in body.items() if key not in _NOT_PARAMETERS},
        count=count,
        namespace=namespace,
        repo=target["repo"],
        directory=target["directory"],
        delay=state.settings.delay,
    )
    state.pool.wake()
    return rows


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def _row(state: State, request: Request) -> Generation:
    row = state.queue.get(request.path_params["generation_id"])
    if row is None:
        raise not_found()
    return row


def _filters(request: Request, **default: Sequence[str]) -> Filters:
    query = request.query_params
    status, media_type = query.get("status"), query.get("media_type")
    if status is not None and status not in STATUSES:
        raise invalid(f"status must be one of {', '.join(STATUSES)}")
    if media_type is not None and media_type not in ("image", "video"):
        raise invalid("media_type must be image or video")
    columns = {name: name for name in ("status", "namespace", "model", "media_type", "repo")} | {"folder": "directory"}
    return default | {column: (query[name],) for name, column in columns.items() if name in query}


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**31:
        raise invalid(f"{name} must be an integer, 1 or greater")
    return int(text)
