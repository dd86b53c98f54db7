"""Running the server: the socket, the announcement, and the ways it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

import uvicorn

from oxenvideo.server.app import build
from oxenvideo.server.settings import Settings

# How long open answers may take to end once the server is told to stop, in seconds.
GRACE = 1
_PARENT_CHECK = 1.0


class Server(uvicorn.Server):
    """A server on a socket of its own; ``base_url`` is good once it listens."""

    def __init__(self, settings: Settings, on_ready: Callable[[str], None] | None = None) -> None:
        self._socket = _listen(settings.host, settings.port)
        port = self._socket.getsockname()[1]
        self.app = build(replace(settings, port=port))
        self.base_url = f"http://{_authority(settings.host)}:{port}"
        self._on_ready = on_ready
        super().__init__(
            uvicorn.Config(
                self.app,
                loop="asyncio",
                lifespan="on",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=GRACE,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready(self.base_url)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop: the event streams first, which would otherwise stay until the grace is over."""
        self.app.state.hub.close()
        super().handle_exit(sig, frame)

    def run_here(self) -> int:
        """Serve until told to stop; return the exit status."""
        # uvicorn raises the signal again after it has shut down: both are good ends.
        signal.signal(signal.SIGTERM, lambda sig, frame: sys.exit(0))
        with contextlib.suppress(KeyboardInterrupt):
            self.run(sockets=[self._socket])
        return 0 if self.started else 1


def announce_json(base_url: str) -> None:
    """Print the line that a program reads which started this server."""
    print(json.dumps({"base_url": base_url, "pid": os.getpid()}), flush=True)


def end_with_parent() -> None:
    """Stop this process when the one that started it ends, however that ends.

    Standard input is a pipe that ends with the parent; where a fork of the parent still holds it, the change of parent
    tells.
    """
    parent = os.getppid()

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def watch_input() -> None:
        while os.read(0, 1024):
            pass
        stop()

    def watch_parent() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK)
        stop()

    for watch in (watch_input, watch_parent):
        threading.Thread(target=watch, name=watch.__name__, daemon=True).start()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    if os.name == "posix":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _authority(host: str) -> str:
    return f"[{host}]" if ":" in host else host
