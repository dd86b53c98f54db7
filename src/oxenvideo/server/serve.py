"""Running a server: its socket, the announcement, and how it ends."""

from __future__ import annotations

import contextlib
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
from oxenvideo.server.worker_pool import Worker

_GRACE_SECONDS = 1  # for open answers to end when the server stops
_PARENT_SECONDS = 1.0


class Server(uvicorn.Server):
    """A server on a socket of its own. Calls ``on_ready`` with its base URL when it listens."""

    def __init__(self, settings: Settings, first: Worker, on_ready: Callable[[str], None]) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
        if os.name == "posix":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((settings.host, settings.port))
        port = self._socket.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._base_url = f"http://{host}:{port}"
        self._on_ready = on_ready
        self._app = build(replace(settings, port=port), first)
        super().__init__(
            uvicorn.Config(
                self._app,
                loop="asyncio",
                ws="none",
                lifespan="on",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and announce it."""
        await super().startup(sockets)
        if self.started:
            self._on_ready(self._base_url)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and end the event streams, which would otherwise stay open until the grace period is over."""
        self._app.state.endings.close()
        super().handle_exit(sig, frame)

    def run_here(self) -> int:
        """Serve until a signal ends it; return the exit status."""
        # uvicorn raises the signal again after it has shut down. That must not count as a failure.
        signal.signal(signal.SIGTERM, lambda sig, frame: sys.exit(0))
        with contextlib.suppress(KeyboardInterrupt):
            self.run(sockets=[self._socket])
        return 0 if self.started else 1


def end_with_parent() -> None:
    """Stop this process when its parent process ends, however it ends.

    Standard input is a pipe that closes with the parent. A fork of the parent may keep it open; then the change of the
    parent process id is noticed.
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
            time.sleep(_PARENT_SECONDS)
        stop()

    for watch in (watch_input, watch_parent):
        threading.Thread(target=watch, name=watch.__name__, daemon=True).start()
