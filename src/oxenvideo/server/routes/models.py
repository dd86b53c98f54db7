"""Routes of the models, and of the user that the API key belongs to."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from oxenvideo.server.context import state_of
from oxenvideo.server.errors import not_found
from oxenvideo.server.models import Model, media
from oxenvideo.server.settings import USER

_FEATURED = (
    "kling-video-v2-6-pro-text-to-video",
    "kling-video-o3-pro-reference-to-video",
    "google-veo-3-1",
    "openai-sora-2-pro",
    "topazlabs-upscale-starlight-2-5-video",
)


async def authorize(request: Request) -> Response:
    """GET /api/authorize."""
    return JSONResponse({"user": {"id": USER, "name": USER, "username": USER, "email": f"{USER}@localhost"}})


async def list_models(request: Request) -> Response:
    """GET /api/ai/models.

    The documentation does not say what the values of the query are compared with. Here names are compared without
    case, and an action is an endpoint (`/videos/generate`) or a pair of media (`text-to-video`).
    """
    wanted = {name: value.casefold() for name, value in request.query_params.items()}
    action = wanted.get("action", "").replace("_", "-").strip("/")
    return _list(
        model
        for model in state_of(request).models.values()
        if wanted.get("developer_name") in (None, _developer(model))
        and wanted.get("provider_name") in (None, *_providers(model))
        and action in ("", *_actions(model))
    )


async def search_models(request: Request) -> Response:
    """GET /api/ai/models/search?search=. All words must be in the id or the name."""
    words = request.query_params.get("search", "").lower().split()
    models = state_of(request).models.values()
    return _list(m for m in models if all(w in f"{m['id']} {m.get('display_name') or ''}".lower() for w in words))


async def featured_models(request: Request) -> Response:
    """GET /api/ai/models/featured."""
    return _list(state_of(request).models[id_] for id_ in _FEATURED)


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


def _developer(model: Model) -> str:
    return str((model.get("developer") or {}).get("name") or model.get("owned_by")).casefold()


def _providers(model: Model) -> list[str]:
    named = [deployment.get("provider") for deployment in model.get("deployments") or ()]
    return [str(name).casefold() for name in (*named, model.get("owned_by"))]


def _actions(model: Model) -> list[str]:
    pairs = [f"{given}-to-{made}" for given in media(model, "input") for made in media(model, "output")]
    return [str(model.get("endpoint")).strip("/"), *pairs]
