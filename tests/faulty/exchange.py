"""One request and the ways to answer it, well or badly: bytes on the wire, close, reset, silence."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from .model import Job

CHUNK = 64 * 1024


@dataclass
class Request:
    """A request as it was received."""

    connection: int  # its number, counted from 1
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    route: str  # its kind, as in "GET /api/ai/queue/{id}"
    body: bytes = b""
    behaviour: str = "ok"
    acted: bool = False
    status: int | None = None  # of the answer; None where none was sent

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """An answer before it is put on the wire."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def head(self, length: int | None = None, **without: bool) -> bytes:
        """Status line and headers; `length` in place of the body's own, `no_length=True` to leave it out."""
        lines = [f"HTTP/1.1 {self.status} {_phrase(self.status)}", f"Content-Type: {self.content_type}"]
        if not without.get("no_length"):
            lines.append(f"Content-Length: {len(self.body) if length is None else length}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def json_reply(data: Any, status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(data).encode(), headers=named)


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return HTTPStatus(status).phrase
    return "Unknown"


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset in place of an orderly end."""
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass(eq=False)
class Subscription:
    """One open event stream: what is to be told on it."""

    keep_alive: float
    events: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)


class Exchange:
    """What a behaviour has in hand: the request, what the service would answer, and the raw connection."""

    def __init__(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        act: Callable[[], Awaitable[Reply]],
        delivered: Callable[[int], None],
        job: Job | None,
        clock: Callable[[], float],
    ) -> None:
        self.request = request
        self.reader = reader
        self.writer = writer
        self.subscription = Subscription(keep_alive=15.0)
        self.closed = False  # no further request can come on this connection
        self._act = act
        self._delivered = delivered
        self._job = job
        self._clock = clock
        self._reply: Reply | None = None

    @property
    def job(self) -> Job:
        """The generation whose result is asked for."""
        if self._job is None:
            raise LookupError(f"{self.request.path} names no generation of this service")
        return self._job

    async def act(self) -> Reply:
        """Do what was asked, once, and return the proper answer without sending it."""
        if self._reply is None:
            self.request.acted = True
            self._reply = await self._act()
        return self._reply

    async def send(self, reply: Reply, *, pause: float = 0.0, chunk: int = CHUNK) -> None:
        """Send a whole answer; with a pause, that many seconds after each chunk of the body."""
        await self.send_head(reply)
        await self.send_body(reply.body, pause=pause, chunk=chunk)

    async def send_head(self, reply: Reply, length: int | None = None, **without: bool) -> None:
        self.request.status = reply.status
        reply = replace(reply, headers={"Date": formatdate(self._clock(), usegmt=True)} | reply.headers)
        self.writer.write(reply.head(length, **without))
        await self.writer.drain()

    async def send_body(self, body: bytes, *, pause: float = 0.0, chunk: int = CHUNK) -> None:
        view = memoryview(body)
        for start in range(0, len(body), chunk):
            piece = view[start : start + chunk]
            self.writer.write(piece)
            self._delivered(len(piece))
            await self.writer.drain()
            if pause:
                await asyncio.sleep(pause)

    async def send_chunked(self, body: bytes) -> None:
        """Send a body in HTTP chunks, the last one included."""
        for start in range(0, len(body), CHUNK):
            piece = body[start : start + CHUNK]
            self.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self._delivered(len(piece))
            await self.writer.drain()
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    def reset(self) -> None:
        self.closed = True
        reset(self.writer)

    def close(self) -> None:
        """End the connection in order (FIN) after what was written."""
        self.closed = True
        self.writer.close()

    async def until_left(self) -> None:
        """Keep the connection, say nothing more, and wait until the other side leaves."""
        self.closed = True
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(CHUNK):
                pass
