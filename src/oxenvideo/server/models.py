"""The models of this server, from the bundled catalog and a file of more models, and their prices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from importlib import resources
from pathlib import Path
from typing import Any

Model = Mapping[str, Any]
Models = Mapping[str, Model]  # by id, in the order of the catalog


def load(extra: Path | None = None) -> Models:
    """Read the bundled catalog and the models of ``extra``, a JSON array; raise ValueError if it is none."""
    models = json.loads(resources.files("oxenvideo").joinpath("data", "video_models.json").read_text("utf-8"))
    if extra is not None:
        try:
            more = json.loads(extra.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{extra} is not JSON: {error}") from None
        if not isinstance(more, list) or not all(isinstance(model, dict) and "id" in model for model in more):
            raise ValueError(f"{extra} is not a JSON array of models, each an object with an id.")
        models += more
    return {str(model["id"]): model for model in models}


def media(model: Model, side: str) -> tuple[str, ...]:
    """Return the media (`video`, `image`, `text`) of a side (`input`, `output`) of a model."""
    return tuple((model.get("capabilities") or {}).get(side) or ())


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
