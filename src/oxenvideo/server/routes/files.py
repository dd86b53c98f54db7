"""Files in and out: presigned results, and the files of repositories."""

from __future__ import annotations

import asyncio
import mimetypes
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from oxenvideo.server.context import json_body, state_of
from oxenvideo.server.errors import ApiError, invalid, not_found


async def result(request: Request) -> Response:
    """GET a finished video; the address carries its own permission."""
    state, query = state_of(request), request.query_params
    refusal = state.signer.refusal(request.url.path, query.get("expires", ""), query.get("signature", ""))
    if refusal is not None:
        raise ApiError(403, "forbidden", refusal)
    path = state.settings.results_dir / f"{request.path_params['generation_id']}.mp4"
    if not path.is_file():
        raise not_found()
    return FileResponse(path, media_type="video/mp4")


async def create_repo(request: Request) -> Response:
    """POST /api/repos."""
    state, body = state_of(request), await json_body(request)
    name, namespace = body.get("name"), body.get("namespace") or request.state.user
    if not isinstance(name, str) or not isinstance(namespace, str):
        raise invalid("name and namespace must be texts")
    state.repos.create(request.state.user, namespace, name)
    repository = {"namespace": namespace, "name": name}
    return JSONResponse(_created() | {"repository": repository}, status_code=201)


async def put_file(request: Request) -> Response:
    """PUT /api/repos/{namespace}/{repo}/file/{branch}/{path}."""
    state, where = state_of(request), request.path_params
    form = await request.form()
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise invalid("The body must be multipart form data with the part 'file'.")
    await asyncio.to_thread(
        state.repos.write,
        request.state.user, where["namespace"], where["repo"], where["branch"], where["path"], file.file,
    )  # fmt: skip
    await form.close()
    commit = {"message": form.get("message"), "author": form.get("name"), "email": form.get("email")}
    return JSONResponse(_created() | {"commit": commit})


async def get_file(request: Request) -> Response:
    """GET /api/repos/{namespace}/{repo}/file/{branch}/{path}."""
    where = request.path_params
    path = state_of(request).repos.find(
        request.state.user, where["namespace"], where["repo"], where["branch"], where["path"]
    )
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    # A stored page must not run as one of this origin's.
    return FileResponse(path, media_type=kind, headers={"Content-Security-Policy": "sandbox"})


_FILE = "/api/repos/{namespace}/{repo}/file/{branch}/{path:path}"
ROUTES = [
    Route("/results/{generation_id:uuid}.mp4", result, methods=["GET"]),
    Route("/api/repos", create_repo, methods=["POST"]),
    Route(_FILE, put_file, methods=["PUT"]),
    Route(_FILE, get_file, methods=["GET"]),
]


def _created() -> dict[str, Any]:
    return {"status": "success", "status_message": "resource_created"}
