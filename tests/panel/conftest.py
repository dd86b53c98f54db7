"""Fixtures: a panel that a page shows, the messages that it sends, and a finished video."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import comm
import pytest
from comm.base_comm import BaseComm

from faulty import FaultyService
from oxenvideo.jobs.generation import Generation
from oxenvideo.notebook.panel import Panel
from oxenvideo.session import Session
from panel.page import Wire, board_page, rows, to_board, within


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[FaultyService]:
    """A service whose jobs take 50 ms, or as many seconds as the parameter says; with None they run until told to end."""
    with FaultyService(job_seconds=getattr(request, "param", 0.05), keep_alive=0.1) as running:
        yield running


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Records the messages of every comm."""
    wire = Wire()

    class Recording(BaseComm):
        def publish_msg(self, msg_type: str, data: Any = None, **_: Any) -> None:
            wire.sent.append((time.monotonic(), msg_type, data or {}))

    monkeypatch.setattr(comm, "create_comm", Recording)
    return wire


@pytest.fixture
def names() -> dict[str, Any]:
    """The notebook's variables."""
    return {}


@pytest.fixture
def panel(session: Session, wire: Wire, names: dict[str, Any]) -> Iterator[Panel]:
    """A panel that a page shows."""
    made = Panel(session, names=lambda: names)
    to_board(made, do="hello", n=1, sent=board_page(made)["sent"])
    yield made
    made.close()


@pytest.fixture
def done(panel: Panel, session: Session) -> Generation:
    """A finished video."""
    generation = session.submit("A red balloon", name="clip").wait(30)
    assert within(30, lambda: rows(panel)[generation.key]["group"] == "done")
    return generation
