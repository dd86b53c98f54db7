"""Routes of the models, and of the user that the API key belongs to."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from oxenvideo.server.context import state_of
from oxenvideo.server.errors import not_found
from oxenvideo.server.models import Model
from oxenvideo.server.settings import USER


async def authorize(request: Request) -> Response:
    """GET /api/authorize."""
    return JSONResponse({"user": {"id": USER, "name": USER, "username": USER, "email": f"{USER}@localhost"}})


async def list_models(request: Request) -> Response:
    """GET /api/ai/models."""
    query = request.query_params
    return _list(
        state_of(request).models.matching(
            developer=query.get("developer_name"), provider=query.get("provider_name"), action=query.get("action")
        )
    )


async def search_models(request: Request) -> Response:
    """GET /api/ai/models/search?search=."""
    return _list(state_of(request).models.search(request.query_params.get("search", "")))


async def featured_models(request: Request) -> Response:
    """GET /api/ai/models/featured."""
    return _list(state_of(request).models.featured())


async def favorite_models(request: Request) -> Response:
    """GET /api/ai/models/favorites. There is no way to add one here."""
    return _list([])


async def show_model(request: Request) -> Response:
    """GET /api/ai/models/{id}."""
    model = state_of(request).models.get(request.path_params["id"])
    if model is None:
        raise not_found()
    return JSONResponse(model)


ROUTES = [
    Route("/api/authorize", authorize, methods=["GET"]),
    Route("/api/ai/models", list_models, methods=["GET"]),
    Route("/api/ai/models/search", search_models, methods=["GET"]),
    Route("/api/ai/models/featured", featured_models, methods=["GET"]),
    Route("/api/ai/models/favorites", favorite_models, methods=["GET"]),
    Route("/api/ai/models/{id:path}", show_model, methods=["GET"]),
]


def _list(models: Iterable[Model]) -> JSONResponse:
    return JSONResponse({"object": "list", "data": list(models)})
