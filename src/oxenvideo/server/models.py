"""The models of this server, from the bundled catalog and a file of more models, and their prices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from importlib import resources
from pathlib import Path
from typing import Any

_FEATURED = (
    "kling-video-v2-6-pro-text-to-video",
    "kling-video-o3-pro-reference-to-video",
    "google-veo-3-1",
    "openai-sora-2-pro",
    "topazlabs-upscale-starlight-2-5-video",
)

Model = Mapping[str, Any]


class Models:
    """Models by id, in the order of the catalog."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = {str(model["id"]): model for model in models}

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def get(self, id_: str) -> Model | None:
        """Return the model of this id, or None."""
        return self._models.get(id_)

    def featured(self) -> list[Model]:
        """Return the featured models."""
        return [self._models[id_] for id_ in _FEATURED if id_ in self._models]

    def matching(self, *, developer: str | None, provider: str | None, action: str | None) -> list[Model]:
        """Return the models of this developer, provider and action; None means any.

        The documentation does not say what these values are compared with. Here names are compared without case, and
        an action is an endpoint (`/videos/generate`) or a pair of media (`text-to-video`).
        """
        return [
            model
            for model in self
            if (developer is None or _same(developer, _developer(model)))
            and (provider is None or any(_same(provider, name) for name in _providers(model)))
            and (action is None or _does(model, action))
        ]

    def search(self, words: str) -> list[Model]:
        """Return the models that have all of these words in their id or name."""
        wanted = words.lower().split()
        return [m for m in self if all(word in f"{m['id']} {m.get('display_name') or ''}".lower() for word in wanted)]


def load(extra: Path | None = None) -> Models:
    """Read the bundled catalog and the models of ``extra``, a JSON array; raise ValueError if it is none."""
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
    """Return whether the model's output is of this medium (`video`, `image`, `text`)."""
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


def cost(pricing: Mapping[str, Any] | None, *, seconds: float, audio: bool, resolution: str | None) -> str:
    """Return the price of ``seconds`` of video in US dollars as decimal text; "0.00" if no price is known."""
    known = pricing or {}
    rates = (
        (known.get("cost_per_second_by_resolution") or {}).get(resolution),
        known.get("cost_per_second_with_audio") if audio else None,
        known.get("cost_per_second_high_res") if resolution in ("2k", "4k") else None,
        known.get("cost_per_second"),
    )
    rate = next((rate for rate in rates if rate is not None), 0)
    # One frame more or less must not change the price: 121 frames at 24 a second are charged as 5 s.
    return _plain(Decimal(str(rate)) * Decimal(str(round(seconds, 1))))


def total(costs: Iterable[str | None]) -> str:
    """Return the sum of costs; None counts as nothing."""
    return _plain(sum((Decimal(cost) for cost in costs if cost is not None), Decimal(0)))


def _plain(amount: Decimal) -> str:
    """Round to a hundredth of a cent, or write whole cents if the amount has no smaller part."""
    exact = amount.quantize(Decimal("0.0001"), ROUND_HALF_UP)
    cents = exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
    return str(cents if cents == exact else exact)
