"""Routes of files: finished videos, and the files of repositories."""

from __future__ import annotations

import asyncio
import mimetypes

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from oxenvideo.server.context import json_body, state_of
from oxenvideo.server.errors import ApiError, invalid, not_found
from oxenvideo.server.settings import USER


async def result(request: Request) -> Response:
    """GET a finished video. The URL is signed, and no key is needed."""
    state, query = state_of(request), request.query_params
    refusal = state.signer.refusal(request.url.path, query.get("expires", ""), query.get("signature", ""))
    if refusal is not None:
        raise ApiError(403, "forbidden", refusal)
    path = state.settings.result(request.path_params["generation_id"])
    if not path.is_file():
        raise not_found()
    return FileResponse(path, media_type="video/mp4")


async def create_repo(request: Request) -> Response:
    """POST /api/repos."""
    body = await json_body(request)
    name, namespace = body.get("name"), body.get("namespace") or USER
    if not isinstance(name, str) or not isinstance(namespace, str):
        raise invalid("name and namespace must be strings.")
    state_of(request).repos.create(namespace, name)
    return JSONResponse(_CREATED | {"repository": {"namespace": namespace, "name": name}}, status_code=201)


async def put_file(request: Request) -> Response:
    """PUT /api/repos/{namespace}/{repo}/file/{branch}/{path}."""
    async with request.form() as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise invalid("The body must be multipart form data with the part 'file'.")
        await asyncio.to_thread(state_of(request).repos.write, content=file.file, **request.path_params)
        texts = {key: text if isinstance(text := form.get(key), str) else None for key in ("message", "name", "email")}
    commit = {"message": texts["message"], "author": texts["name"], "email": texts["email"]}
    return JSONResponse(_CREATED | {"commit": commit})


async def get_file(request: Request) -> Response:
    """GET /api/repos/{namespace}/{repo}/file/{branch}/{path}."""
    path = state_of(request).repos.find(**request.path_params)
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    # A stored HTML page must not run scripts in the origin of this server.
    return FileResponse(path, media_type=kind, headers={"Content-Security-Policy": "sandbox"})


_CREATED = {"status": "success", "status_message": "resource_created"}
_FILE = "/api/repos/{namespace}/{repo}/file/{branch}/{path:path}"
ROUTES = [
    Route("/results/{generation_id:uuid}.mp4", result, methods=["GET"]),
    Route("/api/repos", create_repo, methods=["POST"]),
    Route(_FILE, put_file, methods=["PUT"]),
    Route(_FILE, get_file, methods=["GET"]),
]
