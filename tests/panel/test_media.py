"""Media on their way into the form: uploads, variables, paths and URLs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import PIL.Image

from oxenvideo.notebook.panel import Panel
from oxenvideo.request.request import VideoRequest
from panel.page import IMAGE, tell_inlet


def png(size: tuple[int, int] = (64, 36)) -> bytes:
    """A picture's bytes."""
    out = io.BytesIO()
    PIL.Image.linear_gradient("L").resize(size).save(out, "PNG")
    return out.getvalue()


def test_an_uploaded_picture_arrives_in_parts_and_becomes_a_file(panel: Panel, tmp_path: Path) -> None:
    """The request holds a file with the same bytes, so that its cell can name it; the slot shows a small picture."""
    panel.load(VideoRequest(IMAGE, {"prompt": "p"}))
    content = png()
    for index, part in enumerate((content[:20], content[20:])):
        tell_inlet(panel, [part], do="chunk", slot="input_image", upload="u", name="in.png", last=index == 1)
    medium = panel.request.parameters["input_image"]
    assert medium.path.read_bytes() == content
    assert str(medium.path) in panel.request.as_cell()
    assert panel.form.inlet is not None
    (item,) = panel.form.inlet.items["input_image"]
    assert item["label"] == "in.png"
    assert item["thumb"].startswith("data:image/jpeg;base64,")
    assert panel.problem is None
    tell_inlet(panel, do="remove", slot="input_image", index=0)
    assert "input_image" not in panel.request.parameters


def test_a_variable_a_url_and_a_file_are_taken_by_name(panel: Panel, names: dict[str, Any], tmp_path: Path) -> None:
    """A variable counts first; what is none of these is said beside the slot."""
    panel.load(VideoRequest("kling-video-o3-omni", {"prompt": "p"}))
    (tmp_path / "a.png").write_bytes(png())
    names["frame"] = PIL.Image.new("RGB", (8, 8))
    for text in ("frame", "https://example.org/b.png", str(tmp_path / "a.png")):
        tell_inlet(panel, do="name", slot="input_image", text=text)
    first, second, third = panel.request.parameters["input_image"]
    assert (first.mime, second, third.path) == ("image/png", "https://example.org/b.png", tmp_path / "a.png")
    tell_inlet(panel, do="name", slot="input_image", text="nothing")
    assert "no variable 'nothing'" in panel.form.inlet.said["input_image"]


def test_a_file_that_is_no_picture_is_refused_beside_its_slot(panel: Panel) -> None:
    """And the request stays as it was."""
    panel.load(VideoRequest(IMAGE, {"prompt": "p"}))
    tell_inlet(panel, [b"hello"], do="chunk", slot="input_image", upload="u", name="in.png", last=True)
    assert "not an image" in panel.form.inlet.said["input_image"]
    assert "input_image" not in panel.request.parameters
