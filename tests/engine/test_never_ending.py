"""What must not go on for ever, and not end in silence: every job ends in an outcome or in a question to the user."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import faulty as f
from conftest import ASKS_SOON
from faults.fault import MODEL, PROMPT
from faulty import FaultyService
from oxenvideo.client.client import Client
from oxenvideo.engine import costs
from oxenvideo.errors import GenerationFailed, OutcomeUnknown, OxenVideoError
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session

pytestmark = pytest.mark.slow

POST = "POST /api/ai/queue"
LIST = "GET /api/ai/queue"
ONE = "GET /api/ai/queue/{id}"
HISTORY = "GET /api/ai/generations"
STREAM = "GET /api/events"
SHORT = 0.3  # seconds in which something wrong would have happened


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service whose jobs end by hand."""
    with FaultyService(keep_alive=0.1) as running:
        yield running


def request(**parameters: Any) -> VideoRequest:
    return VideoRequest(MODEL, {"prompt": PROMPT, "duration": 5} | parameters)


def until(service: FaultyService, holds: Callable[[], object]) -> None:
    service.wait_until(holds)


def for_status(*statuses: str | None, does: f.Behaviour) -> f.Behaviour:
    """Treat the lists of these statuses so, and answer the others."""

    async def run(exchange: Any) -> None:
        if exchange.request.query.get("status") in statuses:
            await does.run(exchange)
        else:
            await exchange.send(await exchange.act())

    return f.Behaviour("for_status", run, acts=True)


# --- a service that is away -----------------------------------------------------------------------------------------

READS = (LIST, ONE, HISTORY, STREAM)


def test_a_gateways_404_is_no_word_of_the_service(make_session: Callable[..., Session], service: FaultyService) -> None:
    """While pages that say 404 come in place of the service, no job is given up, so nobody pays for it again."""
    session = make_session(service, pace=ASKS_SOON)
    generation = session.submit(PROMPT, model=MODEL)
    until(service, lambda: generation.id)
    for route in READS:
        service.always(route, f.html_page(404))
    until(service, lambda: service.counts[ONE])
    time.sleep(2 * ASKS_SOON.confirm)
    reads = service.counts[ONE]
    until(service, lambda: service.counts[ONE] >= reads + 4)
    assert not generation.done
    for route in READS:
        service.clear(route)
    service.finish()
    assert generation.wait(30).path


@pytest.mark.parametrize("how", ["attached", "attached by the next kernel", "in the history"])
def test_one_that_the_service_did_not_know_is_fetched_when_it_is_seen(
    make_session: Callable[..., Session], service: FaultyService, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was given up and that shows again is followed to its file."""
    monkeypatch.setattr(costs.Costs.__init__, "__defaults__", ((0.3, 30.0),))
    session = make_session(service, pace=ASKS_SOON)
    generation = session.submit(PROMPT, model=MODEL)
    until(service, lambda: generation.id)
    service.always(LIST, f.altered(lambda payload: payload | {"generations": []}))
    service.always(ONE, f.not_found())
    until(service, lambda: generation.status == "failed")
    service.clear(LIST)
    service.clear(ONE)
    if how != "in the history":
        if how != "attached":
            session.close()
            session = make_session(service)
        generation = session.attach(generation.id or "")
        assert generation.status in ("queued", "processing")
    service.finish()
    until(service, lambda: generation.path)
    assert (generation.status, generation.error_message) == ("succeeded", None)
    assert len(service.submits) == 1


# --- lists that fail or are too long ---------------------------------------------------------------------------------

BROKEN_LISTS = {
    "succeeded is always 504": for_status("succeeded", does=f.status(504)),
    "every final status is always 504": for_status("succeeded", "failed", "cancelled", does=f.status(504)),
    "the active ones are always 504": for_status(None, does=f.status(504)),
    "every list is always 504": f.status(504),
    "every list is a page": f.html_page(),
    "succeeded never answers": for_status("succeeded", does=f.never_answer()),
}


@pytest.mark.gives_up_soon
@pytest.mark.parametrize("name", BROKEN_LISTS)
def test_watching_ends_by_reads_where_lists_fail(session: Session, service: FaultyService, name: str) -> None:
    """There is no stream, and the lists never work: every video is delivered all the same, by reads of single ids."""
    service.always(STREAM, f.not_found())
    batch = session.submit_batch([request(seed=number) for number in range(5)])
    until(service, lambda: all(g.id for g in batch))
    service.always(LIST, BROKEN_LISTS[name])
    service.finish()
    batch.wait(30)
    assert len(batch.succeeded) == 5


def oversized(session: Session, limit: int = 4_000) -> Session:
    """Have answers above ``limit`` bytes refused, as those above 64 MB are."""
    session.engine._client_factory = functools.partial(Client, answer_limit=limit)
    return session


def test_watching_ends_by_reads_where_lists_are_too_long(session: Session, service: FaultyService) -> None:
    """The rows echo so much that no list can be read: every video is delivered all the same, and the watching costs little."""
    service.always(STREAM, f.not_found())
    oversized(session)
    batch = session.submit_batch([request(seed=number, negative_prompt="x" * 2_000) for number in range(5)])
    until(service, lambda: all(g.id for g in batch))
    service.finish()
    batch.wait(30)
    assert len(batch.succeeded) == 5


@pytest.mark.gives_up_soon
@pytest.mark.parametrize("name", BROKEN_LISTS)
def test_recovery_finds_it_in_the_history_where_lists_fail(session: Session, service: FaultyService, name: str) -> None:
    """An answer was lost and the lists never work: the history has it."""
    service.always(LIST, BROKEN_LISTS[name])
    service.script(POST, f.act_then_reset())
    generation = session.submit(request())
    until(service, lambda: generation.id)
    assert generation.id in service.jobs
    service.finish()
    assert generation.wait(30).path
    assert service.counts[POST] == 1


def test_recovery_finds_it_in_the_history_where_lists_are_too_long(session: Session, service: FaultyService) -> None:
    """An answer was lost and the lists are too long to be read: the history has it, page by page."""
    oversized(session, 150_000)
    for number in range(100):
        job = service._model.create(request(seed=number, negative_prompt="x" * 2_000).body())
        job.enqueued_at -= 3600
    service.script(POST, f.act_then_reset())
    generation = session.submit(request())
    until(service, lambda: generation.id or generation.status == "unconfirmed")
    assert generation.id == list(service.jobs)[-1]
    assert service.counts[POST] == 1


@pytest.mark.asks_soon
@pytest.mark.parametrize("broken", [f.status(504), f.html_page(), f.never_answer()], ids=["504", "page", "silence"])
def test_recovery_that_can_read_nothing_ends_in_a_question(
    make_session: Callable[..., Session], service: FaultyService, broken: f.Behaviour
) -> None:
    """Neither lists nor history can be read: the user is told so before long, and what can be read again is found."""
    session = make_session(service, timeout=0.2)
    service.always(LIST, broken)
    service.always(HISTORY, broken)
    service.script(POST, f.act_then_reset())
    generation = session.submit(request())
    with pytest.raises(OutcomeUnknown, match="cannot be read"):
        generation.wait(30)
    assert generation.id is None
    assert session.resume() == [generation]
    service.clear(LIST)
    service.clear(HISTORY)
    until(service, lambda: generation.id)
    service.finish()
    assert generation.wait(30).path
    assert service.counts[POST] == 1


@pytest.mark.asks_soon
def test_recovery_that_can_read_nothing_because_it_is_too_long_ends_in_a_question(
    session: Session, service: FaultyService
) -> None:
    """Our own row alone is longer than what is read: the user is told, and attaching the id brings the video."""
    session = oversized(session, 1_500)
    service.script(POST, f.act_then_reset())
    generation = session.submit(request(negative_prompt="x" * 2_000))
    with pytest.raises(OutcomeUnknown, match="cannot be read"):
        generation.wait(30)
    assert service.counts[POST] == 1


# --- a submit that raises --------------------------------------------------------------------------------------------


def test_an_interrupted_submit_does_not_swallow_later_ones(session: Session, service: FaultyService) -> None:
    """The first submit is interrupted in the middle: the next ones are sent."""
    real = session.engine._running_loop

    def interrupted() -> Any:
        session.engine._running_loop = real  # type: ignore[method-assign]
        raise KeyboardInterrupt

    session.engine._running_loop = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        session.submit(request(seed=1))
    generation = session.submit(request(seed=2))
    until(service, lambda: generation.id)
    service.finish()
    assert generation.wait(30).path
    assert sorted(body["seed"] for body in service.submits) in ([2], [1, 2])
    assert service.counts[POST] == len(service.jobs)


def test_an_interrupt_while_the_calls_are_handed_over(
    session: Session, service: FaultyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt comes when the engine's loop is told: the next submit is sent."""
    loop = session.engine._running_loop()
    real = loop.call_soon_threadsafe

    def interrupted(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(loop, "call_soon_threadsafe", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "call_soon_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.submit(request(seed=1))
    generation = session.submit(request(seed=2))
    until(service, lambda: generation.id)
    assert [body["seed"] for body in service.submits] == [2]


def test_a_submit_to_a_closed_session_raises_every_time(session: Session, service: FaultyService) -> None:
    """Each submit to a closed session raises, the second as the first, and nothing is sent."""
    session.close()
    for _ in range(3):
        with pytest.raises(OxenVideoError, match="shut down"):
            session.submit(request())
    assert service.counts[POST] == 0


def test_one_submission_that_cannot_be_written_does_not_stop_the_others(
    session: Session, service: FaultyService
) -> None:
    """Of a batch, one request cannot be written down: it says so, and the others are sent."""
    batch = session.submit_batch([request(seed=1), VideoRequest(MODEL, {"prompt": "\ud800"}), request(seed=2)])
    with pytest.raises(GenerationFailed, match=r"Nothing was sent|cannot be written"):
        batch[1].wait(30)
    until(service, lambda: len(service.jobs) == 2)
    service.finish()
    batch.wait(30)
    assert [g.status for g in batch] == ["succeeded", "failed", "succeeded"]


# --- an error in a successful answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {"generations": [], "error": {"message": "The model is overloaded"}},
        {"generations": [], "error": {"type": "invalid_params", "title": "The model is overloaded"}},
        {"generations": [], "error": "The model is overloaded"},
        {"generations": None, "error": {"message": "The model is overloaded"}},
        {"error": {"message": "The model is overloaded"}},
    ],
    ids=["message", "typed", "text", "null", "no list"],
)
def test_an_error_with_200_fails_at_once_with_the_services_words(
    session: Session, service: FaultyService, answer: dict[str, Any]
) -> None:
    """No generation and an error is an answer, not a loss: one submit, no search, the service's own words."""
    service.script(POST, f.reply(f.json_reply(answer)))
    generation = session.submit(request())
    with pytest.raises(GenerationFailed, match="The model is overloaded"):
        generation.wait(30)
    time.sleep(SHORT)
    assert service.counts[POST] == 1
    assert service.counts[LIST] == service.counts[HISTORY] == 0
    assert session.unfinished() == 0


def test_an_error_beside_generations_loses_none(session: Session, service: FaultyService) -> None:
    """An answer that names a generation and an error as well: the generation is followed."""
    service.script(POST, f.altered(lambda answer: answer | {"error": {"message": "only one of them"}}))
    generation = session.submit(request())
    until(service, lambda: generation.id)
    service.finish()
    assert generation.wait(30).path


# --- costs -----------------------------------------------------------------------------------------------------------


def test_costs_beyond_the_first_page_of_the_history(
    session: Session, service: FaultyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred others were enqueued since: the cost is found on a later page, with few requests."""
    monkeypatch.setattr(costs.Costs.__init__, "__defaults__", ((0.3, 1.0),))
    generation = session.submit(request())
    until(service, lambda: generation.id)
    others = [service._model.create(request(seed=number).body()) for number in range(120)]
    service.finish(generation.id or "", *[job.id for job in others])
    generation.wait(30)
    until(service, lambda: generation.cost)
    assert str(generation.cost) == "0.3500"
    pages = {r.query.get("page") for r in service.requests(HISTORY)}
    assert "2" in pages
    assert service.counts[HISTORY] <= 6


def test_a_cost_that_is_charged_late_beyond_the_first_page(
    session: Session, service: FaultyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look finds no cost yet, on any page: a later look finds it."""
    monkeypatch.setattr(costs.Costs.__init__, "__defaults__", ((0.2, 0.2, 0.2, 1.0),))
    service.script(HISTORY, *[f.altered(without_costs)] * 3)
    generation = session.submit(request())
    until(service, lambda: generation.id)
    for number in range(120):
        service._model.create(request(seed=number).body())
    service.finish()
    generation.wait(30)
    until(service, lambda: generation.cost)


def without_costs(answer: dict[str, Any]) -> dict[str, Any]:
    return answer | {"generations": [row | {"cost": None} for row in answer["generations"]]}


# --- callbacks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_callback_that_exits_does_not_end_later_callbacks(
    session: Session, service: FaultyService, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """A callback raises what usually ends a thread: the later ones, of this generation and of others, are called."""

    def leave(_: object) -> None:
        raise error

    first, second = session.submit(request(seed=1)), session.submit(request(seed=2))
    seen: list[str] = []
    first.on_change(leave)
    first.on_change(lambda g: seen.append(f"first {g.status}"))
    second.on_change(lambda g: seen.append(f"second {g.status}"))
    until(service, lambda: first.id and second.id)
    service.finish()
    first.wait(30)
    second.wait(30)
    until(service, lambda: {"first succeeded", "second succeeded"} <= set(seen))
    assert "on_change callback raised" in caplog.text


# --- damaged rows of the journal -------------------------------------------------------------------------------------

DAMAGE = {
    "request is no JSON": "UPDATE submission SET request='{\"model' WHERE key=?",
    "request is of another kind": "UPDATE submission SET request='[1, 2]' WHERE key=?",
    "request is a blob": "UPDATE submission SET request=x'ff00' WHERE key=?",
    "sent parameters are no JSON": "UPDATE submission SET fingerprint='{\"model' WHERE key=?",
    "cost is no decimal": "UPDATE generation SET cost='much' WHERE submission=?",
    "step is unknown": "UPDATE submission SET step='flying' WHERE key=?",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_row_does_not_stop_resume(
    make_session: Callable[..., Session], service: FaultyService, name: str
) -> None:
    """One row of the journal cannot be read: it is named in the notes, and the others come back; nothing is sent."""
    one = make_session(service)
    batch = one.submit_batch([request(seed=number) for number in range(3)])
    until(service, lambda: all(g.id and one.journal.find(g.id) for g in batch))
    entry = one.journal.find(batch[1].id or "")
    assert entry is not None
    one.close()
    session = make_session(service)
    with contextlib.closing(sqlite3.connect(session.journal.path)) as db, db:
        assert db.execute(DAMAGE[name], (entry.submission,)).rowcount == 1
    resumed = session.resume()
    assert [g.request.parameters["seed"] for g in resumed] == [0, 2]
    assert len(resumed.notes) == 1
    assert "cannot be read" in resumed.notes[0]
    assert MODEL in resumed.notes[0]
    service.finish()
    for generation in resumed:
        assert generation.wait(30).path
    assert service.counts[POST] == 3
    assert session.history()  # which joins with the journal, damaged or not


@pytest.mark.asks_soon
@pytest.mark.parametrize("synchronous", [True, False])
def test_a_damaged_row_does_not_stop_a_search(
    make_session: Callable[..., Session], service: FaultyService, synchronous: bool, tmp_path: Path
) -> None:
    """The parameters of one row cannot be read: a submit whose answer was lost is found all the same."""
    session, other = make_session(service), make_session(service)
    if synchronous:
        made = session.generate(request(seed=1), wait=False)
        until(service, lambda: service.jobs)
        service.finish()
        made.wait(30)
    else:
        service.script(POST, f.reset())
        lost = other.submit(request(seed=1))
        until(service, lambda: lost.status == "unconfirmed")
    with contextlib.closing(sqlite3.connect(session.journal.path)) as db, db:
        changed = db.execute(
            "UPDATE submission SET fingerprint='{', sent_at_service=coalesce(sent_at_service, sent_at)"
        )
        assert changed.rowcount == 1
    service.script(POST, f.act_then_reset())
    generation = session.submit(request(seed=2))
    until(service, lambda: generation.id or generation.status == "unconfirmed")
    assert generation.id is not None, generation.error_message
    assert service.jobs[generation.id].body["seed"] == 2
