"""Cards, grids and tables as pure rendering, and the thread that draws them."""

from __future__ import annotations

import sys
import threading
import time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import generations
from oxenvideo.errors import OxenVideoError
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import State, Status
from oxenvideo.notebook import card, display, embed, grid
from oxenvideo.notebook.tables import Table
from oxenvideo.request.request import VideoRequest

EVIL = "<script>alert(1)</script>\"' onerror="


def generation(
    state: State | None = None, prompt: str = "A fox", name: str | None = "clip", index: int | None = None
) -> Generation:
    request = VideoRequest("kling-video-v2-6-pro-text-to-video", {"prompt": prompt, "duration": 5})
    return generations.generation(request, state, name=name, index=index)


def test_everything_foreign_is_escaped() -> None:
    """Prompts, messages, names, models and addresses cannot become markup."""
    state = State(remote="failed", error_message=EVIL, notice=EVIL, submitted_at=1.0, finished_at=2.0)
    made = generations.generation(VideoRequest(EVIL, {"prompt": EVIL, EVIL: EVIL}), state, name=EVIL)
    embedded = embed.Embedded(EVIL, EVIL)
    html = card.html(made, 3.0, embedded=embedded, path=EVIL, remarks=(EVIL,))
    html += grid.html(Batch([made], name=EVIL), [made], {made.key: embedded}, remarks=[EVIL])
    table = Table([EVIL], title=EVIL)
    table.add(EVIL)
    html += table._repr_html_()
    assert "<script" not in html
    assert "\"' onerror" not in html
    assert '" onerror' not in html


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_a_card(status: Status) -> None:
    """Each status has one word, which is the same on the card and in plain text."""
    made = generation(State(local=status, submitted_at=1.0, finished_at=4.0))
    assert made.status is status
    assert f">{status.capitalize()}</span>" in card.html(made, 4.0)
    assert card.text(made) == f"clip: {status} (kling-video-v2-6-pro-text-to-video)"


def test_an_unknown_status_reaches_the_card() -> None:
    """The card names a status that the documentation does not have, and does not take it for an end."""
    made = generation(State(remote="paused", generation_id="x", submitted_at=1.0))
    assert made.status is Status.UNKNOWN
    html = card.html(made, 5.0)
    assert "The service reports the status &#x27;paused&#x27;, which oxenvideo does not know." in html
    assert "Runs in the background" in html


def test_expected_time_is_told_only_where_it_is_known() -> None:
    """Without finished jobs there is no expectation, and never a bar."""
    made = generation(State(remote="processing", submitted_at=100.0))
    assert "usually" not in card.html(made, 112.0)
    html = card.html(made, 112.0, expected=95.0)
    assert "12 s · usually about 1 min 35 s" in html
    assert "progress" not in html


def test_a_running_card_says_how_to_bring_it_back() -> None:
    """What is saved in mid-job says what was running, and the way back."""
    html = card.html(generation(), 112.0)
    assert "%oxenvideo resume" in html
    assert "A fox" in html
    done = generation(State(remote="succeeded", fetching=False, submitted_at=1.0, finished_at=9.0))
    assert "%oxenvideo resume" not in card.html(done, 112.0)


def test_motion_stops_for_those_who_ask_for_none() -> None:
    """The pulse is under prefers-reduced-motion."""
    assert "@media (prefers-reduced-motion:reduce)" in card.html(generation(), 112.0)


def test_plain_text_holds_no_times_and_ids() -> None:
    """Two runs of a notebook compare equal."""
    first = generation(State(remote="queued", generation_id="one", submitted_at=1.0))
    second = generation(State(remote="queued", generation_id="two", submitted_at=2.0))
    assert card.text(first) == card.text(second)


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
    """An output that keeps what was drawn, and when."""

    def __init__(self) -> None:
        self.drawn: list[tuple[float, str]] = []
        self.settled = 0

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        self.drawn.append((time.monotonic(), text))

    def settle(self) -> None:
        self.settled += 1

    def add_line(self, html: str, metadata: dict[str, Any]) -> None:
        self.drawn.append((time.monotonic(), html))


FAILED = State(local=Status.FAILED, error=OxenVideoError("over"), submitted_at=1.0)


def wait_until_settled(outputs: list[Recorder]) -> None:
    deadline = time.monotonic() + 30
    while not all(output.settled for output in outputs) and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.slow
def test_drawing_keeps_within_its_budget(tmp_path: Path) -> None:
    """At most two messages a second for one output and twenty in all, whatever happens; the last state is drawn."""
    drawing = display.LiveCards()
    made = [generation(State(submitted_at=time.time()), name=f"g{i}") for i in range(30)]
    places = [Recorder() for _ in made]
    for one, place in zip(made, places, strict=True):
        drawing.show(display.Card(one, place, "auto", tmp_path))
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        for one in made:
            generations.change(one, State(submitted_at=time.time(), notice=str(time.monotonic())))
        time.sleep(0.01)
    for one in made:
        generations.change(one, FAILED)
    wait_until_settled(places)
    drawing.close()
    later = [[t for t, _ in p.drawn[1:]] for p in places]
    everything = sorted(t for times in later for t in times)
    assert all(sum(start <= t < start + 1 for t in everything) <= 20 for start in everything)
    assert all(b - a >= 0.45 for times in later for a, b in pairwise(times))
    assert {p.drawn[-1][1] for p in places} == {f"g{i}: failed: over" for i in range(30)}
    assert {p.settled for p in places} == {1}


@pytest.mark.slow
def test_the_drawing_thread_ends_when_there_is_nothing_to_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is left behind once all cards are settled."""
    monkeypatch.setattr(display, "_IDLE", 0.1)
    drawing = display.LiveCards()
    made = generation(State(submitted_at=1.0))
    drawing.show(display.Card(made, Recorder(), "auto", tmp_path))
    generations.change(made, State(local=Status.CANCELLED, submitted_at=1.0, cost=Decimal(1)))
    deadline = time.monotonic() + 30
    while any(t.name == "oxenvideo-display" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(t.name == "oxenvideo-display" for t in threading.enumerate())


class FailsWhileDrawn(Recorder):
    """An output whose generation fails in the middle of the first display."""

    def __init__(self, one: Generation) -> None:
        super().__init__()
        self.one = one

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        super().draw(html, text, metadata, first=first)
        if first:
            generations.change(self.one, FAILED)


def test_a_job_that_fails_during_the_first_display_is_drawn_as_failed(tmp_path: Path) -> None:
    """What changes between rendering and the end of the first display is drawn by the thread."""
    cards = display.LiveCards()
    made = generation()
    output = FailsWhileDrawn(made)
    cards.show(display.Card(made, output, "auto", tmp_path))
    wait_until_settled([output])
    cards.close()
    assert output.drawn[-1][1] == "clip: failed: over"
    assert output.settled == 1


@pytest.mark.slow
def test_500_jobs_that_fail_at_once_are_all_drawn_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the failure and the first display interleave, the last state of every card is drawn."""
    monkeypatch.setattr(display, "_GAP", 0.0)
    cards = display.LiveCards()
    made = [generation(name=f"g{number}") for number in range(500)]
    outputs = [Recorder() for _ in made]
    begin = threading.Barrier(2)

    def fail() -> None:
        for number, one in enumerate(made):
            begin.wait()
            end = time.perf_counter() + number % 50 / 100_000  # at most 0.5 ms: longer than the first display
            while time.perf_counter() < end:
                pass
            generations.change(one, FAILED)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        engine = threading.Thread(target=fail)
        engine.start()
        for one, output in zip(made, outputs, strict=True):
            begin.wait()
            cards.show(display.Card(one, output, "auto", tmp_path))
        engine.join()
    finally:
        sys.setswitchinterval(interval)
    wait_until_settled(outputs)
    cards.close()
    assert [output.drawn[-1][1] for output in outputs] == [f"{one.name}: failed: over" for one in made]
    assert {output.settled for output in outputs} == {1}


@pytest.mark.slow
def test_a_card_that_cannot_be_drawn_is_tried_again(tmp_path: Path) -> None:
    """An error while drawing the last state does not leave the card as it was."""

    class Breaks(Recorder):
        def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
            super().draw(html, text, metadata, first=first)
            if len(self.drawn) == 2:
                raise OSError("the socket is busy")

    cards = display.LiveCards()
    made = [generation(name=None, index=number) for number in range(2)]
    output = Breaks()
    cards.show(display.Card(Batch(made, name="two"), output, "auto", tmp_path))
    for one in made:
        generations.change(one, FAILED)
    wait_until_settled([output])
    cards.close()
    assert output.drawn[-1][1] == "two: 2 videos: 2 failed"
    assert len(output.drawn) == 3


def test_a_line_says_why_a_video_waits() -> None:
    """A terminal shows the notice that a card shows, until the video has ended."""
    waiting = State(remote="queued", notice="Waiting for an engine.", submitted_at=time.time())
    assert card.one_line(generation(waiting)).endswith(" s · Waiting for an engine.")
    ended = State(remote="failed", error_message="No.", notice="Waiting for an engine.", submitted_at=1.0)
    assert "Waiting" not in card.one_line(generation(ended))
