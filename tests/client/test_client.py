"""The client against the recorded exchanges and over real sockets: what it asks, and what it makes of any answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import faulty as f
import wire
from faulty import FaultyService
from oxenvideo.client.client import Client
from oxenvideo.client.responses import Observation
from oxenvideo.errors import (
    AuthenticationFailed,
    BadRequest,
    ConfigurationError,
    ConnectionFailed,
    DownloadFailed,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    OxenVideoError,
    RateLimited,
    ServiceUnavailable,
    UnexpectedAnswer,
)

ID = "7f4d9c1e-5b6a-4b0e-9a3c-2f1d8e6b7a90"
OTHER = "e9d8c7b6-a5f4-4e3d-8c2b-1a0f9e8d7c6b"
MODEL = "kling-video-v2-6-pro-text-to-video"
Ask = Callable[[Client], Awaitable[Any]]


class Replay:
    """Answers every request with one recorded answer, in pieces where asked for, and keeps what was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        replay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                replay.requests.append((self.command, self.path, dict(self.headers.items()), body))
                self.send_response_only(replay.status)
                for name, value in replay.headers.items():
                    self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                for piece in replay.pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                self.close_connection = True

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.loop = asyncio.new_event_loop()
        self.client = Client(self.base_url, "some-key", stream_silence=1.0)

    def load(self, exchange: wire.Exchange) -> None:
        self.status, self.headers = exchange.status, dict(exchange.headers)
        self.pieces = [exchange.content]

    def ask(self, ask: Ask) -> Any:
        async def run() -> Any:
            return await ask(self.client)

        return self.loop.run_until_complete(run())

    def close(self) -> None:
        self.loop.run_until_complete(self.client.aclose())
        self.loop.close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    made = Replay()
    yield made
    made.close()


def body_of(name: str) -> dict[str, Any]:
    recorded: dict[str, Any] = wire.load(name).request_body
    return recorded


ASKS: dict[str, Ask] = {
    **{name: lambda c, n=name: c.enqueue(body_of(n)) for name in wire.names("queue_enqueue")},
    **{name: lambda c, n=name: c.generate(body_of(n)) for name in wire.names("generate_")},
    **{name: lambda c: c.generation(ID) for name in wire.names("queue_get_")},
    "queue_get_unknown": lambda c: c.generation(OTHER),
    "queue_cancel": lambda c: c.cancel(ID),
    "queue_cancel_unknown": lambda c: c.cancel(OTHER),
    "queue_list_active": lambda c: c.queue(),
    "queue_list_empty": lambda c: c.queue(),
    "queue_list_of_repository": lambda c: c.queue(namespace="ox", repo="films", folder="balloons"),
    "queue_list_succeeded": lambda c: c.queue(status="succeeded", model=MODEL, media_type="video"),
    "generations_get": lambda c: c.history_entry(ID),
    "generations_get_unknown": lambda c: c.history_entry(OTHER),
    "generations_page": lambda c: c.history(page=1, page_size=2, media_type="video"),
    "models_list": lambda c: c.models(developer_name="Kling", provider_name="kling", action="video"),
    "models_search": lambda c: c.search_models("o3"),
    "models_featured": lambda c: c.featured_models(),
    "models_favorites": lambda c: c.favorite_models(),
    "models_get": lambda c: c.model(MODEL),
    "models_get_older_name": lambda c: c.model(MODEL),
    "models_get_unknown": lambda c: c.model("kling-video-v9"),
    "authorize": lambda c: c.authorize(),
    "authorize_bad_key": lambda c: c.authorize(),
    "repository_create": lambda c: c.create_repository("ox", "inputs"),
    "repository_exists": lambda c: c.create_repository("ox", "inputs"),
}


@pytest.mark.parametrize("name", [name for name in wire.names() if name != "file_upload"])
def test_asks_as_recorded(replay: Replay, name: str) -> None:
    """Each method sends the recorded method, path, query, headers and body, once; an error is raised exactly for one."""
    exchange = wire.load(name)
    replay.requests.clear()
    replay.load(exchange)
    raised: OxenVideoError | None = None
    try:
        replay.ask(ASKS[name])
    except OxenVideoError as error:
        raised = error
    ((method, target, headers, body),) = replay.requests
    assert (method, urlsplit(target).path) == (exchange.method, exchange.path)
    assert dict(parse_qsl(urlsplit(target).query)) == exchange.query
    assert (json.loads(body) if body else None) == exchange.request_body
    lower = {key.lower(): value for key, value in headers.items()}
    for key, value in exchange.request_headers.items():
        assert lower[key.lower()] == value.replace("<API key>", "some-key")
    assert (raised is None) == (exchange.status < 400)


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("queue_enqueue_bad_count", BadRequest, "num_generations must be an integer between 1 and 4 (HTTP 400)"),
        ("queue_enqueue_invalid", BadRequest, "model is required"),
        ("queue_enqueue_rate_limited", RateLimited, "Rate limit exceeded"),
        ("queue_enqueue_text_model", BadRequest, "Unsupported media type (HTTP 415)"),
        ("queue_enqueue_unauthenticated", AuthenticationFailed, "Check the API key"),
        ("queue_enqueue_unknown_error", ServiceUnavailable, "An unknown error occurred (HTTP 500)"),
        ("queue_enqueue_unknown_model", BadRequest, "Model not found: kling-video-v9"),
        ("generate_both_prompts", BadRequest, "Cannot provide both 'prompt' and 'multi_prompt'."),
        ("queue_get_unknown", NotFound, "could not be found"),
        ("queue_cancel_unknown", NotFound, "could not be found"),
        ("generations_get_unknown", NotFound, "could not be found"),
        ("models_get_unknown", NotFound, "could not be found"),
        ("authorize_bad_key", AuthenticationFailed, "The API key is missing or not valid. (HTTP 401)"),
        ("repository_exists", BadRequest, "exists already (HTTP 409)"),
    ],
)
def test_recorded_errors(replay: Replay, name: str, kind: type[OxenVideoError], says: str) -> None:
    """Both envelopes become one exception tree, with the service's words and the HTTP status."""
    replay.load(wire.load(name))
    with pytest.raises(kind) as caught:
        replay.ask(ASKS[name])
    assert says in str(caught.value)
    assert caught.value.status_code == wire.load(name).status  # type: ignore[attr-defined]


def test_recorded_answers(replay: Replay) -> None:
    """The answers as values: ids, states, pages with cost, users, both shapes of the synchronous one."""

    def answer(name: str) -> Any:
        replay.load(wire.load(name))
        return replay.ask(ASKS[name])

    assert [one.generation_id for one in answer("queue_enqueue")] == [ID]
    assert len(answer("queue_enqueue_four")) == 4
    assert answer("queue_list_empty") == []
    assert [seen.status for seen in answer("queue_list_active")] == ["processing", "queued"]
    done = answer("queue_get_succeeded")
    assert (done.status, done.authoritative) == ("succeeded", True)
    assert done.result_url.startswith("https://results.example.com/")
    assert done.started_at is not None
    assert answer("queue_get_failed").error_message
    assert answer("queue_get_cancelled").status == "cancelled"
    page = answer("generations_page")
    assert (page.total_pages, page.total_entries, page.total_cost) == (3, 5, Decimal("1.4000"))
    assert [seen.cost for seen in page.generations] == [Decimal("0.3500"), None]
    assert answer("generations_get").cost == Decimal("0.3500")
    assert (answer("authorize").name, answer("authorize").email) == ("ox", "ox@example.com")
    assert answer("generate_url").urls == answer("generate_older_shape").urls
    assert answer("generate_b64").b64_json


def test_recorded_upload(replay: Replay) -> None:
    """An upload names its author, and gives the address under which the file then is."""
    replay.requests.clear()
    upload = wire.load("file_upload")
    replay.load(upload)
    replay.pieces = [json.dumps(wire.load("authorize").body | upload.body).encode()]
    url = replay.ask(
        lambda c: c.upload("ox", "inputs", "balloon.png", b"\x89PNG", mime="image/png", message="An input")
    )
    _, (method, target, headers, body) = replay.requests
    assert (method, target) == (upload.method, upload.path)
    assert headers["Content-Type"].startswith("multipart/form-data")
    assert all(part in body for part in (b"\x89PNG", b'filename="balloon.png"', b"An input", b"ox@example.com"))
    assert url == replay.base_url + upload.path


# --- answers that are not as documented ------------------------------------------------------------------------------


def answered(replay: Replay, body: Any, status: int = 200, kind: str = "application/json", **headers: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    replay.status, replay.pieces = status, [content]
    replay.headers = {"Content-Type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (402, {"error": {"message": "Payment required"}}, InsufficientCredits, "Add credits"),
        (400, {"error": {"message": "You do not have enough credits."}}, InsufficientCredits, "Add credits"),
        (403, {"error": {"title": "no"}}, AuthenticationFailed, "no (HTTP 403)"),
        (422, {"error": "as text"}, BadRequest, "as text (HTTP 422)"),
        (400, {"status_message": "bare"}, BadRequest, "bare"),
        (403, {"error": {"message": "Rate limit exceeded"}}, RateLimited, "Rate limit"),
        (500, {"error": {"message": "Rate limit exceeded"}}, ServiceUnavailable, "Rate limit"),
        (500, {"error": {"message": "no credits left"}}, ServiceUnavailable, "no credits"),
        (408, {}, ServiceUnavailable, "HTTP 408"),
        (502, b"<!DOCTYPE html><html>Bad gateway</html>", ServiceUnavailable, "an HTML page instead of a JSON error"),
        (503, b"", ServiceUnavailable, "an empty body"),
        (500, b"[1, 2]", ServiceUnavailable, "HTTP 500"),
        (404, {"error": {"message": "x" * 2000}}, NotFound, "…"),
        (200, b"<html>", UnexpectedAnswer, "with an HTML page, not JSON"),
        (200, b"", UnexpectedAnswer, "with an empty body, not JSON"),
        (200, b'{"genera', UnexpectedAnswer, "with broken JSON"),
        (200, b"[" * 100_000, UnexpectedAnswer, "broken JSON"),
        (200, b"\xff\xfe", UnexpectedAnswer, "with text, not JSON"),
        (200, [1], UnexpectedAnswer, "a JSON list, not an object"),
        (200, {}, UnexpectedAnswer, "named no generation_id"),
        (200, {"generations": []}, UnexpectedAnswer, "named no generation_id"),
        (200, {"generations": [{"generation_id": 5}]}, UnexpectedAnswer, "named no generation_id"),
        (200, {"generations": [], "error": {"message": "prompt was flagged"}}, BadRequest, "prompt was flagged"),
        (200, {"generations": [], "error": {"message": "no credits"}}, InsufficientCredits, "Add credits"),
        (201, {"error": "Rate limit exceeded"}, RateLimited, "Rate limit"),
        (200, {"error": {}}, BadRequest, "an error without a message"),
        (200, {"generations": [{"id": 5}], "error": "odd"}, UnexpectedAnswer, "named no generation_id"),
        (200, {"generations": [], "error": None}, UnexpectedAnswer, "named no generation_id"),
        (302, b"", UnexpectedAnswer, "redirects API requests (HTTP 302): check base_url"),
    ],
)  # fmt: skip
def test_any_answer_to_a_submit(replay: Replay, status: int, body: Any, kind: type[OxenVideoError], says: str) -> None:
    """Whatever comes in answer to a submit is one exception of the tree, in one line."""
    answered(replay, body, status, location="https://elsewhere.example/")
    with pytest.raises(kind) as caught:
        replay.ask(lambda c: c.enqueue({"model": MODEL}))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_pace_that_is_named(replay: Replay) -> None:
    """``Retry-After`` as seconds, and as a date read by the service's own clock."""
    answered(replay, {}, 429, Retry_After="7")
    with pytest.raises(RateLimited) as caught:
        replay.ask(lambda c: c.queue())
    assert caught.value.retry_after == 7.0
    answered(replay, {}, 429, Retry_After="Wed, 01 Jan 2020 00:00:30 GMT", Date="Wed, 01 Jan 2020 00:00:00 GMT")
    with pytest.raises(RateLimited) as caught:
        replay.ask(lambda c: c.queue())
    assert caught.value.retry_after == 30.0


def test_rows_that_cannot_be_read(replay: Replay) -> None:
    """One strange row does not hide the others; nothing but strange rows is an error, and so is no list."""
    good = {"generation_id": "a", "status": "queued", "enqueued_at": True, "cost": "much", "result_url": {"x": 1}}
    answered(replay, {"generations": [None, 5, {}, {"generation_id": "b"}, good]})
    (seen,) = replay.ask(lambda c: c.queue())
    assert seen == Observation("a", "queued")
    for body in ({"generations": [None]}, {"generations": None}, {"count": 0}):
        answered(replay, body)
        with pytest.raises(UnexpectedAnswer):
            replay.ask(lambda c: c.queue())


def test_a_page_with_nonsense_numbers(replay: Replay) -> None:
    """Numbers of a page that are none take their defaults."""
    answered(replay, {"generations": [], "page_number": "x", "total_pages": None, "total_cost": "NaN"})
    page = replay.ask(lambda c: c.history())
    assert (page.page_number, page.total_pages, page.total_cost) == (1, 1, None)


def test_an_answer_without_end(replay: Replay) -> None:
    """An answer longer than any list can be is left."""
    answered(replay, b"")
    replay.pieces = [b"x" * 1_000_000] * 70
    with pytest.raises(UnexpectedAnswer, match=r"longer than 67\.1 MB"):
        replay.ask(lambda c: c.queue())


def test_the_limit_of_an_answer_can_be_set() -> None:
    """``answer_limit`` bounds the bytes of an answer."""

    async def course() -> None:
        async with Client("http://hub.example", "k", answer_limit=20, transport=_told(b'{"generations":[]}')) as client:
            assert await client.queue() == []
        async with Client("http://hub.example", "k", answer_limit=17, transport=_told(b'{"generations":[]}')) as client:
            with pytest.raises(UnexpectedAnswer, match="longer than"):
                await client.queue()

    asyncio.run(course())


def _told(content: bytes, **headers: str) -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(200, content=content, headers=headers))


def test_transports_can_be_given() -> None:
    """API requests, the stream and result files go over the transports that a simulation gives, and nowhere else."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/events":
            data = json.dumps({"generation_id": "a", "status": "succeeded", "url": "http://hub.example/a.mp4"})
            text = f"event: media_generation_completed\ndata: {data}\n\n"
            return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})
        return httpx.Response(200, json={"generations": [{"generation_id": "a", "status": "queued"}]})

    async def course() -> None:
        api, files = httpx.MockTransport(answer), _told(b"video")
        async with Client("http://hub.example", "k", transport=api, file_transport=files) as client:
            assert [accepted.generation_id for accepted in await client.enqueue({"model": MODEL})] == ["a"]
            async with client.events() as events:
                (seen,) = [seen async for seen in events]
            with client.open_result(seen.result_url or "") as answered:
                assert answered.read() == b"video"

    asyncio.run(course())


@pytest.mark.parametrize("address", ["http://[::1", "https://xn--a/x.mp4", "http://a.example:99999/", "\0", "ftp://a/"])
@pytest.mark.parametrize("redirected", [False, True])
def test_result_urls_that_are_not_valid(address: str, redirected: bool) -> None:
    """Whatever stands in place of a result URL, or of a redirect from one, is one clear error."""
    files = httpx.MockTransport(lambda request: httpx.Response(302, headers={"Location": address.encode()}))
    client = Client("http://hub.example", "k", file_transport=files)
    url = "/a.mp4" if redirected else address
    with pytest.raises((DownloadFailed, OutcomeUnknown)), client.open_result(url):
        pass


@pytest.mark.parametrize("address", ["http://[::1", "https://xn--a/", "http://a.example:99999/", "\0", "https://b/"])
def test_an_api_request_that_is_redirected(address: str) -> None:
    """A redirect in answer to a submit is not followed, wherever it leads."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"Location": address.encode()})

    async def course() -> None:
        async with Client("http://hub.example", "k", transport=httpx.MockTransport(answer)) as client:
            with pytest.raises((UnexpectedAnswer, OutcomeUnknown)):
                await client.enqueue({"model": MODEL})

    asyncio.run(course())
    assert asked == ["http://hub.example/api/ai/queue"]


def test_the_services_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's time goes on by the monotonic clock: a step of this machine's clock does not move it."""

    async def course() -> None:
        transport = _told(b'{"generations":[]}', Date="Wed, 01 Jan 2020 00:00:00 GMT")
        async with Client("http://hub.example", "k", transport=transport) as client:
            assert client.service_time() is None
            began = time.monotonic()
            await client.queue()
            monkeypatch.setattr(time, "time", lambda: 5.0)
            await asyncio.sleep(0.05)
            there = client.service_time()
            assert there is not None
            assert 1577836800.05 <= there <= 1577836800.0 + time.monotonic() - began
            await client.queue()  # the same second again says nothing new
            assert (client.service_time() or 0) >= there

    asyncio.run(course())


def test_ids_are_one_part_of_a_path(replay: Replay) -> None:
    """An id that holds slashes or a query stays one segment of the path."""
    replay.requests.clear()
    replay.load(wire.load("queue_get_succeeded"))
    replay.ask(lambda c: c.generation("../../x?y=1#z"))
    assert replay.requests[0][1] == "/api/ai/queue/..%2F..%2Fx%3Fy%3D1%23z"


def test_an_id_that_is_no_id(replay: Replay) -> None:
    """What no URL can hold is one clear error, and nothing is sent."""
    replay.requests.clear()
    with pytest.raises(InvalidRequest, match="cannot be requested: URL too long"):
        replay.ask(lambda c: c.generation("x" * 100_000))
    assert replay.requests == []


def test_what_json_cannot_carry() -> None:
    """A lone surrogate, a NaN and an object are refused before anything is sent."""
    for value in ("\ud800", float("nan"), object()):
        with pytest.raises(InvalidRequest, match="cannot be written as JSON"):
            asyncio.run(_enqueue_to_nobody({"model": MODEL, "prompt": value}))


async def _enqueue_to_nobody(body: dict[str, Any]) -> None:
    async with Client("http://127.0.0.1:9", "key") as client:
        await client.enqueue(body)


def test_never_sent_and_unknown_are_told_apart() -> None:
    """No connection means never sent; anything after it means that the outcome is unknown."""
    with pytest.raises(ConnectionFailed, match=r"Cannot reach 127.0.0.1"):
        asyncio.run(_enqueue_to_nobody({"model": MODEL}))
    with FaultyService() as service:
        for behaviour in (
            f.reset(),
            f.close(),
            f.never_answer(),
            f.reset_before_reading(),
            f.act_then_half_the_answer(),
        ):
            service.script("POST /api/ai/queue", behaviour)

            async def enqueue() -> None:
                async with Client(service.base_url, service.api_key, timeout=2) as client:
                    await client.enqueue({"model": MODEL, "prompt": "x"})

            with pytest.raises(OutcomeUnknown):
                asyncio.run(enqueue())
        assert service.counts["POST /api/ai/queue"] == 5


@pytest.mark.parametrize("busy", [False, True])
def test_a_connection_that_was_closed_meanwhile_is_not_used_for_a_submit(busy: bool) -> None:
    """A kept connection that the service has closed is noticed before a submit is put on it, by a busy loop too."""
    with FaultyService() as service:
        service.script("GET /api/ai/queue", f.ok_then_close())

        async def course() -> None:
            async with Client(service.base_url, service.api_key) as client:
                await client.queue()
                if busy:
                    time.sleep(0.05)  # noqa: ASYNC251 - so that the loop has not heard of it
                else:
                    await asyncio.sleep(0.05)
                await client.enqueue({"model": MODEL, "prompt": "x"})

        asyncio.run(course())
        assert len(service.jobs) == 1


@pytest.mark.parametrize("together", [1, 8])
def test_no_submit_is_lost_in_a_connection_that_is_being_closed(together: int) -> None:
    """A server that closes after each answer without saying so gets every submit, however quickly they follow."""
    arrived = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        arrived.append(head.split(b" ")[0])
        answer = b'{"generations":[{"generation_id":"a"}]}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
        await asyncio.sleep(0.001)  # the client has the answer and does not know yet that the connection closes
        writer.close()

    async def course() -> None:
        async with _serving(serve) as origin, Client(origin, "k") as client:

            async def submit() -> None:
                for _ in range(10):
                    assert len(await client.enqueue({"model": MODEL})) == 1

            await asyncio.gather(*(submit() for _ in range(together)))
        assert arrived == [b"POST"] * 10 * together

    asyncio.run(course())


def test_reads_share_a_connection() -> None:
    """Requests that change nothing reuse one connection."""
    connections = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"generations":[]}')
        writer.close()

    async def course() -> None:
        async with _serving(serve) as origin, Client(origin, "k") as client:
            for _ in range(20):
                await client.queue()
        assert len(connections) == 1

    asyncio.run(course())


def test_an_early_refusal_of_a_large_body_is_heard() -> None:
    """A server that refuses a large body before it has arrived is understood."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
        writer.write_eof()
        while await reader.read(65536):  # as servers do, so that the answer is not lost with the connection
            pass
        writer.close()

    async def course() -> None:
        async with _serving(refuse) as origin, Client(origin, "k") as client:
            with pytest.raises(BadRequest, match="HTTP 413"):
                await client.enqueue(b"x" * 20_000_000)

    asyncio.run(course())


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to other machines go through the proxy that the environment names; those to this machine do not."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"generations":[]}')
        writer.close()

    async def course() -> None:
        async with _serving(serve) as origin:
            monkeypatch.setenv("HTTP_PROXY", origin)
            for address in ("http://hub.example", origin):
                async with Client(address, "key") as client:
                    await client.queue()
        assert seen == [b"GET http://hub.example/api/ai/queue HTTP/1.1", b"GET /api/ai/queue HTTP/1.1"]

    asyncio.run(course())


@contextlib.asynccontextmanager
async def _serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def test_a_client_needs_an_address_and_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either there is one clear error."""
    with pytest.raises(ConfigurationError, match="needs an address and a key"):
        Client()
    with pytest.raises(ConfigurationError, match="No API key for"):
        Client("https://hub.example")
    monkeypatch.setenv("OXEN_API_KEY", "k")
    assert Client().base_url == "https://hub.oxen.ai"


# --- the event stream ------------------------------------------------------------------------------------------------


def streamed(replay: Replay, pieces: list[bytes]) -> list[Observation]:
    """What the client makes of a stream that comes in these pieces, over a socket."""
    replay.status, replay.headers, replay.pieces = 200, {"Content-Type": "text/event-stream"}, pieces

    async def listen(client: Client) -> list[Observation]:
        async with client.events() as events:
            return [seen async for seen in events]

    heard: list[Observation] = replay.ask(listen)
    return heard


def test_recorded_streams(replay: Replay) -> None:
    """Completions are told, others' kinds of events and keep-alives are passed over."""
    assert [seen.status for seen in streamed(replay, [wire.stream("events_succeeded")])] == ["succeeded"]
    (failed,) = streamed(replay, [wire.stream("events_failed")])
    assert failed.error_message == "Total shot duration (16s) exceeds maximum allowed (15s)."
    mixed = streamed(replay, [wire.stream("events_mixed")])
    assert all(not seen.authoritative for seen in mixed)
    assert ID in {seen.generation_id for seen in mixed}


_MIXED = wire.stream("events_mixed") + 'event: media_generation_completed\ndata: {"generation_id": "ü\u2028"'.encode()
_MIXED += ', "status": "failed", "error": "日本\u0085語"}\r\n\r\n'.encode()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(cuts=st.lists(st.integers(0, len(_MIXED)), max_size=40), end=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cut_of_a_stream_decodes_alike(replay: Replay, cuts: list[int], end: bytes) -> None:
    """However a stream is cut into pieces, within characters and line ends too, the same events come of it."""
    text = b"\xef\xbb\xbf" + _MIXED.replace(b"\r\n", b"\n").replace(b"\n", end)
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    assert streamed(replay, pieces) == streamed(replay, [text]) == _expected()


def _expected() -> list[Observation]:
    recorded = wire.stream("events_mixed").decode()
    ours = [block for block in recorded.split("\n\n") if block.startswith("event: media_generation_completed")]
    data = [json.loads(block.partition("data: ")[2]) for block in ours]
    seen = [Observation(d["generation_id"], d["status"], False, d.get("url"), d.get("error")) for d in data]
    return [*seen, Observation("ü\u2028", "failed", False, None, "日本\u0085語")]


def test_each_byte_by_itself(replay: Replay) -> None:
    """The extreme of all cuts."""
    text = _MIXED.replace(b"\r\n", b"\n")
    assert streamed(replay, [text[n : n + 1] for n in range(len(text))]) == _expected()


def test_a_stream_that_sends_no_event_is_left(replay: Replay) -> None:
    """What never becomes an event is left after a bounded number of bytes, and not kept in memory."""
    for filler in (b"data: " + b"x" * 1_000_000, b"data: x\n" * 125_000, b": " + b"x" * 1_000_000 + b"\n"):
        with pytest.raises(OutcomeUnknown, match="an event of more than 4 MB"):
            streamed(replay, [filler] * 60)
    long = b": " + b"x" * 3_000_000 + b"\n\n"
    assert len(streamed(replay, [long] * 5 + [wire.stream("events_succeeded")])) == 1


def test_what_is_no_stream(replay: Replay) -> None:
    """A page in place of a stream, and an error, are told as what they are; a quiet stream ends."""
    answered(replay, b"<html>", kind="text/html")
    with pytest.raises(NotFound, match="There is no event stream"):
        _listen(replay)
    answered(replay, {"error": {"message": "no"}}, 503)
    with pytest.raises(ServiceUnavailable):
        _listen(replay)
    with FaultyService() as service:
        service.script("GET /api/events", f.silent_stream())

        async def listen() -> None:
            async with (
                Client(service.base_url, service.api_key, stream_silence=0.2) as client,
                client.events() as events,
            ):
                async for _ in events:
                    pass

        with pytest.raises(OutcomeUnknown, match="silent"):
            asyncio.run(listen())


def _listen(replay: Replay) -> None:
    async def listen(client: Client) -> None:
        async with client.events() as events:
            async for _ in events:
                pass

    replay.ask(listen)
