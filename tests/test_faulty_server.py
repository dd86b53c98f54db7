"""The faulty service is itself on trial: each behaviour does on the wire what its name says."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import av
import httpx
import pytest

import wire
from faulty import (
    DOWNLOAD_FAULTS,
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
    changed_file,
    chunked,
    dribble,
    drop_stream,
    end_stream,
    endless_file,
    endless_line,
    evil_file_name,
    expired,
    foreign_events,
    half_open,
    huge_comments,
    huge_length,
    ignore_range,
    invalid_utf8,
    links_missing,
    malformed_events,
    never_answer,
    no_keep_alives,
    not_found,
    ok,
    ok_then_close,
    only_malformed_events,
    other_line_ends,
    out_of_order,
    range_not_satisfiable,
    rate_limited,
    rate_limited_until,
    redirect,
    redirect_elsewhere,
    redirect_hops,
    redirect_loop,
    repeat_events,
    reset_at_accept,
    reset_midway,
    server_error,
    short_body,
    silent_stream,
    slow_download,
    small_video,
    stall_midway,
    until_close,
    wrong_length,
    wrong_range,
)

SUBMIT = "POST /api/ai/queue"
LIST = "GET /api/ai/queue"
READ = "GET /api/ai/queue/{id}"
EVENTS = "GET /api/events"
FILE = "GET /files/{file}"
BODY = {"model": "kling-video-v2-6-pro-text-to-video", "prompt": "A red balloon", "duration": 5}
KEY = {"Authorization": "Bearer test-key"}
TLS = ssl.create_default_context()  # made once: httpx makes one a client, which costs more than most of these tests
get = functools.partial(httpx.get, verify=TLS)


@pytest.fixture
def service() -> Iterator[FaultyService]:
    with FaultyService(keep_alive=0.03) as running:
        yield running


@pytest.fixture
def http(service: FaultyService) -> Iterator[httpx.Client]:
    with client_of(service, timeout=0.2) as client:
        yield client


def client_of(service: FaultyService, timeout: float = 5.0) -> httpx.Client:
    return httpx.Client(base_url=service.base_url, headers=KEY, timeout=timeout, verify=TLS)


def submit(http: httpx.Client, **changes: Any) -> str:
    answer = http.post("/api/ai/queue", json=BODY | changes)
    assert answer.status_code == 200, answer.text
    generation_id: str = answer.json()["generations"][0]["generation_id"]
    return generation_id


def finished(service: FaultyService, http: httpx.Client) -> tuple[str, str]:
    """The id of a job that has succeeded, and its link."""
    job_id = submit(http)
    service.finish(job_id)
    url: str = http.get(f"/api/ai/queue/{job_id}").json()["result_url"]
    return job_id, url


class RawStream:
    """The event stream over a bare socket."""

    def __init__(self, service: FaultyService) -> None:
        host, port = service.base_url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=2)
        request = "GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-key\r\n\r\n"
        self.socket.sendall(request.encode())
        self.data = b""

    def until(self, enough: Callable[[bytes], object], seconds: float = 2.0) -> bytes:
        """What came after the head, read until there is enough of it."""
        deadline = time.monotonic() + seconds
        while not enough(self.body):
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            got = self.socket.recv(1 << 20)
            if not got:
                raise EOFError
            self.data += got
        return self.body

    def quiet(self, seconds: float) -> bool:
        """Whether nothing at all comes for so many seconds."""
        self.socket.settimeout(seconds)
        try:
            self.data += self.socket.recv(1 << 16)
        except TimeoutError:
            return True
        return False

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    def events(self) -> list[dict[str, Any]]:
        found = re.findall(rb"^event: media_generation_completed\ndata: (.*)\n\n", self.body, re.M)
        return [json.loads(data) for data in found]


@contextlib.contextmanager
def listening(service: FaultyService) -> Iterator[RawStream]:
    stream = RawStream(service)
    with contextlib.closing(stream.socket):
        stream.until(lambda body: b"\r\n\r\n" in stream.data)
        yield stream


def ended(text: bytes) -> Callable[[bytes], object]:
    return lambda body: text in body


# --- the proper service ---------------------------------------------------------------------------------------------


def test_a_job_goes_the_documented_way(service: FaultyService, http: httpx.Client) -> None:
    """Enqueue, read, list, finish, download: the documented states and fields, and a film that decodes."""
    job_id = submit(http, seed=7)
    queued = http.get(f"/api/ai/queue/{job_id}").json()
    assert (queued["status"], queued["seed"], queued["result_url"]) == ("queued", 7, None)
    service.start(job_id)
    assert http.get("/api/ai/queue").json()["generations"][0]["status"] == "processing"
    service.finish(job_id)
    assert http.get("/api/ai/queue").json() == {"count": 0, "generations": []}
    done = http.get("/api/ai/queue", params={"status": "succeeded"}).json()["generations"][0]
    assert done["completed_at"] >= done["started_at"] >= done["enqueued_at"]
    content = get(done["result_url"]).content
    with av.open(io.BytesIO(content), "r") as film:
        frames = [frame.to_ndarray(format="rgb24").shape for frame in film.decode(video=0)]
    assert frames == [(64, 64, 3)] * 24
    assert service.delivered[job_id] == len(content)


def test_jobs_end_by_themselves_after_their_time() -> None:
    """With a job time given, jobs succeed or fail on their own, as scripted."""
    with FaultyService(job_seconds=0.02, failure=lambda job: "no" if job.body["prompt"] == "bad" else None) as service:
        http = client_of(service)
        good, bad = submit(http), submit(http, prompt="bad")
        service.wait_until(lambda: all(job.completed_at for job in service.jobs.values()))
        assert http.get(f"/api/ai/queue/{good}").json()["status"] == "succeeded"
        assert http.get(f"/api/ai/queue/{bad}").json()["error_message"] == "no"


def test_cancelling_keeps_the_row_and_comes_too_late_for_an_ended_job(
    service: FaultyService, http: httpx.Client
) -> None:
    """DELETE answers success either way and changes only what had not ended."""
    first, second = submit(http), submit(http)
    service.finish(second)
    for job_id in (first, second):
        assert http.delete(f"/api/ai/queue/{job_id}").json() == {"status": "success", "generation_id": job_id}
    assert [service.jobs[first].status, service.jobs[second].status] == ["cancelled", "succeeded"]


def test_several_generations_in_one_request(service: FaultyService, http: httpx.Client) -> None:
    """num_generations makes so many jobs; out of its range it is refused."""
    answer = http.post("/api/ai/queue", json=BODY | {"num_generations": 3}).json()
    assert [row["generation_id"] for row in answer["generations"]] == list(service.jobs)
    refusal = http.post("/api/ai/queue", json=BODY | {"num_generations": 5})
    assert refusal.status_code == 400
    assert "between 1 and 4" in refusal.text
    assert len(service.jobs) == 3


def test_a_wrong_key_and_an_unknown_model_are_refused(service: FaultyService, http: httpx.Client) -> None:
    """401 without the key, and nothing is enqueued for a model nobody knows."""
    assert httpx.post(f"{service.base_url}/api/ai/queue", json=BODY).json()["error"]["type"] == "unauthenticated"
    refusal = http.post("/api/ai/queue", json=BODY | {"model": "nope"})
    assert refusal.json() == {"error": {"message": "Model not found: nope"}}
    assert service.jobs == {}


def test_the_synchronous_endpoint_answers_when_the_video_is_ready(service: FaultyService) -> None:
    """The answer holds a link, or the file itself in base 64, and not before the job's end."""
    with FaultyService(job_seconds=0.05) as quick, client_of(quick) as http:
        begun = time.monotonic()
        answer = http.post("/api/ai/videos/generate", json=BODY).json()
        assert time.monotonic() - begun >= 0.05
        assert get(answer["videos"][0]["url"]).content == small_video()
        both = http.post("/api/ai/videos/generate", json=BODY | {"multi_prompt": [{"prompt": "x"}]})
        assert "Cannot provide both" in both.json()["error"]["message"]


def test_history_models_and_files(service: FaultyService, http: httpx.Client) -> None:
    """The other endpoints answer in the documented shapes."""
    for _ in range(3):
        service.finish(submit(http))
    page = http.get("/api/ai/generations", params={"page": 2, "page_size": 2}).json()
    assert (page["count"], page["total_pages"], page["total_entries"], page["total_cost"]) == (1, 2, 3, "1.0500")
    assert http.get(f"/api/ai/generations/{next(iter(service.jobs))}").json()["generation"]["cost"] == "0.3500"
    found = http.get("/api/ai/models/search", params={"search": "o3"}).json()["data"]
    assert [model["id"] for model in found] == ["kling-video-o3-pro-reference-to-video"]
    assert "prompt" in http.get(f"/api/ai/models/{BODY['model']}").json()["request_schema"]["properties"]
    assert http.get("/api/authorize").json()["user"]["name"] == "tester"
    path = "/api/repos/tester/inputs/file/main/cat.png"
    assert http.put(path, files={"file": b"picture"}).status_code == 201
    assert b"picture" in http.get(path).content
    assert [http.post("/api/repos", json={"name": "inputs"}).status_code for _ in range(2)] == [201, 409]


def test_counts_connections_and_keys_are_kept_by_origin(service: FaultyService, http: httpx.Client) -> None:
    """Requests are counted by route, connections as open and ever, keys by the origin that saw them."""
    job_id, url = finished(service, http)
    get(url)
    assert service.counts == {SUBMIT: 1, READ: 1, FILE: 1}
    assert service.submits == [BODY]
    assert service.authorizations == {service.base_url: {"Bearer test-key"}}
    assert service.connections_ever == 2
    service.wait_until(lambda: service.connections_open == 1)
    assert [request.acted for request in service.requests(READ)] == [True]
    assert service.requests(FILE)[0].path == f"/files/{job_id}.mp4"


def test_a_route_nobody_has_cannot_be_scripted(service: FaultyService) -> None:
    """A slip in a route's name is an error, not a fault that never comes."""
    with pytest.raises(ValueError, match="no such route"):
        service.script("POST /api/queue", ok())


def test_scripts_are_used_up_in_order_and_standing_behaviours_are_not(
    service: FaultyService, http: httpx.Client
) -> None:
    """Scripted behaviours come first, one a request; then the standing one, until it is cleared."""
    service.script(LIST, server_error(), bad_gateway())
    service.always(LIST, not_found())
    assert [http.get("/api/ai/queue").status_code for _ in range(4)] == [500, 502, 404, 404]
    assert service.scripted(LIST) == 0
    service.clear(LIST)
    assert http.get("/api/ai/queue").status_code == 200


def test_the_servers_own_mistakes_end_the_test() -> None:
    """An exception within the service is raised when its block ends."""
    service = FaultyService()
    with pytest.raises(ZeroDivisionError), service, contextlib.suppress(httpx.HTTPError):  # noqa: PT012
        service.script(LIST, altered(lambda data: 1 / 0))
        get(f"{service.base_url}/api/ai/queue", headers=KEY)


# --- connections ----------------------------------------------------------------------------------------------------


def test_down_refuses_and_comes_back_at_the_same_port(service: FaultyService, http: httpx.Client) -> None:
    """While down nothing connects and open connections are reset; afterwards all is as before."""
    job_id = submit(http)
    with service.down():
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                get(f"{service.base_url}/api/authorize", headers=KEY)
    assert http.get(f"/api/ai/queue/{job_id}").json()["status"] == "queued"


def test_reset_at_accept_reads_nothing(service: FaultyService) -> None:
    """The connection is reset before a request counts, and the next one is served."""
    service.script("connection", reset_at_accept())
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{service.base_url}/api/ai/queue", headers=KEY, json=BODY)
    assert (service.counts.total(), service.submits) == (0, [])
    assert get(f"{service.base_url}/api/authorize", headers=KEY).status_code == 200


def test_connections_can_be_dropped_from_outside(service: FaultyService) -> None:
    """drop_connections resets what is open, streams included."""
    with listening(service) as stream:
        service.drop_connections()
        with pytest.raises(ConnectionResetError):
            stream.until(ended(b"never"))
    service.wait_until(lambda: service.streams_open == 0)


def test_a_connection_is_reused_unless_it_is_closed(service: FaultyService, http: httpx.Client) -> None:
    """Requests share a connection; after ok_then_close the next one needs its own."""
    for _ in range(3):
        http.get("/api/ai/queue")
    assert service.connections_ever == 1
    service.script(LIST, ok_then_close())
    assert http.get("/api/ai/queue").status_code == 200
    service.wait_until(lambda: service.connections_open == 0)
    assert http.get("/api/ai/queue").status_code == 200
    assert service.connections_ever == 2


# --- submits --------------------------------------------------------------------------------------------------------


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
    answers = [http.get("/api/ai/queue") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429] * 3
    assert "retry-after" not in answers[0].headers
    assert answers[1].headers["retry-after"] == "2"
    ahead = parsedate_to_datetime(answers[2].headers["retry-after"]).timestamp() - time.time()
    assert 2.5 < ahead <= 4.0


def test_late_answers_act_early_or_late(service: FaultyService, http: httpx.Client) -> None:
    """answer_after acts before its delay, act_after only behind it, even where the client has gone."""
    service.script(SUBMIT, answer_after(0.05))
    begun = time.monotonic()
    submit(http)
    assert 0.05 <= time.monotonic() - begun < 0.25
    service.script(SUBMIT, act_after(0.1))
    with pytest.raises(httpx.ReadTimeout):
        http.post("/api/ai/queue", json=BODY, timeout=0.03)
    assert len(service.jobs) == 1
    service.wait_until(lambda: len(service.jobs) == 2)


# --- reads ----------------------------------------------------------------------------------------------------------


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
        assert 98 <= time.time() - job["enqueued_at"] <= 103


# --- the event stream -----------------------------------------------------------------------------------------------


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
    assert get(success["url"]).content == small_video()
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
    service.script(EVENTS, dribble(0.0005))
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
        http.get("/api/events", timeout=0.05)


# --- downloads ------------------------------------------------------------------------------------------------------


def test_ranges_are_served(service: FaultyService, http: httpx.Client) -> None:
    """A range, a range with If-Range, one of another file, and one that lies behind the end."""
    _, url = finished(service, http)
    whole = get(url)
    part = get(url, headers={"Range": "bytes=100-"})
    assert (part.status_code, part.content) == (206, whole.content[100:])
    assert part.headers["content-range"] == f"bytes 100-{len(whole.content) - 1}/{len(whole.content)}"
    same = get(url, headers={"Range": "bytes=100-199", "If-Range": whole.headers["etag"]})
    assert (same.status_code, same.content) == (206, whole.content[100:200])
    other = get(url, headers={"Range": "bytes=100-", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, whole.content)
    behind = get(url, headers={"Range": f"bytes={len(whole.content)}-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(whole.content)}")


@pytest.mark.parametrize(
    ("cut", "error"),
    [(short_body, httpx.RemoteProtocolError), (reset_midway, httpx.ReadError), (stall_midway, httpx.ReadTimeout)],
)
def test_cut_downloads_give_half_and_then_their_failure(
    cut: Callable[[], Behaviour], error: type[Exception], service: FaultyService, http: httpx.Client
) -> None:
    """The announced length is the whole one, half of it comes, then the end, the reset or nothing."""
    job_id, url = finished(service, http)
    service.script(FILE, cut())
    got = b""
    with pytest.raises(error), httpx.stream("GET", url, timeout=0.1, verify=TLS) as answer:  # noqa: PT012
        assert int(answer.headers["content-length"]) == len(small_video())
        for piece in answer.iter_raw():
            got += piece
    assert got == small_video()[: len(small_video()) // 2]
    assert service.delivered[job_id] == len(got)


def test_lies_about_ranges(service: FaultyService, http: httpx.Client) -> None:
    """The whole file for a range, a refusal of a range that exists, a range of another start."""
    _, url = finished(service, http)
    service.script(FILE, ignore_range(), range_not_satisfiable(), wrong_range(7))
    ignored, refused, shifted = (get(url, headers={"Range": "bytes=100-"}) for _ in range(3))
    assert (ignored.status_code, ignored.content) == (200, small_video())
    assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{len(small_video())}")
    assert (shifted.status_code, shifted.content) == (206, small_video()[93:])
    assert shifted.headers["content-range"].startswith("bytes 93-")


def test_a_file_that_changes_between_attempts(service: FaultyService, http: httpx.Client) -> None:
    """Another content under another ETag: whole where If-Range is heeded, a part of the new one where not."""
    _, url = finished(service, http)
    old, new = get(url), small_video(shade=90)
    ask = {"Range": "bytes=100-", "If-Range": old.headers["etag"]}
    service.script(FILE, changed_file(new), changed_file(small_video(shade=120), heed_if_range=False))
    heeded, unheeded = get(url, headers=ask), get(url, headers=ask)
    assert (heeded.status_code, heeded.content) == (200, new)
    assert (unheeded.status_code, unheeded.content) == (206, small_video(shade=120)[100:])
    assert len({answer.headers["etag"] for answer in (old, heeded, unheeded)}) == 3


@pytest.mark.parametrize("status", [403, 404, 410])
def test_an_expired_link_works_again_when_the_generation_was_read(
    status: int, service: FaultyService, http: httpx.Client
) -> None:
    """The old link stays dead, the reading gives a new one, and that downloads."""
    job_id, url = finished(service, http)
    service.script(FILE, expired(status))
    assert [get(url).status_code for _ in range(3)] == [status] * 3
    renewed = http.get(f"/api/ai/queue/{job_id}").json()["result_url"]
    assert renewed != url
    assert get(renewed).content == small_video()
    assert get(url).status_code == status
    service.expire(job_id, 410)
    assert get(renewed).status_code == 410


def test_files_of_unsaid_or_false_length(service: FaultyService, http: httpx.Client) -> None:
    """In chunks; up to the close, whole or cut; a length that never comes; an end that never comes."""
    _, url = finished(service, http)
    service.script(FILE, chunked(), until_close(), until_close(0.5), huge_length(), endless_file())
    in_chunks, whole, cut = (get(url) for _ in range(3))
    assert (in_chunks.headers["transfer-encoding"], in_chunks.content) == ("chunked", small_video())
    assert "content-length" not in whole.headers
    assert whole.content == small_video()
    assert cut.content == small_video()[: len(small_video()) // 2]
    with pytest.raises(httpx.ReadTimeout), httpx.stream("GET", url, timeout=0.05, verify=TLS) as answer:  # noqa: PT012
        assert int(answer.headers["content-length"]) == 1 << 44
        answer.read()
    with httpx.stream("GET", url, verify=TLS) as answer:
        size = 0
        for piece in answer.iter_raw():
            size += len(piece)
            if size > 1 << 22:
                break
    assert size > 1 << 22


def test_what_is_no_video(service: FaultyService, http: httpx.Client) -> None:
    """A page under a video's type and under its own, and an empty file."""
    _, url = finished(service, http)
    for name in ("page as video", "page", "empty file"):
        service.script(FILE, DOWNLOAD_FAULTS[name]())
    disguised, page, empty = (get(url) for _ in range(3))
    assert (disguised.headers["content-type"], disguised.content[:9]) == ("video/mp4", b"<!DOCTYPE")
    assert page.headers["content-type"] == "text/html"
    assert (empty.status_code, empty.content) == (200, b"")


def test_a_slow_download_comes_whole_and_late(service: FaultyService, http: httpx.Client) -> None:
    """All bytes, after at least the pauses."""
    _, url = finished(service, http)
    service.script(FILE, slow_download(pause=0.01, chunk=500))
    begun = time.monotonic()
    assert get(url).content == small_video()
    assert time.monotonic() - begun >= 0.01 * (len(small_video()) // 500)


def test_redirects(service: FaultyService, http: httpx.Client) -> None:
    """So many hops and then the file; a loop; a step to another origin, where a key that arrives is noted."""
    _, url = finished(service, http)
    service.script(FILE, redirect_hops(3))
    hopped = get(url, follow_redirects=True)
    assert (len(hopped.history), hopped.content) == (3, small_video())
    service.script(FILE, redirect_loop())
    with pytest.raises(httpx.TooManyRedirects):
        get(url, follow_redirects=True)
    service.script(FILE, redirect_elsewhere(service.base_url))
    service.authorizations.clear()
    away = get(url, headers=KEY)
    assert away.headers["location"].startswith(service.base_url)
    assert get(away.headers["location"], headers=KEY).content == small_video()
    assert set(service.authorizations) == {service.base_url, service.other_origin}
    assert set.union(*service.authorizations.values()) == {KEY["Authorization"]}


def test_links_and_redirects_of_other_schemes_and_names(service: FaultyService, http: httpx.Client) -> None:
    """A redirect to a file, a file name that climbs out, a result link put in place by the test."""
    job_id, url = finished(service, http)
    service.script(FILE, redirect("file:///etc/hostname"), evil_file_name())
    assert get(url).headers["location"] == "file:///etc/hostname"
    named = get(url)
    assert named.headers["content-disposition"] == 'attachment; filename="../../../escape.mp4"'
    assert named.content == small_video()
    service.jobs[job_id].result_url = "file:///etc/passwd"
    assert http.get(f"/api/ai/queue/{job_id}").json()["result_url"] == "file:///etc/passwd"


def test_results_lie_at_another_origin_unless_told_otherwise(service: FaultyService, http: httpx.Client) -> None:
    """Links lead to the second origin, or to the first where that is wanted."""
    assert finished(service, http)[1].startswith(f"{service.other_origin}/files/")
    with FaultyService(files_elsewhere=False) as near, client_of(near) as client:
        assert finished(near, client)[1].startswith(f"{near.base_url}/files/")


# --- against the recorded wire --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("queue_enqueue", "queue_enqueue_four", "queue_enqueue_bad_count", "queue_enqueue_unknown_model"),
        *("queue_list_active", "queue_list_empty", "queue_list_succeeded", "queue_get_unknown", "queue_cancel_unknown"),
        *("models_list", "models_search", "models_featured", "models_get", "models_get_unknown", "generations_page"),
        *("generations_get_unknown", "authorize", "repository_create"),
    ],
)
def test_answers_have_the_recorded_shape(name: str, service: FaultyService, http: httpx.Client) -> None:
    """The documented request gets the documented status and every documented field, of its type."""
    recorded = wire.load(name)
    if name not in ("queue_list_empty", "queue_enqueue"):
        submit(http, aspect_ratio="16:9")
        service.finish(submit(http, aspect_ratio="16:9"))
    answer = http.request(recorded.method, recorded.path, params=recorded.query, json=recorded.request_body)
    assert answer.status_code == recorded.status
    assert wire.differences(recorded.body, answer.json()) == []


@pytest.mark.parametrize("status", ["queued", "processing", "succeeded", "failed", "cancelled"])
def test_generations_have_the_recorded_shape(status: str, service: FaultyService, http: httpx.Client) -> None:
    """In every state a generation shows what the documentation says, null where it says null."""
    recorded = wire.load(f"queue_get_{status}")
    job_id = submit(http, aspect_ratio="16:9", seed=7, negative_prompt="blur")
    if status != "queued":
        service.start(job_id)
    {"succeeded": service.finish, "cancelled": service.cancel}.get(status, lambda job_id: None)(job_id)
    if status == "failed":
        service.fail(job_id, "no")
    row = http.get(f"/api/ai/queue/{job_id}").json()
    assert wire.differences(recorded.body, row) == []
    assert row["status"] == status
    for field in ("result_url", "error_message", "started_at", "completed_at"):
        assert (row[field] is None) == (recorded.body[field] is None), field


def test_events_have_the_recorded_form(service: FaultyService, http: httpx.Client) -> None:
    """Success and failure stand on the stream field by field as recorded."""
    ends = {"events_succeeded": service.finish, "events_failed": lambda job_id: service.fail(job_id, "no")}
    for name, end in ends.items():
        recorded = re.findall(rb"^event: (\w+)\ndata: (.*)\n\n", wire.stream(name), re.M)
        with listening(service) as stream:
            end(submit(http))
            stream.until(ended(b"}\n\n"))
            told_now = re.findall(rb"^event: (\w+)\ndata: (.*)\n\n", stream.body, re.M)
        assert told_now[0][0] == recorded[0][0]
        assert json.loads(told_now[0][1]).keys() == json.loads(recorded[0][1]).keys()


def test_differences_are_found() -> None:
    """A missing field, another type, a bad item of a list; null and further fields are none."""
    recorded = {"count": 1, "rows": [{"id": "a", "url": None}]}
    assert wire.differences(recorded, {"count": 2.0, "rows": [{"id": "b", "url": "x", "more": 1}], "new": 1}) == []
    assert wire.differences(recorded, {"rows": [{"id": "b", "url": None}, {"id": 5}]}) == [
        "count is missing",
        "rows[1].id is number, recorded as str",
        "rows[1].url is missing",
    ]
