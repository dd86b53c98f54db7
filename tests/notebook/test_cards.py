"""Cards, grids and tables as pure rendering, and the thread that draws them."""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from oxenvideo.errors import OxenVideoError
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import State, Status
from oxenvideo.notebook import card, display, embed, grid
from oxenvideo.notebook.table import Table
from oxenvideo.request.request import VideoRequest

EVIL = "<script>alert(1)</script>\"' onerror="


def generation(
    state: State | None = None, prompt: str = "A fox", name: str | None = "clip", index: int | None = None
) -> Generation:
    request = VideoRequest("kling-video-v2-6-pro-text-to-video", {"prompt": prompt, "duration": 5})
    return Generation(request, key="k", port=None, name=name, index=index, state=state or State(submitted_at=100.0))  # type: ignore[arg-type]


def test_everything_foreign_is_escaped() -> None:
    """Prompts, messages, names, models and addresses cannot become markup."""
    state = State(remote="failed", error_message=EVIL, notice=EVIL, submitted_at=1.0, finished_at=2.0)
    made = generation(state, prompt=EVIL, name=EVIL)
    made.request = VideoRequest(EVIL, {"prompt": EVIL, EVIL: EVIL})
    embedded = embed.Embedded(EVIL, EVIL, "", False, "video/mp4")
    html = card.html(card.view_of(made, 3.0, embedded=embedded, path=EVIL, remarks=(EVIL,)))
    html += grid.html(Batch([made], name=EVIL), lambda g: embedded, remarks=[EVIL], price=EVIL)
    table = Table([EVIL], title=EVIL)
    table.add(EVIL)
    html += table._repr_html_()
    assert "<script" not in html
    assert "\"' onerror" not in html
    assert '" onerror' not in html


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_a_card(status: Status) -> None:
    """Each status, our own and the service's, is shown by its word."""
    view = card.View(status=status, model="m", prompt="p", elapsed=3.0)
    assert card.WORDS[status] in card.html(view)
    assert card.WORDS[status].lower() in card.text(view)


def test_an_unknown_status_reaches_the_card() -> None:
    """A word that the documentation does not have is shown as under way, not as an end."""
    made = generation(State(remote="paused", generation_id="x", submitted_at=1.0))
    assert made.status is Status.UNKNOWN
    assert "Under way" in card.html(card.view_of(made, 5.0))


def test_expected_time_is_told_only_where_it_is_known() -> None:
    """Without finished jobs there is no expectation, and never a bar."""
    made = generation(State(remote="processing", submitted_at=100.0))
    assert "usually" not in card.html(card.view_of(made, 112.0))
    html = card.html(card.view_of(made, 112.0, expected=95.0))
    assert "12 s · usually about 1 min 35 s" in html
    assert "progress" not in html


def test_a_running_card_says_how_to_bring_it_back() -> None:
    """What is saved in mid-job says what was running, and the way back."""
    html = card.html(card.view_of(generation(), 112.0))
    assert "%oxenvideo resume" in html
    assert "A fox" in html
    done = generation(State(remote="succeeded", fetching=False, submitted_at=1.0, finished_at=9.0))
    assert "%oxenvideo resume" not in card.html(card.view_of(done, 112.0))


def test_motion_stops_for_those_who_ask_for_none() -> None:
    """The pulse is under prefers-reduced-motion."""
    assert "@media (prefers-reduced-motion:reduce)" in card.html(card.view_of(generation(), 112.0))


def test_plain_text_holds_no_times_and_ids() -> None:
    """Two runs of a notebook compare equal."""
    first = generation(State(remote="queued", generation_id="one", submitted_at=1.0))
    second = generation(State(remote="queued", generation_id="two", submitted_at=2.0))
    assert card.text(card.view_of(first, 10.0)) == card.text(card.view_of(second, 30.0))


def test_large_files_are_linked_and_small_ones_kept_inside(tmp_path: Path) -> None:
    """auto puts a video inside up to the limit and links it above; file links always; url takes the service's."""
    file = tmp_path / "a b.mp4"
    file.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(1000))
    assert embed.embed(file, "auto", base=tmp_path).src.startswith("data:video/mp4;base64,")
    assert embed.embed(file, "auto", base=tmp_path, limit=100).src == "a%20b.mp4"
    assert embed.embed(file, "file", base=tmp_path / "sub").src == "../a%20b.mp4"
    assert embed.embed(file, "url", url="https://x/y.mp4", base=tmp_path).src == "https://x/y.mp4"
    assert embed.embed(file, "inline", base=tmp_path, limit=100).inline


class Recorder:
    """A place that keeps what was drawn, and when."""

    def __init__(self) -> None:
        self.drawn: list[tuple[float, str]] = []
        self.settled = 0

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        self.drawn.append((time.monotonic(), text))

    def settle(self) -> None:
        self.settled += 1


def test_drawing_keeps_within_its_budget(tmp_path: Path) -> None:
    """At most two messages a second for one output and twenty in all, whatever happens; the last state is drawn."""
    drawing = display.Live()
    made = [generation(State(submitted_at=time.time()), name=f"g{i}") for i in range(30)]
    places = [Recorder() for _ in made]
    for one, place in zip(made, places, strict=True):
        drawing.show(display.Shown(one, place, "auto", tmp_path))
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        for one in made:
            one.put(State(submitted_at=time.time(), notice=str(time.monotonic())))
        time.sleep(0.01)
    for one in made:
        one.put(State(local=Status.FAILED, error=OxenVideoError("over"), submitted_at=1.0))
    deadline = time.monotonic() + 5
    while not all(p.settled for p in places) and time.monotonic() < deadline:
        time.sleep(0.02)
    drawing.close()
    later = [[t for t, _ in p.drawn[1:]] for p in places]
    everything = sorted(t for times in later for t in times)
    assert all(sum(start <= t < start + 1 for t in everything) <= 20 for start in everything)
    assert all(b - a >= 0.45 for times in later for a, b in pairwise(times))
    assert {p.drawn[-1][1] for p in places} == {f"g{i}: failed: over" for i in range(30)}
    assert {p.settled for p in places} == {1}


def test_the_drawing_thread_ends_when_there_is_nothing_to_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is left behind once all cards are settled."""
    monkeypatch.setattr(display, "_IDLE", 0.1)
    drawing = display.Live()
    made = generation(State(submitted_at=1.0))
    drawing.show(display.Shown(made, Recorder(), "auto", tmp_path))
    made.put(State(local=Status.CANCELLED, submitted_at=1.0, cost=Decimal(1)))
    deadline = time.monotonic() + 5
    while any(t.name == "oxenvideo-display" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(t.name == "oxenvideo-display" for t in threading.enumerate())
