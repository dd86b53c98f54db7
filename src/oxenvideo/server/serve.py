"""Running a server: the ASGI application, its socket, the announcement, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import uvicorn
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from oxenvideo.server import errors, models
from oxenvideo.server.context import State
from oxenvideo.server.engines.runner import Timing
from oxenvideo.server.engines.scheduler import Scheduler
from oxenvideo.server.events import Endings
from oxenvideo.server.middleware import Guard
from oxenvideo.server.queue import Presence, Queue
from oxenvideo.server.repos import Repos
from oxenvideo.server.results import Results
from oxenvideo.server.routes import files
from oxenvideo.server.routes import models as model_routes
from oxenvideo.server.routes import queue as queue_routes
from oxenvideo.server.settings import Settings
from oxenvideo.server.signing import Signer
from oxenvideo.server.worker_pool import Pool, Worker

_GRACE_SECONDS = 1  # for open answers to end when the server stops
_PARENT_SECONDS = 1.0


class Server(uvicorn.Server):
    """A server on a socket of its own. Calls ``on_ready`` with its base URL when it listens."""

    def __init__(self, settings: Settings, first: Worker, on_ready: Callable[[str], None]) -> None:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        # asyncio sends small answers without delay (TCP_NODELAY) only if the protocol is named.
        self._socket = socket.socket(family, proto=socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((settings.host, settings.port))
        port = self._socket.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._base_url = f"http://{host}:{port}"
        self._on_ready = on_ready
        self._endings = Endings()
        super().__init__(
            uvicorn.Config(
                _application(replace(settings, port=port), self._endings, first),
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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and end the event streams, which would otherwise stay open until the grace period is over."""
        self._endings.close()  # not in `handle_exit`: a signal may come while a stream is about to wait
        logging.getLogger("uvicorn.error").addFilter(_is_error)
        await super().shutdown(sockets)

    def run_here(self) -> int:
        """Serve until a signal ends it; return the exit status."""
        # `shutdown` ends the streams; a stream that sse_starlette cancels has no end, which uvicorn logs as an error.
        AppStatus.enable_automatic_graceful_drain = False
        # uvicorn raises the signal again after it has shut down. That must not count as a failure.
        signal.signal(signal.SIGTERM, lambda sig, frame: sys.exit(0))
        with contextlib.suppress(KeyboardInterrupt):
            self.run(sockets=[self._socket])
        return 0 if self.started else 1


def _is_error(record: logging.LogRecord) -> bool:
    """Whether a record of a server that stops says more than that an open answer was cut off."""
    was_cut_off = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not was_cut_off and "graceful shutdown exceeded" not in str(record.msg)


def _application(settings: Settings, endings: Endings, first: Worker) -> Starlette:
    """Build the application. Its parts are created when it starts; ``first`` is a worker that was started already."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        for name in ("httpx", "httpcore", "websockets"):  # they log addresses of engines, which are private
            logging.getLogger(name).setLevel(logging.WARNING)
        presence = Presence(settings.data_dir)
        queue = Queue(settings.data_dir / "queue.sqlite3", presence.id)
        known, repos = models.load(settings.models), Repos(settings.data_dir / "repos")
        results = Results(settings, queue, repos, endings)
        pool = Pool(settings, queue, known, results, first)
        scheduler = Scheduler(settings, queue, known, results, endings, Timing())
        signer = Signer(settings.data_dir, settings.url_ttl)
        app.state.server = State(settings, scheduler.models, queue, repos, signer, endings, pool, scheduler)
        pool.start(presence.is_alive)
        await scheduler.start()
        try:
            yield
        finally:
            await scheduler.stop()
            await pool.stop()
            queue.close()
            presence.leave()

    app = Starlette(
        routes=[*model_routes.ROUTES, *queue_routes.ROUTES, *files.ROUTES],
        middleware=[Middleware(Guard, settings=settings)],
        exception_handlers=dict.fromkeys((errors.ApiError, HTTPException, Exception), errors.answer_error),
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a path with an additional slash is not found
    return app


def end_with_parent() -> None:
    """Stop this process when its parent process ends, however it ends.

    Standard input is a pipe that closes with the parent. A fork of the parent may keep it open; then the change of the
    parent process id is noticed.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and not select.select([0], [], [], _PARENT_SECONDS)[0]:
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
