"""What one HTTP request needs: where the key may go, bounded answers, and what a failure means."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Generator, Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

import httpx

from oxenvideo.client.credentials import Secret
from oxenvideo.client.retry import parse_retry_after
from oxenvideo.errors import ConnectionFailed, DownloadFailed, OutcomeUnknown, UnexpectedAnswer

CONNECT = 10.0  # seconds until a connection must be made
POOL = 120.0  # seconds until one of the pool must become free
ANSWER_LIMIT = 64 * 1024 * 1024  # bytes of an ordinary answer: a list of tens of thousands of generations

KEEP_ALIVE = 3.0  # seconds for which an idle connection is kept, fewer than the 5 after which many servers close it
HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "oxenvideo"}
ERROR_LIMIT = 256 * 1024  # bytes of an error's body that are read
REDIRECTS = 5  # that a result URL may take

# Failures before a single byte of the request was sent: sending it again cannot be a second submit.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


@contextlib.contextmanager
def translated(host: str) -> Iterator[None]:
    """Raise httpx's failures as our own, which say whether the request may have reached ``host``."""
    try:
        yield
    except _NEVER_SENT as error:
        raise ConnectionFailed(f"Cannot reach {host}: {reason(error)}.") from None
    except httpx.TimeoutException:
        raise OutcomeUnknown(f"{host} did not answer in time.") from None
    except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL, ValueError) as error:
        # httpx also parses the target of a redirect that it does not follow, and fails in various ways.
        raise OutcomeUnknown(f"The connection to {host} broke: {reason(error)}.") from None


class KeyForOrigin(httpx.Auth):
    """Adds the key to requests to one origin, right before they are sent."""

    def __init__(self, key: Secret, base_url: str) -> None:
        self.secret = key
        self._header = f"Bearer {key.reveal()}"
        self._origin = _origin(httpx.URL(base_url))

    @property
    def is_loopback(self) -> bool:
        """Whether the origin is on this machine."""
        return self._origin[1] in ("127.0.0.1", "localhost", "::1")

    def sign(self, request: httpx.Request) -> None:
        """Add the key, if the request goes to the origin."""
        if _origin(request.url) == self._origin:
            request.headers["Authorization"] = self._header

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the key to each request of a flow, as httpx asks for it."""
        self.sign(request)
        yield request


@functools.lru_cache(maxsize=16)
def parsed_url(text: str) -> httpx.URL:
    """Parsing a URL takes a tenth of a request's processor time, and most requests go to the same few."""
    return httpx.URL(text)


def result_url(text: str, base: str) -> httpx.URL:
    """The address of a result, relative to ``base``; DownloadFailed for one that must not be fetched."""
    try:
        url = httpx.URL(urljoin(base, text))
        host = url.host  # decoding it may fail
        if (url.port or 0) > 65535:
            raise ValueError(url.port)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise DownloadFailed("The service named a result URL that is not valid.") from None
    if url.scheme not in ("http", "https") or not host:
        raise DownloadFailed(
            f"The service named a result URL of kind {url.scheme or 'none'!r}; only http and https are fetched."
        )
    if url.userinfo:
        raise DownloadFailed("The service named a result URL with a user and password; it was not fetched.")
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


async def read(response: httpx.Response, limit: int) -> bytes:
    """The body of an answer of at most ``limit`` bytes; raises UnexpectedAnswer and OutcomeUnknown."""
    parts = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            parts += chunk
            if len(parts) > limit:
                raise UnexpectedAnswer(f"The service's answer is longer than {limit / 1e6:.3g} MB; it was not read.")
    except httpx.TimeoutException:
        raise OutcomeUnknown("The service stopped in the middle of its answer.") from None
    except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
        raise OutcomeUnknown(f"The service's answer broke off: {reason(error)}.") from None
    return bytes(parts)


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that an answer asks to wait. A date is compared with the Date header of the same answer if it has one."""
    there = date_of(response)
    return parse_retry_after(response.headers.get("retry-after"), time.time() if there is None else there)


def reason(error: Exception) -> str:
    """What went wrong with the connection, in httpx's words."""
    return str(error).rstrip(".") or type(error).__name__


def date_of(response: httpx.Response) -> float | None:
    """The Date header in unix seconds."""
    try:
        return parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def monotonic() -> float:
    """The event loop's clock, which a simulation may control; outside of a loop the same clock by its other name."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()
