"""The typed client of Oxen.ai's inference API: every endpoint, the event stream and result files."""

from __future__ import annotations

import asyncio
import codecs
import functools
import re
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Self, cast
from urllib.parse import quote, urljoin

import httpx
from httpx_sse import EventSource, SSEError

from oxenvideo import errors
from oxenvideo.client import responses
from oxenvideo.client.credentials import Secret, resolve
from oxenvideo.client.responses import Accepted, HistoryPage, Observation, Rendered, User
from oxenvideo.client.retry import parse_retry_after

STREAM_SILENCE = 46.0
"""Seconds of silence after which the event stream counts as broken: three of the service's keep-alives of 15 s."""

_CONNECT = 10.0  # seconds until a connection must be made
_POOL = 120.0  # seconds until one of the pool must become free
_KEEP_ALIVE = 3.0  # seconds for which an idle connection is kept, fewer than the 5 after which many servers close it
_ANSWER = 30.0  # seconds for an ordinary answer
_SYNCHRONOUS_ANSWER = 20 * 60.0  # seconds; the documentation says that a video takes up to 15 minutes
_ANSWER_LIMIT = 64 * 1024 * 1024  # bytes of an ordinary answer: a list of tens of thousands of generations
_ERROR_LIMIT = 256 * 1024  # bytes of an error's body that are read
_VIDEO_ANSWER_LIMIT = 512 * 1024 * 1024  # bytes; a b64_json answer holds whole videos
_EVENT_LIMIT = 4 * 1024 * 1024  # characters of one event; the service's events have a few hundred
_REDIRECTS = 5  # that a result URL may take
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "oxenvideo"}
# Failures before a single byte of the request was sent: sending it again cannot be a second submit.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)
_END_OF_EVENT = re.compile(r"\r\n\r\n|\n\n|\r\r")


class Client:
    """Oxen.ai's inference API, typed and asynchronous.

    Each request raises a ServiceError (by its subclass, see there) for an answer that is an error, ConnectionFailed if it
    never reached the service, OutcomeUnknown if it may have reached it and no whole answer came back, and InvalidRequest
    for an id that no URL can hold. The client retries nothing, because some requests cost money.

    The key goes to the origin of ``base_url`` and nowhere else. API requests follow no redirects. ``timeout`` is the
    seconds to wait for an ordinary answer, ``stream_silence`` those for an event or keep-alive of the event stream,
    ``answer_limit`` the bytes that an ordinary answer may have. At most ``connections`` submits and as many other
    requests are in progress at once. ``transport`` and ``file_transport`` replace the connections of API requests and
    result files.

    Raises ConfigurationError without an address and a key, by argument or as ``OXEN_BASE_URL`` and ``OXEN_API_KEY``.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        *,
        connections: int = 64,
        timeout: float = _ANSWER,
        stream_silence: float = STREAM_SILENCE,
        answer_limit: int = _ANSWER_LIMIT,
        transport: httpx.AsyncBaseTransport | None = None,
        file_transport: httpx.BaseTransport | None = None,
    ) -> None:
        target = resolve(base_url, api_key.reveal() if isinstance(api_key, Secret) else api_key)
        if target.is_local or target.api_key is None:
            advice = "give base_url and api_key, or set OXEN_API_KEY."
            raise errors.ConfigurationError(f"A Client needs an address and a key: {advice}")
        self.base_url = target.base_url
        self._authorization = f"Bearer {target.api_key.reveal()}"
        self._origin = _origin(httpx.URL(target.base_url))
        self._timeout = httpx.Timeout(timeout, connect=_CONNECT, pool=_POOL)
        self._extensions = {"timeout": self._timeout.as_dict()}
        self._answer_limit = answer_limit
        self._date: tuple[str, float, float] | None = None  # the last Date header, its unix seconds, and when it came
        trust_env = self._origin[1] not in ("127.0.0.1", "localhost", "::1")
        options: dict[str, Any] = {"verify": _tls(trust_env), "trust_env": trust_env}
        limits = httpx.Limits(max_connections=connections, keepalive_expiry=_KEEP_ALIVE)
        # A server may close a kept connection right after its last answer, and a submit that is sent at that moment is
        # lost without a trace. So POST requests never use a kept connection.
        unkept = httpx.Limits(max_connections=connections, max_keepalive_connections=0)
        self._kept = httpx.AsyncClient(limits=limits, transport=transport, **options)
        self._fresh = httpx.AsyncClient(limits=unkept, transport=transport, **options)
        self._files = httpx.Client(limits=limits, transport=file_transport, **options)
        self._stream_silence = stream_silence

    def __repr__(self) -> str:
        return f"Client(base_url={self.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        self._files.close()
        await self._fresh.aclose()
        await self._kept.aclose()

    def service_time(self) -> float | None:
        """The service's clock now, in unix seconds and to about a second; None before its first answer.

        This is the last Date header plus the time since by the event loop's monotonic clock, so that a step of this
        machine's wall clock has no effect.
        """
        return None if self._date is None else self._date[1] + _monotonic() - self._date[2]

    def relocate(self, base_url: str) -> None:
        """Continue with the same service at another address, which the embedded server has after a restart."""
        self.base_url = base_url
        self._origin = _origin(httpx.URL(base_url))

    # Making videos

    async def generate(self, body: Mapping[str, Any] | bytes) -> Rendered:
        """POST /api/ai/videos/generate, which answers when the video is ready, usually after 1 to 15 minutes.

        Raises InvalidRequest for a body that is not JSON.
        """
        timeout = httpx.Timeout(_SYNCHRONOUS_ANSWER, connect=_CONNECT, write=60.0, pool=_POOL)
        answer = await self._post("/api/ai/videos/generate", body, timeout=timeout, limit=_VIDEO_ANSWER_LIMIT)
        return responses.rendered(answer)

    async def enqueue(self, body: Mapping[str, Any] | bytes) -> list[Accepted]:
        """POST /api/ai/queue: enqueue one or more generations; ``body`` may be encoded already.

        Raises InvalidRequest for a body that is not JSON. An answer with an error and without ids is a refusal, whatever
        its HTTP status.
        """
        return responses.accepted(await self._post("/api/ai/queue", body))

    async def queue(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        media_type: str | None = None,
        namespace: str | None = None,
        repo: str | None = None,
        folder: str | None = None,
    ) -> list[Observation]:
        """GET /api/ai/queue: the account's generations, only the active ones if no status is named."""
        query = {"status": status, "model": model, "media_type": media_type}
        payload = await self._get("/api/ai/queue", **query, namespace=namespace, repo=repo, folder=folder)
        return responses.observations(payload, what="the queue")

    async def generation(self, generation_id: str) -> Observation:
        """GET /api/ai/queue/{id}: one generation's status and result. Raises NotFound for an unknown id."""
        return responses.observation(await self._get(f"/api/ai/queue/{_segment(generation_id)}"))

    async def cancel(self, generation_id: str) -> None:
        """DELETE /api/ai/queue/{id}; for a generation that has ended it succeeds and has no effect.

        Raises NotFound for an unknown id.
        """
        await self._ask("DELETE", f"/api/ai/queue/{_segment(generation_id)}")

    async def history(
        self,
        *,
        page: int = 1,
        page_size: int = 50,
        status: str | None = None,
        model: str | None = None,
        media_type: str | None = None,
        namespace: str | None = None,
        repo: str | None = None,
        folder: str | None = None,
    ) -> HistoryPage:
        """GET /api/ai/generations: one page of the account's generations with their costs, at most 1000 to a page."""
        query = {"page": str(page), "page_size": str(page_size), "status": status, "model": model}
        query |= {"media_type": media_type, "namespace": namespace, "repo": repo, "folder": folder}
        return responses.history_page(await self._get("/api/ai/generations", **query))

    async def history_entry(self, generation_id: str) -> Observation:
        """GET /api/ai/generations/{id}: one generation in full, with its cost. Raises NotFound for an unknown id."""
        payload = await self._get(f"/api/ai/generations/{_segment(generation_id)}")
        inner = payload.get("generation")
        return responses.observation(inner if isinstance(inner, dict) else payload)

    # Models, as the service gives them

    async def models(
        self, *, developer_name: str | None = None, provider_name: str | None = None, action: str | None = None
    ) -> dict[str, Any]:
        """GET /api/ai/models."""
        query = {"developer_name": developer_name, "provider_name": provider_name, "action": action}
        return await self._get("/api/ai/models", **query)

    async def search_models(self, words: str) -> dict[str, Any]:
        """GET /api/ai/models/search."""
        return await self._get("/api/ai/models/search", search=words)

    async def featured_models(self) -> dict[str, Any]:
        """GET /api/ai/models/featured."""
        return await self._get("/api/ai/models/featured")

    async def favorite_models(self) -> dict[str, Any]:
        """GET /api/ai/models/favorites."""
        return await self._get("/api/ai/models/favorites")

    async def model(self, model_id: str) -> dict[str, Any]:
        """GET /api/ai/models/{id}: one model, with its ``request_schema``. Raises NotFound for an unknown id."""
        return await self._get(f"/api/ai/models/{_segment(model_id)}")

    # Account and files

    async def authorize(self) -> User:
        """GET /api/authorize: whose key this is, a free way to check a key. Raises AuthenticationFailed for a wrong key."""
        user = (await self._get("/api/authorize")).get("user")
        if not isinstance(user, dict):
            raise errors.UnexpectedAnswer("The service accepted the key and named no user.")
        return User(str(user.get("name", "")), user.get("email"))

    async def create_repository(self, namespace: str, name: str) -> None:
        """POST /api/repos: a public repository, because the service reads media from no other kind.

        Raises BadRequest with ``status_code`` 409 if it exists already.
        """
        await self._ask("POST", "/api/repos", json={"namespace": namespace, "name": name, "is_public": True})

    async def upload(
        self, namespace: str, repo: str, path: str, content: bytes, *, branch: str = "main", mime: str, message: str
    ) -> str:
        """PUT a file into an Oxen repository and return its URL, which the service can read if the repository is public.

        Raises NotFound for an unknown repository.
        """
        user = await self.authorize()
        file = "/".join(_segment(part) for part in path.split("/"))
        route = f"/api/repos/{_segment(namespace)}/{_segment(repo)}/file/{_segment(branch)}/{file}"
        await self._ask(
            "PUT",
            route,
            files={"file": (path.rpartition("/")[2], content, mime)},
            data={"message": message, "name": user.name, "email": user.email or ""},
            timeout=httpx.Timeout(300.0, connect=_CONNECT, pool=_POOL),
        )
        return self.base_url + route

    # The event stream

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncGenerator[Observation, None]]:
        """GET /api/events: the generations that complete, from now on, and the progress of those on engines of the user.

        Entering returns after the service answered 200, so that nothing that is enqueued inside is missed. Iterating
        raises NotFound if the address gives no event stream, and OutcomeUnknown when the stream breaks or is silent for
        ``stream_silence`` seconds.
        """
        timeout = httpx.Timeout(_ANSWER, connect=_CONNECT, read=self._stream_silence, pool=_POOL)
        headers = {"Accept": "text/event-stream"}
        response = await self._open("GET", "/api/events", headers=headers, timeout=timeout)
        try:
            if response.status_code != 200:
                raise await self._failure(response)
            async with aclosing(self._observations(response)) as observations:
                yield observations
        finally:
            await response.aclose()

    async def _observations(self, response: httpx.Response) -> AsyncGenerator[Observation, None]:
        try:
            async for event in EventSource(cast(httpx.Response, _EventText(response))).aiter_sse():
                seen = responses.event(event.event, event.data)
                if seen is not None:
                    yield seen
        except httpx.TimeoutException:
            raise errors.OutcomeUnknown(f"The event stream was silent for {self._stream_silence:.0f} s.") from None
        except SSEError as error:  # a subclass of TransportError, but the service did answer
            raise errors.NotFound(f"There is no event stream: {error}") from None
        except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
            raise errors.OutcomeUnknown(f"The event stream broke: {_reason(error)}.") from None

    # Result files

    @contextmanager
    def open_result(self, url: str, *, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """GET a result URL, absolute or relative to ``base_url``, and give its answer as a stream, whatever its status.

        This blocks and may be called on any thread, so that large files are read off the event loop. At most five
        redirects are followed, to http and https only, and never from https to http. The key is sent only to the
        service's own origin. Raises DownloadFailed for a URL that is not usable, ConnectionFailed and OutcomeUnknown.
        """
        address = _result_url(url, self.base_url + "/")
        named = {"User-Agent": _HEADERS["User-Agent"], "Accept-Encoding": "identity", **(headers or {})}
        for _ in range(_REDIRECTS + 1):
            with _translated(address.host):
                request = self._files.build_request("GET", address, headers=named, timeout=self._timeout)
                self._sign(request)
                response = self._files.send(request, stream=True)
            try:
                if not response.has_redirect_location:
                    yield response
                    return
                onward = _result_url(response.headers["location"], str(address))
                if address.scheme == "https" and onward.scheme == "http":
                    raise errors.DownloadFailed(
                        "The result URL redirects from https to http; the redirect was not followed."
                    )
                address = onward
            finally:
                response.close()
        raise errors.DownloadFailed(f"The result URL was redirected more than {_REDIRECTS} times.")

    # One request

    async def _open(
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
        all_headers = {**_HEADERS, **(headers or {})}
        try:
            url = _parsed_url(self.base_url + path)
            request = httpx.Request(method, url, headers=all_headers, extensions=extensions, **content)
        except (httpx.InvalidURL, ValueError) as error:
            raise errors.InvalidRequest(f"{path[:80]} cannot be requested: {error}.") from None
        self._sign(request)
        with _translated(url.host):
            response = await (self._fresh if method == "POST" else self._kept).send(request, stream=True)
        self._note_date(response)
        return response

    def _sign(self, request: httpx.Request) -> None:
        """Add the key, if the request goes to the service's own origin."""
        if _origin(request.url) == self._origin:
            request.headers["Authorization"] = self._authorization

    async def _ask(self, method: str, path: str, *, limit: int | None = None, **options: Any) -> tuple[bytes, int]:
        """The body and the status of a successful answer of at most ``limit`` bytes; a ServiceError for any other answer."""
        # httpx suspends about ten times in an exchange. As a task, the exchange resumes only itself, and the caller once.
        return await asyncio.create_task(self._exchange(method, path, limit or self._answer_limit, **options))

    async def _exchange(self, method: str, path: str, limit: int, **options: Any) -> tuple[bytes, int]:
        response = await self._open(method, path, **options)
        try:
            if not response.is_success:
                raise await self._failure(response)
            return await _read(response, limit), response.status_code
        finally:
            await response.aclose()

    async def _post(self, path: str, body: Mapping[str, Any] | bytes, **options: Any) -> dict[str, Any]:
        content = body if isinstance(body, bytes) else responses.encode(body)
        headers = {"Content-Type": "application/json"}
        answer = await self._ask("POST", path, content=content, headers=headers, **options)
        return responses.decode(*answer, what=f"POST {path}")

    async def _get(self, path: str, **query: str | None) -> dict[str, Any]:
        given = {name: value for name, value in query.items() if value is not None}
        return responses.decode(*await self._ask("GET", path, params=given or None), what=f"GET {path}")

    async def _failure(self, response: httpx.Response) -> Exception:
        """The exception for an answer that is an error."""
        try:
            content = await _read(response, _ERROR_LIMIT)
        except (errors.OutcomeUnknown, errors.UnexpectedAnswer):
            content = b""  # the status alone says that it is an error
        status_code = response.status_code
        if response.has_redirect_location:
            message = f"{response.url.host} redirects API requests (HTTP {status_code}): check base_url."
            return errors.UnexpectedAnswer(message, status_code=status_code)
        return responses.error_from(status_code, content, retry_after(response))

    def _note_date(self, response: httpx.Response) -> None:
        date = response.headers.get("date", "")
        # The header counts whole seconds: the answer that first shows a new one is nearest to its beginning.
        if (self._date is None or date != self._date[0]) and (seconds := _date_of(response)) is not None:
            self._date = (date, seconds, _monotonic())


class _EventText:
    """The two things of a response that httpx-sse reads, with a bound on the size of an event.

    The text is UTF-8 whatever the response declares, without a byte order mark, as the HTML standard says.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.headers = response.headers
        self._response = response

    async def aiter_text(self) -> AsyncIterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        pending = 0
        tail = ""  # an empty line may be cut between two chunks
        async for chunk in self._response.aiter_bytes():
            text = decoder.decode(chunk)
            pending += len(text)
            for match in _END_OF_EVENT.finditer(tail + text):
                pending = len(tail) + len(text) - match.end()
            if pending > _EVENT_LIMIT:
                limit = f"{_EVENT_LIMIT // 1024**2} MB"
                raise errors.OutcomeUnknown(f"The event stream was closed: an event of more than {limit}.")
            tail = (tail + text)[-3:]
            if text:
                yield text


def _segment(text: str) -> str:
    return quote(text, safe="")


@contextmanager
def _translated(host: str) -> Iterator[None]:
    """Raise httpx's failures as our own, which say whether the request may have reached ``host``."""
    try:
        yield
    except _NEVER_SENT as error:
        raise errors.ConnectionFailed(f"Cannot reach {host}: {_reason(error)}.") from None
    except httpx.TimeoutException:
        raise errors.OutcomeUnknown(f"{host} did not answer in time.") from None
    except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL, ValueError) as error:
        # httpx also parses the target of a redirect that it does not follow, and fails in various ways.
        raise errors.OutcomeUnknown(f"The connection to {host} broke: {_reason(error)}.") from None


@functools.cache
def _tls(trust_env: bool) -> ssl.SSLContext:
    """Loading the certificates takes 30 ms."""
    return httpx.create_ssl_context(trust_env=trust_env)


@functools.lru_cache(maxsize=16)
def _parsed_url(text: str) -> httpx.URL:
    """Parsing a URL takes a tenth of a request's processor time, and most requests go to the same few."""
    return httpx.URL(text)


def _result_url(text: str, base: str) -> httpx.URL:
    """The address of a result, relative to ``base``; DownloadFailed for one that must not be fetched."""
    try:
        url = httpx.URL(urljoin(base, text))
        host = url.host  # decoding it may fail
        if (url.port or 0) > 65535:
            raise ValueError(url.port)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise errors.DownloadFailed("The service named a result URL that is not valid.") from None
    if url.scheme not in ("http", "https") or not host:
        kind = repr(url.scheme or "none")
        raise errors.DownloadFailed(f"The service named a result URL of kind {kind}; only http and https are fetched.")
    if url.userinfo:
        raise errors.DownloadFailed("The service named a result URL with a user and password; it was not fetched.")
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


async def _read(response: httpx.Response, limit: int) -> bytes:
    """The body of an answer of at most ``limit`` bytes; raises UnexpectedAnswer and OutcomeUnknown."""
    parts = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            parts += chunk
            if len(parts) > limit:
                raise errors.UnexpectedAnswer(
                    f"The service's answer is longer than {limit / 1e6:.3g} MB; it was not read."
                )
    except httpx.TimeoutException:
        raise errors.OutcomeUnknown("The service stopped in the middle of its answer.") from None
    except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
        raise errors.OutcomeUnknown(f"The service's answer broke off: {_reason(error)}.") from None
    return bytes(parts)


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that an answer asks to wait. A date is compared with the Date header of the same answer if it has one."""
    there = _date_of(response)
    return parse_retry_after(response.headers.get("retry-after"), time.time() if there is None else there)


def _reason(error: Exception) -> str:
    """What went wrong with the connection, in httpx's words."""
    return str(error).rstrip(".") or type(error).__name__


def _date_of(response: httpx.Response) -> float | None:
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
