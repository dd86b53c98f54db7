"""Routes of generations: the queue, the synchronous endpoint, the history and the event stream."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from oxenvideo.server import models
from oxenvideo.server.context import State, json_body, state_of, url_of
from oxenvideo.server.errors import ApiError, ModelError, invalid, not_found
from oxenvideo.server.events import Progress
from oxenvideo.server.queue import ACTIVE, STATUSES, Filters, Generation
from oxenvideo.server.settings import USER
from oxenvideo.server.validation import prompt_problem

_MAX_GENERATIONS = 4
_MAX_PAGE_SIZE = 1000
_NOT_PARAMETERS = ("model", "num_generations", "target_namespace", "target_repo", "target_directory")


async def enqueue(request: Request) -> Response:
    """POST /api/ai/queue."""
    body = await json_body(request)
    count = body.get("num_generations", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MAX_GENERATIONS:
        raise invalid(f"num_generations must be an integer between 1 and {_MAX_GENERATIONS}")
    rows = await _enqueue(state_of(request), body, count)
    return JSONResponse({"generations": [{"generation_id": row.id, "status": row.status} for row in rows]})


async def list_queue(request: Request) -> Response:
    """GET /api/ai/queue."""
    rows = state_of(request).queue.select(_filters(request, status=ACTIVE))
    return JSONResponse({"count": len(rows), "generations": [_view(request, row) for row in rows]})


async def show_generation(request: Request) -> Response:
    """GET /api/ai/queue/{generation_id}."""
    row = _found(state_of(request).queue.get(request.path_params["generation_id"]))
    return JSONResponse(_view(request, row))


async def cancel_generation(request: Request) -> Response:
    """DELETE /api/ai/queue/{generation_id}."""
    state = state_of(request)
    row = _found(state.queue.cancel(request.path_params["generation_id"]))
    if row.status == "cancelled":
        state.pool.interrupt(row.id)
        state.endings.publish(row)
        await state.scheduler.cancel(row.id)
    return JSONResponse({"status": "success", "generation_id": row.id})


async def generate(request: Request) -> Response:
    """POST /api/ai/videos/generate: enqueue, wait, and answer with the video."""
    state, body = state_of(request), await json_body(request)
    response_format = body.get("response_format") or "url"
    if response_format not in ("url", "b64_json"):
        raise invalid("response_format must be 'url' or 'b64_json'")
    model = state.models.get(str(body.get("model")))
    if model is not None and (problem := prompt_problem(model, body)):
        raise ModelError(problem)
    (row,) = await _enqueue(state, body, 1)
    row = await state.endings.wait(row, state.queue)
    if row.status != "succeeded":
        raise ModelError(row.error_message or "The generation was cancelled.")
    video = {"url": url_of(request, row)}
    if response_format == "b64_json":
        content = await asyncio.to_thread(state.settings.result(row.id).read_bytes)
        video = {"b64_json": base64.b64encode(content).decode()}
    return JSONResponse({"model": row.model, "created": int(time.time()), "videos": [video]})


async def list_history(request: Request) -> Response:
    """GET /api/ai/generations."""
    queue, wanted = state_of(request).queue, _filters(request)
    page = _number(request, "page", 1)
    size = min(_number(request, "page_size", 50), _MAX_PAGE_SIZE)
    costs = queue.costs(wanted)
    rows = queue.select(wanted, newest_first=True, limit=size, offset=(page - 1) * size)
    return JSONResponse(
        {
            "count": len(rows),
            "generations": [_history_view(request, row) for row in rows],
            "page_number": page,
            "page_size": size,
            "total_pages": max(1, math.ceil(len(costs) / size)),
            "total_entries": len(costs),
            "total_cost": models.total(costs),
        }
    )


async def show_history(request: Request) -> Response:
    """GET /api/ai/generations/{generation_id}."""
    row = _found(state_of(request).queue.get(request.path_params["generation_id"]))
    found = {"status": "success", "status_message": "resource_found"}
    return JSONResponse(found | {"generation": _history_view(request, row)})


async def events(request: Request) -> Response:
    """GET /api/events."""
    state = state_of(request)
    ended = state.endings.open()  # before the answer, so that nothing is lost after the client has seen it

    async def completions() -> AsyncIterator[ServerSentEvent]:
        while (row := await ended.get()) is not None:
            if isinstance(row, Progress):
                told = {"generation_id": row.id, "status": "processing", "media_type": "video", "engine": row.shown}
                yield ServerSentEvent(event="media_generation_progress", data=json.dumps(told), sep="\n")
                continue
            data: dict[str, Any] = {"generation_id": row.id, "status": row.status, "media_type": row.media_type}
            if row.status == "succeeded":
                data |= {"model": row.model, "url": url_of(request, row)}
            else:
                data |= {"error": row.error_message}
            if row.status != "cancelled":
                yield ServerSentEvent(event="media_generation_completed", data=json.dumps(data), sep="\n")

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


async def _enqueue(state: State, body: Mapping[str, Any], count: int) -> list[Generation]:
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise invalid("model is required")
    on_engine = state.scheduler.serves(name)
    model = state.models.get(name)
    if model is None:
        raise ModelError(f"Model not found: {name}")
    made = models.media(model, "output")
    if "video" not in made:
        detail = "The embedded server makes videos only." if "image" in made else None
        raise ApiError(415, "unsupported_media_type", detail)
    texts = {name: value for name, value in body.items() if isinstance(value, str) and value}
    namespace = texts.get("target_namespace", USER)
    repo, directory = texts.get("target_repo"), texts.get("target_directory")
    state.repos.check(namespace, repo, directory)
    if on_engine and (refusal := await state.scheduler.refusal(name)):
        raise ModelError(refusal)
    rows = state.queue.enqueue(
        name,
        {key: value for key, value in body.items() if key not in _NOT_PARAMETERS},
        count=count,
        namespace=namespace,
        repo=repo,
        directory=directory,
        delay=state.settings.delay,
        on_engine=on_engine,
    )
    (state.scheduler if on_engine else state.pool).wake()
    return rows


def _view(request: Request, row: Generation) -> dict[str, Any]:
    """Return a generation as the queue shows it: the parameters that were sent, then the fields of the API.

    ``engine`` is an addition of this server, for generations that an engine of the user makes.
    """
    engine = state_of(request).scheduler.shown(row)
    return {
        **row.parameters,
        "generation_id": row.id,
        "model_name": row.model,
        "prompt": row.parameters.get("prompt"),
        "media_type": row.media_type,
        "status": row.status,
        "result_url": url_of(request, row),
        "error_message": row.error_message,
        "enqueued_at": int(row.enqueued_at),
        "started_at": None if row.started_at is None else int(row.started_at),
        "completed_at": None if row.completed_at is None else int(row.completed_at),
        "target_namespace": row.namespace,
        "target_repo": row.repo,
        "target_directory": row.directory,
        **({} if engine is None else {"engine": engine}),
    }


def _history_view(request: Request, row: Generation) -> dict[str, Any]:
    return _view(request, row) | {"cost": row.cost, "user_id": USER, "username": USER}


def _found(row: Generation | None) -> Generation:
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
    names = ("status", "namespace", "model", "media_type", "repo", "folder")
    return default | {"directory" if n == "folder" else n: (query[n],) for n in names if n in query}


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**31:
        raise invalid(f"{name} must be an integer, 1 or greater")
    return int(text)
