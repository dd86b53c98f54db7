"""One request on the wire: the pool, where the key may go, bounded answers, and what a failure means."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin
from urllib.request import getproxies

import httpx

from oxenvideo.client import responses
from oxenvideo.client.connections import Files, Requests
from oxenvideo.credentials import Secret
from oxenvideo.errors import ConnectionFailed, DownloadFailed, InvalidRequest, OutcomeUnknown, UnexpectedAnswer
from oxenvideo.retry import parse_retry_after

#: Seconds for a connection to be made, and for one of the pool to come free.
CONNECT = 10.0
POOL = 120.0
#: Seconds for which an idle connection is kept: fewer than common servers' 5, so that a submit is not sent into one which
#: the other side is just closing.
KEEP_ALIVE = 3.0

ANSWER_LIMIT = 64 * 1024 * 1024  # bytes of an ordinary answer: a list of tens of thousands of generations
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "oxenvideo"}
_ERROR_LIMIT = 256 * 1024  # bytes of an error's body that are read
_REDIRECTS = 5  # that a result URL may take

# Failures before a single byte of the request was on its way: sending again cannot be a second submit.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


class Transport:
    """Sends requests to one service, and to wherever its results lie. Follows no redirects, repeats nothing."""

    def __init__(self, base_url: str, key: Secret, *, connections: int, timeout: float) -> None:
        self.base_url = base_url
        self.clock_offset: float | None = None
        self._date = ""
        self._key = _KeyForOrigin(key, base_url)
        self._timeout = httpx.Timeout(timeout, connect=CONNECT, pool=POOL)
        self._http, self._blocking = _pools(connections, trust_env=not self._key.is_loopback)

    async def aclose(self) -> None:
        """Close all connections."""
        self._blocking.close()
        await self._http.aclose()

    def relocate(self, base_url: str) -> None:
        """Go on with the same service at another address."""
        self.base_url = base_url
        self._key = self._key.at(base_url)

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
        """Send an API request and return the answer's head; its body is still to be read, and to be closed."""
        extensions = {"timeout": (timeout or self._timeout).as_dict()}
        try:
            url = _url(self.base_url + path)
            request = httpx.Request(
                method, url, headers={**_HEADERS, **(headers or {})}, extensions=extensions, **content
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidRequest(f"{path[:80]} cannot be asked for: {error}.") from None
        return await self._send(request)

    async def json(self, method: str, path: str, *, most: int = ANSWER_LIMIT, **options: Any) -> dict[str, Any]:
        """The JSON object that a successful request answers with; a ServiceError for any other answer."""
        content, status_code = await self._ask(method, path, most, options)
        return responses.decode(content, status_code=status_code, what=f"{method} {path}")

    async def done(self, method: str, path: str, **options: Any) -> None:
        """A request of which only the success matters."""
        await self._ask(method, path, ANSWER_LIMIT, options)

    async def _ask(self, method: str, path: str, most: int, options: dict[str, Any]) -> tuple[bytes, int]:
        response = await self.open(method, path, **options)
        try:
            if not response.is_success:
                raise await self.failure(response)
            return await _read(response, most), response.status_code
        finally:
            await response.aclose()

    async def failure(self, response: httpx.Response) -> Exception:
        """The exception for an answer that is an error."""
        try:
            content = await _read(response, _ERROR_LIMIT)
        except (OutcomeUnknown, UnexpectedAnswer):
            content = b""  # the status line already says it is an error
        if response.has_redirect_location:
            return UnexpectedAnswer(
                f"{response.url.host} redirects API requests (HTTP {response.status_code}): check base_url.",
                status_code=response.status_code,
            )
        return responses.error_from(response.status_code, content, retry_after(response))

    # To anywhere

    def get(self, url: httpx.URL, headers: dict[str, str]) -> httpx.Response:
        """Send a GET to any address, blocking; the key goes along only to the service's own origin."""
        try:
            with _translated(url.host):
                named = {"User-Agent": _HEADERS["User-Agent"], **headers}
                request = self._blocking.build_request("GET", url, headers=named, timeout=self._timeout)
                return self._blocking.send(request, stream=True, auth=self._key)
        except (httpx.InvalidURL, ValueError) as error:
            raise DownloadFailed(f"The address of the result is not usable: {error}.") from None

    @contextlib.contextmanager
    def open_result(self, url: str, *, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """The answer of a result URL as a stream, whatever its status; see ``Client.open_result``."""
        address = _result_url(urljoin(self.base_url + "/", url))
        for _ in range(_REDIRECTS + 1):
            response = self.get(address, {"Accept-Encoding": "identity", **(headers or {})})
            try:
                if not response.has_redirect_location:
                    yield response
                    return
                onward = _result_url(str(address.join(response.headers["location"])))
                if address.scheme == "https" and onward.scheme == "http":
                    raise DownloadFailed("The result URL leads from https to http; it was not followed.")
                address = onward
            finally:
                response.close()
        raise DownloadFailed(f"The result URL was redirected more than {_REDIRECTS} times.")

    async def _send(self, request: httpx.Request) -> httpx.Response:
        self._key.sign(request)
        with _translated(request.url.host):
            response = await self._http.send(request, stream=True)
        date = response.headers.get("date", "")
        if date != self._date and self._key.belongs_to(request.url) and (there := _date(response)) is not None:
            self._date = date
            self.clock_offset = there - time.time()
        return response


def _pools(connections: int, *, trust_env: bool) -> tuple[Requests | httpx.AsyncClient, httpx.Client]:
    """One pool for API calls and the stream, and one, blocking, for result files alone."""
    context = httpx.create_ssl_context(trust_env=trust_env)  # made once: it takes its time
    if trust_env and getproxies().keys() & {"http", "https", "all"}:  # httpx knows what to make of them
        limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEP_ALIVE
        )
        return httpx.AsyncClient(verify=context, limits=limits), httpx.Client(verify=context, limits=limits)
    files = Files(
        ssl_context=context,
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=KEEP_ALIVE,
    )
    return Requests(ssl_context=context, connections=connections, keep_alive=KEEP_ALIVE), httpx.Client(transport=files)


@contextlib.contextmanager
def _translated(host: str) -> Iterator[None]:
    """Whether a request that failed has reached ``host`` decides everything that follows: say it in our own terms."""
    try:
        yield
    except _NEVER_SENT as error:
        raise ConnectionFailed(f"Cannot reach {host}: {why(error)}.") from None
    except httpx.TimeoutException:
        raise OutcomeUnknown(f"{host} did not answer in time.") from None
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise OutcomeUnknown(f"The connection to {host} broke: {why(error)}.") from None


class _KeyForOrigin(httpx.Auth):
    """Puts the key into requests to one origin, at the last moment: no header dictionary of ours ever holds it."""

    def __init__(self, key: Secret, base_url: str) -> None:
        self._secret = key
        self._origin = _origin(httpx.URL(base_url))

    @property
    def is_loopback(self) -> bool:
        return self._origin[1] in ("127.0.0.1", "localhost", "::1")

    def at(self, base_url: str) -> _KeyForOrigin:
        """The same key for another address of the same service."""
        return _KeyForOrigin(self._secret, base_url)

    def belongs_to(self, url: httpx.URL) -> bool:
        return _origin(url) == self._origin

    def sign(self, request: httpx.Request) -> None:
        if self.belongs_to(request.url):
            request.headers["Authorization"] = f"Bearer {self._secret.reveal()}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self.sign(request)
        yield request


@functools.lru_cache(maxsize=16)
def _url(text: str) -> httpx.URL:
    """Taking an address apart costs a tenth of a request; most go to the same few."""
    return httpx.URL(text)


def _result_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise DownloadFailed("The service named a result URL that is no URL.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise DownloadFailed(
            f"The service named a result URL of kind {url.scheme or 'none'!r}; only http and https are fetched."
        )
    if url.userinfo:
        raise DownloadFailed("The service named a result URL with a user and password; it was not fetched.")
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


async def _read(response: httpx.Response, most: int) -> bytes:
    parts = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            parts += chunk
            if len(parts) > most:
                raise UnexpectedAnswer(f"The service's answer is longer than {most / 1e6:.3g} MB; it was left unread.")
    except httpx.TimeoutException:
        raise OutcomeUnknown("The service stopped in the middle of its answer.") from None
    except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
        raise OutcomeUnknown(f"The service's answer broke off: {why(error)}.") from None
    return bytes(parts)


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that an answer asks to wait; a date in it is read by the clock that made it, where it tells that."""
    there = _date(response)
    return parse_retry_after(response.headers.get("retry-after"), time.time() if there is None else there)


def _date(response: httpx.Response) -> float | None:
    """The service's clock as its Date header tells, to the second."""
    return parse_retry_after(response.headers.get("date"), 0.0)


def why(error: Exception) -> str:
    """What went wrong on the wire, in its own words."""
    return str(error).rstrip(".") or type(error).__name__
