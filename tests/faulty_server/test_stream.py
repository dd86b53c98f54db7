"""The event stream goes as documented, or wrong in the ways its faults are named after."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from faulty import (
    Behaviour,
    FaultyService,
    dribble,
    drop_stream,
    end_stream,
    endless_line,
    foreign_events,
    half_open,
    huge_comments,
    invalid_utf8,
    links_missing,
    malformed_events,
    never_answer,
    no_keep_alives,
    not_found,
    only_malformed_events,
    other_line_ends,
    out_of_order,
    repeat_events,
    silent_stream,
    small_video,
)
from faulty.probe import EVENTS, ended, listening, submit


def test_the_stream_tells_of_success_and_failure_and_keeps_alive(service: FaultyService, http: httpx.Client) -> None:
    """Comments while idle; an event for each end but a cancellation's; a link that downloads."""
    with listening(service) as stream:
        stream.until(lambda body: body.count(b": keep-alive\n\n") >= 2)
        good, bad, gone = submit(http), submit(http), submit(http)
        service.cancel(gone)
        service.fail(bad, "too dark")
        service.finish(good)
        stream.until(ended(b"/files/"))
        failure, success = stream.events()
    assert failure == {"generation_id": bad, "status": "failed", "media_type": "video", "error": "too dark"}
    assert success["generation_id"] == good
    assert httpx.get(success["url"]).content == small_video()
    service.wait_until(lambda: service.streams_open == 0)


def test_the_stream_does_not_remember(service: FaultyService, http: httpx.Client) -> None:
    """What ended before the connection stood is not told."""
    service.finish(submit(http))
    with listening(service) as stream:
        later = submit(http)
        service.finish(later)
        stream.until(ended(b"data:"))
        assert [event["generation_id"] for event in stream.events()] == [later]


def test_events_can_be_withheld_and_made_up(service: FaultyService, http: httpx.Client) -> None:
    """No event for the jobs that are withheld; any event on demand."""
    silent, heard = submit(http), submit(http)
    service.withholds = lambda job: job.id == silent
    with listening(service) as stream:
        service.finish(silent, heard)
        service.publish({"generation_id": "made-up", "status": "succeeded"})
        stream.until(ended(b"made-up"))
        assert [event["generation_id"] for event in stream.events()] == [heard, "made-up"]


def test_dropped_and_ended_streams(service: FaultyService, http: httpx.Client) -> None:
    """A dropped stream is reset after its events, an ended one closed in order."""
    service.script(EVENTS, drop_stream(1), end_stream(1))
    for error in (ConnectionResetError, EOFError):
        job_id = submit(http)
        with listening(service) as stream:
            service.finish(job_id)
            with pytest.raises(error):
                stream.until(ended(b"never"))
            assert [event["generation_id"] for event in stream.events()] == [job_id]
    service.wait_until(lambda: service.streams_open == 0)


def test_silent_and_half_open_streams_stand_without_a_word(service: FaultyService, http: httpx.Client) -> None:
    """A silent stream says nothing; a half open one nothing after its events; both stay connected."""
    service.script(EVENTS, silent_stream(), half_open(1))
    with listening(service) as silent:
        service.finish(submit(http))
        assert silent.quiet(0.15)
        assert silent.body == b""
    with listening(service) as stream:
        first, second = submit(http), submit(http)
        service.finish(first)
        stream.until(ended(b"data:"))
        service.finish(second)
        assert stream.quiet(0.15)
        assert len(stream.events()) == 1


def test_a_stream_without_keep_alives_still_tells(service: FaultyService, http: httpx.Client) -> None:
    """Silence while idle, and then the event."""
    service.script(EVENTS, no_keep_alives())
    with listening(service) as stream:
        assert stream.quiet(0.15)
        service.finish(submit(http))
        stream.until(ended(b"data:"))
        assert len(stream.events()) == 1


def test_a_dribbling_stream_sends_single_bytes(service: FaultyService, http: httpx.Client) -> None:
    """The event arrives in many small pieces and takes its time."""
    service.script(EVENTS, dribble(0.003))
    with listening(service) as stream:
        pieces = 0

        def enough(body: bytes) -> bool:
            nonlocal pieces
            pieces += 1
            return b'mp4?signature=1"}\n\n' in body

        service.finish(submit(http))
        stream.until(enough)
        assert len(stream.events()) == 1
        assert pieces > 40


def test_repeated_and_disordered_events(service: FaultyService, http: httpx.Client) -> None:
    """Each event twice; two events with the last one first."""
    service.script(EVENTS, repeat_events(2), out_of_order(2))
    first, second = submit(http), submit(http)
    with listening(service) as stream:
        service.finish(first)
        stream.until(lambda body: body.count(b"data:") == 2)
        assert [event["generation_id"] for event in stream.events()] == [first, first]
    third = submit(http)
    with listening(service) as stream:
        service.finish(second)
        service.finish(third)
        stream.until(lambda body: body.count(b"data:") == 2)
        assert [event["generation_id"] for event in stream.events()] == [third, second]


@pytest.mark.parametrize(
    ("noise", "sign"),
    [
        (foreign_events, b"event: fine_tune_completed\n"),
        (malformed_events, b'event: media_generation_completed\ndata: "text"\n\n'),
        (invalid_utf8, b"\xff\xfe"),
        (lambda: huge_comments(100_000), b": " + b"x" * 100_000 + b"\n\n"),
    ],
    ids=["foreign", "malformed", "invalid UTF-8", "huge comments"],
)
def test_noise_comes_before_the_proper_event(
    noise: Callable[[], Behaviour], sign: bytes, service: FaultyService, http: httpx.Client
) -> None:
    """The noise is there, and so is the event."""
    service.script(EVENTS, noise())
    with listening(service) as stream:
        job_id = submit(http)
        service.finish(job_id)
        body = stream.until(ended(b"signature=1"))
        assert sign in body
        assert body.index(sign) < body.index(b"signature=1")
        assert f'"generation_id": "{job_id}", "status": "succeeded"'.encode() in body


def test_only_malformed_events_and_missing_links(service: FaultyService, http: httpx.Client) -> None:
    """Events whose JSON is cut, and successes that carry no link."""
    service.script(EVENTS, only_malformed_events(), links_missing())
    with listening(service) as stream:
        service.finish(submit(http))
        stream.until(ended(b"data:"))
        with pytest.raises(json.JSONDecodeError):
            stream.events()
    with listening(service) as stream:
        service.finish(submit(http))
        stream.until(ended(b"succeeded"))
        assert "url" not in stream.events()[0]


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=["CR LF", "CR"])
def test_other_line_ends(end: str, service: FaultyService, http: httpx.Client) -> None:
    """A byte order mark, the other line ends, and data over several lines that joins to the same JSON."""
    service.script(EVENTS, other_line_ends(end))
    with listening(service) as stream:
        job_id = submit(http)
        service.finish(job_id)
        text = stream.until(ended(("}" + end * 2).encode())).decode()
        assert text.startswith("\ufeff")
        lines = text.split("event: media_generation_completed")[1].split(end)
        data = "\n".join(line.removeprefix("data: ") for line in lines if line.startswith("data: "))
        assert json.loads(data)["generation_id"] == job_id


def test_an_endless_line_does_not_end(service: FaultyService, http: httpx.Client) -> None:
    """So many bytes without a line's end."""
    service.script(EVENTS, endless_line(1 << 20))
    with listening(service) as stream:
        service.finish(submit(http))
        body = stream.until(lambda body: len(body) > 1 << 20)
        assert b"\n" not in body[body.index(b"data:") :][: 1 << 20]


def test_the_stream_may_not_exist_or_never_answer(service: FaultyService, http: httpx.Client) -> None:
    """Any other behaviour may take the stream's place."""
    service.script(EVENTS, not_found(), never_answer())
    assert http.get("/api/events").status_code == 404
    with pytest.raises(httpx.ReadTimeout):
        http.get("/api/events", timeout=httpx.Timeout(10, read=0.05))
