"""The proper answers: the documented endpoints over the service's memory."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from typing import Any

from .behaviours import error, not_found_reply
from .downloads import onward
from .exchange import Reply, Request, json_reply
from .model import TERMINAL, Job, Model, describe_model

ROUTES: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (route.split()[0], re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.split()[1]) + r"\Z"), route)
    for route in (
        "POST /api/ai/videos/generate",
        "POST /api/ai/queue",
        "GET /api/ai/queue",
        "GET /api/ai/queue/{id}",
        "DELETE /api/ai/queue/{id}",
        "GET /api/events",
        "GET /api/ai/models",
        "GET /api/ai/models/search",
        "GET /api/ai/models/featured",
        "GET /api/ai/models/favorites",
        "GET /api/ai/models/{id}",
        "GET /api/ai/generations",
        "GET /api/ai/generations/{id}",
        "GET /api/authorize",
        "POST /api/repos",
        "GET /files/{file}",
    )
)
UPLOAD = re.compile(r"/api/repos/[^/]+/[^/]+/file/[^/]+/.+\Z")


def route_of(method: str, path: str) -> str:
    """The kind of a request, as in "GET /api/ai/queue/{id}"; its own method and path where it has none."""
    for known_method, pattern, route in ROUTES:
        if method == known_method and pattern.match(path):
            return route
    if UPLOAD.match(path):
        return f"{method} /api/repos/file"
    return f"{method} {path}"


class Routes:
    """Answers requests properly."""

    def __init__(self, model: Model, models: list[dict[str, Any]], created: Callable[[Job], None]) -> None:
        self.model = model
        self.models = models
        self.uploads: dict[str, bytes] = {}
        self._created = created

    async def answer(self, request: Request) -> Reply:
        method, path = request.route.split(" ", 1)
        last = request.path.rsplit("/", 1)[-1]
        match method, path:
            case "POST", "/api/ai/queue":
                return self._enqueue(request)
            case "POST", "/api/ai/videos/generate":
                return await self._generate(request)
            case "GET", "/api/ai/queue":
                return self._list(request)
            case _, "/api/ai/queue/{id}":
                job = self.model.jobs.get(last)
                return not_found_reply() if job is None else self._one(method, job)
            case "GET", "/api/ai/generations":
                return self._history(request)
            case "GET", "/api/ai/generations/{id}":
                job = self.model.jobs.get(last)
                return not_found_reply() if job is None else self._in_full(job)
            case "GET", "/files/{file}":
                return self._file(request)
            case "GET", "/api/authorize":
                return json_reply({"user": {"name": "tester", "email": "tester@example.com"}})
            case _, "/api/repos" | "/api/repos/file":
                return self._repository(request)
            case "GET", models if models.startswith("/api/ai/models"):
                return self._models(request, last)
        return not_found_reply()

    # --- generations ------------------------------------------------------------------------------------------------

    def _enqueue(self, request: Request) -> Reply:
        body = _object(request)
        if body is None:
            return error(400, "The body is not a JSON object", kind="invalid_params")
        refusal = self._unknown_model(body)
        if refusal is not None:
            return refusal
        number = body.get("num_generations", 1)
        if not isinstance(number, int) or not 1 <= number <= 4:
            return error(400, "num_generations must be an integer between 1 and 4")
        with self.model.lock:  # a test sees all of them or none
            jobs = [self.model.create(body) for _ in range(number)]
        for job in jobs:
            self._created(job)
        return json_reply({"generations": [{"generation_id": job.id, "status": "queued"} for job in jobs]})

    async def _generate(self, request: Request) -> Reply:
        body = _object(request)
        if body is None:
            return error(400, "The body is not a JSON object", kind="invalid_params")
        problem = _prompt_problem(body)
        refusal = self._unknown_model(body) or problem
        if refusal is not None:
            return refusal
        job = self.model.create(body)
        self._created(job)
        while job.status not in TERMINAL:
            await asyncio.sleep(0.005)
        if job.status != "succeeded":
            return error(500, f"Getting model response error: {job.error_message or job.status}")
        video: dict[str, Any] = {"url": self.model.link(job)}
        if body.get("response_format") == "b64_json":
            video = {"b64_json": base64.b64encode(job.content).decode()}
        return json_reply({"model": body["model"], "created": job.completed_at, "videos": [video]})

    def _unknown_model(self, body: dict[str, Any]) -> Reply | None:
        name = body.get("model")
        if any(model["id"] == name for model in self.models):
            return None
        return error(400, f"Model not found: {name}")

    def _one(self, method: str, job: Job) -> Reply:
        if method == "GET":
            return json_reply(self.model.describe(job))
        self.model.end(job.id, "cancelled")
        return json_reply({"status": "success", "generation_id": job.id})

    def _matching(self, request: Request, *, active_only: bool) -> list[Job]:
        query = request.query
        wanted = query.get("status")

        def fits(job: Job) -> bool:
            shown = wanted == job.status if wanted else not (active_only and job.status in TERMINAL)
            return (
                shown
                and not job.hidden
                and query.get("model") in (None, job.body["model"])
                and query.get("media_type") in (None, "video")
                and query.get("namespace") in (None, job.body.get("target_namespace", "tester"))
                and query.get("repo") in (None, job.body.get("target_repo"))
                and query.get("folder") in (None, job.body.get("target_directory"))
            )

        return [job for job in list(self.model.jobs.values()) if fits(job)]

    def _list(self, request: Request) -> Reply:
        shown = [self.model.describe(job) for job in self._matching(request, active_only=True)]
        return json_reply({"count": len(shown), "generations": shown})

    # --- history ----------------------------------------------------------------------------------------------------

    def _priced(self, job: Job) -> dict[str, Any]:
        price = next(model["pricing"]["cost_per_second"] for model in self.models if model["id"] == job.body["model"])
        cost = f"{price * int(str(job.body.get('duration', 5)).rstrip('s')):.4f}" if job.status == "succeeded" else None
        return self.model.describe(job) | {"cost": cost, "user_id": "user-1", "username": "tester"}

    def _in_full(self, job: Job) -> Reply:
        return json_reply({"status": "success", "status_message": "resource_found", "generation": self._priced(job)})

    def _history(self, request: Request) -> Reply:
        page = int(request.query.get("page", "1"))
        size = min(int(request.query.get("page_size", "50")), 1000)
        jobs = self._matching(request, active_only=False)[::-1]
        rows = [self._priced(job) for job in jobs]
        shown = rows[(page - 1) * size : page * size]
        return json_reply(
            {
                "count": len(shown),
                "generations": shown,
                "page_number": page,
                "page_size": size,
                "total_pages": -(-len(rows) // size),
                "total_entries": len(rows),
                "total_cost": f"{sum(float(row['cost'] or 0) for row in rows):.4f}",
            }
        )

    # --- models, files, repositories --------------------------------------------------------------------------------

    def _models(self, request: Request, last: str) -> Reply:
        if request.route == "GET /api/ai/models/{id}":
            found = next((model for model in self.models if model["id"] == last), None)
            return not_found_reply() if found is None else json_reply(found)
        wanted = request.query.get("search", "")
        return json_reply({"object": "list", "data": [model for model in self.models if wanted in model["id"]]})

    def file_job(self, path: str) -> Job | None:
        """The generation whose result this path names."""
        return self.model.jobs.get(path.removeprefix("/files/").removesuffix(".mp4"))

    def _file(self, request: Request) -> Reply:
        job = self.file_job(request.path)
        if job is None:
            return Reply(404, b"not here", "text/plain")
        hops = request.query.get("hops", "0")
        if hops != "0":
            return onward(request, hops=hops if hops == "endless" else str(int(hops) - 1))
        if int(request.query.get("signature", "0")) <= job.expired_serial:
            return Reply(job.expired_status, b"<Error>Request has expired</Error>", "application/xml")
        return _file_reply(request, job)

    def _repository(self, request: Request) -> Reply:
        if request.method == "PUT":
            self.uploads[request.path] = request.body
            return json_reply({"status": "success", "status_message": "resource_created"}, 201)
        if request.method == "GET":
            body = self.uploads.get(request.path)
            return not_found_reply() if body is None else Reply(200, body, "application/octet-stream")
        name = str((_object(request) or {}).get("name"))
        if name in self.uploads:
            return error(409, "The repository exists already", kind="resource_already_exists")
        self.uploads[name] = b""
        return json_reply(
            {
                "status": "success",
                "status_message": "resource_created",
                "repository": {"name": name, "namespace": "tester"},
            },
            201,
        )


def _object(request: Request) -> dict[str, Any] | None:
    try:
        body = request.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _prompt_problem(body: dict[str, Any]) -> Reply | None:
    prefix = "Getting model response error: 422 - Value error, "
    given = [name for name in ("prompt", "multi_prompt") if body.get(name)]
    if len(given) == 2:
        return error(422, prefix + "Cannot provide both 'prompt' and 'multi_prompt'.")
    if not given and not body.get("input_video"):
        return error(422, prefix + "Either 'prompt' or 'multi_prompt' must be provided.")
    return None


def _file_reply(request: Request, job: Job) -> Reply:
    content = job.content
    headers = {"Accept-Ranges": "bytes", "ETag": job.etag}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if asked is None or request.headers.get("if-range", job.etag) != job.etag:
        return Reply(200, content, "video/mp4", headers)
    start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
    if start >= len(content):
        return Reply(416, b"", "text/plain", {"Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
    return Reply(206, content[start : end + 1], "video/mp4", headers)


def described_models(entries: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    return [describe_model(entry) for entry in entries]
