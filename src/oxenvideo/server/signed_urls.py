"""Signed, expiring addresses of finished videos."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path


def load_secret(data_dir: Path) -> bytes:
    """Read the signing secret of this data directory, making one at first use."""
    path = data_dir / "signing.key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(32).encode())
    for _ in range(100):  # another server may be between creating and writing it
        if secret := path.read_bytes():
            return secret
        time.sleep(0.01)
    raise RuntimeError(f"{path} is empty: delete it and start again.")


class Signer:
    """Signs paths and checks them; an address is good for ``ttl`` seconds."""

    def __init__(self, secret: bytes, ttl: float) -> None:
        self._secret = secret
        self._ttl = ttl

    def sign(self, path: str) -> str:
        """Return the path with its expiry and signature as query."""
        expires = f"{time.time() + self._ttl:.3f}"
        return f"{path}?expires={expires}&signature={self._signature(path, expires)}"

    def refusal(self, path: str, expires: str, signature: str) -> str | None:
        """Say why the address is refused, or None where it is good."""
        if not hmac.compare_digest(signature.encode(), self._signature(path, expires).encode()):
            return "The signature does not match the address."
        if time.time() >= float(expires):
            return "The address has expired: read the generation again for a new one."
        return None

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self._secret, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()
