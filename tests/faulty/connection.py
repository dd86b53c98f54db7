"""One connection as the server sees it: heads and bodies read with h11, one request after the other."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

from .exchange import CHUNK, Request
from .routes import route_of


class Incoming:
    """Reads requests from a connection; bytes beyond one request are kept for the next."""

    def __init__(self, reader: asyncio.StreamReader, number: int) -> None:
        self.reader = reader
        self.number = number
        self.keep_alive = True
        self._parser = h11.Connection(h11.SERVER)

    async def head(self) -> Request | None:
        """The next request without its body; None when the client has left."""
        rest, _ = self._parser.trailing_data
        self._parser = h11.Connection(h11.SERVER)
        if rest:
            self._parser.receive_data(rest)
        event = await self._next_event()
        if not isinstance(event, h11.Request):
            return None
        headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        self.keep_alive = headers.get("connection", "").lower() != "close"
        target = urlsplit(event.target.decode())
        method, path = event.method.decode(), unquote(target.path)
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        return Request(self.number, method, path, query, headers, route_of(method, path))

    async def body(self) -> bytes:
        """The body of the request whose head was read last."""
        parts = []
        while isinstance(event := await self._next_event(), h11.Data):
            parts.append(bytes(event.data))
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionError("the client left in the middle of its request")
        return b"".join(parts)

    async def _next_event(self) -> object:
        while (event := self._parser.next_event()) is h11.NEED_DATA:
            data = await self.reader.read(CHUNK)
            if not data and self._parser.their_state is h11.IDLE:
                return None
            self._parser.receive_data(data)
        return event
