"""Connections of our own under httpx: over real sockets, with and without TLS, kept, closed, broken and given up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import threading
import warnings
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

from oxenvideo.client.client import Client
from oxenvideo.client.connections import Files, Requests

# Made for these tests alone, for localhost, until the year 2126.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJ5dV+qaKLuV/KvCu
XIOCTzhkVawiVMogMlzLS+BHG/ShRANCAAQ0yr2V9GRPGh5Tq9Rxnv1CnI7PsBHu
wMFxUx1TRBCy5h5BvKzgMic05s7kXeh+PIREhgQnOV87fsLkiBb707Sp
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBmjCCAUGgAwIBAgIUJtMGszQI0chQ7nd0YdfcqCHdUeMwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzAxMjk0NloYDzIxMjYxMDMw
MDEyOTQ2WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQ0yr2V9GRPGh5Tq9Rxnv1CnI7PsBHuwMFxUx1TRBCy5h5BvKzgMic0
5s7kXeh+PIREhgQnOV87fsLkiBb707Spo28wbTAdBgNVHQ4EFgQUfQFIZ66qGBpL
RGd8jFenThlGG0swHwYDVR0jBBgwFoAUfQFIZ66qGBpLRGd8jFenThlGG0swDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDRwAwRAIgIvm8nJmAhkKm0A4MwG+qD9GbAyYWo9MeINLEqc8DvGQCICJF
ErCySDc6d4gKYdYlqLo8zc0fxHU+M/OwHAwixR+0
-----END CERTIFICATE-----
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
TIMEOUT = httpx.Timeout(2.0).as_dict()
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The origin of a server that treats each connection so."""
    writers = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await serve(reader, writer)

    server = await asyncio.start_server(served, "127.0.0.1", 0, ssl=context)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"https://localhost:{port}" if context else f"http://127.0.0.1:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def requests(*, context: ssl.SSLContext | None = None, connections: int = 8) -> AsyncIterator[Requests]:
    """Requests that are closed at the end."""
    made = Requests(ssl_context=context or ssl.create_default_context(), connections=connections, keep_alive=3.0)
    yield made
    await made.aclose()


def request(url: str, method: str = "POST", content: bytes = b"{}", **timeout: float) -> httpx.Request:
    return httpx.Request(method, url, content=content, extensions={"timeout": TIMEOUT | timeout})


async def body_of(http: Requests, asked: httpx.Request) -> bytes:
    answer = await http.send(asked, stream=True)
    try:
        return await answer.aread()
    finally:
        await answer.aclose()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """A request's head and body; IncompleteReadError where the other side has gone."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")), 0
    )
    return head + await reader.readexactly(length)


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that answers each request, for as long as it is asked."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await read_request(reader)
            writer.write(OK)
    writer.close()


def run(course: Coroutine[Any, Any, None]) -> None:
    """Run it; whatever is left open, and complains of that, is a failure."""
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(course)
        gc.collect()
    assert [str(complaint.message) for complaint in complaints] == []


def tls(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context and that of a client who knows it."""
    pem = folder / "localhost.pem"
    pem.write_text(CERTIFICATE)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=pem)


def test_tls(tmp_path: Path) -> None:
    """A megabyte goes and comes over TLS, twice over one connection; an unknown server is not spoken to."""
    serves, knows = tls(tmp_path)
    connections = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                content = (await read_request(reader)).partition(b"\r\n\r\n")[2]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)

    async def course() -> None:
        async with serving(echo, serves) as origin, requests(context=knows) as http:
            content = bytes(range(256)) * 4096
            for _ in range(2):
                assert await body_of(http, request(origin, content=content)) == content
            assert len(connections) == 1
            elsewhere = request(origin)
            elsewhere.extensions["sni_hostname"] = "hub.example"
            async with requests(context=knows) as stranger:
                with pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
                    await body_of(stranger, elsewhere)
            async with requests() as stranger:
                with pytest.raises(httpx.ConnectError, match="certificate"):
                    await body_of(stranger, request(origin))
            with httpx.Client(transport=Files(ssl_context=knows)) as files:
                got = await asyncio.to_thread(files.post, origin, content=content)
                assert got.content == content

    run(course())


def test_a_request_is_one_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body are written together."""
    written: list[bytes] = []
    write = _SelectorSocketTransport.write

    def writes(transport: Any, data: bytes) -> None:
        written.append(data)
        write(transport, data)

    async def course() -> None:
        async with serving(answering) as origin, requests() as http:
            monkeypatch.setattr(_SelectorSocketTransport, "write", writes)
            await body_of(http, request(origin, content=b'{"prompt": "x"}'))
            asked, answer = written
            assert asked.endswith(b'{"prompt": "x"}')
            assert answer == OK

    run(course())


@pytest.mark.parametrize("together", [1, 8])
def test_no_submit_is_lost_in_a_connection_that_is_being_closed(together: int) -> None:
    """A server that closes after each answer without a word gets every submit, however quickly they follow."""
    arrived = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(await read_request(reader))
        writer.write(OK)
        await asyncio.sleep(0.001)  # the answer is there, the end is not yet
        writer.close()

    async def course() -> None:
        async with serving(serve) as origin, requests() as http:

            async def submit() -> None:
                for _ in range(10):
                    assert await body_of(http, request(origin)) == b"{}"

            await asyncio.gather(*(submit() for _ in range(together)))
        assert len(arrived) == 10 * together

    run(course())


def test_connections_are_kept() -> None:
    """Many requests one after the other go over one connection; many submits at once over a few."""
    connections = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await answering(reader, writer)

    async def course() -> None:
        async with serving(serve) as origin, requests() as http:
            for _ in range(20):
                await body_of(http, request(origin, "GET", b""))
            assert len(connections) == 1
            for _ in range(5):
                await asyncio.gather(*(body_of(http, request(origin)) for _ in range(4)))
            assert len(connections) <= 16
            hurried = asyncio.create_task(body_of(http, request(origin)))
            await asyncio.sleep(0)
            hurried.cancel()  # while it waits for a connection that has just answered
            await asyncio.sleep(0)
            await http.aclose()
            await asyncio.sleep(0.05)
            assert all(writer.transport.is_closing() for writer in connections)

    run(course())


def test_no_more_than_so_many_at_once() -> None:
    """One request too many waits its turn, and says so where that takes too long; a cancelled one gives its place back."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/slow" not in await read_request(reader):
            writer.write(OK)
        await reader.read()

    async def course() -> None:
        async with serving(serve) as origin, requests(connections=1) as http:
            slow = asyncio.create_task(body_of(http, request(f"{origin}/slow")))
            await asyncio.sleep(0.05)
            with pytest.raises(httpx.PoolTimeout, match="too many requests"):
                await body_of(http, request(origin, pool=0.05))
            waiting = asyncio.create_task(body_of(http, request(origin)))
            await asyncio.sleep(0)
            slow.cancel()
            assert await waiting == b"{}"

    run(course())


def test_failures_have_httpxs_names() -> None:
    """What goes wrong on a connection is told as httpx tells it, and the place of the request is free again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await read_request(reader)
        if b"/late" in asked:
            await reader.read()
        elif b"/half" in asked:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
        elif b"/strange" in asked:
            writer.write(b"SMTP?\r\n\r\n")
        elif b"/reset" in asked:
            writer.transport.abort()
        writer.close()

    expected = {
        "late": httpx.ReadTimeout,
        "half": httpx.RemoteProtocolError,
        "strange": httpx.RemoteProtocolError,
        "reset": httpx.RemoteProtocolError,
        "closed": httpx.RemoteProtocolError,
    }

    async def course() -> None:
        async with serving(serve) as origin, requests(connections=1) as http:
            for path, failure in expected.items():
                with pytest.raises(failure):
                    await body_of(http, request(f"{origin}/{path}", read=0.1))
            with pytest.raises(httpx.ConnectError):
                await body_of(http, request("http://127.0.0.1:9"))
            with pytest.raises(httpx.ConnectError):
                await body_of(http, request("http://no-such-host.invalid"))

    run(course())


def test_an_early_refusal_of_a_large_body_is_heard() -> None:
    """A server that says no to a large body without reading it, and closes, is understood; a deaf one is given up."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
        await asyncio.sleep(0.1)
        writer.close()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(1)
        writer.transport.abort()

    async def course() -> None:
        async with requests() as http:
            async with serving(refuse) as origin:
                answer = await http.send(request(origin, content=b"x" * 20_000_000), stream=True)
                assert (answer.status_code, await answer.aread()) == (413, b"no!")
                await answer.aclose()
            async with serving(deaf) as origin:
                with pytest.raises(httpx.WriteTimeout):
                    await body_of(http, request(origin, content=b"x" * 20_000_000, write=0.2))

    run(course())


def test_a_reader_who_is_slow_makes_the_server_wait() -> None:
    """What arrives faster than it is read does not pile up in memory."""
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while written < 100_000_000:
                writer.write(b"x" * 100_000)
                await writer.drain()
                written += 100_000

    async def course() -> None:
        async with serving(serve) as origin, requests() as http:
            answer = await http.send(request(origin), stream=True)
            await asyncio.sleep(0.3)
            assert written < 50_000_000
            assert sum([len(part) async for part in answer.aiter_bytes()]) == 100_000_000

    run(course())


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment names a proxy, requests to elsewhere go through it; those to this machine do not."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await read_request(reader)).split(b"\r\n")[0])
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"generations":[]}')

    async def course() -> None:
        async with serving(serve) as origin:
            monkeypatch.setenv("HTTP_PROXY", origin)
            async with Client("http://hub.example", "key") as client:
                await client.queue()
            async with Client(origin, "key") as client:
                await client.queue()
        assert seen == [b"GET http://hub.example/api/ai/queue HTTP/1.1", b"GET /api/ai/queue HTTP/1.1"]

    run(course())


def test_result_files_are_read_in_large_parts() -> None:
    """Bytes come in parts of up to a megabyte: fewer turns for the same file."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n" + b"x" * 30_000_000)
        await writer.drain()

    def parts(origin: str) -> list[int]:
        context = ssl.create_default_context()
        with httpx.Client(transport=Files(ssl_context=context)) as files, files.stream("GET", origin) as answer:
            threading.Event().wait(0.2)
            return [len(part) for part in answer.iter_raw()]

    async def course() -> None:
        async with serving(serve) as origin:
            found = await asyncio.to_thread(parts, origin)
        assert sum(found) == 30_000_000
        assert max(found) > 4 * 65_536

    run(course())
