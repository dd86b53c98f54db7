"""Media in the form: uploads, variables, paths and URLs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import PIL.Image

from oxenvideo.notebook.panel import Panel
from oxenvideo.request.request import VideoRequest
from panel.page import IMAGE, media_of, to_form


def png(size: tuple[int, int] = (64, 36)) -> bytes:
    """The bytes of a PNG image."""
    out = io.BytesIO()
    PIL.Image.linear_gradient("L").resize(size).save(out, "PNG")
    return out.getvalue()


def test_an_uploaded_picture_arrives_in_parts_and_becomes_a_file(panel: Panel, tmp_path: Path) -> None:
    """The request refers to a file with the same bytes, and the form shows a thumbnail."""
    panel.load(VideoRequest(IMAGE, {"prompt": "p"}))
    content = png()
    for index, part in enumerate((content[:20], content[20:])):
        to_form(panel, [part], do="upload", parameter="input_image", upload="u", name="in.png", last=index == 1)
    medium = panel.request.parameters["input_image"]
    assert medium.path.read_bytes() == content
    assert str(medium.path) in panel.request.as_cell()
    (item,) = media_of(panel, "input_image")["items"]
    assert item["label"] == "in.png"
    assert item["thumb"].startswith("data:image/jpeg;base64,")
    assert panel.problem is None
    to_form(panel, do="remove", parameter="input_image", index=0)
    assert "input_image" not in panel.request.parameters


def test_a_variable_a_url_and_a_file_are_taken_by_name(panel: Panel, names: dict[str, Any], tmp_path: Path) -> None:
    """A variable has precedence; anything else is an error beside the field."""
    panel.load(VideoRequest("kling-video-o3-omni", {"prompt": "p"}))
    (tmp_path / "a.png").write_bytes(png())
    names["frame"] = PIL.Image.new("RGB", (8, 8))
    for text in ("frame", "https://example.org/b.png", str(tmp_path / "a.png")):
        to_form(panel, do="name", parameter="input_image", text=text)
    first, second, third = panel.request.parameters["input_image"]
    assert (first.mime, second, third.path) == ("image/png", "https://example.org/b.png", tmp_path / "a.png")
    to_form(panel, do="name", parameter="input_image", text="nothing")
    text, tone = media_of(panel, "input_image")["note"]
    assert "no variable 'nothing'" in text
    assert tone == "wrong"
    assert [item["label"] for item in media_of(panel, "input_image")["items"]] == [
        "frame",
        "https://example.org/b.png",
        "a.png",
    ]


def test_a_file_that_is_no_picture_is_refused_beside_its_slot(panel: Panel) -> None:
    """The request does not change."""
    panel.load(VideoRequest(IMAGE, {"prompt": "p"}))
    to_form(panel, [b"hello"], do="upload", parameter="input_image", upload="u", name="in.png", last=True)
    assert "not an image" in media_of(panel, "input_image")["note"][0]
    assert "input_image" not in panel.request.parameters


def test_a_second_medium_in_place_of_the_only_one_is_announced(panel: Panel, names: dict[str, Any]) -> None:
    """The message names the medium that was replaced."""
    panel.load(VideoRequest(IMAGE, {"prompt": "p"}))
    names.update(dawn=PIL.Image.new("RGB", (8, 8)), dusk=PIL.Image.new("RGB", (8, 8), "red"))
    for name in names:
        to_form(panel, do="name", parameter="input_image", text=name)
    shown = media_of(panel, "input_image")
    assert [item["label"] for item in shown["items"]] == ["dusk"]
    assert shown["note"] == ("Replaced dawn.", "")
