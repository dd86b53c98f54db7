"""Exported HTML pages: their videos play without Jupyter."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from browser.pages import OpenNotebook, Shown
from browser.servers import Server
from clips import clip
from faulty import FaultyService
from oxenvideo.notebook import embed
from oxenvideo.notebook.renditions import Renditions

pytestmark = pytest.mark.browser

CLIP = "%%oxenvideo {how} --embed {how}\nA red balloon floating upward"


def test_an_exported_page_plays_on_its_own(
    notebook7: Server,
    open_notebook: OpenNotebook,
    open_page: Callable[[str], Shown],
    service: FaultyService,
    connect: str,
) -> None:
    """Embedded and linked videos play in Notebook 7 and in the HTML that nbconvert makes of the notebook."""
    from nbconvert import HTMLExporter

    notebook = open_notebook(notebook7, [connect, *(CLIP.format(how=how) for how in ("inline", "file"))])
    notebook.run_all()
    service.wait_until(lambda: len(service.jobs) == 2)
    service.finish(*service.jobs)
    for index, how in enumerate(("inline", "file"), 1):
        video = notebook.outputs(index).locator("video")
        assert notebook.plays(video)
        assert ("data:video/mp4" in str(video.get_attribute("src"))) == (how == "inline")
    saved = notebook.save()
    page = notebook.path.with_suffix(".html")
    exporter = HTMLExporter(require_js_url="", mathjax_url="")  # no requests to the internet
    page.write_text(exporter.from_notebook_node(nbformat.from_dict(saved))[0])
    exported = open_page(page.as_uri())
    videos = exported.page.locator("video")
    assert videos.count() == 2
    assert all(exported.plays(video) for video in videos.all())
    assert exported.page.get_by_text("A red balloon floating upward").count() >= 2


def test_a_copy_with_mp3_sound_plays_with_sound(open_page: Callable[[str], Shown], tmp_path: Path) -> None:
    """The card for VS Code plays in Chromium, which decodes its sound."""
    copy = Renditions(tmp_path / "copies")
    path = clip(tmp_path / "clip.mp4")
    until = time.monotonic() + 30
    while not isinstance(made := copy.get(path, "hash", None), Path) and time.monotonic() < until:
        time.sleep(0.05)
    assert isinstance(made, Path)
    page = tmp_path / "card.html"
    page.write_text(embed.embed(made, "inline").player("clip", ""))
    shown = open_page(page.as_uri())
    video = shown.page.locator("video")
    assert shown.plays(video)
    shown.page.wait_for_function("video => video.webkitAudioDecodedByteCount > 0", arg=video.element_handle())
