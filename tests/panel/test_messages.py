"""The messages of a panel: few, limited in rate, and only to pages that show it."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import Any

import ipywidgets
import pytest

from faulty import FaultyService
from oxenvideo.notebook.panel import Panel
from oxenvideo.notebook.panel.widget import UpdateThread
from oxenvideo.session import Session
from panel.page import Wire, board_page, rows, to_board, within


@pytest.mark.slow
def test_two_hundred_jobs_cost_few_messages(panel: Panel, session: Session, service: FaultyService, wire: Wire) -> None:
    """At most twenty messages are sent in a second, and every row gets its final state."""
    session.submit_batch([{"prompt": f"take {n}"} for n in range(200)]).wait(60)
    assert within(30, lambda: [row["group"] for row in rows(panel).values()] == ["done"] * 200)
    times = [at for at, kind, _ in wire.sent if kind == "comm_msg"]
    assert max(sum(start <= at < start + 1 for at in times) for start in times) <= 20


def test_a_panel_out_of_sight_is_silent_and_catches_up(panel: Panel, session: Session, wire: Wire) -> None:
    """A panel that no page shows sends nothing until a page shows it again."""
    to_board(panel, do="away")
    generation = session.submit("A red balloon").wait(30)
    time.sleep(0.4)
    assert not wire.of("rows")
    to_board(panel, do="hello", n=1)
    assert within(30, lambda: rows(panel)[generation.key]["group"] == "done")


def test_a_page_that_missed_a_change_gets_everything(panel: Panel, session: Session, wire: Wire) -> None:
    """A change that came after the page had read the snapshot, and before it could hear, is sent again."""
    read = board_page(panel)["sent"]
    generation = session.submit("A red balloon").wait(30)
    assert within(30, lambda: any(row["group"] == "done" for told in wire.of("rows") for row in told["rows"].values()))
    wire.sent.clear()
    to_board(panel, do="hello", n=2, sent=read)
    (told,) = wire.of("update")
    assert told["page"]["jobs"][generation.key]["group"] == "done"
    to_board(panel, do="hello", n=3, sent=told["page"]["sent"])
    assert wire.of("update") == [told]


def test_a_page_opened_later_reads_all_rows(panel: Panel, done: Any) -> None:
    """A new page reads the current state, although only changes are sent."""
    assert rows(panel)[done.key]["word"] == "Succeeded"


def test_the_update_thread_keeps_its_pace_and_ends() -> None:
    """Work is done in order with a pause between; an exception does not stop the next."""
    done: list[tuple[int, float]] = []
    updates = UpdateThread(lambda: None)

    def work(number: int) -> None:
        done.append((number, time.monotonic()))
        if number == 1:
            raise ValueError("on purpose")

    for number in range(4):
        updates.add(lambda number=number: work(number))
    assert within(30, lambda: len(done) == 4)
    assert [number for number, _ in done] == [0, 1, 2, 3]
    assert all(b - a >= 0.05 for (_, a), (_, b) in pairwise(done))
    updates.close()
    assert within(30, lambda: not any(t.name == "oxenvideo-panel" for t in threading.enumerate()))


def test_a_closed_panel_follows_nothing(session: Session, wire: Wire) -> None:
    """A closed panel has no observers and no widgets."""
    before = set(ipywidgets.widgets.widget._instances)
    running = session.submit("A blue balloon")
    gone = Panel(session)
    gone.close()
    session.submit("A red balloon").wait(30)
    assert gone.generations == [running]
    assert not running._job.observers
    assert set(ipywidgets.widgets.widget._instances) == before


def test_the_panel_shows_itself(panel: Panel) -> None:
    """A panel has a widget view and a constant text representation."""
    data, _ = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == repr(panel) == "<Panel>"
