"""The ASGI application: routes, middleware and error answers, and the parts behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from oxenvideo.server import errors, models
from oxenvideo.server.context import State
from oxenvideo.server.events import Endings
from oxenvideo.server.lock import Presence
from oxenvideo.server.middleware import Guard
from oxenvideo.server.queue import Queue
from oxenvideo.server.repos import Repos
from oxenvideo.server.responses import Signer
from oxenvideo.server.routes import files
from oxenvideo.server.routes import models as model_routes
from oxenvideo.server.routes import queue as queue_routes
from oxenvideo.server.settings import Settings
from oxenvideo.server.worker_pool import Pool, Worker


def build(settings: Settings, first: Worker) -> Starlette:
    """Build the application. Its parts are created when it starts; ``first`` is a worker that was started already."""
    endings = Endings()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        presence = Presence(settings.data_dir)
        queue = Queue(settings.data_dir / "queue.sqlite3", presence.id)
        known, repos = models.load(settings.models_file), Repos(settings.repos_dir)
        pool = Pool(settings, queue, known, repos, endings, first)
        signer = Signer(settings.data_dir, settings.url_ttl)
        app.state.server = State(settings, known, queue, repos, signer, endings, pool)
        pool.start(presence.is_alive)
        try:
            yield
        finally:
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
    app.state.endings = endings
    return app
