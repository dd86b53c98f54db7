"""Submits and reads go wrong in the ways their faults are named after."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import httpx
import pytest

from faulty import (
    LOST_SUBMITS,
    READ_FAULTS,
    REFUSED_SUBMITS,
    UNTOLD_SUBMITS,
    Behaviour,
    FaultyService,
    act_after,
    act_then_reset,
    altered,
    answer_after,
    bad_gateway,
    ok,
    rate_limited,
    rate_limited_until,
    wrong_length,
)
from faulty.probe import BODY, LIST, READ, SUBMIT, client_of, submit


def told(behave: Callable[[], Behaviour], service: FaultyService, http: httpx.Client) -> httpx.Response | None:
    """Submit under a fault; the answer, or None where none came whole."""
    service.script(SUBMIT, behave())
    try:
        return http.post("/api/ai/queue", json=BODY)
    except (httpx.TransportError, httpx.DecodingError):
        return None


@pytest.mark.parametrize("fault", REFUSED_SUBMITS)
def test_refused_submits_say_so_and_enqueue_nothing(fault: str, service: FaultyService, http: httpx.Client) -> None:
    """A 4xx with an error in it, the request counted, no job."""
    answer = told(REFUSED_SUBMITS[fault], service, http)
    assert answer is not None
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]
    assert (service.counts[SUBMIT], service.jobs) == (1, {})


@pytest.mark.parametrize("fault", LOST_SUBMITS)
def test_lost_submits_enqueue_nothing_and_name_no_job(fault: str, service: FaultyService, http: httpx.Client) -> None:
    """No usable answer, the request counted once, and no job."""
    answer = told(LOST_SUBMITS[fault], service, http)
    assert answer is None or answer.status_code >= 500 or b"generation_id" not in answer.content
    assert (service.counts[SUBMIT], service.jobs) == (1, {})
    assert service.submits == ([] if fault == "reset before reading" else [BODY])
    assert not service.log[0].acted


@pytest.mark.parametrize("fault", UNTOLD_SUBMITS)
def test_untold_submits_enqueue_a_job_without_a_usable_answer(
    fault: str, service: FaultyService, http: httpx.Client
) -> None:
    """One job is there, and the client got no answer that is whole and names it."""
    answer = told(UNTOLD_SUBMITS[fault], service, http)
    assert (service.counts[SUBMIT], len(service.jobs)) == (1, 1)
    if answer is not None and answer.status_code == 200:
        with pytest.raises((ValueError, KeyError)):
            answer.json()["generations"][0]["generation_id"]


def test_after_a_fault_the_next_submit_is_proper(service: FaultyService, http: httpx.Client) -> None:
    """A scripted fault befalls one request only."""
    service.script(SUBMIT, act_then_reset(), ok())
    with pytest.raises(httpx.TransportError):
        http.post("/api/ai/queue", json=BODY)
    submit(http)
    assert (service.counts[SUBMIT], len(service.jobs)) == (2, 2)


def test_retry_after_is_given_as_asked(service: FaultyService, http: httpx.Client) -> None:
    """429 without the header, with seconds, and with a date that lies ahead by at least what was asked."""
    service.script(LIST, rate_limited(), rate_limited(2), rate_limited_until(3))
    asked = time.time()
    answers = [http.get("/api/ai/queue") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429] * 3
    assert "retry-after" not in answers[0].headers
    assert answers[1].headers["retry-after"] == "2"
    until = parsedate_to_datetime(answers[2].headers["retry-after"]).timestamp()
    assert asked + 3 <= until <= time.time() + 4


def test_late_answers_act_early_or_late(service: FaultyService, http: httpx.Client) -> None:
    """answer_after acts before its delay, act_after only behind it, even where the client has gone."""
    service.script(SUBMIT, answer_after(0.05))
    begun = time.monotonic()
    submit(http)
    assert time.monotonic() - begun >= 0.05
    service.script(SUBMIT, act_after(1.0))
    with pytest.raises(httpx.ReadTimeout):
        http.post("/api/ai/queue", json=BODY, timeout=httpx.Timeout(10, read=0.05))
    assert len(service.jobs) == 1
    service.wait_until(lambda: len(service.jobs) == 2)


@pytest.mark.parametrize("fault", READ_FAULTS)
def test_read_faults_give_no_proper_list_and_pass(fault: str, service: FaultyService, http: httpx.Client) -> None:
    """The faulty reading gives no list of the jobs, or closes behind it; the next one does."""
    job_id = submit(http)
    service.script(LIST, READ_FAULTS[fault]())
    good = False
    with contextlib.suppress(httpx.TransportError, ValueError, TypeError, LookupError):
        answer = http.get("/api/ai/queue")
        good = answer.status_code == 200 and answer.json()["generations"][0]["generation_id"] == job_id
    assert good == (fault == "closed after the answer")
    if good:
        service.wait_until(lambda: service.connections_open == 0)  # or the client may write into the close
    assert http.get("/api/ai/queue").json()["count"] == 1


def test_the_http_page_is_html_and_a_wrong_length_is_wrong(service: FaultyService, http: httpx.Client) -> None:
    """The page has its type and markup; a length too great leaves the reader wanting, one too small cuts."""
    service.script(LIST, bad_gateway(), wrong_length(5), wrong_length(-5))
    page = http.get("/api/ai/queue")
    assert page.headers["content-type"].startswith("text/html")
    assert "<h1>" in page.text
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        http.get("/api/ai/queue")
    with pytest.raises(ValueError, match="line 1 column"):
        http.get("/api/ai/queue").json()


def test_answers_can_be_altered(service: FaultyService, http: httpx.Client) -> None:
    """A test may bend the JSON of a proper answer as it likes."""
    job_id = submit(http)
    service.script(READ, altered(lambda row: row | {"status": "sublimated"}))
    assert http.get(f"/api/ai/queue/{job_id}").json()["status"] == "sublimated"
    assert http.get(f"/api/ai/queue/{job_id}").json()["status"] == "queued"


def test_a_hidden_job_is_missing_from_lists_only(service: FaultyService, http: httpx.Client) -> None:
    """A lagging replica: not in the list, found by id."""
    job_id = submit(http)
    service.jobs[job_id].hidden = True
    assert http.get("/api/ai/queue").json()["count"] == 0
    assert http.get(f"/api/ai/queue/{job_id}").status_code == 200


def test_the_services_clock_may_be_off() -> None:
    """Its times are ahead or behind by what was asked."""
    with FaultyService(clock_skew=-100) as service, client_of(service) as http:
        job = http.get(f"/api/ai/queue/{submit(http)}").json()
        assert 98 <= time.time() - job["enqueued_at"] <= 160
