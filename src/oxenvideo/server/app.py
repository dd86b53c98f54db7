"""The application: routes, guards and error answers around one server's state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from oxenvideo.server import errors, models, signed_urls
from oxenvideo.server.context import ServerState
from oxenvideo.server.events import EventHub
from oxenvideo.server.lock import Presence
from oxenvideo.server.middleware import Guard
from oxenvideo.server.queue import Queue
from oxenvideo.server.repos import Repos
from oxenvideo.server.routes import files
from oxenvideo.server.routes import models as routes_models
from oxenvideo.server.routes import queue as routes_queue
from oxenvideo.server.settings import Settings
from oxenvideo.server.worker_pool import Pool


def build(settings: Settings) -> Starlette:
    """Build the application; its parts are made when it starts and taken down when it stops."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        settings.make_directories()
        presence = Presence(settings.data_dir)
        queue = Queue(settings.data_dir / "queue.sqlite3", presence.id)
        queue.take_over({owner for owner in queue.owners() if not presence.is_alive(owner)})
        state = ServerState(
            settings=settings,
            models=models.load(settings.models_file),
            queue=queue,
            repos=Repos(settings.repos_dir),
            signer=signed_urls.Signer(signed_urls.load_secret(settings.data_dir), settings.url_ttl),
            hub=hub,
        )
        state.pool = Pool(settings, queue, state.models, state.repos, state.finished)
        app.state.server = state
        state.pool.start()
        try:
            yield
        finally:
            await state.pool.stop()
            queue.close()
            presence.leave()

    hub = EventHub()
    app = Starlette(
        routes=[*routes_models.ROUTES, *routes_queue.ROUTES, *files.ROUTES],
        middleware=[Middleware(Guard, settings=settings)],
        exception_handlers={
            errors.ApiError: errors.answer_api_error,
            HTTPException: errors.answer_http_exception,
            Exception: errors.answer_crash,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # an address with a slash more is another one, and not found
    app.state.hub = hub
    return app
