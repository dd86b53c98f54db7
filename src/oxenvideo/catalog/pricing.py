"""Estimate what a request will cost from the model's prices, before it is sent."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from oxenvideo.catalog.catalog import Catalog, Model
from oxenvideo.errors import OxenVideoError
from oxenvideo.media import frames
from oxenvideo.media.media import walk

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*s?")
DEFAULT_DURATION = 5
"""Seconds that the API documents for a request or a shot without ``duration``."""
_HIGH = {"high", "2k", "1440p", "4k", "2160p"}


@dataclass(frozen=True)
class Estimate:
    """An estimate: ``total`` US dollars for ``count`` videos of ``seconds`` each at ``per_second`` US dollars a second.

    ``text`` shows the calculation; ``note`` says what it leaves open, or is empty.
    """

    total: Decimal
    per_second: Decimal
    seconds: Decimal
    count: int
    note: str = ""

    @property
    def text(self) -> str:
        """The calculation: ``5 s × $0.07 = $0.35``, with the count in front if it is above 1."""
        count = f"{self.count} × " if self.count > 1 else ""
        seconds = f"{self.seconds.quantize(Decimal('0.01')).normalize():f}"
        return f"{count}{seconds} s × {dollars(self.per_second)} = {dollars(self.total)}"

    def __str__(self) -> str:
        return f"{self.text} ({self.note})" if self.note else self.text


def estimate(
    model: Model, parameters: Mapping[str, Any], count: int = 1, input_seconds: float | None = None
) -> Estimate | None:
    """The estimate, or None if the price or the length is not known.

    ``input_seconds`` is the length of the video or audio input, which is the length of the result of upscalers and
    edits.
    """
    per_second, note = _per_second(model, parameters) or (None, "")
    seconds = seconds_of(model, parameters, input_seconds)
    if per_second is None or seconds is None:
        return None
    return Estimate(per_second * seconds * count, per_second, seconds, count, note)


def dollars(amount: Decimal) -> str:
    """An amount of US dollars as text, with at least two decimals and all others that it has."""
    text = f"{amount.normalize():f}"
    whole, _, fraction = text.partition(".")
    return f"${whole}.{fraction.ljust(2, '0')}"


def _per_second(model: Model, parameters: Mapping[str, Any]) -> tuple[Decimal, str] | None:
    """The price of a second in US dollars, and a note on what it leaves open."""
    pricing = model.pricing
    if pricing is None or pricing.get("method") != "per_video_output_second":
        return None
    named = [_effective(model, parameters, name) for name in ("resolution", "target_resolution")]
    resolution = next((value.lower() for value in named if isinstance(value, str)), "")
    price = decimal(pricing.get("cost_per_second"))
    by_resolution = pricing.get("cost_per_second_by_resolution")
    if isinstance(by_resolution, Mapping) and by_resolution:
        listed = {str(name).lower(): decimal(amount) for name, amount in by_resolution.items()}
        price = price if listed.get(resolution) is None else listed[resolution]
    high = decimal(pricing.get("cost_per_second_high_res"))
    if high is not None and resolution in _HIGH:
        price = high
    has_sound = _effective(model, parameters, "generate_audio") is True
    with_sound = decimal(pricing.get("cost_per_second_with_audio")) if has_sound else None
    if with_sound is None:
        note = "the price with audio is not known" if has_sound else ""
        return (price, note) if price is not None else None
    # Both resolution and audio can raise the price, and nothing says how they combine: take the higher price.
    return max(with_sound, price or with_sound), ""


def seconds_of(model: Model, parameters: Mapping[str, Any], input_seconds: float | None = None) -> Decimal | None:
    """The length of the result in seconds, or None if only the service can know it."""
    listed = parameters.get("multi_prompt")
    if isinstance(listed, list) and listed:
        return decimal(shots_seconds(listed))
    for name in ("duration", "seconds"):
        value = _effective(model, parameters, name)
        if value is not None:
            return _length(value) or decimal(input_seconds)
    if model.schema is None:
        return decimal(DEFAULT_DURATION if input_seconds is None else input_seconds)
    number, rate = _effective(model, parameters, "num_frames"), _effective(model, parameters, "frames_per_second")
    if isinstance(number, int) and isinstance(rate, (int, float)) and rate > 0:
        return Decimal(number) / Decimal(str(rate))
    return decimal(input_seconds)


def shots_seconds(shots: Sequence[Any]) -> float:
    """The length of all shots (``multi_prompt``) together; a shot without a length counts as ``DEFAULT_DURATION``."""
    lengths = [shot.get("duration") if isinstance(shot, Mapping) else None for shot in shots]
    return sum(length if isinstance(length, (int, float)) else DEFAULT_DURATION for length in lengths)


def input_seconds(parameters: Mapping[str, Any], catalog: Catalog) -> float | None:
    """Seconds of the first video input of a request, or else of its first audio input; None if that is not known.

    The length of a file at a URL is not known. A Generation that has not ended counts with the length in its request.
    Reading a file needs the ``local`` extra.
    """
    found = [medium for _, medium in walk(parameters) if medium.part != "last_frame" and medium.kind != "image"]
    if not found:
        return None
    medium = next((medium for medium in found if medium.kind == "video"), found[0])
    upstream = medium.generation
    path = medium.path if upstream is None else upstream.path
    if upstream is not None and path is None:
        request, model = upstream.request, catalog.get(upstream.request.model, None)
        nested = input_seconds(request.parameters, catalog)
        asked = seconds_of(model, request.parameters, nested) if model is not None else None
        return None if asked is None else float(asked)
    if path is None and medium.content is None:
        return None
    try:
        return frames.duration_of(path or io.BytesIO(medium.content or b""))
    except OxenVideoError:
        return None


def _length(value: Any) -> Decimal | None:
    """Seconds from 5, "5" or "5s"; None for "auto", -1 and 0, with which the service chooses the length."""
    if isinstance(value, str):
        match = _SECONDS.fullmatch(value.strip())
        value = match[1] if match else None
    seconds = decimal(value)
    return seconds if seconds is not None and seconds > 0 else None


def _effective(model: Model, parameters: Mapping[str, Any], name: str) -> Any:
    return parameters.get(name, model.default(name))


def decimal(value: Any) -> Decimal | None:
    """The exact decimal value of a number or its text; None for anything else and for negative numbers."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        return None
    return number if number.is_finite() and number >= 0 else None
