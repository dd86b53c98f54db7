"""How a row of the queue looks on the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from oxenvideo.server.queue import Generation
from oxenvideo.server.signed_urls import Signer


def generation_view(row: Generation, base: str, signer: Signer) -> dict[str, Any]:
    """Show a generation: every parameter that was sent at the top level, then what is always there."""
    return {
        **row.parameters,
        "generation_id": row.id,
        "model_name": row.model,
        "prompt": row.parameters.get("prompt"),
        "media_type": row.media_type,
        "status": row.status,
        "result_url": result_url(row, base, signer),
        "error_message": row.error_message,
        "enqueued_at": int(row.enqueued_at),
        "started_at": _unix(row.started_at),
        "completed_at": _unix(row.completed_at),
        "target_namespace": row.namespace,
        "target_repo": row.repo,
        "target_directory": row.directory,
    }


def history_view(row: Generation, base: str, signer: Signer) -> dict[str, Any]:
    """Show a generation as the history does, with its cost and who made it."""
    return generation_view(row, base, signer) | {"cost": row.cost, "user_id": row.user, "username": row.user}


def notice_view(row: Generation, base: str, signer: Signer) -> str:
    """Show the end of a generation as the data of its completion event."""
    notice: dict[str, Any] = {"generation_id": row.id, "status": row.status, "media_type": row.media_type}
    if row.status == "succeeded":
        notice |= {"model": row.model, "url": result_url(row, base, signer)}
    else:
        notice |= {"error": row.error_message}
    return json.dumps(notice)


def result_url(row: Generation, base: str, signer: Signer) -> str | None:
    """Return a fresh address of the video, or None where there is none."""
    return base + signer.sign(result_path(row.id)) if row.status == "succeeded" else None


def result_path(id_: str) -> str:
    """Return where the video of a generation is served."""
    return f"/results/{id_}.mp4"


def base_url(request: Request) -> str:
    """Return the origin the client used, under which it can reach this server again."""
    return f"{request.url.scheme}://{request.url.netloc}"


def text_parameter(body: Mapping[str, Any], name: str) -> str | None:
    """Return an optional text of a body; anything that is no text is refused by its caller's check."""
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def _unix(time: float | None) -> int | None:
    return None if time is None else int(time)
