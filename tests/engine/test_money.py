"""Money: nothing is paid twice, nothing that was paid is lost, and no stranger's video is taken. And what is private stays so."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import faulty as f
import oxenvideo
from conftest import FAST
from faults.fault import MODEL, PROMPT
from faulty import FaultyService
from oxenvideo.errors import DownloadFailed, GenerationCancelled, OutcomeUnknown, OxenVideoError
from oxenvideo.jobs.journal import Journal
from oxenvideo.media.media import Media
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session

pytestmark = pytest.mark.slow

POST = "POST /api/ai/queue"
SYNC = "POST /api/ai/videos/generate"
LIST = "GET /api/ai/queue"
ONE = "GET /api/ai/queue/{id}"
DELETE = "DELETE /api/ai/queue/{id}"
SHOTS = "kling-video-o3-pro-reference-to-video"
SHORT = 0.3  # seconds in which a wrong submit, adoption or cancel would have happened


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service whose jobs end by hand."""
    with FaultyService(keep_alive=0.1) as running:
        yield running


def request(**parameters: Any) -> VideoRequest:
    given = {"prompt": PROMPT, "duration": 5} | parameters
    return VideoRequest(MODEL, {name: value for name, value in given.items() if value is not None})


def shots(*prompts: str) -> VideoRequest:
    return VideoRequest(SHOTS, {"multi_prompt": [{"prompt": prompt, "duration": 3} for prompt in prompts]})


def picture(colour: str) -> Media:
    made = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(made, "PNG")
    return Media.from_value(made.getvalue(), "image")


def until(service: FaultyService, holds: Callable[[], object]) -> None:
    service.wait_until(holds)


def somebodys(service: FaultyService, of: VideoRequest, **shown: Any) -> f.Job:
    """A generation that somebody else enqueued with the same key; ``shown`` replaces what its row shows."""
    return service._model.create(of.body() | shown)


def doing(
    *steps: Callable[[], object], then: Callable[[Any], object] = lambda exchange: exchange.reset()
) -> f.Behaviour:
    """Act, run the steps before anything else can happen, then answer (by default with a reset)."""

    async def run(exchange: Any) -> None:
        await exchange.act()
        for step in steps:
            step()
        if asyncio.iscoroutine(waited := then(exchange)):
            await waited

    return f.Behaviour("doing", run, acts=True)


def is_untouched(service: FaultyService, session: Session, job: f.Job) -> bool:
    """Whether nobody has taken or cancelled this generation."""
    taken = session.journal.find(job.id) is not None
    asked = any(r.path.endswith(job.id) for r in service.requests(DELETE))
    return job.status == "queued" and not taken and not asked


# --- attaching cannot send -------------------------------------------------------------------------------------------


class Dying:
    """A journal's connection in a process that is killed after ``left`` statements: nothing more is written."""

    def __init__(self, db: sqlite3.Connection, left: int) -> None:
        self.db, self.left = db, left

    def _count(self) -> None:
        if self.left <= 0:
            raise sqlite3.OperationalError("killed")
        self.left -= 1

    @property
    def in_transaction(self) -> bool:
        return self.db.in_transaction

    def execute(self, *given: Any) -> sqlite3.Cursor:
        self._count()
        return self.db.execute(*given)

    def executemany(self, *given: Any) -> sqlite3.Cursor:
        self._count()
        return self.db.executemany(*given)

    def close(self) -> None:
        raise sqlite3.OperationalError("killed")


def test_attach_killed_between_any_two_writes_sends_nothing(
    make_session: Callable[..., Session], service: FaultyService
) -> None:
    """Killed after any number of the journal's statements: what is resumed sends nothing, and the id can be attached again."""
    jobs = [somebodys(service, request(seed=number)) for number in range(10)]
    attached = []
    for number, job in enumerate(jobs):
        session = make_session(service)
        dying = Dying(session.journal._db, number)
        session.journal._db = dying  # type: ignore[assignment]
        with contextlib.suppress(OxenVideoError, sqlite3.Error):
            session.attach(job.id)
            attached.append(number)
        session.close()
        dying.db.close()
    with contextlib.closing(sqlite3.connect(session.journal.path)) as db, db:
        db.execute("DELETE FROM owner")  # their processes are gone
    other = make_session(service)
    other.resume()
    time.sleep(SHORT)
    assert service.submits == []
    assert 0 < len(attached) < len(jobs)
    assert [other.attach(job.id).id for job in jobs] == list(service.jobs)
    assert service.counts[POST] == service.counts[SYNC] == 0


def test_attach_by_two_kernels_at_once_sends_nothing(
    make_session: Callable[..., Session], service: FaultyService
) -> None:
    """Two kernels attach one id in the same moment; when both are gone, the next one resumes it once and sends nothing."""
    job = somebodys(service, request())
    kernels = [make_session(service) for _ in range(2)]
    looked = threading.Barrier(2)

    def look_together(journal: Journal) -> None:
        real = journal.find

        def find(*given: Any) -> Any:
            entry = real(*given)
            journal.find = real  # type: ignore[method-assign]
            looked.wait(30)
            return entry

        journal.find = find  # type: ignore[method-assign]

    for kernel in kernels:
        look_together(kernel.journal)
    threads = [threading.Thread(target=kernel.attach, args=(job.id,)) for kernel in kernels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for kernel in kernels:
        kernel.close()
    resumed = make_session(service).resume()
    assert [g.id for g in resumed] == [job.id]
    time.sleep(SHORT)
    assert service.counts[POST] == 0


def test_attach_with_a_locked_journal_sends_nothing(
    make_session: Callable[..., Session], service: FaultyService
) -> None:
    """The journal cannot be written when an id is attached: that is said, nothing is sent later, and attaching works then."""
    job = somebodys(service, request())
    session = make_session(service)
    session.journal._db.patience = 0.05
    with contextlib.closing(sqlite3.connect(session.journal.path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(OxenVideoError, match="journal cannot be written"):
            session.attach(job.id)
        db.execute("ROLLBACK")
    session.resume()
    generation = session.attach(job.id)
    service.finish()
    assert generation.wait(30).path
    assert service.counts[POST] == 0


# --- lost answers take nothing that only looks alike -----------------------------------------------------------------


def look_alikes() -> dict[str, tuple[VideoRequest, VideoRequest]]:
    """What is sent, and what somebody else has at the service, which differs from it in one thing."""

    def plain(number: int, **parameters: Any) -> VideoRequest:
        return request(prompt=f"{PROMPT} {number}", **parameters)

    def both(prompt: str, *shown: str) -> VideoRequest:
        return VideoRequest(SHOTS, {**shots(*shown).parameters, "prompt": prompt})

    return {
        "seed missing in the row": (plain(1, seed=7), plain(1)),
        "seed more in the row": (plain(2), plain(2, seed=7)),
        "text more in the row": (plain(3), plain(3, negative_prompt="rain")),
        "default more in the row": (plain(4, duration=None), plain(4)),
        "other seed": (plain(5, seed=7), plain(5, seed=8)),
        "shots, and a plain prompt of them": (shots("6 a", "b"), VideoRequest(SHOTS, {"prompt": "6 a b"})),
        "shots, and any plain prompt": (shots("7 a", "b"), VideoRequest(SHOTS, {"prompt": "7"})),
        "shots, and other shots": (shots("8 a", "b"), shots("8 a", "c")),
        "shots, and fewer shots": (shots("9 a", "b"), shots("9 a")),
        "prompt, and shots beside it": (VideoRequest(SHOTS, {"prompt": "10 a"}), both("10 a", "10 a")),
    }


@pytest.mark.asks_soon
def test_lost_submits_adopt_no_look_alikes(session: Session, service: FaultyService) -> None:
    """Submits never arrived, and somebody else's generations look like them but for one thing: none is taken for ours."""
    cases = look_alikes()
    others = {name: somebodys(service, theirs) for name, (_, theirs) in cases.items()}
    service.script(POST, *[f.reset()] * len(cases))
    lost = {name: session.submit(sent) for name, (sent, _) in cases.items()}
    for generation in lost.values():
        with contextlib.suppress(OutcomeUnknown):
            generation.wait(30)
    assert [name for name, generation in lost.items() if generation.id is not None] == []
    for name, generation in lost.items():
        with pytest.raises(OutcomeUnknown, match="shows no generation like it"):
            generation.wait(1)
        assert is_untouched(service, session, others[name])
    assert service.counts[POST] == len(cases)


def test_lost_shots_are_found(session: Session, service: FaultyService) -> None:
    """Shots whose answer was lost are found, although the row shows a prompt that was made of them."""
    sent = shots("a fox", "a hare")
    somebodys(service, shots("a fox", "an owl"), prompt="a fox an owl")
    somebodys(service, VideoRequest(SHOTS, {"prompt": "a fox a hare"}))

    def show_prompt() -> None:
        list(service.jobs.values())[-1].body["prompt"] = "a fox a hare"

    service.script(POST, doing(show_prompt))
    generation = session.submit(sent)
    until(service, lambda: generation.id)
    assert service.jobs[generation.id or ""].body["multi_prompt"] == sent.parameters["multi_prompt"]
    assert service.counts[POST] == 1


@pytest.mark.parametrize("seeds", [(1, 2), (1, None), (None, 1)])
def test_two_lost_submits_alike_but_for_a_seed(
    session: Session, service: FaultyService, seeds: tuple[int | None, int | None]
) -> None:
    """Both answers are lost and both arrived: each finds its own, and each is delivered."""
    service.script(POST, f.act_then_reset(), f.act_then_reset())
    batch = session.submit_batch([request(seed=seed) for seed in seeds])
    until(service, lambda: all(g.id for g in batch))
    assert {g.id for g in batch} == set(service.jobs)
    assert [service.jobs[g.id or ""].body.get("seed") for g in batch] == list(seeds)
    assert batch[0].cancel().cancelled
    assert [service.jobs[g.id or ""].status for g in batch] == ["cancelled", "queued"]
    service.finish()
    assert batch[1].wait(30).path
    assert service.counts[POST] == 2


@pytest.mark.asks_soon
@pytest.mark.parametrize("seeds", [(1, 2), (1, None), (None, 1)])
def test_two_lost_submits_of_which_one_arrived(
    session: Session, service: FaultyService, seeds: tuple[int | None, int | None]
) -> None:
    """Both answers are lost and only the second arrived: the first takes nothing, the second finds its own."""
    service.script(POST, f.reset(), f.act_then_reset())
    first = session.submit(request(seed=seeds[0]))
    until(service, lambda: service.counts[POST])
    second = session.submit(request(seed=seeds[1]))
    until(service, lambda: second.id)
    with pytest.raises(OutcomeUnknown):
        first.wait(30)
    assert (first.id, second.id) == (None, next(iter(service.jobs)))
    assert not first.cancel().cancelled
    time.sleep(SHORT)
    service.finish()
    assert second.wait(30).path
    assert service.counts[DELETE] == 0


@pytest.mark.asks_soon
@pytest.mark.parametrize("same", [True, False], ids=["the same request", "a request that cannot be told apart"])
def test_what_a_submit_in_flight_made_is_not_adopted(
    make_session: Callable[..., Session], service: FaultyService, same: bool
) -> None:
    """One answer is lost for good, the other is still to come: the list shows one generation, which is the other's."""
    session = make_session(service)

    def hosted() -> None:
        for job in service.jobs.values():
            job.body["start_image_url"] = "https://service.example/1.png"

    async def answered(exchange: Any) -> None:
        await asyncio.sleep(0.5)
        await exchange.send(await exchange.act())

    one, other = (picture("red"), picture("red" if same else "blue"))
    service.script(POST, f.reset(), doing(*([] if same else [hosted]), then=answered))
    lost = session.submit(request(start_image_url=one))
    until(service, lambda: service.counts[POST])
    in_flight = session.submit(request(start_image_url=other))
    until(service, lambda: service.jobs)
    time.sleep(0.3)
    assert lost.id is None
    until(service, lambda: in_flight.id)
    with pytest.raises(OutcomeUnknown, match="shows no generation like it"):
        lost.wait(30)
    assert (lost.id, in_flight.id) == (None, next(iter(service.jobs)))


def test_an_embedded_picture_that_cannot_be_compared(session: Session, service: FaultyService) -> None:
    """The row shows an address in place of the picture that was sent: the user decides, and the lost job becomes that one."""
    sent = request(start_image_url=picture("red"))
    other = somebodys(service, sent, start_image_url="https://service.example/other.png")
    service.script(POST, f.reset())
    generation = session.submit(sent)
    with pytest.raises(OutcomeUnknown, match="attach"):
        generation.wait(30)
    time.sleep(SHORT)
    assert generation.id is None
    assert is_untouched(service, session, other)
    assert session.attach(other.id) is generation
    service.finish()
    assert generation.wait(30).path
    assert service.counts[POST] == 1


def test_an_embedded_picture_that_the_row_shows(session: Session, service: FaultyService) -> None:
    """Two requests alike but for an embedded picture, which the rows show: each finds its own."""
    sent = [request(start_image_url=picture(colour)) for colour in ("red", "blue")]
    service.script(POST, f.act_then_reset(), f.act_then_reset())
    batch = session.submit_batch(sent)
    until(service, lambda: all(g.id for g in batch))
    shown = [service.jobs[g.id or ""].body["start_image_url"] for g in batch]
    assert shown == [r.body()["start_image_url"] for r in sent]


# --- what the user decided stays decided -----------------------------------------------------------------------------


def ambiguous(session: Session, service: FaultyService) -> tuple[oxenvideo.Generation, f.Job, f.Job]:
    """A lost submit, its generation, and a colleague's of the same request; the user has been asked."""
    theirs = somebodys(service, request())
    service.script(POST, f.act_then_reset())
    generation = session.submit(request())
    with pytest.raises(OutcomeUnknown, match="attach"):
        generation.wait(30)
    (ours,) = (job for job in service.jobs.values() if job is not theirs)
    return generation, ours, theirs


def test_the_lost_job_becomes_the_generation_that_the_user_attaches(session: Session, service: FaultyService) -> None:
    """Of two candidates the user attaches one: it is the very same Generation, and the other is left alone for good."""
    generation, ours, theirs = ambiguous(session, service)
    assert session.attach(ours.id) is generation
    assert generation.id == ours.id
    session.resume()
    time.sleep(SHORT)
    assert is_untouched(service, session, theirs)
    service.finish(ours.id)
    assert generation.wait(30).path
    assert session.unfinished() == 0
    assert is_untouched(service, session, theirs)
    assert service.counts[POST] == 1


def test_what_was_decided_stays_decided_in_another_session(
    make_session: Callable[..., Session], service: FaultyService
) -> None:
    """The session ends after the user has decided: the next one goes on with that video, and does not take the other."""
    session = make_session(service)
    _, ours, theirs = ambiguous(session, service)
    session.attach(ours.id)
    session.close()
    other = make_session(service)
    (again,) = other.resume()
    assert again.id == ours.id
    time.sleep(SHORT)
    service.finish(ours.id)
    assert again.wait(30).path
    assert is_untouched(service, other, theirs)
    assert other.unfinished() == 0


def test_the_question_survives_the_session(make_session: Callable[..., Session], service: FaultyService) -> None:
    """The session ends before the user decides: the next one asks again, takes neither, and attaching answers it."""
    session = make_session(service)
    _, ours, theirs = ambiguous(session, service)
    session.close()
    other = make_session(service)
    (again,) = other.resume()
    with pytest.raises(OutcomeUnknown, match="attach"):
        again.wait(30)
    time.sleep(SHORT)
    assert is_untouched(service, other, ours)
    assert is_untouched(service, other, theirs)
    assert other.attach(ours.id) is again
    service.finish(ours.id)
    assert again.wait(30).path
    assert is_untouched(service, other, theirs)


def test_a_list_that_shows_one_candidate_fewer_decides_nothing(
    make_session: Callable[..., Session], service: FaultyService
) -> None:
    """The user was asked, and the list shows only the colleague's later: it is not taken, here or in the next session."""
    session = make_session(service)
    generation, ours, theirs = ambiguous(session, service)
    ours.hidden = True
    session.resume()
    time.sleep(SHORT)
    assert generation.id is None
    assert is_untouched(service, session, theirs)
    session.close()
    other = make_session(service)
    (again,) = other.resume()
    time.sleep(SHORT)
    assert again.id is None
    assert is_untouched(service, other, theirs)


def test_attached_in_another_kernel(make_session: Callable[..., Session], service: FaultyService) -> None:
    """The user attaches one of two candidates in another living kernel: the first one takes neither."""
    session, other = make_session(service), make_session(service)
    generation, ours, theirs = ambiguous(session, service)
    elsewhere = other.attach(ours.id)
    session.resume()
    time.sleep(SHORT)
    assert generation.id is None
    assert is_untouched(service, session, theirs)
    service.finish(ours.id)
    assert elsewhere.wait(30).path


def test_cancelling_an_ambiguous_job_cancels_nobodys(session: Session, service: FaultyService) -> None:
    """Cancelled while it is ambiguous: neither candidate is cancelled, then or later, and either can be attached."""
    generation, ours, theirs = ambiguous(session, service)
    assert not generation.cancel().cancelled
    with pytest.raises(GenerationCancelled):
        generation.wait(30)
    attached = session.attach(ours.id)
    session.resume()
    time.sleep(SHORT)
    assert service.counts[DELETE] == 0
    assert is_untouched(service, session, theirs)
    service.finish(ours.id)
    assert attached.wait(30).path


def test_a_cancel_before_the_user_attaches_one(session: Session, service: FaultyService) -> None:
    """Cancelled while it is looked for, and one of two candidates attached: the colleague's is not cancelled."""
    theirs = somebodys(service, request())
    service.script(POST, f.act_then_reset())
    service.script(LIST, *[f.unavailable()] * 3)
    service.always("GET /api/ai/generations", f.unavailable())
    generation = session.submit(request())
    until(service, lambda: len(service.jobs) == 2)
    (ours,) = (job for job in service.jobs.values() if job is not theirs)
    generation.cancel(None)
    assert session.attach(ours.id).id == ours.id
    service.clear(LIST)
    service.clear("GET /api/ai/generations")
    session.resume()
    time.sleep(SHORT)
    assert is_untouched(service, session, theirs)


def test_attach_before_the_search_has_looked(session: Session, service: FaultyService) -> None:
    """The user attaches one of two candidates before the first look: it is followed, and the other is left alone."""
    theirs = somebodys(service, request())
    service.script(POST, f.act_then_reset())
    service.always(LIST, f.unavailable())
    service.always("GET /api/ai/generations", f.unavailable())
    generation = session.submit(request())
    until(service, lambda: "Looking for it" in (generation.state.notice or ""))
    (ours,) = (job for job in service.jobs.values() if job is not theirs)
    attached = session.attach(ours.id)
    service.clear(LIST)
    service.clear("GET /api/ai/generations")
    if attached is not generation:  # then the user is asked about that one
        with pytest.raises(OutcomeUnknown, match="attach"):
            generation.wait(30)
        assert not generation.cancel().cancelled
    session.resume()
    time.sleep(SHORT)
    assert attached.id == ours.id
    assert is_untouched(service, session, theirs)
    service.finish(ours.id)
    assert attached.wait(30).path
    assert service.counts[POST] == 1
    assert service.counts[DELETE] == 0


# --- clocks ----------------------------------------------------------------------------------------------------------


class Clock:
    """This machine's wall clock, which a test may set; the service keeps the true time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offset = 0.0
        true = time.time
        monkeypatch.setattr("faulty.model.time", SimpleNamespace(time=true))
        monkeypatch.setattr(time, "time", lambda: true() + self.offset)

    def set_in(self, session: Session) -> None:
        session.engine.registry.clock = session.journal._clock = lambda: time.time()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("skew", [0.0, 7200.0, -7200.0], ids=["right", "ahead", "behind"])
@pytest.mark.parametrize("step", [3600.0, -3600.0], ids=["forward", "back"])
def test_the_clock_steps_between_send_and_search(
    make_session: Callable[..., Session], clock: Clock, step: float, skew: float
) -> None:
    """This machine's clock is set by an hour between a submit and the search for it: the paid job is found."""
    began = time.monotonic()
    with FaultyService(keep_alive=0.1, clock_skew=skew) as service:
        session = make_session(service)
        clock.set_in(session)
        service.script(POST, doing(lambda: setattr(clock, "offset", step)))
        generation = session.submit(request())
        until(service, lambda: generation.id or generation.status == "unconfirmed")
        (job,) = service.jobs.values()
        assert generation.id == job.id
        assert service.counts[POST] == 1
        entry = session.journal.entry(generation.key)
        assert entry is not None
        # Both count whole seconds; the service's clock is read, and the request sent, some time after it was told.
        assert entry.sent_at_service == pytest.approx(job.enqueued_at, abs=1 + time.monotonic() - began)


@pytest.mark.parametrize("step", [3600.0, -3600.0], ids=["forward", "back"])
def test_the_clock_steps_between_two_kernels(
    make_session: Callable[..., Session],
    service: FaultyService,
    clock: Clock,
    step: float,
) -> None:
    """A kernel ends before the answer, the clock is set, and the next kernel looks: the paid job is found."""
    service.script(POST, f.act_then_never_answer())
    one = make_session(service)
    clock.set_in(one)
    one.submit(request())
    until(service, lambda: service.jobs)
    one.close()
    clock.offset = step
    other = make_session(service)
    clock.set_in(other)
    (again,) = other.resume()
    until(service, lambda: again.id or again.status == "unconfirmed")
    assert again.id == next(iter(service.jobs))
    service.finish()
    assert again.wait(30).path
    assert service.counts[POST] == 1


@pytest.mark.asks_soon
def test_a_look_alike_of_an_hour_ago_after_a_clock_step(session: Session, service: FaultyService, clock: Clock) -> None:
    """The clock is set back by an hour: an equal generation of half an hour ago does not become the lost one."""
    clock.set_in(session)
    old = somebodys(service, request())
    old.enqueued_at -= 1800

    async def set_back(exchange: Any) -> None:
        clock.offset = -3600.0
        exchange.reset()

    service.script(POST, f.Behaviour("set_back", set_back))
    generation = session.submit(request())
    with pytest.raises(OutcomeUnknown, match="shows no generation like it"):
        generation.wait(30)
    assert is_untouched(service, session, old)


# --- a video in the body of an answer --------------------------------------------------------------------------------


def embedded_video() -> VideoRequest:
    return VideoRequest(MODEL, {"prompt": PROMPT, "duration": 5}, response_format="b64_json")


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A destination that cannot be written, because a file is in the place of its directory; unlink that to free it."""
    (tmp_path / "blocked").write_bytes(b"")
    return tmp_path / "blocked"


def refused(session: Session, service: FaultyService) -> oxenvideo.Generation:
    """A video that came in an answer's body and could not be saved."""
    generation = session.generate(embedded_video(), wait=False)
    until(service, lambda: service.jobs)
    service.finish()
    with pytest.raises(DownloadFailed):
        generation.wait(30)
    return generation


def test_a_video_in_the_answer_is_kept_until_it_can_be_saved(
    make_session: Callable[..., Session], service: FaultyService, blocked: Path
) -> None:
    """The destination cannot be written: the video is kept, and .download() saves it when there is room."""
    session = make_session(service, download_dir=blocked / "videos")
    generation = refused(session, service)
    assert "video waits at the service" not in str(generation.state.error)
    blocked.unlink()
    path = generation.download().wait(30).path
    assert path is not None
    assert path.read_bytes()[4:8] == b"ftyp"
    assert service.counts[SYNC] == len(service.jobs) == 1
    assert session.unfinished() == 0
    assert not list((session.settings.data_dir / "results").iterdir())


def test_a_kept_video_is_on_the_disk(
    make_session: Callable[..., Session], service: FaultyService, blocked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut, the only copy of a video is whole."""
    flushed: list[tuple[int, int]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        flushed.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    session = make_session(service, download_dir=blocked / "videos")
    refused(session, service)
    (kept,) = (session.settings.data_dir / "results").iterdir()
    assert (kept.stat().st_ino, kept.stat().st_size) in flushed
    assert kept.read_bytes()[4:8] == b"ftyp"


def test_a_kept_video_is_saved_by_the_next_session(
    make_session: Callable[..., Session], service: FaultyService, blocked: Path
) -> None:
    """The session ends before there is room: the next one saves the video where it was meant to go."""
    session = make_session(service, download_dir=blocked / "videos")
    refused(session, service)
    session.close()
    blocked.unlink()
    (again,) = make_session(service).resume()
    path = again.wait(30).path
    assert path is not None
    assert path.parent == blocked / "videos"
    assert path.read_bytes()[4:8] == b"ftyp"
    assert service.counts[SYNC] == len(service.jobs) == 1


def test_a_kept_video_is_saved_when_it_is_resumed_in_the_same_session(
    make_session: Callable[..., Session], service: FaultyService, blocked: Path
) -> None:
    """``resume`` in the same session tries the destination again."""
    session = make_session(service, download_dir=blocked / "videos")
    generation = refused(session, service)
    blocked.unlink()
    assert session.resume() == [generation]
    assert generation.wait(30).path
    assert service.counts[SYNC] == 1


@pytest.mark.parametrize("again", ["download", "by itself", "next session"])
def test_a_video_that_can_be_written_nowhere(
    make_session: Callable[..., Session], service: FaultyService, blocked: Path, tmp_path: Path, again: str
) -> None:
    """Neither destination nor data directory can be written: the video is kept in memory, and on disk as soon as possible."""
    results = tmp_path / "data" / "results"
    session = make_session(service, download_dir=blocked / "videos")
    results.write_bytes(b"")
    generation = refused(session, service)
    assert "memory" in str(generation.state.error)
    if again == "download":
        blocked.unlink()
        path = generation.download().wait(30).path
    else:
        results.unlink()
        until(service, lambda: list(results.glob("*.mp4")))
        until(service, lambda: session.journal.entry(generation.key).result_url)  # type: ignore[union-attr]
        if again == "next session":
            session.close()
            blocked.unlink()
            (generation,) = make_session(service).resume()
            path = generation.wait(30).path
        else:
            blocked.unlink()
            path = generation.download().wait(30).path
    assert path is not None
    assert path.read_bytes()[4:8] == b"ftyp"
    assert service.counts[SYNC] == len(service.jobs) == 1


def test_a_video_that_was_lost_with_its_kernel_is_named(
    make_session: Callable[..., Session], service: FaultyService, blocked: Path, tmp_path: Path
) -> None:
    """A kernel ends with the only copy in memory: ``resume`` says so and sends nothing again."""
    session = make_session(service, download_dir=blocked / "videos")
    (tmp_path / "data" / "results").write_bytes(b"")
    refused(session, service)
    session.close()
    resumed = make_session(service).resume()
    assert resumed == []
    assert len(resumed.notes) == 1
    assert "memory" in resumed.notes[0]
    assert service.counts[SYNC] == len(service.jobs) == 1


def test_killed_between_keeping_and_writing_that_down(
    make_session: Callable[..., Session], service: FaultyService, tmp_path: Path
) -> None:
    """A kernel ends when the video is in the data directory and the journal does not know it: the next one saves it."""
    service.script(SYNC, f.never_answer())
    session = make_session(service)
    generation = session.generate(embedded_video(), wait=False)
    until(service, lambda: service.counts[SYNC])
    until(service, lambda: session.journal.entry(generation.key).step == "sending")  # type: ignore[union-attr]
    session.close()
    (tmp_path / "data" / "results").mkdir()
    (tmp_path / "data" / "results" / f"{generation.key}.mp4").write_bytes(f.small_video())
    (again,) = make_session(service).resume()
    path = again.wait(30).path
    assert path is not None
    assert path.read_bytes()[4:8] == b"ftyp"
    assert service.counts[SYNC] == 1


def test_killed_between_keeping_it_at_last_and_writing_that_down(
    make_session: Callable[..., Session], service: FaultyService, blocked: Path, tmp_path: Path
) -> None:
    """A video was only in memory and has just been written to the data directory: the next kernel saves it."""
    session = make_session(service, download_dir=blocked / "videos")
    results = tmp_path / "data" / "results"
    results.write_bytes(b"")
    generation = refused(session, service)
    session.close()
    results.unlink()
    results.mkdir()
    (results / f"{generation.key}.mp4").write_bytes(f.small_video())
    blocked.unlink()
    resumed = make_session(service).resume()
    assert resumed.notes == []
    path = resumed[0].wait(30).path
    assert path is not None
    assert path.read_bytes()[4:8] == b"ftyp"
    assert service.counts[SYNC] == 1


def test_downloading_a_video_that_is_here(session: Session, service: FaultyService) -> None:
    """``.download()`` of a synchronous video whose URL has expired keeps the file that is here."""
    generation = session.generate(embedded_video(), wait=False)
    until(service, lambda: service.jobs)
    service.finish()
    path = generation.wait(30).path
    assert generation.download().wait(30).path == path
    assert session.resume() == []
    assert session.journal.entry(generation.key).path == path  # type: ignore[union-attr]


# --- where another notebook's videos go ------------------------------------------------------------------------------


def test_another_notebooks_videos_go_to_its_directory(
    make_session: Callable[..., Session], service: FaultyService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``resume(everything=True)`` saves what another notebook asked for in that notebook's directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = {"base_url": service.base_url, "api_key": service.api_key, "data_dir": tmp_path / "data", "pace": FAST}
    elsewhere = Session(notebook="other.ipynb", **settings)  # with the default directory, which is relative
    generation = elsewhere.submit(request(), name="clip")
    until(service, lambda: generation.id and elsewhere.journal.find(generation.id))
    elsewhere.close()
    monkeypatch.chdir(tmp_path)
    session = make_session(service)
    own = session.submit(request(seed=1), name="clip")
    (theirs,) = session.resume(everything=True)
    until(service, lambda: len(service.jobs) == 2)
    service.finish()
    path, own_path = theirs.wait(30).path, own.wait(30).path
    assert path is not None
    assert own_path is not None
    assert path.parent == tmp_path / "elsewhere" / "videos"
    assert own_path.parent == tmp_path / "videos"


# --- privacy ---------------------------------------------------------------------------------------------------------

_PRIVATE = """
import base64, os, sys, time
os.umask(0o022)
from pathlib import Path
from oxenvideo.session import Session
from oxenvideo.media.media import Media
from oxenvideo.request.request import VideoRequest
base_url, data, blocked, picture = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), base64.b64decode(sys.argv[4])
model = "kling-video-v2-6-pro-text-to-video"
with Session(base_url=base_url, api_key="test-key", data_dir=data, download_dir=blocked / "videos") as session:
    media = VideoRequest(model, {"prompt": "secret", "start_image_url": Media.from_value(picture, "image")})
    queued = session.submit(media)
    kept = session.generate(VideoRequest(model, {"prompt": "secret"}, response_format="b64_json"), wait=False)
    end = time.monotonic() + 20
    while not (queued.id and kept.done) and time.monotonic() < end:
        time.sleep(0.01)
print(queued.id, kept.status)
"""


def is_private(path: Path, top: Path) -> bool:
    """Whether others cannot read a file: by its own mode, or by that of a directory above it."""
    places = [path, *path.parents[: len(path.relative_to(top).parts)]]
    return any(not stat.S_IMODE(place.stat().st_mode) & 0o077 for place in places)


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "made by version 0.1"])
def test_what_is_in_the_data_directory_is_private(tmp_path: Path, blocked: Path, is_there: bool) -> None:
    """At umask 022 the directory, the journal, stored media and kept results are this user's alone."""
    data = tmp_path / "some" / "data"
    if is_there:
        for directory in (data, data / "media"):
            directory.mkdir(parents=True)
            directory.chmod(0o755)
    made = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(made, "PNG")
    with FaultyService(job_seconds=0.05, keep_alive=0.1) as service:
        given = [service.base_url, str(data), str(blocked), base64.b64encode(made.getvalue()).decode()]
        source = str(Path(oxenvideo.__file__).parent.parent)
        done = subprocess.run(
            [sys.executable, "-c", _PRIVATE, *given],
            env=os.environ | {"PYTHONPATH": source},
            capture_output=True,
            text=True,
            timeout=40,
            check=True,
        )
        assert set(service.jobs) >= {done.stdout.split()[0]}
    if not is_there:
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "journal.sqlite3").stat().st_mode) == 0o600
    media, results = list((data / "media").iterdir()), list((data / "results").iterdir())
    assert len(media) == len(results) == 1
    assert stat.S_IMODE(media[0].stat().st_mode) == 0o600
    files = [path for path in data.rglob("*") if path.is_file() and path.parent.name != "models"]
    assert [path for path in files if not is_private(path, data)] == []
