"""Signed, expiring URLs of finished videos."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import secrets
import time
from pathlib import Path

from oxenvideo.server.queue import Generation


class Signer:
    """Signs and checks the URLs of videos. A URL is valid for ``ttl`` seconds, also after a restart."""

    def __init__(self, data_dir: Path, ttl: float) -> None:
        with (data_dir / "signing.key").open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another server on the same directory may start at the same time
            file.seek(0)
            self._secret = file.read() or secrets.token_hex(32).encode()
            if file.tell() == 0:
                file.write(self._secret)
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
