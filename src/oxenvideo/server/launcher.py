"""Starting a server from another process, with which it ends."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Timer

_REQUIRED = ("starlette", "uvicorn", "sse_starlette", "python_multipart", "av", "numpy", "PIL", "tomlkit", "websockets")
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0


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

    def stop(self) -> None:
        """End the server, by force after a few seconds. Calling it again does nothing."""
        self.process.terminate()
        try:
            self.process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def launch(data_dir: Path, *, api_key: str | None = None, options: tuple[str, ...] = ()) -> LocalServer:
    """Start a server on a free loopback port and wait until it listens. It ends when this process ends.

    ``options`` are additional arguments of `oxenvideo serve`. Raises LocalExtraMissingError if packages are missing,
    LocalServerError if the server does not start.
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
    timer = Timer(_START_SECONDS, process.kill)
    timer.daemon = True
    timer.start()
    line = process.stdout.readline() if process.stdout is not None else b""
    timer.cancel()
    if not line:
        process.communicate()
        last = log_path.read_text("utf-8", "replace").strip().rpartition("\n")[2]
        raise LocalServerError(f"The embedded server did not start. Its log is {log_path}. {last}".strip())
    return LocalServer(json.loads(line)["base_url"], key, process)


def check_packages() -> None:
    """Raise LocalExtraMissingError if a package that the server needs is not installed."""
    if any(find_spec(name) is None for name in _REQUIRED):
        raise LocalExtraMissingError("The embedded server needs: pip install 'oxenvideo[local]'")
