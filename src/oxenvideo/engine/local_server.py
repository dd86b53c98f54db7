"""Starts the embedded server on demand, with a key that stays the same from one kernel to the next."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from pathlib import Path

from oxenvideo.client.credentials import Secret
from oxenvideo.environment import ENGINES
from oxenvideo.errors import ConfigurationError
from oxenvideo.jobs.journal import make_private_directory
from oxenvideo.server import launcher


class LocalService:
    """One embedded server for this kernel; its queue and videos are in ``data_dir`` and outlive it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._lock = threading.Lock()
        self._server: launcher.LocalServer | None = None
        self._stopped = False

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not died."""
        server = self._server
        return server is not None and server.process.poll() is None

    def start(self) -> tuple[str, Secret]:
        """Start it, unless it runs, and return its address and key. Blocks until it listens."""
        with self._lock:
            if self._stopped:
                raise ConfigurationError("The embedded server was shut down with this kernel.")
            if self._server is None or not self.is_running:
                if self._server is not None:
                    self._server.stop()  # it has died: only its pipes are left
                try:
                    self._server = launcher.launch(
                        self._data_dir,
                        api_key=_key(self._data_dir),
                        options=("--engines", os.fspath(self._data_dir.with_name(ENGINES))),
                    )
                except launcher.LocalServerError as error:
                    raise ConfigurationError(str(error)) from None
            return self._server.base_url, Secret(self._server.api_key)

    def stop(self) -> None:
        """End it without waiting; it also ends by itself when this process does."""
        self._stopped = True
        if self._server is not None:
            self._server.process.terminate()


def _key(data_dir: Path) -> str:
    """The key of this user's embedded server. It stays the same, because a job is visible only with the key that made it."""
    make_private_directory(data_dir)
    path = data_dir / "key"
    if not path.exists():
        # Written under another name and then linked, so that no other kernel reads half a key.
        draft = path.with_name(f"key.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()
