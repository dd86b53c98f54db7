"""Resuming from the journal: whose it is, with which key, and what cannot be brought back."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import faulty as f
from conftest import FAST
from faults.fault import MODEL, PROMPT
from faulty import FaultyService
from oxenvideo.client.retry import Backoff
from oxenvideo.errors import GenerationFailed, OutcomeUnknown
from oxenvideo.media.media import Media
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session

POST = "POST /api/ai/queue"
LIST = "GET /api/ai/queue"
FILE = "GET /files/{file}"

# After a refused connection, time enough to close the session before the next attempt.
PATIENT = replace(FAST, reach=60.0, backoff=Backoff(first=30.0, most=30.0))


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service whose jobs end by hand."""
    with FaultyService(keep_alive=0.1) as running:
        yield running


def request(**parameters: Any) -> VideoRequest:
    return VideoRequest(MODEL, {"prompt": PROMPT, "duration": 5} | parameters)


def until(service: FaultyService, holds: Callable[[], object]) -> None:
    service.wait_until(holds)


def leave_behind(session: Session, service: FaultyService, *requests: VideoRequest) -> list[str]:
    """Submit, and close as soon as the ids are in the journal; returns them."""
    batch = session.submit_batch(requests or [request()])
    until(service, lambda: all(g.id and session.journal.find(g.id) for g in batch))
    session.close()
    return [g.id or "" for g in batch]


def test_nothing_to_resume(session: Session) -> None:
    """With an empty journal there is nothing, and nobody is asked."""
    resumed = session.resume()
    assert resumed == []
    assert resumed.notes == []


def test_resumed_once(make_session: Callable[..., Session], service: FaultyService) -> None:
    """What one session resumed is nobody else's; a second resume of the same brings nothing."""
    (left,) = leave_behind(make_session(service), service)
    one, other = make_session(service), make_session(service)
    assert other.unfinished() == one.unfinished() == 1
    (generation,) = one.resume()
    assert generation.id == left
    assert one.resume() == []
    assert other.resume() == []
    assert other.unfinished() == 0
    service.finish()
    assert generation.wait(30).path
    assert one.unfinished() == 0


def test_what_a_session_leaves_that_is_slow_to_end(
    make_session: Callable[..., Session], service: FaultyService
) -> None:
    """The next session of the same kernel takes over, although the thread of the closed one was busy at the end."""
    session = make_session(service)
    generation = session.submit(PROMPT, model=MODEL)
    service.wait_until(lambda: generation.id)

    async def busy(_: object) -> None:
        time.sleep(0.8)  # noqa: ASYNC251 - it holds up the loop

    session.engine.spawn(busy, session.target)
    session.close()
    assert [again.id for again in make_session(service).resume()] == [generation.id]


def test_a_living_kernels_work_is_left_to_it(make_session: Callable[..., Session], service: FaultyService) -> None:
    """What a living session follows is not resumed by another."""
    one = make_session(service)
    generation = one.submit(request())
    until(service, lambda: generation.id)
    assert make_session(service).resume() == []


def test_of_one_notebook_or_of_all(
    make_session: Callable[..., Session], service: FaultyService, tmp_path: Path
) -> None:
    """Resume brings back this notebook's; ``everything`` brings back the others' too."""
    elsewhere = Session(
        base_url=service.base_url, api_key=service.api_key, data_dir=tmp_path / "data", notebook="other.ipynb"
    )
    leave_behind(elsewhere, service)
    session = make_session(service)
    assert session.resume() == []
    assert len(session.resume(everything=True)) == 1


def test_another_key_is_said_and_stops_nobody(make_session: Callable[..., Session], service: FaultyService) -> None:
    """One that was submitted with another key is told of and left; the others come back; with its key it does too."""
    leave_behind(make_session(service), service, request(seed=1))
    service.api_key = "second-key"
    leave_behind(make_session(service, api_key="second-key"), service, request(seed=2))
    session = make_session(service, api_key="second-key")
    resumed = session.resume()
    assert [g.request.parameters["seed"] for g in resumed] == [2]
    assert len(resumed.notes) == 1
    assert "with another API key" in resumed.notes[0]
    assert "test-key" not in resumed.notes[0]
    service.api_key = "test-key"
    again = make_session(service).resume()
    assert [g.request.parameters["seed"] for g in again] == [1]


def test_no_key_for_another_host(make_session: Callable[..., Session], service: FaultyService, tmp_path: Path) -> None:
    """One of a host for which no key is known any more is told of and left."""
    leave_behind(make_session(service), service)
    session = Session(data_dir=tmp_path / "data", notebook="test.ipynb")
    try:
        resumed = session.resume()
        assert resumed == []
        assert "No API key for 127.0.0.1" in resumed.notes[0]
    finally:
        session.close()
    assert len(make_session(service).resume()) == 1


def test_a_damaged_entry_stops_nobody(make_session: Callable[..., Session], service: FaultyService) -> None:
    """An entry whose request cannot be read is told of; the others come back."""
    leave_behind(make_session(service), service, request(seed=1), request(seed=2))
    session = make_session(service)
    with sqlite3.connect(session.journal.path) as db:
        db.execute("UPDATE submission SET request=? WHERE request LIKE '%\"seed\": 1%'", (json.dumps({"model": 5}),))
    db.close()
    resumed = session.resume()
    assert [g.request.parameters["seed"] for g in resumed] == [2]
    assert "cannot be read" in resumed.notes[0]


def test_the_public_function_warns(
    make_session: Callable[..., Session], service: FaultyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``oxenvideo.resume`` gives a Batch, and warns of what stays behind."""
    from oxenvideo import session as api

    leave_behind(make_session(service), service)
    service.api_key = "second-key"
    monkeypatch.setattr(api._current, "_session", make_session(service, api_key="second-key"))
    with pytest.warns(UserWarning, match="another API key"):
        assert len(api.resume()) == 0


@pytest.mark.asks_soon
@pytest.mark.slow
def test_look_again_for_what_was_not_found(session: Session, service: FaultyService) -> None:
    """In the same kernel, resume looks once more for what could not be found, and brings it."""
    service.script(POST, f.act_then_reset())
    service.lags = True
    generation = session.submit(request())
    with pytest.raises(OutcomeUnknown):
        generation.wait(30)
    (job,) = service.jobs.values()
    job.hidden = False
    assert session.resume() == [generation]
    service.finish()
    assert generation.wait(30).path
    assert service.counts[POST] == 1


@pytest.mark.asks_soon
@pytest.mark.slow
def test_found_late_by_itself(session: Session, service: FaultyService) -> None:
    """What turns up after a person was told is taken up without being asked for."""
    service.script(POST, f.act_then_reset())
    service.lags = True
    generation = session.submit(request())
    until(service, lambda: generation.status == "unconfirmed")
    (job,) = service.jobs.values()
    job.hidden = False
    until(service, lambda: generation.id == job.id)
    service.finish()
    assert generation.wait(30).path


@pytest.mark.asks_soon
@pytest.mark.slow
def test_an_equal_video_of_another_day_is_not_adopted(
    make_session: Callable[..., Session], service: FaultyService
) -> None:
    """A submit that was lost yesterday does not take an equal one of today for its own."""
    one = make_session(service)
    service.script(POST, f.never_answer())
    one.submit(request())
    until(service, lambda: service.counts[POST])
    one.close()
    other = make_session(service)
    with sqlite3.connect(other.journal.path) as db:
        db.execute("UPDATE submission SET sent_at = sent_at - 86400, sent_at_service = sent_at_service - 86400")
    db.close()
    import httpx

    body = {"model": MODEL, "prompt": PROMPT, "duration": 5}
    headers = {"Authorization": f"Bearer {service.api_key}"}
    httpx.post(f"{service.base_url}/api/ai/queue", json=body, headers=headers, trust_env=False)
    (generation,) = other.resume()
    with pytest.raises(OutcomeUnknown, match="shows no generation like it"):
        generation.wait(30)


def test_a_chain_of_which_the_first_is_here(make_session: Callable[..., Session], service: FaultyService) -> None:
    """One that builds on a video which was delivered before the restart is made from that file."""
    one = make_session(service)
    upstream = one.submit(request())
    until(service, lambda: service.jobs)
    service.finish()
    upstream.wait(30)
    until(service, lambda: one.unfinished() == 0)
    service.script(POST, *[f.rate_limited(30)] * 3)
    refused = one.submit(request(start_image_url=Media.from_value(upstream, "image")))
    until(service, lambda: (refused.state.notice or "").startswith("Rate limit"))
    one.close()
    service.clear(POST)
    (generation,) = make_session(service).resume()
    until(service, lambda: len(service.jobs) == 2)
    assert service.submits[-1]["start_image_url"].startswith("data:image/png;base64,")
    service.finish()
    assert generation.wait(30).path


def test_a_chain_of_which_the_first_is_gone(make_session: Callable[..., Session], service: FaultyService) -> None:
    """One that builds on a video which failed before the restart is not sent, and says why."""
    one = make_session(service)
    upstream = one.submit(request())
    until(service, lambda: upstream.id)
    one.submit(request(start_image_url=Media.from_value(upstream, "image")))
    service.fail(upstream.id or "", "no luck")
    until(service, lambda: upstream.status == "failed")
    one.close()
    with sqlite3.connect(one.journal.path) as db:  # as a kill just before the second one failed leaves it
        db.execute("UPDATE submission SET step='planned' WHERE step='refused'")
        db.execute("UPDATE generation SET delivered=0, status='submitting' WHERE generation_id IS NULL")
    db.close()
    (generation,) = make_session(service).resume()
    with pytest.raises(GenerationFailed, match="not known here any more"):
        generation.wait(30)
    assert service.counts[POST] == 1


def test_media_given_as_bytes_survive(make_session: Callable[..., Session], service: FaultyService) -> None:
    """A picture that was only in memory is sent by the session that resumes."""
    import io

    from PIL import Image

    made = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(made, "PNG")
    one = make_session(service, pace=PATIENT)
    with service.down():
        sent = one.submit(request(start_image_url=Media.from_value(made.getvalue(), "image")))
        until(service, lambda: sent.state.notice)  # it was tried once
        one.close()
    (generation,) = make_session(service).resume()
    until(service, lambda: service.jobs)
    assert service.submits[-1]["start_image_url"].startswith("data:image/png;base64,")
    assert generation.request.parameters["start_image_url"].path.is_file()


def test_a_cancelled_one_does_not_come_back(make_session: Callable[..., Session], service: FaultyService) -> None:
    """What was cancelled before it was sent is not sent by the next session; what was sent beside it is."""
    one = make_session(service)
    service.script(POST, f.rate_limited(30))
    batch = one.submit_batch([VideoRequest(MODEL, {"prompt": PROMPT}, count=3)])
    until(service, lambda: batch[0].state.notice)
    batch[1].cancel()
    one.close()
    resumed = make_session(service).resume()
    assert {g.index for g in resumed} == {0, 2}
    until(service, lambda: all(g.id for g in resumed))
    assert len(service.jobs) == 2


def test_history_joins_journal_and_service(make_session: Callable[..., Session], service: FaultyService) -> None:
    """History has the service's rows with cost and our files, page by page, and what the service does not know yet."""
    session = make_session(service)
    batch = session.submit_batch([request(seed=n) for n in range(3)])
    until(service, lambda: len(service.jobs) == 3)
    service.finish()
    batch.wait(30)
    service.script(POST, f.rate_limited(30))
    session.submit(request(seed=9))
    until(service, lambda: service.counts[POST] == 4)
    until(service, lambda: all(row.path for row in session.history()[1:]))
    first, *rows = session.history(page_size=2)
    assert first.id is None
    assert first.request is not None
    assert first.request.parameters["seed"] == 9
    assert len(rows) == 2
    assert all(str(row.cost) == "0.3500" for row in rows)
    assert len(session.history(page=2, page_size=2)) == 1


@pytest.mark.slow
def test_two_processes_resume_at_the_same_time(
    make_session: Callable[..., Session], service: FaultyService, tmp_path: Path
) -> None:
    """Several processes that resume one journal together send nothing twice."""
    one = make_session(service, pace=PATIENT)
    with service.down():
        batch = one.submit_batch([request(seed=n) for n in range(6)])
        until(service, lambda: all(sent.state.notice for sent in batch))  # each was tried once
        one.close()
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom oxenvideo.session import Session\n"
        f"s = Session(base_url={service.base_url!r}, api_key='test-key', data_dir=Path({str(tmp_path / 'data')!r}),"
        f" download_dir=Path({str(tmp_path / 'videos')!r}), notebook='test.ipynb')\n"
        "sys.stdin.readline()\nmine = s.resume()\nfor g in mine: g.wait(30)\nprint(len(mine))\n"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        for other in others:
            assert other.stdin is not None
            other.stdin.write("go\n")
            other.stdin.flush()
        until(service, lambda: len(service.jobs) == 6)
        service.finish()
        brought = [int(other.communicate(timeout=60)[0]) for other in others]
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert sum(brought) == 6
    assert service.counts[POST] == len(service.jobs) == 6
