"""Faults of lists, of reads by id and of the event stream: they may delay the news, and never end a wait."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import faulty as f
from conftest import ASKS_SOON, GIVES_UP_SOON
from faults.fault import Arrange, End, Fault, always, both, scripted
from faulty import Behaviour, FaultyService

LIST = "GET /api/ai/queue"
ONE = "GET /api/ai/queue/{id}"
STREAM = "GET /api/events"

READS = "Lists and reads by id, without a stream"
STREAMS = "The event stream"

NO_STREAM = always(STREAM, f.not_found())
ASKED_AGAIN = "asked again after increasing delays; delivered"


def _reads(does: str, make: Callable[[], Behaviour], **session: Any) -> Fault:
    steps = [scripted(route, make(), make()) for route in (LIST, ONE)]
    return Fault(READS, does, ASKED_AGAIN, both(NO_STREAM, *steps), session=session)


def _rows(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Behaviour:
    return f.altered(lambda data: data | {"generations": [change(row) for row in data["generations"]]})


def _with_strangers(data: dict[str, Any]) -> dict[str, Any]:
    """A list with rows that nobody can read, and a thousand of somebody else's."""
    broken = [None, 5, {}, {"generation_id": 7, "status": "queued"}, {"status": "queued"}]
    others = [{"generation_id": str(uuid.uuid4()), "status": "processing"} for _ in range(1000)]
    return data | {"generations": broken + others + data["generations"]}


def _lag(service: FaultyService) -> None:
    service.lags = True


def _cancel_there(service: FaultyService) -> None:
    service.wait_until(lambda: service.jobs)
    service.cancel(next(iter(service.jobs)))


def _fail_there(service: FaultyService) -> None:
    service.wait_until(lambda: service.jobs)
    service.fail(next(iter(service.jobs)), "Total shot duration (16s) exceeds maximum allowed (15s).")


def _fall_silent(seconds: float) -> Arrange:
    def meanwhile(service: FaultyService) -> None:
        service.wait_until(lambda: service.jobs)
        with service.down():
            time.sleep(seconds)

    return meanwhile


_BY_HAND = {"job_seconds": None}
_REASON = "Total shot duration"

OF_READS = (
    _reads("connection reset before the request was read", f.reset_before_reading),
    _reads("connection reset after the request was read", f.reset),
    _reads("connection closed without an answer", f.close),
    _reads("no answer in time", f.never_answer, timeout=GIVES_UP_SOON),
    _reads("429", f.rate_limited),
    Fault(
        READS, "429, `Retry-After: 1`", "asked again after one second; delivered",
        both(NO_STREAM, scripted(LIST, f.rate_limited(1))),
    ),
    Fault(
        READS, "429, `Retry-After` with a date", "asked again at that date; delivered",
        both(NO_STREAM, scripted(LIST, f.rate_limited_until(0.1))),
    ),
    _reads("500", f.server_error),
    _reads("502 with a proxy's page", f.bad_gateway),
    _reads("503", f.unavailable),
    _reads("200 with an HTML page", f.html_page),
    _reads("200 with an empty body", f.empty_body),
    _reads("200 with a body that is not JSON", f.not_json),
    _reads("truncated JSON", f.truncated_json),
    _reads("a body shorter than its Content-Length", f.wrong_length),
    _reads("half an answer, then a reset", f.act_then_half_the_answer),
    _reads("JSON of an unexpected shape", lambda: f.altered(lambda data: [1, None, "x"])),
    _reads("connection closed after each answer", f.ok_then_close),
    Fault(
        READS, "rows that cannot be read, and a thousand rows of other users", "ignored; delivered",
        both(NO_STREAM, always(LIST, f.altered(_with_strangers))),
    ),
    Fault(
        READS, "an undocumented status", "shown as unknown; delivered",
        both(NO_STREAM, scripted(LIST, *[_rows(lambda row: row | {"status": "moderating"}) for _ in range(3)])),
    ),
    Fault(
        READS, "an id is unknown three times, as on a replica that lags behind", "asked again; delivered",
        both(NO_STREAM, scripted(ONE, f.not_found(), f.not_found(), f.not_found()), _lag),
    ),
    Fault(
        READS, "an id is unknown permanently", "after three answers and 45 s it fails with that reason",
        both(NO_STREAM, always(ONE, f.not_found()), _lag), end=End.FAILED, says="knows no generation", service=_BY_HAND,
        session={"pace": ASKS_SOON},
    ),
    Fault(READS, "the list does not show the video", "read by its id; delivered", both(NO_STREAM, _lag)),
    Fault(READS, "the list fails permanently", "read by its id; delivered", both(NO_STREAM, always(LIST, f.server_error()))),
    Fault(
        READS, "reading one of five fails for a while", "the others are delivered, and that one as soon as it can be read",
        both(NO_STREAM, scripted(ONE, *[f.server_error() for _ in range(6)])), jobs=5,
    ),
    Fault(
        READS, "the job is cancelled at the service", "the list reports it; cancelled",
        NO_STREAM, _cancel_there, end=End.CANCELLED, service=_BY_HAND,
    ),
    Fault(
        READS, "the job fails at the service", "fails with the service's reason",
        NO_STREAM, _fail_there, end=End.FAILED, says=_REASON, service=_BY_HAND,
    ),
    Fault(
        READS, "the service is unreachable for a while", "a notice says so; delivered afterwards",
        NO_STREAM, _fall_silent(0.5),
    ),
)  # fmt: skip


def _stream(
    does: str, behaviour: Behaviour, then: str = "the list reports the result; delivered", **more: Any
) -> Fault:
    return Fault(STREAMS, does, then, always(STREAM, behaviour), **({"jobs": 3} | more))


def _withhold(service: FaultyService) -> None:
    service.withholds = lambda job: True


CONNECTED_AGAIN = "connected again, and the list is read; delivered"
READ_ON = "no effect; delivered"

OF_STREAMS = (
    _stream("does not exist (404)", f.not_found()),
    _stream("500", f.server_error()),
    _stream("429, `Retry-After: 1`", f.rate_limited(1)),
    _stream("an HTML page", f.html_page()),
    _stream("connection reset at once", f.reset()),
    _stream("no answer", f.never_answer(), "submits wait for it briefly and continue without it; delivered"),
    _stream("dropped as soon as it is open", f.drop_stream(), CONNECTED_AGAIN),
    _stream("dropped after each event", f.drop_stream(1), CONNECTED_AGAIN),
    _stream("ended after each event", f.end_stream(1), CONNECTED_AGAIN),
    _stream("open but silent", f.silent_stream(), "closed after three missed keep-alives; delivered"),
    _stream("half open after an event", f.half_open(1), "closed after three missed keep-alives; delivered"),
    _stream("no keep-alives", f.no_keep_alives(), READ_ON),
    _stream("byte by byte", f.dribble(0.0005), READ_ON),
    _stream("each event twice", f.repeat_events(), "counted once; delivered"),
    _stream("events out of order", f.out_of_order(), READ_ON),
    _stream("events of other kinds and of other users' videos", f.foreign_events(), "ignored; delivered"),
    _stream("malformed events among good ones", f.malformed_events(), "ignored; delivered"),
    _stream("only malformed events", f.only_malformed_events()),
    _stream("bytes that are not UTF-8", f.invalid_utf8(), READ_ON),
    _stream("comments of a megabyte", f.huge_comments(), READ_ON),
    _stream("a line of 64 MB without an end", f.endless_line(), "closed after 4 MB; the list reports the result; delivered"),
    _stream("lines that end with CR LF", f.other_line_ends(), READ_ON),
    _stream("lines that end with CR", f.other_line_ends("\r"), READ_ON),
    _stream("success without a URL", f.links_missing(), "read by its id; delivered"),
    Fault(STREAMS, "never reports a final status", "the list reports the result; delivered", _withhold),
)  # fmt: skip
