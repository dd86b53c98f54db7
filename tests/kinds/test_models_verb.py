"""%oxenvideo models: finding a model, and reading what it takes and costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kinds.shapes import REFERENCE, TEXT, UPSCALE
from oxenvideo.catalog.catalog import bundled
from shell import Notebook, notebook_in


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook that sends nothing."""
    with notebook_in(tmp_path_factory.mktemp("book")) as opened:
        yield opened


def shown(book: Notebook, words: str) -> Any:
    """The table that the line gives."""
    ran = book.run(f"table = get_ipython().run_line_magic('oxenvideo', 'models {words}')")
    assert ran.error is None, ran.message
    return book["table"]


def rows(book: Notebook, words: str) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in shown(book, words).rows}


def test_all_models_are_listed(book: Notebook) -> None:
    """Without words every video model is there, with what it takes, its price and what it does."""
    listed = rows(book, "")
    assert set(listed) == set(bundled())
    takes, price, does = listed[TEXT]
    assert (takes, price) == ("text", "$0.07/s")
    assert does


def test_words_and_inputs_filter(book: Notebook) -> None:
    """Every word must be met, and the input be taken."""
    found = rows(book, "kling reference")
    assert REFERENCE in found
    assert len(found) < 10
    assert all(word in f"{model} {row[2]}".lower() for model, row in found.items() for word in ("kling", "reference"))
    videos = rows(book, "--input video")
    assert set(videos) == {m for m, model in bundled().items() if "video" in model.inputs}
    assert rows(book, "kling --input video").keys() == {m for m in videos if "kling" in m}


def test_a_model_shows_parameters_limits_and_price(book: Notebook) -> None:
    """How each parameter is written in a cell, its limits and default, the rules across them, and the price."""
    table = shown(book, REFERENCE)
    by_name = {row[0]: row[1:] for row in table.rows}
    assert REFERENCE in table.title
    assert "$0.224/s" in table.title
    assert by_name["the cell's body"][0] == "text, at most 512 characters"
    assert by_name["--duration"][:2] == ("a whole number, 3 to 15", "5")
    assert by_name["--aspect-ratio"][:2] == ("16:9, 9:16 or 1:1", "16:9")
    assert by_name["--generate-audio"][:2] == ("true or false", "false")
    assert by_name["--image (input_image)"][0] == "images"
    assert by_name["--start-image (start_image_url)"][0] == "an image"
    assert by_name["--end-image (tail_image_url)"][0] == "an image"
    assert "--element (elements)" in by_name
    assert ("rule", "", "", "tail_image_url needs start_image_url") in table.rows


def test_prices_by_resolution_are_all_told(book: Notebook) -> None:
    """An upscaler costs by what comes out, and needs its clip."""
    table = shown(book, UPSCALE)
    assert "1080p $0.0374/s; 2k $0.1494/s; 4k $0.1494/s" in table.title
    assert next(r[:3] for r in table.rows if "--video" in r[0]) == ("--video (input_video)", "a video", "required")


def test_an_unknown_price_is_said_to_be_unknown(book: Notebook) -> None:
    """No price is better than a wrong one."""
    assert "price not known" in shown(book, "google-veo-3-1").title


@pytest.mark.parametrize("model", [TEXT, REFERENCE, "ltx-2-3-quality-reference-video-to-video", "flux-3-video"])
def test_every_parameter_has_a_row_in_text_and_in_html(book: Notebook, model: str) -> None:
    """Both forms hold all parameters, readable without the other."""
    table = shown(book, model)
    wanted = [name for name in bundled()[model].parameters if "prompt" not in name]
    for form in (repr(table), table._repr_html_()):
        assert all(name in form or f"--{name.replace('_', '-')}" in form for name in wanted)
    assert "<script" not in table._repr_html_()
    assert max(len(line) for line in repr(table).splitlines()[1:]) <= 160


def test_a_near_miss_offers_models(book: Notebook) -> None:
    """Words that no model has are answered with those that come near."""
    ran = book.run("%oxenvideo models kling-2.6-text")
    assert "Near: kling-video-v2-6-pro-text-to-video" in ran.text
