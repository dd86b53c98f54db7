"""Send one HTTP request: connections, where the key may go, bounded answers, and what a failure means."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Generator, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import httpx

from oxenvideo.client import responses
from oxenvideo.client.credentials import Secret
from oxenvideo.client.retry import parse_retry_after
from oxenvideo.errors import ConnectionFailed, DownloadFailed, InvalidRequest, OutcomeUnknown, UnexpectedAnswer

CONNECT = 10.0  # seconds until a connection must be made
POOL = 120.0  # seconds until one of the pool must become free
ANSWER_LIMIT = 64 * 1024 * 1024  # bytes of an ordinary answer: a list of tens of thousands of generations

_KEEP_ALIVE = 3.0  # seconds for which an idle connection is kept, fewer than the 5 after which many servers close it
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "oxenvideo"}
_ERROR_LIMIT = 256 * 1024  # bytes of an error's body that are read
_REDIRECTS = 5  # that a result URL may take

# Failures before a single byte of the request was sent: sending it again cannot be a second submit.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


class Transport:
    """Sends requests to one service, and to wherever its results are. Retries nothing.

    POST requests never use a kept connection. A server may close such a connection right after its last answer, and a
    submit sent at that moment is lost without a trace.
    """

    def __init__(
        self,
        base_url: str,
        key: Secret,
        *,
        connections: int,
        timeout: float,
        answer_limit: int = ANSWER_LIMIT,
        transport: httpx.AsyncBaseTransport | None = None,
        file_transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url
        self._key = _KeyForOrigin(key, base_url)
        self._timeout = httpx.Timeout(timeout, connect=CONNECT, pool=POOL)
        self._extensions = {"timeout": self._timeout.as_dict()}
        self._answer_limit = answer_limit
        self._date: tuple[str, float, float] | None = None  # the last Date header, its unix seconds, and when it came
        trust_env = not self._key.is_loopback
        context = httpx.create_ssl_context(trust_env=trust_env)  # shared by all, because loading certificates is slow
        limits = httpx.Limits(max_connections=connections, keepalive_expiry=_KEEP_ALIVE)
        unkept = httpx.Limits(max_connections=connections, max_keepalive_connections=0)
        self._kept = httpx.AsyncClient(verify=context, limits=limits, trust_env=trust_env, transport=transport)
        self._fresh = httpx.AsyncClient(verify=context, limits=unkept, trust_env=trust_env, transport=transport)
        self._files = httpx.Client(verify=context, limits=limits, trust_env=trust_env, transport=file_transport)

    async def aclose(self) -> None:
        """Close all connections."""
        self._files.close()
        await self._fresh.aclose()
        await self._kept.aclose()

    def relocate(self, base_url: str) -> None:
        """Continue with the same service at another address."""
        self.base_url = base_url
        self._key = _KeyForOrigin(self._key.secret, base_url)

    def service_time(self) -> float | None:
        """The service's clock now, in unix seconds; see ``Client.service_time``."""
        return None if self._date is None else self._date[1] + _monotonic() - self._date[2]

    @property
    def clock_offset(self) -> float | None:
        """Seconds by which the service's clock is ahead of this machine's."""
        there = self.service_time()
        return None if there is None else there - time.time()

    # To the service

    async def open(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: httpx.Timeout | None = None,
        **content: Any,
    ) -> httpx.Response:
        """Send an API request and return the head of the answer. Read its body, then close it."""
        extensions = {"timeout": timeout.as_dict()} if timeout else self._extensions
        try:
            url = _url(self.base_url + path)
            request = httpx.Request(
                method, url, headers={**_HEADERS, **(headers or {})}, extensions=extensions, **content
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidRequest(f"{path[:80]} cannot be requested: {error}.") from None
        self._key.sign(request)
        with _translated(url.host):
            response = await (self._fresh if method == "POST" else self._kept).send(request, stream=True)
        self._note_date(response)
        return response

    async def json(self, method: str, path: str, *, limit: int | None = None, **options: Any) -> dict[str, Any]:
        """The JSON object of a successful answer of at most ``limit`` bytes; a ServiceError for any other answer."""
        content, status_code = await self._ask(method, path, limit or self._answer_limit, options)
        return responses.decode(content, status_code=status_code, what=f"{method} {path}")

    async def done(self, method: str, path: str, **options: Any) -> None:
        """Send a request of which only the success matters."""
        await self._ask(method, path, self._answer_limit, options)

    async def _ask(self, method: str, path: str, limit: int, options: dict[str, Any]) -> tuple[bytes, int]:
        response = await self.open(method, path, **options)
        try:
            if not response.is_success:
                raise await self.failure(response)
            return await _read(response, limit), response.status_code
        finally:
            await response.aclose()

    async def failure(self, response: httpx.Response) -> Exception:
        """The exception for an answer that is an error."""
        try:
            content = await _read(response, _ERROR_LIMIT)
        except (OutcomeUnknown, UnexpectedAnswer):
            content = b""  # the status alone says that it is an error
        if response.has_redirect_location:
            return UnexpectedAnswer(
                f"{response.url.host} redirects API requests (HTTP {response.status_code}): check base_url.",
                status_code=response.status_code,
            )
        return responses.error_from(response.status_code, content, retry_after(response))

    def _note_date(self, response: httpx.Response) -> None:
        date = response.headers.get("date", "")
        # The header counts whole seconds: the answer that first shows a new one is nearest to its beginning.
        if (self._date is None or date != self._date[0]) and (seconds := _date(response)) is not None:
            self._date = (date, seconds, _monotonic())

    # To any address

    @contextlib.contextmanager
    def open_result(self, url: str, *, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """The answer of a result URL as a stream; see ``Client.open_result``."""
        address = _result_url(url, self.base_url + "/")
        named = {"User-Agent": _HEADERS["User-Agent"], "Accept-Encoding": "identity", **(headers or {})}
        for _ in range(_REDIRECTS + 1):
            with _translated(address.host):
                request = self._files.build_request("GET", address, headers=named, timeout=self._timeout)
                response = self._files.send(request, stream=True, auth=self._key)
            try:
                if not response.has_redirect_location:
                    yield response
                    return
                onward = _result_url(response.headers["location"], str(address))
                if address.scheme == "https" and onward.scheme == "http":
                    raise DownloadFailed("The result URL redirects from https to http; the redirect was not followed.")
                address = onward
            finally:
                response.close()
        raise DownloadFailed(f"The result URL was redirected more than {_REDIRECTS} times.")


@contextlib.contextmanager
def _translated(host: str) -> Iterator[None]:
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


class _KeyForOrigin(httpx.Auth):
    """Puts the key into requests to one origin, at the last moment: no header dictionary of ours ever holds it."""

    def __init__(self, key: Secret, base_url: str) -> None:
        self.secret = key
        self._origin = _origin(httpx.URL(base_url))

    @property
    def is_loopback(self) -> bool:
        return self._origin[1] in ("127.0.0.1", "localhost", "::1")

    def sign(self, request: httpx.Request) -> None:
        if _origin(request.url) == self._origin:
            request.headers["Authorization"] = f"Bearer {self.secret.reveal()}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self.sign(request)
        yield request


@functools.lru_cache(maxsize=16)
def _url(text: str) -> httpx.URL:
    """Parsing a URL takes a tenth of a request's processor time, and most requests go to the same few."""
    return httpx.URL(text)


def _result_url(text: str, base: str) -> httpx.URL:
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


async def _read(response: httpx.Response, limit: int) -> bytes:
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
    there = _date(response)
    return parse_retry_after(response.headers.get("retry-after"), time.time() if there is None else there)


def reason(error: Exception) -> str:
    """What went wrong with the connection, in httpx's words."""
    return str(error).rstrip(".") or type(error).__name__


def _date(response: httpx.Response) -> float | None:
    """The Date header in unix seconds."""
    try:
        return parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _monotonic() -> float:
    """The event loop's clock, which a simulation may control; outside of a loop the same clock by its other name."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()
