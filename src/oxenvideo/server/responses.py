"""Generations as the API shows them, with signed, expiring URLs of finished videos."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from starlette.requests import Request

from oxenvideo.server.queue import Generation
from oxenvideo.server.settings import USER


class Signer:
    """Signs and checks the URLs of videos. A URL is valid for ``ttl`` seconds, also after a restart."""

    def __init__(self, data_dir: Path, ttl: float) -> None:
        self._secret = _load_secret(data_dir / "signing.key")
        self._ttl = ttl

    def url(self, row: Generation, base: str) -> str | None:
        """Return a new URL of the video of a generation, or None if it has none."""
        if row.status != "succeeded":
            return None
        path, expires = f"/results/{row.id}.mp4", f"{time.time() + self._ttl:.3f}"
        return f"{base}{path}?expires={expires}&signature={self._signature(path, expires)}"

    def refusal(self, path: str, expires: str, signature: str) -> str | None:
        """Return why a URL is refused, or None if it is valid."""
        if not hmac.compare_digest(signature.encode(), self._signature(path, expires).encode()):
            return "The signature does not match the URL."
        if time.time() >= float(expires):
            return "The URL has expired. Read the generation again to get a new one."
        return None

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self._secret, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()


def generation_view(row: Generation, base: str, signer: Signer) -> dict[str, Any]:
    """Return a generation as the queue shows it: the parameters that were sent, then the fields of the API."""
    return {
        **row.parameters,
        "generation_id": row.id,
        "model_name": row.model,
        "prompt": row.parameters.get("prompt"),
        "media_type": row.media_type,
        "status": row.status,
        "result_url": signer.url(row, base),
        "error_message": row.error_message,
        "enqueued_at": int(row.enqueued_at),
        "started_at": None if row.started_at is None else int(row.started_at),
        "completed_at": None if row.completed_at is None else int(row.completed_at),
        "target_namespace": row.namespace,
        "target_repo": row.repo,
        "target_directory": row.directory,
    }


def history_view(row: Generation, base: str, signer: Signer) -> dict[str, Any]:
    """Return a generation as the history shows it, with its cost and user."""
    return generation_view(row, base, signer) | {"cost": row.cost, "user_id": USER, "username": USER}


def event_data(row: Generation, base: str, signer: Signer) -> str:
    """Return the data of the event that reports the completion of a generation."""
    data: dict[str, Any] = {"generation_id": row.id, "status": row.status, "media_type": row.media_type}
    if row.status == "succeeded":
        data |= {"model": row.model, "url": signer.url(row, base)}
    else:
        data |= {"error": row.error_message}
    return json.dumps(data)


def base_url(request: Request) -> str:
    """Return the origin that the client used, so that it can reach the URLs built from it."""
    return f"{request.url.scheme}://{request.url.netloc}"


def _load_secret(path: Path) -> bytes:
    """Read the signing secret of a data directory, or create it."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(32).encode())
    for _ in range(100):  # another server may have created it and not written it yet
        if secret := path.read_bytes():
            return secret
        time.sleep(0.01)
    raise RuntimeError(f"{path} is empty. Delete it and start the server again.")
