"""An event stream's text with a bound on what one event may hold."""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncIterator
from typing import cast

import httpx

#: Characters from one empty line of the stream to the next. An event of the service has a few hundred.
EVENT_LIMIT = 4 * 1024 * 1024

_BETWEEN_EVENTS = re.compile(r"\r\n\r\n|\n\n|\r\r")


class TooLong(Exception):
    """The stream sends without end what never becomes an event."""


def bounded(response: httpx.Response, limit: int = EVENT_LIMIT) -> httpx.Response:
    """The response as a reader of events needs it: UTF-8 whatever was declared, and TooLong beyond the limit.

    The HTML standard has event streams in UTF-8, with an optional byte order mark that is dropped, and with bytes that
    are no UTF-8 replaced.
    """
    return cast(httpx.Response, _Bounded(response, limit))


class _Bounded:
    """The two things of a response that httpx-sse reads."""

    def __init__(self, response: httpx.Response, limit: int) -> None:
        self.headers = response.headers
        self._response = response
        self._limit = limit

    async def aiter_text(self) -> AsyncIterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        pending = 0
        tail = ""  # an empty line may be cut between two chunks
        async for chunk in self._response.aiter_bytes():
            text = decoder.decode(chunk)
            pending += len(text)
            for match in _BETWEEN_EVENTS.finditer(tail + text):
                pending = len(tail) + len(text) - match.end()
            if pending > self._limit:
                raise TooLong(f"an event of more than {self._limit // 1024**2} MB")
            tail = (tail + text)[-3:]
            if text:
                yield text
