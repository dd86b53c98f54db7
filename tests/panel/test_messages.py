"""What a panel sends: little, at its pace, and only to pages that show it."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import ipywidgets

from faulty import FaultyService
from oxenvideo.notebook.panel import Panel
from oxenvideo.notebook.panel.updates import Courier
from oxenvideo.notebook.panel.widgets import in_order
from oxenvideo.session import Session
from panel.page import Wire, hear, within


def test_two_hundred_jobs_cost_few_messages(panel: Panel, session: Session, service: FaultyService, wire: Wire) -> None:
    """However much happens: at most twenty a second in all, and every job ends up in its row."""
    session.submit_batch([{"prompt": f"take {n}"} for n in range(200)]).wait(60)
    assert within(10, lambda: [row["group"] for row in panel.board.jobs.values()] == ["done"] * 200)
    times = [at for at, kind, _ in wire.sent if kind == "comm_msg"]
    assert max(sum(start <= at < start + 1 for at in times) for start in times) <= 20


def test_a_panel_out_of_sight_is_silent_and_catches_up(panel: Panel, session: Session, wire: Wire) -> None:
    """A cell that was run again leaves its old panel behind: that one sends nothing until a page shows it."""
    hear(panel, do="away")
    generation = session.submit("A red balloon").wait(10)
    time.sleep(0.4)
    assert not wire.of("rows")
    hear(panel, do="hello", n=1)
    assert within(5, lambda: panel.board.jobs.get(generation.key, {}).get("group") == "done")


def test_a_page_opened_later_reads_all_rows(panel: Panel, done: Any) -> None:
    """The state that is handed out is the present one, though only changes are sent."""
    assert panel.board.get_state("jobs")["jobs"][done.key]["word"] == "Succeeded"


def test_the_courier_keeps_its_pace_and_ends() -> None:
    """Posted work is done in order with a pause between; one that raises does not stop the next."""
    done: list[tuple[int, float]] = []
    courier = Courier(lambda: None)

    def work(number: int) -> None:
        done.append((number, time.monotonic()))
        if number == 1:
            raise ValueError("on purpose")

    for number in range(4):
        courier.post(lambda number=number: work(number))
    assert within(3, lambda: len(done) == 4)
    assert [number for number, _ in done] == [0, 1, 2, 3]
    assert all(b - a >= 0.05 for (_, a), (_, b) in pairwise(done))
    courier.close()
    assert within(2, lambda: not any(t.name == "oxenvideo-panel" for t in threading.enumerate()))


def test_a_closed_panel_follows_nothing(session: Session, wire: Wire) -> None:
    """And leaves no widget behind."""
    before = set(ipywidgets.widgets.widget._instances)
    running = session.submit("A blue balloon")
    gone = Panel(session)
    gone.close()
    session.submit("A red balloon").wait(10)
    assert gone.generations == [running]
    assert not running._observers
    assert set(ipywidgets.widgets.widget._instances) == before


def test_the_panel_shows_itself(panel: Panel) -> None:
    """As a widget, and as text that is the same each time."""
    data, _ = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == repr(panel) == "<Panel>"


def test_messages_are_heard_where_the_front_end_asks_for_it() -> None:
    """Not where this widget was answered last: then one could overtake another."""

    class Comm:
        def _reply_subshell_for(self, data: object, asked: object) -> object:
            return "elsewhere"

    widget = SimpleNamespace(comm=Comm())
    in_order(widget)
    assert widget.comm._reply_subshell_for({}, "asked") == "asked"
