"""The server started on demand: a process of its own that ends with the one that started it."""

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

REQUIRED = ("starlette", "uvicorn", "sse_starlette", "python_multipart", "av", "numpy", "PIL")
_START_TIMEOUT = 30.0


class LocalServerError(RuntimeError):
    """The embedded server cannot be started; the text says why and what to do."""


class LocalExtraMissingError(LocalServerError):
    """The packages of the `local` extra are not installed."""


@dataclass
class LocalServer:
    """A running embedded server. Its finished videos stay when it ends."""

    base_url: str
    api_key: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)

    def stop(self, timeout: float = 5.0) -> None:
        """End the server; safe to call again. It is killed after ``timeout`` seconds."""
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
    data_dir: Path, *, api_key: str | None = None, options: tuple[str, ...] = (), timeout: float = _START_TIMEOUT
) -> LocalServer:
    """Start a server on a free loopback port and wait until it listens.

    ``options`` are more arguments of `oxenvideo serve`. The server ends when this process ends, however that happens.
    Raises LocalExtraMissingError where its packages are missing, LocalServerError where it does not start.
    """
    missing = [name for name in REQUIRED if find_spec(name) is None]
    if missing:
        raise LocalExtraMissingError("The embedded server needs: pip install 'oxenvideo[local]'")
    key = api_key or secrets.token_urlsafe(24)
    data_dir.mkdir(parents=True, exist_ok=True)
    log_path = data_dir / "server.log"
    command = [sys.executable, "-P", "-m", "oxenvideo", "serve", "--port", "0", "--data-dir", os.fspath(data_dir)]
    with log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603
            [*command, "--announce", "json", "--end-with-parent", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | {"OXEN_API_KEY": key},  # not an argument: those are visible to every user
            start_new_session=True,  # an interrupt meant for a cell must not reach the server
        )
    ready = _read_announcement(process, timeout)
    if ready is None:
        process.kill()
        process.wait()
        raise LocalServerError(f"The embedded server did not start; {log_path} says why. {_tail(log_path)}".strip())
    return LocalServer(ready["base_url"], key, process)


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


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError, IndexError):
        return path.read_text("utf-8", "replace").strip().splitlines()[-1]
    return ""
