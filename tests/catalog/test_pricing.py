"""Estimates: the sums that the price tables give, and silence where they give none."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from oxenvideo.catalog.catalog import Model, bundled
from oxenvideo.catalog.pricing import dollars, estimate

TEXT = "kling-video-v2-6-pro-text-to-video"
REFERENCE = "kling-video-o3-pro-reference-to-video"
UPSCALE = "topazlabs-upscale-starlight-2-5-video"


def priced(schema: dict[str, Any] | None = None, **pricing: Any) -> Model:
    properties = schema if schema is not None else {"duration": {"type": "integer", "default": 5}}
    return Model("m", schema={"properties": properties}, pricing={"method": "per_video_output_second", **pricing})


@pytest.mark.parametrize(
    ("model", "parameters", "count", "text"),
    [
        (TEXT, {"duration": 10}, 1, "10 s × $0.07 = $0.70"),
        (TEXT, {}, 1, "5 s × $0.07 = $0.35"),
        (TEXT, {"duration": 5}, 4, "4 × 5 s × $0.07 = $1.40"),
        (REFERENCE, {"multi_prompt": [{"prompt": "a", "duration": 4}, {"prompt": "b"}]}, 1, "9 s × $0.224 = $2.016"),
        (REFERENCE, {"multi_prompt": [{"prompt": "a", "duration": 4}], "duration": 15}, 1, "4 s × $0.224 = $0.896"),
    ],
)
def test_documented_prices(model: str, parameters: dict[str, Any], count: int, text: str) -> None:
    """Seconds by price, shots added up, the schema's default where no duration is given, times the count."""
    found = estimate(bundled().get(model), parameters, count)
    assert found is not None
    assert found.text == text
    assert found.total == found.per_second * found.seconds * count


def test_upscaler_depends_on_its_input() -> None:
    """The length of an upscaled video is that of its input: unknown, unless it is told; resolution sets the price."""
    model = bundled().get(UPSCALE)
    assert estimate(model, {"resolution": "1080p"}) is None
    cheap, default = (estimate(model, parameters, input_seconds=10) for parameters in ({"resolution": "1080p"}, {}))
    assert cheap is not None
    assert default is not None
    assert cheap.total == Decimal("0.374")
    assert default.total == Decimal("1.494")


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("google-veo-3-1", {"duration": 8}),  # no price known
        ("kling-video-o3-pro-video-to-video-edit", {}),  # as long as its input
        ("nobody-knows-this", {"duration": 5}),
    ],
)
def test_unknown_stays_unknown(model: str, parameters: dict[str, Any]) -> None:
    """No number is made up."""
    assert estimate(bundled().get(model, Model(model)), parameters) is None


@pytest.mark.parametrize("length", [-1, "auto", 0, "soon", None])
def test_length_left_to_the_service(length: Any) -> None:
    """A duration that leaves the length open gives no estimate."""
    schema = {"duration": {"default": length}}
    assert estimate(priced(schema, cost_per_second=1), {}) is None
    assert estimate(priced(cost_per_second=1), {"duration": length or 0}) is None


@pytest.mark.parametrize(
    ("schema", "parameters", "seconds"),
    [
        ({"duration": {"enum": ["5s", "10s"], "default": "5s"}}, {"duration": "10s"}, 10),
        ({"seconds": {"enum": ["4", "8"], "default": "4"}}, {}, 4),
        ({"num_frames": {"default": 121}, "frames_per_second": {"default": 24}}, {"num_frames": 48}, 2),
        ({"duration": {}}, {"duration": 2.5}, 2.5),
    ],
)
def test_lengths_as_models_write_them(schema: dict[str, Any], parameters: dict[str, Any], seconds: float) -> None:
    """Seconds come as numbers, texts, texts with an s, or as frames at a rate."""
    found = estimate(priced(schema, cost_per_second=1), parameters)
    assert found is not None
    assert found.seconds == Decimal(str(seconds))


def test_unknown_schema_takes_the_documented_default() -> None:
    """Without a schema the API's own default of 5 seconds holds."""
    model = Model("m", pricing={"method": "per_video_output_second", "cost_per_second": 0.1})
    found = estimate(model, {})
    assert found is not None
    assert found.text == "5 s × $0.10 = $0.50"


def test_sound_and_resolution_change_the_price() -> None:
    """Sound, the table by resolution and the price of high resolution each apply when they are asked for."""
    sound = priced(cost_per_second=0.1, cost_per_second_with_audio=0.2)
    table = priced(cost_per_second=0.1, cost_per_second_by_resolution={"480p": 0.096, "1080P": 0.3})
    high = priced(cost_per_second=0.1, cost_per_second_high_res=0.5)

    def rate(model: Model, **parameters: Any) -> Decimal | None:
        found = estimate(model, parameters)
        return found.per_second if found else None

    assert rate(sound) == Decimal("0.1")
    assert rate(sound, generate_audio=True) == Decimal("0.2")
    assert rate(table, resolution="480p") == Decimal("0.096")
    assert rate(table, resolution="1080p") == Decimal("0.3")
    assert rate(table, resolution="4k") == Decimal("0.1")
    both = priced(cost_per_second_with_audio=0.2, cost_per_second_by_resolution={"480p": 0.1, "4k": 0.3})
    assert rate(both, resolution="480p", generate_audio=True) == Decimal("0.2")
    assert rate(both, resolution="4k", generate_audio=True) == Decimal("0.3")
    assert rate(high, resolution="high") == rate(high, resolution="4K") == Decimal("0.5")
    assert rate(high, resolution="720p") == Decimal("0.1")
    assert rate(priced(cost_per_second_by_resolution={"480p": 1}), resolution="4k") is None


def test_sound_without_a_price_of_its_own_is_said() -> None:
    """Where no price with sound is known the estimate says what it leaves open."""
    found = estimate(bundled().get(TEXT), {"generate_audio": True})
    assert found is not None
    assert str(found) == "5 s × $0.07 = $0.35 (the price with audio is not known)"


@pytest.mark.parametrize(
    "pricing", [{}, {"cost_per_second": "free"}, {"cost_per_second": None}, {"cost_per_second": -1}]
)
def test_odd_price_tables_give_nothing(pricing: dict[str, Any]) -> None:
    """A price table that cannot be read, or is by another method, gives no estimate."""
    assert estimate(priced(**pricing), {}) is None
    assert estimate(Model("m", pricing={"method": "token", "cost_per_second": 1}), {}) is None


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "$0.00"), ("0.3", "$0.30"), ("12", "$12.00"), ("0.187", "$0.187"), ("1E+2", "$100.00"), ("1.500", "$1.50")],
)
def test_dollars(amount: str, text: str) -> None:
    """Amounts are exact, and to the cent at least."""
    assert dollars(Decimal(amount)) == text
