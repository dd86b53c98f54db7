"""Jobs in the panel: shown, cancelled, retried and dismissed."""

from __future__ import annotations

import pytest

from faulty import FaultyService, bad_request, never_answer, not_found
from oxenvideo.jobs.generation import Generation
from oxenvideo.notebook.panel import Panel
from oxenvideo.session import Session
from panel.page import rows, to_board, within


def test_jobs_of_cells_and_of_other_panels_are_the_same_jobs(panel: Panel, session: Session) -> None:
    """Every panel of a session shows the same jobs, whoever submitted them."""
    other = Panel(session)
    to_board(other, do="hello", n=0)
    generation = session.submit("A red balloon", name="clip").wait(30)
    assert within(30, lambda: rows(panel)[generation.key]["group"] == "done")
    assert within(30, lambda: rows(other) == rows(panel))
    assert panel.generations == other.generations == [generation]
    later = Panel(session)
    assert rows(later) == rows(panel)
    other.close()
    later.close()


def test_a_paid_video_keeps_its_cost_when_the_session_changes_to_the_embedded_server(
    panel: Panel, done: Generation, session: Session
) -> None:
    """A row goes by the server that made the video, and not by that of the next one."""
    session.reconfigure(base_url="local")
    assert session.target.is_local
    assert "$" in rows(panel)[done.key]["money"]  # the estimate, or the cost once it is known


def test_a_panel_keeps_what_nobody_else_refers_to(panel: Panel, session: Session) -> None:
    """A job that no variable refers to stays in the panel."""
    session.submit("A red balloon")
    assert len(panel.generations) == 1


@pytest.mark.parametrize("service", [None], indirect=True)
def test_a_running_job_is_cancelled_by_its_row(panel: Panel, session: Session) -> None:
    """Cancel stops one job, Cancel all stops all."""
    jobs = [session.submit(f"take {n}") for n in range(3)]
    assert within(30, lambda: all(job.id for job in jobs))
    to_board(panel, do="cancel", key=jobs[0].key)
    assert within(30, lambda: jobs[0].status == "cancelled")
    assert [job.done for job in jobs] == [True, False, False]
    to_board(panel, do="cancel all")
    assert within(30, lambda: all(job.status == "cancelled" for job in jobs))


def test_a_failed_job_is_tried_again_once_a_press(panel: Panel, session: Session, service: FaultyService) -> None:
    """A double click retries once; the failed row can be dismissed."""
    service.script("POST /api/ai/queue", bad_request())
    first = session.submit("A red balloon")
    assert within(30, lambda: first.done)
    to_board(panel, do="retry", key=first.key)
    to_board(panel, do="retry", key=first.key)
    assert len(panel.generations) == 2
    assert panel.generations[1].wait(30).request == first.request
    to_board(panel, do="dismiss", keys=[first.key])
    assert within(30, lambda: set(rows(panel)) == {panel.generations[0].key})


@pytest.mark.gives_up_soon
@pytest.mark.asks_soon
@pytest.mark.slow
def test_one_that_may_be_charged_already_is_sent_again_only_on_purpose(
    panel: Panel, session: Session, service: FaultyService
) -> None:
    """A job whose outcome is unknown has not failed: it is retried only after confirmation."""
    service.script("POST /api/ai/queue", never_answer())
    lost = session.submit("A red balloon")
    assert within(30, lambda: lost.status == "unconfirmed")
    to_board(panel, do="retry", key=lost.key)
    assert len(panel.generations) == 1
    to_board(panel, do="retry", key=lost.key, sure=True)
    assert len(panel.generations) == 2


def test_a_file_that_did_not_arrive_is_fetched_again(panel: Panel, session: Session, service: FaultyService) -> None:
    """The video exists and is paid for: a retry downloads it and submits nothing."""
    service.always("GET /files/{file}", not_found())
    lost = session.submit("A red balloon")
    assert within(30, lambda: rows(panel)[lost.key]["group"] == "missing")
    service.clear("GET /files/{file}")
    to_board(panel, do="retry", key=lost.key)
    assert within(30, lambda: rows(panel)[lost.key]["group"] == "done")
    assert service.counts["POST /api/ai/queue"] == 1
