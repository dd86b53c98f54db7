"""Connections under httpx, for many small requests and few large files: one write a request, large reads of results.

httpx lets both be exchanged: its transports, and the network that httpcore's pools stand on. Theirs serve every event loop
and read 64 KiB at a time; ours are for asyncio alone, which halves the processor time of a request, and read a result file
in parts of a megabyte, which is a third faster.
"""

from __future__ import annotations

import asyncio
import select
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Literal

import httpcore
import httpx

_SETTLE = 0.01  # seconds; what closes a connection comes right behind the answer
_SPARE = 1  # connections that rest, for each in use besides the one that is wanted
_CORK = 64 * 1024  # bytes of a request that wait for the rest of it
_AHEAD = 256 * 1024  # bytes that arrive unasked before the other side is made to wait
_PART = 1024 * 1024  # bytes of a result file that are read at once

_FAILURES = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)


class Requests:
    """Sends API requests, each over a connection that rests or a new one, at most ``connections`` together.

    A connection rests for at most ``keep_alive`` seconds, and before it takes a submit for at least a moment: a server
    that closes it after its last answer, without a word, would swallow the submit.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext, connections: int, keep_alive: float) -> None:
        self._options: dict[str, Any] = {
            "ssl_context": ssl_context,
            "keepalive_expiry": keep_alive,
            "network_backend": _Network(),
        }
        self._free = asyncio.Semaphore(connections)
        self._busy = 0
        self._used: set[httpcore.AsyncHTTPConnection] = set()
        self._resting: deque[tuple[httpcore.AsyncHTTPConnection, float]] = deque()  # with since when, monotonic

    async def send(self, request: httpx.Request, *, stream: Literal[True]) -> httpx.Response:
        """Send it as it is, as httpx.AsyncClient would; the answer's body is still to be read, and to be closed."""
        await self._begin(request.extensions["timeout"]["pool"])
        connection = None
        try:
            plain = _plain(request)
            connection = await self._connection(plain.url.origin, settled=request.method != "GET")
            self._used.add(connection)
            answer = await connection.handle_async_request(plain)
        except BaseException as error:
            self._end()
            if connection is not None:
                self._used.discard(connection)
                await connection.aclose()  # whatever state it is in; a cancelled request may not have begun
            if isinstance(error, _FAILURES):
                raise _as_httpx(error) from error
            raise
        body = _Body(answer, lambda: self._rest(connection))
        return httpx.Response(answer.status, headers=answer.headers, stream=body, request=request)

    async def _begin(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._free.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("too many requests are under way") from None
        self._busy += 1

    def _end(self) -> None:
        self._busy -= 1
        self._free.release()

    async def _connection(self, origin: httpcore.Origin, *, settled: bool) -> httpcore.AsyncHTTPConnection:
        while self._resting:
            connection, since = self._resting[0]  # the one that has rested longest
            fresh = since + _SETTLE - time.monotonic() if settled else 0.0
            if fresh > 0 and len(self._resting) < _SPARE * (self._busy - 1):
                break  # of many at once, none waits for another's connection
            if fresh > 0:
                await asyncio.sleep(fresh)
                continue
            self._resting.popleft()
            if connection.can_handle_request(origin) and not connection.has_expired():
                return connection
            await connection.aclose()
        return httpcore.AsyncHTTPConnection(origin, **self._options)

    def _rest(self, connection: httpcore.AsyncHTTPConnection) -> None:
        self._end()
        self._used.discard(connection)
        if connection.is_idle():
            self._resting.append((connection, time.monotonic()))

    async def aclose(self) -> None:
        """Close all connections, those in use too."""
        for connection in [*self._used, *(connection for connection, _ in self._resting)]:
            await connection.aclose()
        self._resting.clear()


class Files(httpx.BaseTransport):
    """A pool for result files, blocking; ``options`` are httpcore's."""

    def __init__(self, **options: Any) -> None:
        self._pool = httpcore.ConnectionPool(network_backend=_LargeReads(), **options)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it, and return the answer's head; its body is still to be read."""
        try:
            answer = self._pool.handle_request(_plain(request))
        except _FAILURES as error:
            raise _as_httpx(error) from error
        return httpx.Response(answer.status, headers=answer.headers, stream=_File(answer), extensions=answer.extensions)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _plain(request: httpx.Request) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        request.method,
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def _as_httpx(error: Exception) -> Exception:
    """The same failure in httpx's terms; both libraries give it the same name."""
    failure: Exception = getattr(httpx, type(error).__name__, httpx.TransportError)(str(error))
    return failure


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response, closed: Callable[[], None]) -> None:
        self._answer = answer
        self._closed = closed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._answer.aiter_stream():
                yield part
        except _FAILURES as error:
            raise _as_httpx(error) from error

    async def aclose(self) -> None:
        try:
            await self._answer.aclose()
        finally:
            self._closed()


class _File(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer.iter_stream()
        except _FAILURES as error:
            raise _as_httpx(error) from error

    def close(self) -> None:
        self._answer.close()


class _LargeReads(httpcore.SyncBackend):
    def connect_tcp(self, *given: Any, **options: Any) -> httpcore.NetworkStream:
        return _LargeStream(super().connect_tcp(*given, **options))


class _LargeStream(httpcore.NetworkStream):
    """A blocking stream that reads as much as there is."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max(max_bytes, _PART), timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def start_tls(self, *given: Any, **options: Any) -> httpcore.NetworkStream:
        return _LargeStream(self._stream.start_tls(*given, **options))


class _Network(httpcore.AsyncNetworkBackend):
    """TCP and TLS by asyncio alone."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                _, line = await asyncio.get_running_loop().create_connection(
                    _Line, host, port, happy_eyeballs_delay=0.25
                )
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return line

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Line(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection: what arrived and was not read yet, and what is written and not sent yet."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._arrived = bytearray()
        self._unsent = b""
        self._ended = False
        self._error: Exception | None = None
        self._changed: asyncio.Future[None] | None = None
        self._full = False  # the other side takes nothing more for the moment
        self._paused = False  # nor do we

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        if len(self._arrived) > _AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended, self._error, self._full = True, error, False
        self._wake()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _change(self, timeout: float | None) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(timeout):
            await self._changed

    # What httpcore asks for

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next bytes, as many as there are; none at the end. Sends what was written before."""
        await self._send(timeout)
        try:
            while not self._arrived and not self._ended:
                await self._change(timeout)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        if not self._arrived and self._error is not None:
            raise httpcore.ReadError(str(self._error)) from self._error
        data = bytes(self._arrived[:max_bytes])
        del self._arrived[:max_bytes]
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Take it to be sent, together with what follows: a request's head and body are one packet if they fit."""
        self._unsent += buffer
        if len(self._unsent) > _CORK:
            await self._send(timeout)

    async def _send(self, timeout: float | None) -> None:
        if not self._unsent:
            return
        data, self._unsent = self._unsent, b""
        self._transport.write(data)
        try:
            while self._full:
                await self._change(timeout)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error

    async def aclose(self) -> None:
        """Close it, without a farewell: what there was to say is said."""
        self._transport.abort()
        await asyncio.sleep(0)  # asyncio lets go of the socket in its next turn

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                self._transport = await asyncio.get_running_loop().start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            await self.aclose()
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            await self.aclose()
            raise httpcore.ConnectError(str(error)) from error
        return self

    def get_extra_info(self, info: str) -> Any:
        """``is_readable``, of a connection that rests: the other side has closed it, or speaks out of turn."""
        if info == "is_readable":
            return self._ended or bool(self._arrived) or _is_readable(self._transport.get_extra_info("socket").fileno())
        return self._transport.get_extra_info({"server_addr": "peername", "client_addr": "sockname"}.get(info, info))


def _is_readable(descriptor: int) -> bool:
    if descriptor < 0:
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
