"""Faults of lists, of reads by id and of the event stream: they may delay the news, and never end a wait."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import faulty as f
from faults.fault import Arrange, End, Fault, always, both, scripted
from faulty import Behaviour, FaultyService

LIST = "GET /api/ai/queue"
ONE = "GET /api/ai/queue/{id}"
STREAM = "GET /api/events"

READS = "Lists and reads by id, without a stream"
STREAMS = "The event stream"

NO_STREAM = always(STREAM, f.not_found())
ASKED_AGAIN = "asked again with growing pauses; delivered"


def _reads(does: str, make: Callable[[], Behaviour]) -> Fault:
    steps = [scripted(route, make(), make()) for route in (LIST, ONE)]
    return Fault(READS, does, ASKED_AGAIN, both(NO_STREAM, *steps))


def _rows(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Behaviour:
    return f.altered(lambda data: data | {"generations": [change(row) for row in data["generations"]]})


def _with_strangers(data: dict[str, Any]) -> dict[str, Any]:
    """A list with rows that nobody can read, and a thousand of somebody else's."""
    broken = [None, 5, {}, {"generation_id": 7, "status": "queued"}, {"status": "queued"}]
    others = [{"generation_id": str(uuid.uuid4()), "status": "processing"} for _ in range(1000)]
    return data | {"generations": broken + others + data["generations"]}


def _hide(service: FaultyService) -> None:
    service.wait_until(lambda: service.jobs)
    for job in service.jobs.values():
        job.hidden = True


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
    _reads("connection reset after it", f.reset),
    _reads("closed without an answer", f.close),
    _reads("no answer in time", f.never_answer),
    _reads("429", f.rate_limited),
    Fault(
        READS, "429, `Retry-After: 1`", "asked again after that second; delivered",
        both(NO_STREAM, scripted(LIST, f.rate_limited(1))),
    ),
    Fault(
        READS, "429, `Retry-After` with a date", "asked again after that date; delivered",
        both(NO_STREAM, scripted(LIST, f.rate_limited_until(0.1))),
    ),
    _reads("500", f.server_error),
    _reads("502 with a proxy's page", f.bad_gateway),
    _reads("503", f.unavailable),
    _reads("200 with a page", f.html_page),
    _reads("200 with nothing", f.empty_body),
    _reads("200 with no JSON", f.not_json),
    _reads("truncated JSON", f.truncated_json),
    _reads("shorter than announced", f.wrong_length),
    _reads("half an answer, then a reset", f.act_then_half_the_answer),
    _reads("JSON of another shape", lambda: f.altered(lambda data: [1, None, "x"])),
    _reads("closed after each answer", f.ok_then_close),
    Fault(
        READS, "rows that cannot be read, and a thousand of somebody else's", "passed over; delivered",
        both(NO_STREAM, always(LIST, f.altered(_with_strangers))),
    ),
    Fault(
        READS, "a status that is not documented", "shown as unknown; delivered",
        both(NO_STREAM, scripted(LIST, *[_rows(lambda row: row | {"status": "moderating"}) for _ in range(3)])),
    ),
    Fault(
        READS, "an id is unknown three times, as on a copy that lags behind", "asked again; delivered",
        both(NO_STREAM, scripted(ONE, f.not_found(), f.not_found(), f.not_found())), _hide,
    ),
    Fault(
        READS, "an id is unknown for good", "believed after three times and 45 s: failed, with that reason",
        both(NO_STREAM, always(ONE, f.not_found())), _hide, end=End.FAILED, says="knows no generation", service=_BY_HAND,
    ),
    Fault(READS, "the list does not show the video", "read by its id; delivered", NO_STREAM, _hide),
    Fault(READS, "the list fails for good", "read by its id; delivered", both(NO_STREAM, always(LIST, f.server_error()))),
    Fault(
        READS, "reading one of five fails for good", "the others are delivered, and that one when it can be read",
        both(NO_STREAM, scripted(ONE, *[f.server_error() for _ in range(6)])), jobs=5,
    ),
    Fault(
        READS, "cancelled at the service", "seen in the list: cancelled",
        NO_STREAM, _cancel_there, end=End.CANCELLED, service=_BY_HAND,
    ),
    Fault(
        READS, "failed at the service", "failed, with the service's reason",
        NO_STREAM, _fail_there, end=End.FAILED, says=_REASON, service=_BY_HAND,
    ),
    Fault(READS, "unreachable for a while", "said so; delivered afterwards", NO_STREAM, _fall_silent(0.5)),
)  # fmt: skip


def _stream(does: str, behaviour: Behaviour, then: str = "the list tells; delivered", **more: Any) -> Fault:
    return Fault(STREAMS, does, then, always(STREAM, behaviour), **({"jobs": 3} | more))


def _withhold(service: FaultyService) -> None:
    service.withholds = lambda job: True


CONNECTED_AGAIN = "connected again, and listed; delivered"
READ_ON = "read on; delivered"

OF_STREAMS = (
    _stream("does not exist (404)", f.not_found()),
    _stream("500", f.server_error()),
    _stream("429, `Retry-After: 1`", f.rate_limited(1)),
    _stream("a page", f.html_page()),
    _stream("connection reset at once", f.reset()),
    _stream("no answer", f.never_answer(), "submits wait a moment for it and go on without; delivered"),
    _stream("dropped as soon as it stands", f.drop_stream(), CONNECTED_AGAIN),
    _stream("dropped after each event", f.drop_stream(1), CONNECTED_AGAIN),
    _stream("ended after each event", f.end_stream(1), CONNECTED_AGAIN),
    _stream("stands and says nothing", f.silent_stream(), "given up after three missed keep-alives; delivered"),
    _stream("half open after an event", f.half_open(1), "given up after three missed keep-alives; delivered"),
    _stream("no keep-alives", f.no_keep_alives(), READ_ON),
    _stream("byte by byte", f.dribble(0.0005), READ_ON),
    _stream("each event twice", f.repeat_events(), "taken in once; delivered"),
    _stream("events out of order", f.out_of_order(), READ_ON),
    _stream("events of other kinds and of others' videos", f.foreign_events(), "passed over; delivered"),
    _stream("malformed events among good ones", f.malformed_events(), "passed over; delivered"),
    _stream("only malformed events", f.only_malformed_events()),
    _stream("bytes that are no UTF-8", f.invalid_utf8(), READ_ON),
    _stream("comments of a megabyte", f.huge_comments(), READ_ON),
    _stream("a line of 64 MB without an end", f.endless_line(), "left after 4 MB; the list tells; delivered"),
    _stream("lines ended by CR LF", f.other_line_ends(), READ_ON),
    _stream("lines ended by CR", f.other_line_ends("\r"), READ_ON),
    _stream("success without a link", f.links_missing(), "read by its id; delivered"),
    Fault(STREAMS, "never tells of a video's end", "the list tells; delivered", _withhold),
)  # fmt: skip
