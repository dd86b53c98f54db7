"""What a card holds in each front end: plain HTML without the extension, sound that plays, no dead links."""

from __future__ import annotations

import base64
import re
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from IPython.core.formatters import DisplayFormatter

import generations
from clips import clip, codecs, pictures
from oxenvideo.environment import INLINE_LIMIT, FrontEnd, front_end
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import State
from oxenvideo.notebook.display import Card, LiveCards
from oxenvideo.notebook.display_data import display_data
from oxenvideo.notebook.outputs import StillOutput
from oxenvideo.notebook.renditions import Renditions
from oxenvideo.request.request import VideoRequest
from shell import SMALL, Notebook

pytestmark = pytest.mark.slow

VS_CODE = FrontEnd("vscode", aac=False)
COLAB = FrontEnd("colab", links=False)


def finished(path: Path, **fields: Any) -> Generation:
    request = VideoRequest("kling-video-v2-6-pro-text-to-video", {"prompt": "A fox", "duration": 5})
    state = State(remote="succeeded", fetching=False, generation_id="x", submitted_at=1.0, finished_at=2.0, path=path)
    return generations.generation(request, state, **fields)


def shown(item: Any, front: FrontEnd, home: Path, limit: int = INLINE_LIMIT, *, drawings: int = 1) -> list[str]:
    """The HTML of each drawing; waits until there are so many and no copy is being made."""
    drawn: list[str] = []

    class Recorder(StillOutput):
        def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
            drawn.append(html)

    renditions, cards = Renditions(home / "renditions"), LiveCards()
    cards.show(Card(item, Recorder(), "auto", home, front, limit, renditions))
    end = time.monotonic() + 30
    while (renditions.pending or len(drawn) < drawings) and time.monotonic() < end:
        time.sleep(0.02)
    cards.close()
    return drawn


def embedded(html: str) -> bytes:
    found = re.search(r'src="data:video/mp4;base64,([^"]+)"', html)
    assert found, html[:400]
    return base64.b64decode(found[1])


def test_a_generation_and_a_batch_are_html_without_the_extension(notebook: Notebook) -> None:
    """IPython's formatter gets HTML and plain text from the objects themselves, running and done."""
    notebook.run("import oxenvideo\ngen = oxenvideo.submit('A red balloon', model='wan-ai-wan2-1-t2v-1-3b-diffusers')")
    notebook.run("batch = oxenvideo.submit_batch([{'prompt': 'A fox'}, {'prompt': 'An owl'}])")
    notebook.run("%unload_ext oxenvideo")
    running = DisplayFormatter().format(notebook["gen"])[0]
    assert running.keys() == {"text/html", "text/plain"}
    notebook["batch"].wait(60)
    notebook["gen"].wait(60)
    data, _ = DisplayFormatter().format(notebook["gen"])
    assert data["text/plain"] == "succeeded (wan-ai-wan2-1-t2v-1-3b-diffusers)"
    assert len(pictures(embedded(data["text/html"]))) > 1
    data, _ = DisplayFormatter().format(notebook["batch"])
    assert data["text/plain"] == "2 videos: 2 succeeded"
    assert data["text/html"].count("<video") == 2


def test_a_card_that_is_not_updated_says_so(tmp_path: Path) -> None:
    """Without the extension, a running card tells how to see what became of it, not to resume it."""
    made = generations.generation(VideoRequest("some-model", {"prompt": "A fox"}))
    data, _ = display_data(made)
    assert "Run this cell again for the video" in data["text/html"]
    assert "%oxenvideo resume" not in data["text/html"]
    data, _ = display_data(Batch([made]))
    assert "Run this cell again for the videos" in data["text/html"]


def test_vs_code_gets_a_copy_with_mp3_sound(tmp_path: Path) -> None:
    """The first card shows the file; then a copy with the same pictures and MP3 sound takes its place."""
    path = clip(tmp_path / "clip.mp4")
    before = path.read_bytes()
    first, *_, last = shown(finished(path), VS_CODE, tmp_path, drawings=2)
    assert embedded(first) == before
    copy = embedded(last)
    assert codecs(copy) == ["h264", "mp3float"]
    assert len(pictures(copy)) == len(pictures(path))
    assert path.read_bytes() == before
    (again,) = shown(finished(path), VS_CODE, tmp_path)
    assert embedded(again) == copy, "the copy was not cached"
    assert embedded(shown(finished(path), FrontEnd("jupyter"), tmp_path)[-1]) == before


def test_a_silent_video_needs_no_copy_in_vs_code(tmp_path: Path) -> None:
    """A file without AAC sound is embedded as it is."""
    path = clip(tmp_path / "clip.mp4", tone=None)
    (html,) = shown(finished(path), VS_CODE, tmp_path)
    assert embedded(html) == path.read_bytes()


def test_where_links_are_dead_a_smaller_copy_is_embedded(tmp_path: Path) -> None:
    """The poster comes first, then a copy below the limit; the card says where the original is, and links to nothing."""
    path = clip(tmp_path / "clip.mp4", noise=True, size=(320, 180))
    limit = 200_000
    assert path.stat().st_size > limit
    first, *_, last = shown(finished(path), COLAB, tmp_path, limit, drawings=2)
    assert '<img src="data:image/webp' in first
    assert "A smaller copy is being made" in first
    copy = embedded(last)
    assert len(copy) <= limit
    assert pictures(copy)[-1][0] == pytest.approx(1.0, abs=0.1)
    assert f"The original is in {path}" in last
    for html in (first, last):
        assert 'src="clip.mp4"' not in html
    linked = shown(finished(path), FrontEnd("jupyter"), tmp_path, limit)[-1]
    assert 'src="clip.mp4"' in linked


def test_a_batch_has_no_dead_links_and_stays_below_the_limit(tmp_path: Path) -> None:
    """The tiles share the limit; while the batch is running, finished tiles hold no links."""
    path = clip(tmp_path / "clip.mp4", noise=True, size=(320, 180))
    running = generations.generation(VideoRequest("some-model", {"prompt": "An owl"}), index=1)
    card = Card(Batch([finished(path, index=0), running]), StillOutput(), "auto", tmp_path, COLAB)
    card.draw(first=True)
    assert isinstance(card.output, StillOutput)
    assert "clip.mp4" not in card.output.bundle["text/html"]
    html = shown(Batch([finished(path, index=0), finished(path, index=1)]), COLAB, tmp_path, 400_000, drawings=2)[-1]
    assert html.count("data:video/mp4") == 2
    assert len(html) < 400_000 * 4 / 3 + 100_000


def test_without_pyav_the_card_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names the extra; the video is shown as far as it can be."""
    path = clip(tmp_path / "clip.mp4", noise=True)
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install &#x27;oxenvideo[local]&#x27;" in shown(finished(path), VS_CODE, tmp_path)[-1]
    html = shown(finished(path), COLAB, tmp_path, 1000, drawings=2)[-1]
    assert "pip install &#x27;oxenvideo[local]&#x27;" in html
    assert str(path) in html
    assert "<video" not in html


def test_the_front_end_is_told_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each front end leaves a mark; a limit of an output counts Base64, which has 4/3 of the bytes."""
    for name in ("JPY_SESSION_NAME", "VOILA_REQUEST_URL", "VOILA_KERNEL_ID"):
        monkeypatch.delenv(name, raising=False)
    assert front_end() == FrontEnd("jupyter", widgets=False)
    assert front_end().embed_limit == 8 * 1024 * 1024
    with monkeypatch.context() as patch:
        patch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
        assert not front_end().links
        assert 7_000_000 < front_end().embed_limit * 4 / 3 < 10_000_000
    with monkeypatch.context() as patch:
        patch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
        assert not front_end().links
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
        assert (front_end().name, front_end().links, front_end().aac) == ("colab", False, True)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["__main__"], "__vsc_ipynb_file__", "/home/me/shots.ipynb", raising=False)
        assert (front_end().name, front_end().links, front_end().aac) == ("vscode", True, False)


def test_the_limit_is_a_setting(notebook: Notebook) -> None:
    """``%config OxenVideo.embed_limit`` and ``configure(embed_limit=...)`` change what is linked."""
    notebook.run("%%oxenvideo clip --wait\nA red balloon")
    notebook.run("import oxenvideo")
    assert "data:video/mp4" in oxenvideo_html(notebook)
    notebook.run("%config OxenVideo.embed_limit = 1000")
    assert "data:video/mp4" not in oxenvideo_html(notebook)
    notebook.run("oxenvideo.configure(embed_limit=None)")
    assert "data:video/mp4" in oxenvideo_html(notebook)


def oxenvideo_html(notebook: Notebook) -> str:
    return str(display_data(notebook["clip"])[0]["text/html"])


def test_a_callable_is_told_once_of_a_batch(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """``%config OxenVideo.notify`` takes a function; it gets the Batch once, when every video has ended."""
    monkeypatch.setattr(notebook.shell, "kernel", object(), raising=False)  # cards instead of a terminal's lines
    notebook.run("told = []\n%config OxenVideo.notify = lambda item: told.append((item, item.done))")
    notebook.run(f"%%oxenvideo batch {SMALL} -n 3 --wait\nA red balloon")
    end = time.monotonic() + 20
    while not notebook["told"] and time.monotonic() < end:
        time.sleep(0.05)
    assert notebook["told"] == [(notebook["batch"], True)]
    notebook.run("%config OxenVideo.notify = False")
    notebook.run(f"%%oxenvideo one {SMALL} --wait\nA fox")
    assert len(notebook["told"]) == 1


def test_join_is_a_line(notebook: Notebook) -> None:
    """``%oxenvideo join`` takes names, batches, films and files, returns a Film, and its card becomes the video."""
    notebook.run(f"%%oxenvideo both {SMALL} -n 2 --wait\nA red balloon")
    notebook.run("film = %oxenvideo join both --save film.mp4")
    assert len(pictures(notebook["film"].wait(60).path)) > 1
    html = display_data(notebook["film"])[0]["text/html"]
    assert len(pictures(embedded(html))) > 1
    assert "Joined from 2 videos" in html
    path = notebook["film"].path
    notebook.run(f"longer = %oxenvideo join film '{path}' both --save longer.mp4")
    assert len(notebook["longer"].wait(60).inputs) == 4
    assert "Name the new file" in notebook.run("%oxenvideo join both").message
    assert "There is no video 'nowhere'" in notebook.run("%oxenvideo join both nowhere --save x.mp4").message
