"""What a finished generation costs by its model's published price, in US dollars as decimal text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

_UNKNOWN = Decimal("0.00")


def cost(pricing: Mapping[str, Any] | None, *, seconds: float, audio: bool, resolution: str | None) -> str:
    """Price ``seconds`` of output; "0.00" where the model's price is not known."""
    rate = _rate(pricing or {}, audio=audio, resolution=resolution)
    if rate is None:
        return str(_UNKNOWN)
    # A frame more or less must not show in the price: 121 frames at 24 a second are 5 s.
    return _plain(rate * Decimal(str(round(seconds, 1))))


def total(costs: Iterable[str | None]) -> str:
    """Add up costs, leaving out what was never charged."""
    return _plain(sum((Decimal(c) for c in costs if c is not None), _UNKNOWN))


def _rate(pricing: Mapping[str, Any], *, audio: bool, resolution: str | None) -> Decimal | None:
    by_resolution = pricing.get("cost_per_second_by_resolution") or {}
    high = pricing.get("cost_per_second_high_res") if resolution in ("2k", "4k") else None
    for rate in (
        by_resolution.get(resolution),
        pricing.get("cost_per_second_with_audio") if audio else None,
        high,
        pricing.get("cost_per_second"),
    ):
        if rate is not None:
            return Decimal(str(rate))
    return None


def _plain(amount: Decimal) -> str:
    exact = amount.quantize(Decimal("0.0001"), ROUND_HALF_UP)
    cents = exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
    return str(cents if cents == exact else exact)
