"""Starting a server from another process, with which it ends."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

_REQUIRED = ("starlette", "uvicorn", "sse_starlette", "python_multipart", "av", "numpy", "PIL")


class LocalServerError(RuntimeError):
    """The embedded server cannot be started. The text says why and what to do."""


class LocalExtraMissingError(LocalServerError):
    """The packages of the `local` extra are not installed."""


@dataclass
class LocalServer:
    """A running embedded server. Its finished videos are kept when it ends."""

    base_url: str
    api_key: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)

    def stop(self, timeout: float = 5.0) -> None:
        """End the server, by force after ``timeout`` seconds. Calling it again does nothing."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def launch(
    data_dir: Path, *, api_key: str | None = None, options: tuple[str, ...] = (), timeout: float = 30.0
) -> LocalServer:
    """Start a server on a free loopback port and wait until it listens.

    ``options`` are additional arguments of `oxenvideo serve`, ``timeout`` is in seconds. The server ends when this
    process ends. Raises LocalExtraMissingError if packages are missing, LocalServerError if it does not start.
    """
    check_packages()
    key = api_key or secrets.token_urlsafe(24)
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    log_path = data_dir / "server.log"
    command = [sys.executable, "-P", "-m", "oxenvideo", "serve", "--port", "0", "--data-dir", os.fspath(data_dir)]
    with os.fdopen(os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        process = subprocess.Popen(  # noqa: S603
            [*command, "--announce", "json", "--end-with-parent", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | {"OXEN_API_KEY": key},  # not an argument, because all users can see those
            start_new_session=True,  # so that an interrupt of a cell does not reach the server
        )
    ready = _read_announcement(process, timeout)
    if ready is None:
        process.kill()
        process.wait()
        reason = f"The embedded server did not start. Its log is {log_path}. {_last_line(log_path)}"
        raise LocalServerError(reason.strip())
    return LocalServer(ready["base_url"], key, process)


def check_packages() -> None:
    """Raise LocalExtraMissingError if a package that the server needs is not installed."""
    if any(find_spec(name) is None for name in _REQUIRED):
        raise LocalExtraMissingError("The embedded server needs: pip install 'oxenvideo[local]'")


def _read_announcement(process: subprocess.Popen[bytes], timeout: float) -> dict[str, str] | None:
    lines: list[bytes] = []

    def read() -> None:
        if process.stdout is not None:
            lines.append(process.stdout.readline())

    reader = Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout)
    try:
        ready: dict[str, str] = json.loads(lines[0])
    except (IndexError, ValueError):
        return None
    return ready


def _last_line(path: Path) -> str:
    with contextlib.suppress(OSError, IndexError):
        return path.read_text("utf-8", "replace").strip().splitlines()[-1]
    return ""
