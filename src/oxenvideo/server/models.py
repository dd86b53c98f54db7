"""The models this server knows: the bundled catalogue, and more from a file where one is given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

FEATURED = (
    "kling-video-v2-6-pro-text-to-video",
    "kling-video-o3-pro-reference-to-video",
    "google-veo-3-1",
    "openai-sora-2-pro",
    "topazlabs-upscale-starlight-2-5-video",
)

Model = Mapping[str, Any]


class Models:
    """Models by id, in the catalogue's order."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = {str(model["id"]): model for model in models}

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def get(self, id_: str) -> Model | None:
        """Return the model of this id, or None."""
        return self._models.get(id_)

    def featured(self) -> list[Model]:
        """Return the models to show first."""
        return [self._models[id_] for id_ in FEATURED if id_ in self._models]

    def matching(self, *, developer: str | None, provider: str | None, action: str | None) -> list[Model]:
        """Return the models of a developer, a provider and an action, each where it is given.

        The documentation names the three without saying what they compare with; here names compare without case, and
        an action is an endpoint (`/videos/generate`) or a pair of modalities (`text-to-video`).
        """
        return [
            model
            for model in self
            if (developer is None or _same(developer, _developer(model)))
            and (provider is None or any(_same(provider, name) for name in _providers(model)))
            and (action is None or _does(model, action))
        ]

    def search(self, words: str) -> list[Model]:
        """Return the models whose id or name has every one of these words."""
        wanted = words.lower().split()
        return [m for m in self if all(word in f"{m['id']} {m.get('display_name') or ''}".lower() for word in wanted)]


def load(extra: Path | None = None) -> Models:
    """Read the bundled catalogue, then the models of ``extra``, a JSON array of the same shape."""
    bundled = resources.files("oxenvideo").joinpath("data", "video_models.json").read_text("utf-8")
    models: list[Model] = json.loads(bundled)
    if extra is not None:
        try:
            more = json.loads(extra.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{extra} is not JSON: {error}") from None
        if not isinstance(more, list) or not all(isinstance(model, dict) and "id" in model for model in more):
            raise ValueError(f"{extra} is not a JSON array of models, each an object with an id.")
        models += more
    return Models(models)


def makes(model: Model, medium: str) -> bool:
    """Say whether the model's output is of this medium (`video`, `image`, `text`)."""
    return medium in ((model.get("capabilities") or {}).get("output") or ())


def _same(wanted: str, name: str | None) -> bool:
    return name is not None and wanted.casefold() == name.casefold()


def _developer(model: Model) -> str | None:
    developer = model.get("developer") or {}
    return developer.get("name") or model.get("owned_by")


def _providers(model: Model) -> list[str | None]:
    named = [deployment.get("provider") for deployment in model.get("deployments") or ()]
    return [*named, model.get("owned_by")]


def _does(model: Model, action: str) -> bool:
    wanted = action.lower().replace("_", "-").strip("/")
    if wanted == str(model.get("endpoint") or "").strip("/"):
        return True
    capabilities = model.get("capabilities") or {}
    pairs = {f"{i}-to-{o}" for i in capabilities.get("input") or () for o in capabilities.get("output") or ()}
    return wanted in pairs
