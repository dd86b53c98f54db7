"""Faults of the request that costs money."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx

import faulty as f
from conftest import ASKS_SOON, GIVES_UP_SOON
from faults.fault import MODEL, PROMPT, Arrange, End, Fault, always, both, scripted
from faulty import Behaviour, FaultyService
from faulty.exchange import Exchange

POST = "POST /api/ai/queue"
LIST = "GET /api/ai/queue"
STREAM = "GET /api/events"

NO = "Submits that the service refuses"
LATER = "Submits that the service has certainly not accepted"
LOST = "Submits whose answer is lost"


def _refused(does: str, behaviour: Behaviour, says: str) -> Fault:
    then = "fails with the service's reason; not sent again"
    return Fault(NO, does, then, scripted(POST, behaviour), end=End.REFUSED, says=says)


REFUSED = (
    _refused("400 with a reason", f.bad_request(), "num_generations must be"),
    _refused("401", f.unauthorized(), "Check the API key"),
    _refused("402, no credits", f.out_of_credits(), "Add credits"),
    _refused("404", f.not_found(), "404"),
    _refused("409", f.status(409, "conflict"), "conflict"),
    _refused("302 to another address", f.redirect("https://elsewhere.example/api/ai/queue"), "check base_url"),
)


def _down_at_first(seconds: float) -> Arrange:
    """Connections are refused from before the submit, for so many seconds."""

    def arrange(service: FaultyService) -> None:
        down = service.down()
        down.__enter__()
        threading.Timer(seconds, lambda: down.__exit__(None, None, None)).start()

    return arrange


RETRIED = (
    Fault(LATER, "429", "sent again after increasing delays", scripted(POST, f.rate_limited()), posts=2),
    Fault(LATER, "429, `Retry-After: 1`", "sent again after one second", scripted(POST, f.rate_limited(1)), posts=2),
    Fault(
        LATER, "429, `Retry-After` with a date", "sent again at that date",
        scripted(POST, f.rate_limited_until(0.1)), posts=2,
    ),
    Fault(
        LATER, "429 five times, eight submits waiting", "sent one at a time until the service accepts one",
        scripted(POST, *[f.rate_limited() for _ in range(5)]), jobs=8, posts=8 + 5,
    ),
    Fault(
        LATER, "403 with a message about a rate limit", "sent again",
        scripted(POST, f.status(403, "Rate limit exceeded")), posts=2,
    ),
    Fault(
        LATER, "the service refuses connections for a while", "sent when the service can be reached",
        _down_at_first(0.4), posts=1,
    ),
)  # fmt: skip

FOUND = "not sent again; found in the service's list and delivered"
ASKED = "not sent again; searched for and not found, so you are asked"


def _never_arrived(does: str, behaviour: Behaviour, **session: Any) -> Fault:
    says = "shows no generation like it"
    arrange = scripted(POST, behaviour)
    return Fault(
        LOST, f"{does}; it was not enqueued", ASKED, arrange,
        end=End.UNCONFIRMED, posts=1, jobs_there=0, says=says, session={"pace": ASKS_SOON} | session,
    )  # fmt: skip


def _arrived(does: str, behaviour: Behaviour, **session: Any) -> Fault:
    return Fault(LOST, f"{does}; it was enqueued", FOUND, scripted(POST, behaviour), posts=1, session=session)


def _lost_beside_an_equal_one(service: FaultyService) -> None:
    """Somebody else's is there when the answer is lost: a search that is earlier would rightly find the one that is there."""

    async def run(exchange: Exchange) -> None:
        service._model.create(exchange.request.json())
        exchange.reset()

    service.script(POST, f.act_then(Behaviour("reset_beside_another", run)))


def _older_one(service: FaultyService) -> None:
    """The same video, made yesterday."""
    key = {"Authorization": f"Bearer {service.api_key}"}
    body = {"model": MODEL, "prompt": PROMPT, "duration": 5}
    httpx.post(f"{service.base_url}/api/ai/queue", json=body, headers=key, trust_env=False)
    for job in service.jobs.values():
        job.enqueued_at -= 86_400
    service.script(POST, f.act_then_reset())


def _clock_fault(does: str, ahead: float) -> Fault:
    return Fault(LOST, does, FOUND, scripted(POST, f.act_then_reset()), posts=1, service={"clock_skew": ahead})


def _ids(change: Callable[[list[Any]], list[Any]]) -> Behaviour:
    return f.altered(lambda data: {"generations": change(data["generations"])})


LOST_ANSWERS = (
    _never_arrived("connection reset before the request was read", f.reset_before_reading()),
    _never_arrived("connection reset after the request was read", f.reset()),
    _never_arrived("connection closed without an answer", f.close()),
    _never_arrived("no answer in time", f.never_answer(), timeout=GIVES_UP_SOON),
    _never_arrived("500", f.server_error()),
    _never_arrived("502 with a proxy's page", f.bad_gateway()),
    _never_arrived("503", f.unavailable()),
    _never_arrived("503 with a message about a rate limit", f.status(503, "Rate limit exceeded")),
    _never_arrived("200 with an HTML page", f.html_page()),
    _never_arrived("200 with an empty body", f.empty_body()),
    _never_arrived("200 with a body that is not JSON", f.not_json()),
    _arrived("connection reset", f.act_then_reset()),
    _arrived("connection closed without an answer", f.act_then_close()),
    _arrived("no answer in time", f.act_then_never_answer(), timeout=GIVES_UP_SOON),
    _arrived("500", f.act_then_status(500)),
    _arrived("502 with a proxy's page", f.act_then_html()),
    _arrived("503", f.act_then_status(503)),
    _arrived("200 with an HTML page", f.act_then_html(200)),
    _arrived("200 with an empty body", f.act_then_empty()),
    _arrived("truncated JSON", f.truncated_json()),
    _arrived("a body shorter than its Content-Length", f.wrong_length()),
    _arrived("a body longer than its Content-Length", f.wrong_length(-10)),
    _arrived("half an answer, then a reset", f.act_then_half_the_answer()),
    _arrived("no ids in the answer", f.altered(lambda data: {})),
    _arrived("ids of the wrong type", _ids(lambda rows: [{"generation_id": 5}])),
    _arrived("the answer comes after the client gave up", f.answer_after(0.9), timeout=GIVES_UP_SOON),
    Fault(
        LOST, "enqueued only after the client gave up", FOUND, scripted(POST, f.act_after(0.9)), posts=1,
        session={"timeout": GIVES_UP_SOON},
    ),
    Fault(LOST, "four videos in one request, connection reset", FOUND, scripted(POST, f.act_then_reset()), together=4, posts=1),
    Fault(LOST, "two equal requests, one answer is lost", FOUND, scripted(POST, f.act_then_reset()), jobs=2, posts=2),
    Fault(
        LOST, "two equal requests, one answer is lost and the other late", FOUND,
        scripted(POST, f.act_then_reset(), f.answer_after(0.5)), jobs=2, posts=2, service={"job_seconds": 1.0},
    ),
    Fault(
        LOST, "two equal requests, both answers are lost", FOUND,
        scripted(POST, f.act_then_reset(), f.act_then_close()), jobs=2, posts=2,
    ),
    Fault(LOST, "an equal video from yesterday exists", FOUND, _older_one, posts=2, jobs_there=2),
    Fault(
        LOST, "somebody else enqueues an equal one at that moment", "not sent again; you are asked which one it is",
        _lost_beside_an_equal_one,
        end=End.UNCONFIRMED, posts=2, jobs_there=2, says="not certain which", service={"job_seconds": 5.0},
    ),
    Fault(
        LOST, "the list fails during the search", FOUND,
        both(scripted(POST, f.act_then_reset()), scripted(LIST, *[f.server_error() for _ in range(3)])), posts=1,
    ),
    _clock_fault("the service's clock is an hour ahead", 3600.0),
    _clock_fault("the service's clock is an hour behind", -3600.0),
    Fault(
        LOST, "fewer ids than asked for", "those are delivered; the missing ones fail with that reason",
        scripted(POST, _ids(lambda rows: rows[:2])), together=3, end=End.FAILED, posts=1, says="made only 2 of 3",
    ),
    Fault(LOST, "the same id twice", "delivered once", scripted(POST, _ids(lambda rows: rows * 2)), posts=1),
)  # fmt: skip

SUBMITS = (*REFUSED, *RETRIED, *LOST_ANSWERS)
NO_STREAM = always(STREAM, f.not_found())
