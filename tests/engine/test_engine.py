"""The engine over real sockets: what is asked of it in every state, by several at once, and in the middle of its work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import faulty as f
from conftest import FAST
from faults.fault import MODEL, PROMPT
from faulty import FaultyService
from oxenvideo.errors import (
    DownloadFailed,
    GenerationCancelled,
    GenerationFailed,
    NotFound,
    OutcomeUnknown,
    OxenVideoError,
    WaitTimeout,
)
from oxenvideo.jobs.generation import Generation, observe
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session
from oxenvideo.settings import Limits

POST = "POST /api/ai/queue"
LIST = "GET /api/ai/queue"
ONE = "GET /api/ai/queue/{id}"
HISTORY = "GET /api/ai/generations"
DELETE = "DELETE /api/ai/queue/{id}"
FILE = "GET /files/{file}"
STREAM = "GET /api/events"


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service whose jobs end by hand."""
    with FaultyService(keep_alive=0.1) as running:
        yield running


def request(**parameters: Any) -> VideoRequest:
    return VideoRequest(MODEL, {"prompt": PROMPT, "duration": 5} | parameters)


def submit(session: Session, **parameters: Any) -> Generation:
    return session.submit(request(**parameters))


def until(service: FaultyService, holds: Callable[[], object]) -> None:
    service.wait_until(holds)


# --- one video's way -------------------------------------------------------------------------------------------------


def test_the_way_of_one(session: Session, service: FaultyService) -> None:
    """One POST, one stream, one list and one download make a video; each status is told in order, the cost at the end."""
    seen: list[str] = []
    generation = submit(session)
    generation.on_change(lambda g: seen.append(g.status))
    until(service, lambda: service.jobs)
    assert generation.id is None or generation.id in service.jobs
    service.start(next(iter(service.jobs)))
    until(service, lambda: "processing" in seen)
    service.finish()
    assert generation.wait(30) is generation
    assert generation.path is not None
    assert generation.path.read_bytes()[4:8] == b"ftyp"
    assert service.counts[POST] == service.counts[STREAM] == service.counts[FILE] == 1
    until(service, lambda: seen[-1:] == ["succeeded"])
    order = ["submitting", "queued", "processing", "downloading", "succeeded"]
    assert [order.index(status) for status in seen] == sorted(order.index(status) for status in seen)
    assert generation.state.elapsed is not None


def test_subscribed_before_submitting(session: Session, service: FaultyService) -> None:
    """The stream stands before the first submit goes out, so that no end is missed."""
    submit(session)
    until(service, lambda: service.counts[POST])
    assert [r.route for r in service.log if r.route in (STREAM, POST)] == [STREAM, POST]


def test_a_silent_stream_holds_up_one_submit(make_session: Callable[..., Session], service: FaultyService) -> None:
    """The first submit waits for a stream that never answers, and not for ever; those after it do not wait."""
    service.always(STREAM, f.never_answer())
    session = make_session(service, pace=replace(FAST, stream_start=0.5, stream_silence=60.0))
    generations = [submit(session)]
    until(service, lambda: service.jobs)
    began = time.monotonic()
    for number in range(2, 12):
        generations.append(submit(session))
        until(service, lambda number=number: len(service.jobs) == number)
    assert time.monotonic() - began < 10 * 0.5
    service.finish()
    assert all(one.wait(30).path for one in generations)


def test_many_jobs_few_requests(make_session: Callable[..., Session]) -> None:
    """A hundred videos in groups of four: 25 submits, one stream, and lists by time and not by number."""
    with FaultyService(job_seconds=0.3, keep_alive=0.1) as service:
        # The stream stays open even where a busy machine takes a second to answer a submit, with nothing to watch yet.
        session = make_session(service, pace=replace(FAST, poll=1.0, linger=30.0, stream_silence=30.0))
        batch = session.submit_batch([VideoRequest(MODEL, {"prompt": PROMPT}, count=100)])
        batch.wait(30)
        assert len(batch.succeeded) == 100
        assert service.counts[POST] == 25
        assert service.counts[STREAM] == 1
        assert service.counts[LIST] + service.counts[ONE] <= 12
        assert service.counts[FILE] == 100


def test_without_download(make_session: Callable[..., Session], service: FaultyService) -> None:
    """With downloads off a video succeeds with its link, also where the news came without one."""
    service.always(STREAM, f.links_missing())
    session = make_session(service, download=False)
    generation = submit(session)
    until(service, lambda: service.jobs)
    service.finish()
    generation.wait(30)
    until(service, lambda: generation.result_url)
    assert generation.path is None
    assert generation.state.finished_at is not None
    assert session.unfinished() == 0


@pytest.mark.slow
def test_cost_is_looked_up_late(session: Session, service: FaultyService) -> None:
    """The cost comes from the history, in one request for all that ended."""
    batch = session.submit_batch([request(), request()])
    until(service, lambda: len(service.jobs) == 2)
    service.finish()
    batch.wait(30)
    until(service, lambda: str(batch.cost) == "0.7000")
    assert service.counts[HISTORY] <= 2


def test_in_another_namespace(session: Session, service: FaultyService) -> None:
    """Videos of several namespaces are each found in their own list."""
    service.always(STREAM, f.not_found())
    wanted = [request(), *(replace(request(), target_namespace=name) for name in ("films", "other"))]
    batch = session.submit_batch(wanted)
    until(service, lambda: all(g.id for g in batch))
    for generation in batch:
        service.start(generation.id or "")
    until(service, lambda: [g.status for g in batch] == ["processing"] * 3)
    assert service.counts[ONE] == 0
    until(service, lambda: {r.query.get("namespace") for r in service.requests(LIST)} == {None, "films", "other"})
    service.finish()
    batch.wait(30)
    assert len(batch.succeeded) == 3


def test_lost_in_another_namespace(session: Session, service: FaultyService) -> None:
    """A submit to another namespace whose answer was lost is looked for there."""
    service.script(POST, f.act_then_reset())
    generation = session.submit(replace(request(), target_namespace="films"))
    until(service, lambda: generation.id)
    service.finish()
    assert generation.wait(30).path


# --- cancelling ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cancel_before_it_is_sent(session: Session, service: FaultyService) -> None:
    """Cancelled in the pause after a 429: nothing is sent any more, and nothing is charged."""
    service.always(POST, f.rate_limited(1))
    generation = submit(session)
    until(service, lambda: (generation.state.notice or "").startswith("Rate limit"))
    answer = generation.cancel()
    assert answer.cancelled
    assert "nothing is charged" in answer
    with pytest.raises(GenerationCancelled):
        generation.wait(1)
    service.clear(POST)
    sent = service.counts[POST]
    time.sleep(1.2)
    assert (service.counts[POST], len(service.jobs)) == (sent, 0)
    assert session.unfinished() == 0


@pytest.mark.slow
def test_cancel_one_of_four_before_they_are_sent(session: Session, service: FaultyService) -> None:
    """One of a request's four is cancelled before that goes out: three are asked for."""
    service.always(POST, f.rate_limited(1))
    batch = session.submit_batch([VideoRequest(MODEL, {"prompt": PROMPT}, count=4)])
    until(service, lambda: batch[0].state.notice)
    assert batch[1].cancel().cancelled
    service.clear(POST)
    until(service, lambda: service.jobs)
    assert service.submits[-1]["num_generations"] == len(service.jobs) == 3
    service.finish()
    batch.wait(30)
    assert [g.status for g in batch] == ["succeeded", "cancelled", "succeeded", "succeeded"]


def test_cancel_while_the_answer_is_awaited(session: Session, service: FaultyService) -> None:
    """Cancelled between request and answer: the service is asked as soon as the id is known."""
    service.script(POST, f.answer_after(0.3))
    generation = submit(session)
    until(service, lambda: service.jobs)
    assert generation.cancel().cancelled
    assert generation.status == "cancelled"
    assert [job.status for job in service.jobs.values()] == ["cancelled"]


def test_cancel_while_the_lost_answer_is_looked_for(session: Session, service: FaultyService) -> None:
    """Cancelled while it is looked for: cancelled where it is found."""
    service.script(POST, f.act_then_reset())
    service.always(LIST, f.unavailable())
    service.always(HISTORY, f.unavailable())
    generation = submit(session)
    until(service, lambda: "Looking for it" in (generation.state.notice or ""))
    service.clear(LIST)
    service.clear(HISTORY)
    assert generation.cancel().cancelled
    assert [job.status for job in service.jobs.values()] == ["cancelled"]


@pytest.mark.asks_soon
@pytest.mark.slow
def test_cancel_what_nobody_can_find(session: Session, service: FaultyService) -> None:
    """Where nobody knows whether it exists, cancelling says so; and cancels it when it turns up after all."""
    service.script(POST, f.act_then_reset())
    service.lags = True
    generation = submit(session)
    with pytest.raises(OutcomeUnknown):
        generation.wait(30)
    (job,) = service.jobs.values()
    answer = generation.cancel()
    assert not answer.cancelled
    assert "not known" in answer
    job.hidden = False
    assert session.resume() == [generation]
    with pytest.raises(GenerationCancelled):
        generation.wait(30)
    assert job.status == "cancelled"


def test_cancel_while_queued_and_processing(session: Session, service: FaultyService) -> None:
    """The service is asked once, looked at once, and agrees; however many ask at the same time."""
    batch = session.submit_batch([request(), request()])
    until(service, lambda: all(g.id for g in batch))
    service.start(batch[0].id or "")
    service.script(DELETE, f.answer_after(0.1), f.answer_after(0.1))
    answers = batch.cancel()
    assert len(answers) == 2
    assert all(answer.cancelled for answer in answers)
    assert {g.status for g in batch} == {"cancelled"}
    assert service.counts[DELETE] == 2
    assert service.counts[ONE] <= 4  # a list in between may miss them among the active ones, and read them too


def test_cancel_while_downloading(session: Session, service: FaultyService) -> None:
    """Too late: said without asking, and the download goes on."""
    held = threading.Event()
    service.script(FILE, f.pause_midway(held.is_set))
    generation = submit(session)
    until(service, lambda: service.jobs)
    service.finish()
    until(service, lambda: generation.status == "downloading")
    answer = generation.cancel()
    held.set()
    assert not answer.cancelled
    assert "Too late" in answer
    assert generation.wait(30).path
    assert "too late" in generation.cancel()
    assert service.counts[DELETE] == 0


def test_cancel_too_late_at_the_service(session: Session, service: FaultyService) -> None:
    """It ended at the service just before: the answer says so, and the video is delivered."""
    service.withholds = lambda job: True
    generation = submit(session)
    until(service, lambda: generation.id)
    service.always(LIST, f.unavailable())
    service.script(DELETE, f.once(lambda: service.finish() or True, f.ok()))
    answer = generation.cancel()
    assert not answer.cancelled
    assert "Too late" in answer
    assert generation.wait(30).path


def test_cancel_through_failures(session: Session, service: FaultyService) -> None:
    """A cancel that fails is asked again."""
    generation = submit(session)
    until(service, lambda: generation.id)
    service.script(DELETE, f.server_error(), f.reset())
    assert generation.cancel().cancelled
    assert service.counts[DELETE] == 3


def test_cancel_that_cannot_be_answered(session: Session, service: FaultyService) -> None:
    """Where the service refuses to be asked, that is said, and the generation goes on."""
    generation = submit(session)
    until(service, lambda: generation.id)
    service.always(DELETE, f.unauthorized())
    answer = generation.cancel()
    assert not answer.cancelled
    assert "Not cancelled" in answer
    service.finish()
    assert generation.wait(30).path


def test_cancel_without_waiting(session: Session, service: FaultyService) -> None:
    """With no timeout the service is asked and nobody waits."""
    generation = submit(session)
    until(service, lambda: generation.id)
    asked = threading.Event()
    service.script(DELETE, f.once(asked.is_set, f.ok()))
    generation.cancel(None)
    assert generation.status == "queued"
    asked.set()
    until(service, lambda: generation.status == "cancelled")


# --- waiting and callbacks -------------------------------------------------------------------------------------------


def test_wait_gives_up_and_leaves_it(session: Session, service: FaultyService) -> None:
    """A wait that is given up names the status and how to cancel; the generation goes on."""
    generation = submit(session)
    with pytest.raises(WaitTimeout, match="goes on; cancel it"):
        generation.wait(0.05)
    until(service, lambda: service.jobs)
    service.finish()
    assert generation.wait(30).status == "succeeded"


def test_await_from_coroutines(session: Session, service: FaultyService) -> None:
    """Several coroutines wait for one; one of them is cancelled, and the generation is not."""
    generation = submit(session)

    async def several() -> list[object]:
        impatient = asyncio.create_task(generation.wait_async())
        waiting = [asyncio.ensure_future(_awaited(generation)) for _ in range(3)]
        await asyncio.sleep(0.05)
        impatient.cancel()
        service.wait_until(lambda: service.jobs)
        service.finish()
        return list(await asyncio.gather(*waiting))

    assert asyncio.run(several()) == [generation] * 3
    assert generation._job.observers == ()


async def _awaited(generation: Generation) -> Generation:
    return await generation


def test_await_gives_up(session: Session) -> None:
    """The timeout of a coroutine's wait is kept."""
    with pytest.raises(WaitTimeout):
        asyncio.run(submit(session).wait_async(0.05))


def test_callbacks_may_do_anything(session: Session, service: FaultyService, caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises, blocks or asks back does not stop the engine, and comes late rather than never."""
    ready = threading.Event()
    service.script(POST, f.once(ready.is_set, f.ok()))
    generation = submit(session)
    seen: list[str] = []

    def bad(_: Generation) -> None:
        raise RuntimeError("mine")

    def slow(g: Generation) -> None:
        time.sleep(0.05)
        g.cancel(0.1)
        seen.append(g.status)

    generation.on_change(bad)
    generation.on_change(slow)
    ready.set()
    until(service, lambda: "cancelled" in seen)
    late: list[Generation] = []
    generation.on_change(late.append)
    until(service, lambda: late == [generation])
    assert "on_change callback raised" in caplog.text


def test_an_observer_that_raises(session: Session, service: FaultyService, caplog: pytest.LogCaptureFixture) -> None:
    """One who looks on and raises is logged; the video is delivered."""
    generation = submit(session)
    observe(generation, lambda: 1 / 0)
    until(service, lambda: service.jobs)
    service.finish()
    assert generation.wait(30).path
    assert "An observer of" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", [f.ok(), f.act_then_reset()], ids=["answered", "the answer is lost"])
def test_an_unforeseen_error_does_not_end_the_watching(
    session: Session,
    service: FaultyService,
    behaviour: f.Behaviour,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What nobody foresaw while an observation is taken in is logged, and the next list makes up for it."""
    from oxenvideo.jobs import job

    real, failures = job.advance, iter([True, True, True])

    def sometimes(*given: Any) -> Any:
        if next(failures, False):
            raise ZeroDivisionError("unforeseen")
        return real(*given)

    monkeypatch.setattr(job, "advance", sometimes)
    service.script(POST, behaviour)
    generation = submit(session)
    until(service, lambda: service.jobs)
    service.finish()
    assert generation.wait(30).path
    assert "unforeseen" in caplog.text


def test_an_unforeseen_error_does_not_end_a_worker(
    make_session: Callable[..., Session],
    service: FaultyService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One submission that breaks in an unforeseen way is failed with that; the same worker sends the next one."""
    session = make_session(service, limits=Limits(submits=1))
    real = VideoRequest.body

    def sometimes(self: VideoRequest, *given: Any, **named: Any) -> Any:
        if self.parameters.get("seed") == 1:
            raise ZeroDivisionError("unforeseen")
        return real(self, *given, **named)

    monkeypatch.setattr(VideoRequest, "body", sometimes)
    broken, whole = submit(session, seed=1), submit(session, seed=2)
    with pytest.raises(GenerationFailed, match=r"Nothing was sent: ZeroDivisionError"):
        broken.wait(30)
    until(service, lambda: service.jobs)
    service.finish()
    assert whole.wait(30).path
    assert service.counts[POST] == 1
    assert session.unfinished() == 0


def test_what_json_cannot_carry_is_refused_before_it_is_sent(session: Session, service: FaultyService) -> None:
    """A lone surrogate in a prompt ends in one clear error, and nothing is sent."""
    generation = session.submit(VideoRequest(MODEL, {"prompt": "a \ud800 balloon"}))
    with pytest.raises(GenerationFailed, match=r"cannot be written|journal"):
        generation.wait(30)
    assert service.counts[POST] == 0


# --- the journal in trouble ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def held(session: Session) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(session.journal.path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def impatient(session: Session) -> None:
    session.journal._db.patience = 0.05


def test_a_journal_that_cannot_be_written_stops_a_submit(session: Session, service: FaultyService) -> None:
    """What cannot be written down is not sent."""
    impatient(session)
    with held(session):
        generation = submit(session)
        with pytest.raises(GenerationFailed, match="Nothing was sent: the journal cannot be written"):
            generation.wait(30)
    assert service.counts[POST] == 0


@pytest.mark.slow
def test_a_journal_that_fails_later_does_not_lose_the_video(
    make_session: Callable[..., Session], service: FaultyService, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that cannot be written down is followed all the same, and written when that is possible again."""
    session = make_session(service)
    impatient(session)
    locked = threading.Event()
    service.script(POST, f.once(locked.is_set, f.ok()))
    generation = submit(session)
    until(service, lambda: service.counts[POST])
    with held(session):
        locked.set()
        until(service, lambda: generation.id)
        service.finish()
        assert generation.wait(30).path
        until(service, lambda: "cannot be written" in caplog.text)
        assert session.journal.entry(generation.key).step == "sending"  # type: ignore[union-attr]
    until(service, lambda: session.journal.entry(generation.key).delivered)  # type: ignore[union-attr]
    entry = session.journal.entry(generation.key)
    assert entry is not None
    assert (entry.step, entry.generation_id, entry.path) == ("accepted", generation.id, generation.path)
    assert caplog.text.count("cannot be written") == 1


# --- two kernels, attaching ------------------------------------------------------------------------------------------


def test_attach_to_what_was_made_elsewhere(session: Session, service: FaultyService) -> None:
    """An id that nothing here knows becomes a live Generation, with the request that made it; attached twice it is one."""
    import httpx

    body = {"model": MODEL, "prompt": PROMPT, "seed": 7}
    key = {"Authorization": f"Bearer {service.api_key}"}
    httpx.post(f"{service.base_url}/api/ai/queue", json=body, headers=key, trust_env=False)
    (job,) = service.jobs
    generation = session.attach(f" {job} ", name="found")
    assert session.attach(job) is generation
    assert (generation.name, generation.request.prompt, generation.request.parameters["seed"]) == ("found", PROMPT, 7)
    assert session.unfinished() == 0
    service.finish()
    assert generation.wait(30).path


def test_attach_at_the_same_time(
    session: Session, service: FaultyService, make_session: Callable[..., Session]
) -> None:
    """Two threads that attach to one id get one Generation."""
    elsewhere = submit(make_session(service))
    until(service, lambda: elsewhere.id)
    service.always(ONE, f.answer_after(0.1))
    found: list[Generation] = []
    threads = [threading.Thread(target=lambda: found.append(session.attach(elsewhere.id or ""))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] is found[1]


def test_attach_to_another_living_kernels(make_session: Callable[..., Session], service: FaultyService) -> None:
    """What another living kernel follows is followed here too, and stays its own in the journal."""
    one, other = make_session(service), make_session(service)
    first = submit(one)
    until(service, lambda: first.id and one.journal.find(first.id))
    second = other.attach(first.id or "")
    assert second.key != first.key
    service.finish()
    assert first.wait(30).path
    assert second.wait(30).path
    entry = other.journal.find(first.id or "")
    assert entry is not None
    assert (entry.key, entry.owner) == (first.key, one.journal.owner)


def test_attach_takes_over_what_a_closed_session_left(
    make_session: Callable[..., Session], service: FaultyService
) -> None:
    """What a session that is no more left unfinished becomes this one's."""
    one = make_session(service)
    first = submit(one)
    until(service, lambda: first.id and one.journal.find(first.id))
    one.close()
    other = make_session(service)
    second = other.attach(first.id or "")
    assert second.key == first.key
    service.finish()
    second.wait(30)
    assert other.unfinished() == 0


def test_attach_to_what_failed_while_it_was_read(make_session: Callable[..., Session], service: FaultyService) -> None:
    """A session sees a video fail and ends, while another's first look at it is still on its way: it stays failed."""
    one, other = make_session(service), make_session(service)
    first = submit(one)
    until(service, lambda: first.id and one.journal.find(first.id))
    first_id = first.id or ""
    ended = threading.Event()
    service.script(ONE, f.pause_midway(ended.is_set))
    found: list[Generation] = []
    attaching = threading.Thread(target=lambda: found.append(other.attach(first_id)))
    attaching.start()
    until(service, lambda: service.counts[ONE] == 1)
    service.fail(first_id, "no luck")
    with pytest.raises(GenerationFailed, match="no luck"):
        first.wait(30)
    until(service, lambda: other.journal.find(first_id).status == "failed")  # type: ignore[union-attr]
    one.close()
    ended.set()
    attaching.join()
    (second,) = found
    assert (second.key, second.status) == (first.key, "failed")


def test_attach_to_a_delivered_video(make_session: Callable[..., Session], service: FaultyService) -> None:
    """A video that is here already is not fetched again."""
    one = make_session(service)
    first = submit(one)
    until(service, lambda: service.jobs)
    service.finish()
    first.wait(30)
    one.close()
    second = make_session(service).attach(first.id or "")
    assert second.wait(30).path == first.path
    assert service.counts[FILE] == 1


def test_attach_to_nothing(session: Session, service: FaultyService) -> None:
    """An unknown id is one clear error, through a passing failure too."""
    service.script(ONE, f.server_error())
    with pytest.raises(NotFound, match="knows no generation 'nosuch'"):
        session.attach("nosuch")


def test_two_kernels_lose_equal_answers(make_session: Callable[..., Session], service: FaultyService) -> None:
    """Two living kernels look for equal videos; each generation becomes the video of one of them."""
    one, other = make_session(service), make_session(service)
    service.script(POST, f.act_then_reset())
    first = submit(one)
    first_id = _settled(service, first)
    service.script(POST, f.act_then_reset())
    second = submit(other)
    second_id = _settled(service, second)
    assert {first_id, second_id} == set(service.jobs)
    assert service.counts[POST] == 2


def _settled(service: FaultyService, generation: Generation) -> str:
    until(service, lambda: generation.id)
    return generation.id or ""


def test_a_told_id_that_was_attached_to_meanwhile(make_session: Callable[..., Session], service: FaultyService) -> None:
    """Another kernel attached to an id before its submitter was told of it: the submitter's journal entry has it."""
    one, other = make_session(service), make_session(service)
    attached = threading.Event()
    service.script(POST, f.act_then(f.once(attached.is_set, f.ok())))
    first = submit(one)
    until(service, lambda: service.jobs)
    (job,) = service.jobs
    second = other.attach(job)
    attached.set()
    until(service, lambda: one.journal.find(job).key == first.key)  # type: ignore[union-attr]
    service.finish()
    assert first.wait(30).path
    assert second.wait(30).path
    assert one.unfinished() == other.unfinished() == 0
    assert other.journal.entry(second.key).generation_id is None  # type: ignore[union-attr]


# --- dependencies ----------------------------------------------------------------------------------------------------


def test_a_failed_upstream_ends_what_builds_on_it(session: Session, service: FaultyService) -> None:
    """What waits for another generation says so, and is not sent where that one fails."""
    from oxenvideo.media.media import Media

    upstream = session.submit(request(), name="first")
    waiting = submit(session, start_image_url=Media.from_value(upstream, "image"))
    until(service, lambda: waiting.status == "waiting")
    assert "Waits for first" in (waiting.state.notice or "")
    until(service, lambda: upstream.id)
    service.fail(upstream.id or "", "no luck")
    with pytest.raises(GenerationFailed, match=r"Not sent, because first gave no video: no luck"):
        waiting.wait(30)
    assert service.counts[POST] == 1


def test_cancel_while_it_waits_for_another(session: Session, service: FaultyService) -> None:
    """What waits for another generation can be cancelled, and is not sent when that one is done."""
    from oxenvideo.media.media import Media

    upstream = session.submit(request())
    waiting = submit(session, start_image_url=Media.from_value(upstream, "image"))
    until(service, lambda: waiting.status == "waiting")
    assert waiting.cancel().cancelled
    service.wait_until(lambda: upstream.id)
    service.finish()
    upstream.wait(30)
    time.sleep(0.1)
    assert service.counts[POST] == 1


# --- closing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arrange",
    [
        lambda s: s.script(POST, f.never_answer()),
        lambda s: s.script(POST, f.rate_limited(30)),
        lambda s: s.script(POST, f.act_then_reset()),
        lambda s: s.always(STREAM, f.never_answer()),
        lambda s: None,
        lambda s: (s.always(FILE, f.stall_midway()), threading.Timer(0.2, s.finish).start()),
    ],
    ids=["posting", "pausing", "looking", "connecting", "watching", "downloading"],
)
def test_closed_in_the_middle(
    session: Session, service: FaultyService, arrange: Callable[[FaultyService], Any]
) -> None:
    """Closing waits for nothing in any state, ends the waits, leaves no thread and prints nothing."""
    arrange(service)
    batch = session.submit_batch([request(), request()])
    waits: list[BaseException | None] = []

    def wait() -> None:
        try:
            batch.wait()
        except BaseException as error:
            waits.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.4)
    session.close()
    waiter.join(30)
    assert [type(error) for error in waits] == [WaitTimeout]
    assert "shut down" in str(waits[0])
    until(service, lambda: not [t for t in threading.enumerate() if t.name == "oxenvideo-engine"])
    with pytest.raises(OxenVideoError, match="shut down"):
        submit(session)
    session.close()
    assert not list(session.settings.download_dir.glob("*.mp4"))


def test_closing_answers_those_who_ask(session: Session, service: FaultyService) -> None:
    """Whoever waits for an answer of the service when the session closes is told so."""
    service.always(ONE, f.never_answer())
    answers: list[BaseException] = []

    def ask() -> None:
        try:
            session.attach("some-id")
        except BaseException as error:
            answers.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(service, lambda: service.counts[ONE])
    session.close()
    asking.join(30)
    assert len(answers) == 1
    assert isinstance(answers[0], OxenVideoError)


def test_closing_ends_what_cancelled_tasks_leave_open(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    """An asynchronous generator that a cancelled task leaves is closed by a task of its own, which ends too."""
    begun, ended = threading.Event(), threading.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.set()

    async def read(_: object) -> None:
        async for _number in numbers():
            begun.set()
            await asyncio.sleep(60)

    session.engine.spawn(read, session.target)
    assert begun.wait(30)
    session.close()
    assert not caplog.records
    assert ended.is_set()


def test_all_threads_are_daemons(session: Session, service: FaultyService) -> None:
    """No thread of this package keeps a process alive."""
    generation = submit(session)
    generation.on_change(lambda g: None)
    until(service, lambda: service.jobs)
    service.finish()
    generation.wait(30)
    ours = [t for t in threading.enumerate() if t.name.startswith("oxenvideo")]
    assert len(ours) >= 3
    assert all(t.daemon for t in ours)


# --- downloads -------------------------------------------------------------------------------------------------------


def test_download_again(session: Session, service: FaultyService) -> None:
    """A failed download is tried again by hand, under the name that was asked for."""
    service.always(FILE, f.redirect("ftp://127.0.0.1/x.mp4"))
    generation = session.submit(request(), save_as="kept/{seed}.mp4")
    until(service, lambda: service.jobs)
    service.finish()
    with pytest.raises(DownloadFailed, match="only http and https"):
        generation.wait(30)
    service.clear(FILE)
    assert generation.download().wait(30).path == session.settings.download_dir / "kept" / "noseed.mp4"


def test_download_again_after_the_file_was_deleted(session: Session, service: FaultyService) -> None:
    """A deleted file is fetched again; one that is there is not."""
    generation = submit(session)
    until(service, lambda: service.jobs)
    service.finish()
    path = generation.wait(30).path
    assert path is not None
    assert generation.download().wait(30).path == path
    assert service.counts[FILE] == 1
    path.unlink()
    assert generation.download().wait(30).path == path
    assert service.counts[FILE] == 2


# --- the embedded server ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_dead_embedded_server_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The embedded server is killed with videos under way: it is started again, and they are delivered."""
    caplog.set_level(logging.INFO, "oxenvideo")
    with Session(base_url="local", data_dir=tmp_path / "data", download_dir=tmp_path / "videos") as session:
        generation = session.submit("A red balloon", duration=10)
        deadline = time.monotonic() + 30
        while not generation.id and time.monotonic() < deadline:
            time.sleep(0.02)
        (service,) = session.engine._services.values()
        assert service._local is not None
        assert service._local._server is not None
        first = service._local._server.process
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert generation.wait(60).path
        assert service._local._server.process.pid != first.pid
