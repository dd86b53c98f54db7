"""The typed client of Oxen.ai's inference API: every endpoint, the event stream and result files."""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Self, cast
from urllib.parse import quote

import httpx
from httpx_sse import EventSource, SSEError

from oxenvideo.client import responses
from oxenvideo.client.credentials import Secret, resolve
from oxenvideo.client.responses import Accepted, HistoryPage, Observation, Rendered, User
from oxenvideo.client.transport import (
    ANSWER_LIMIT,
    CONNECT,
    ERROR_LIMIT,
    HEADERS,
    KEEP_ALIVE,
    POOL,
    REDIRECTS,
    KeyForOrigin,
    date_of,
    monotonic,
    parsed_url,
    read,
    reason,
    result_url,
    retry_after,
    translated,
)
from oxenvideo.errors import (
    ConfigurationError,
    DownloadFailed,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    UnexpectedAnswer,
)

STREAM_SILENCE = 46.0
"""Seconds of silence after which the event stream counts as broken: three of the service's keep-alives of 15 s."""

_ANSWER = 30.0  # seconds for an ordinary answer
_SYNCHRONOUS_ANSWER = 20 * 60.0  # seconds; the documentation says that a video takes up to 15 minutes
_VIDEO_ANSWER_LIMIT = 512 * 1024 * 1024  # bytes; a b64_json answer holds whole videos
_EVENT_LIMIT = 4 * 1024 * 1024  # characters of one event; the service's events have a few hundred
_END_OF_EVENT = re.compile(r"\r\n\r\n|\n\n|\r\r")


class Client:
    """Oxen.ai's inference API, typed and asynchronous.

    Each request raises a ServiceError (by its subclass, see there) for an answer that is an error, ConnectionFailed if it
    never reached the service, and OutcomeUnknown if it may have reached it and no whole answer came back. The client
    retries nothing, because some requests cost money.

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
        answer_limit: int = ANSWER_LIMIT,
        transport: httpx.AsyncBaseTransport | None = None,
        file_transport: httpx.BaseTransport | None = None,
    ) -> None:
        target = resolve(base_url, api_key.reveal() if isinstance(api_key, Secret) else api_key)
        if target.is_local or target.api_key is None:
            raise ConfigurationError(
                "A Client needs an address and a key: give base_url and api_key, or set OXEN_API_KEY."
            )
        self.base_url = target.base_url
        self._key = key = KeyForOrigin(target.api_key, target.base_url)
        self._timeout = httpx.Timeout(timeout, connect=CONNECT, pool=POOL)
        self._extensions = {"timeout": self._timeout.as_dict()}
        self._answer_limit = answer_limit
        self._date: tuple[str, float, float] | None = None  # the last Date header, its unix seconds, and when it came
        ssl = httpx.create_ssl_context(trust_env=not key.is_loopback)  # shared, because loading certificates is slow
        options: dict[str, Any] = {"verify": ssl, "trust_env": not key.is_loopback}
        limits = httpx.Limits(max_connections=connections, keepalive_expiry=KEEP_ALIVE)
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
        return None if self._date is None else self._date[1] + monotonic() - self._date[2]

    def relocate(self, base_url: str) -> None:
        """Continue with the same service at another address, which the embedded server has after a restart."""
        self.base_url = base_url
        self._key = KeyForOrigin(self._key.secret, base_url)

    # Making videos

    async def generate(self, body: Mapping[str, Any] | bytes) -> Rendered:
        """POST /api/ai/videos/generate, which answers when the video is ready, usually after 1 to 15 minutes.

        Raises InvalidRequest for a body that is not JSON, ServiceError, ConnectionFailed and OutcomeUnknown.
        """
        return responses.rendered(
            await self._json(
                "POST",
                "/api/ai/videos/generate",
                **_json_body(body),
                timeout=httpx.Timeout(_SYNCHRONOUS_ANSWER, connect=CONNECT, write=60.0, pool=POOL),
                limit=_VIDEO_ANSWER_LIMIT,
            )
        )

    async def enqueue(self, body: Mapping[str, Any] | bytes) -> list[Accepted]:
        """POST /api/ai/queue: enqueue one or more generations; ``body`` may be encoded already.

        Raises InvalidRequest for a body that is not JSON, ServiceError, ConnectionFailed and OutcomeUnknown. An answer
        with an error and without ids is a refusal, whatever its HTTP status.
        """
        return responses.accepted(await self._json("POST", "/api/ai/queue", **_json_body(body)))

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
        """GET /api/ai/queue: the account's generations, only the active ones if no status is named.

        Raises ServiceError, ConnectionFailed and OutcomeUnknown.
        """
        query = _given(status=status, model=model, media_type=media_type, namespace=namespace, repo=repo, folder=folder)
        return responses.observations(await self._get("/api/ai/queue", query), what="the queue")

    async def generation(self, generation_id: str) -> Observation:
        """GET /api/ai/queue/{id}: one generation's status and result.

        Raises NotFound for an unknown id, InvalidRequest for one that no URL can hold, ServiceError, ConnectionFailed
        and OutcomeUnknown.
        """
        return responses.observation(await self._get(f"/api/ai/queue/{_segment(generation_id)}"))

    async def cancel(self, generation_id: str) -> None:
        """DELETE /api/ai/queue/{id}; for a generation that has ended it succeeds and has no effect.

        Raises NotFound for an unknown id, InvalidRequest for one that no URL can hold, ServiceError, ConnectionFailed
        and OutcomeUnknown.
        """
        await self._done("DELETE", f"/api/ai/queue/{_segment(generation_id)}")

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
        """GET /api/ai/generations: one page of the account's generations with their costs, at most 1000 to a page.

        Raises ServiceError, ConnectionFailed and OutcomeUnknown.
        """
        query = _given(status=status, model=model, media_type=media_type, namespace=namespace, repo=repo, folder=folder)
        query = {"page": str(page), "page_size": str(page_size), **query}
        return responses.history_page(await self._get("/api/ai/generations", query))

    async def history_entry(self, generation_id: str) -> Observation:
        """GET /api/ai/generations/{id}: one generation in full, with its cost.

        Raises NotFound for an unknown id, InvalidRequest for one that no URL can hold, ServiceError, ConnectionFailed
        and OutcomeUnknown.
        """
        payload = await self._get(f"/api/ai/generations/{_segment(generation_id)}")
        inner = payload.get("generation")
        return responses.observation(inner if isinstance(inner, dict) else payload)

    # Models

    async def models(
        self, *, developer_name: str | None = None, provider_name: str | None = None, action: str | None = None
    ) -> dict[str, Any]:
        """GET /api/ai/models, as the service gives it. Raises ServiceError, ConnectionFailed and OutcomeUnknown."""
        query = _given(developer_name=developer_name, provider_name=provider_name, action=action)
        return await self._get("/api/ai/models", query)

    async def search_models(self, words: str) -> dict[str, Any]:
        """GET /api/ai/models/search. Raises ServiceError, ConnectionFailed and OutcomeUnknown."""
        return await self._get("/api/ai/models/search", {"search": words})

    async def featured_models(self) -> dict[str, Any]:
        """GET /api/ai/models/featured. Raises ServiceError, ConnectionFailed and OutcomeUnknown."""
        return await self._get("/api/ai/models/featured")

    async def favorite_models(self) -> dict[str, Any]:
        """GET /api/ai/models/favorites. Raises ServiceError, ConnectionFailed and OutcomeUnknown."""
        return await self._get("/api/ai/models/favorites")

    async def model(self, model_id: str) -> dict[str, Any]:
        """GET /api/ai/models/{id}: one model, with its ``request_schema``.

        Raises NotFound for an unknown id, InvalidRequest for one that no URL can hold, ServiceError, ConnectionFailed
        and OutcomeUnknown.
        """
        return await self._get(f"/api/ai/models/{_segment(model_id)}")

    # Account and files

    async def authorize(self) -> User:
        """GET /api/authorize: whose key this is, a free way to check a key.

        Raises AuthenticationFailed for a wrong key, other ServiceErrors, ConnectionFailed and OutcomeUnknown.
        """
        user = (await self._get("/api/authorize")).get("user")
        if not isinstance(user, dict):
            raise UnexpectedAnswer("The service accepted the key and named no user.")
        return User(str(user.get("name", "")), user.get("email"))

    async def create_repository(self, namespace: str, name: str) -> None:
        """POST /api/repos: a public repository, because the service reads media from no other kind.

        Raises BadRequest with ``status_code`` 409 if it exists already, other ServiceErrors, ConnectionFailed and
        OutcomeUnknown.
        """
        await self._done("POST", "/api/repos", json={"namespace": namespace, "name": name, "is_public": True})

    async def upload(
        self, namespace: str, repo: str, path: str, content: bytes, *, branch: str = "main", mime: str, message: str
    ) -> str:
        """PUT a file into an Oxen repository and return its URL, which the service can read if the repository is public.

        Raises NotFound for an unknown repository, other ServiceErrors, ConnectionFailed and OutcomeUnknown.
        """
        user = await self.authorize()
        file = "/".join(_segment(part) for part in path.split("/"))
        route = f"/api/repos/{_segment(namespace)}/{_segment(repo)}/file/{_segment(branch)}/{file}"
        await self._done(
            "PUT",
            route,
            files={"file": (path.rpartition("/")[2], content, mime)},
            data={"message": message, "name": user.name, "email": user.email or ""},
            timeout=httpx.Timeout(300.0, connect=CONNECT, pool=POOL),
        )
        return self.base_url + route

    # The event stream

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncGenerator[Observation, None]]:
        """GET /api/events: the generations that complete, from now on.

        Entering returns after the service answered 200, so that nothing that is enqueued inside is missed. Events of
        other kinds are skipped. Entering raises ServiceError, ConnectionFailed and OutcomeUnknown; iterating raises
        NotFound if the address gives no event stream, and OutcomeUnknown when the stream breaks or is silent for
        ``stream_silence`` seconds.
        """
        timeout = httpx.Timeout(_ANSWER, connect=CONNECT, read=self._stream_silence, pool=POOL)
        headers = {"Accept": "text/event-stream"}
        response = await self._open("GET", "/api/events", headers=headers, timeout=timeout)
        try:
            if response.status_code != 200:
                raise await self._failure(response)
            async with aclosing(self._completions(response)) as completions:
                yield completions
        finally:
            await response.aclose()

    async def _completions(self, response: httpx.Response) -> AsyncGenerator[Observation, None]:
        try:
            async for event in EventSource(cast(httpx.Response, _EventText(response))).aiter_sse():
                seen = responses.completion(event.event, event.data)
                if seen is not None:
                    yield seen
        except httpx.TimeoutException:
            raise OutcomeUnknown(f"The event stream was silent for {self._stream_silence:.0f} s.") from None
        except SSEError as error:  # a subclass of TransportError, but the service did answer
            raise NotFound(f"There is no event stream: {error}") from None
        except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
            raise OutcomeUnknown(f"The event stream broke: {reason(error)}.") from None

    # Result files

    @contextmanager
    def open_result(self, url: str, *, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """GET a result URL, absolute or relative to ``base_url``, and give its answer as a stream, whatever its status.

        This blocks and may be called on any thread, so that large files are read off the event loop. At most five
        redirects are followed, to http and https only, and never from https to http. The key is sent only to the
        service's own origin. Raises DownloadFailed for a URL that is not usable, ConnectionFailed and OutcomeUnknown.
        """
        address = result_url(url, self.base_url + "/")
        named = {"User-Agent": HEADERS["User-Agent"], "Accept-Encoding": "identity", **(headers or {})}
        for _ in range(REDIRECTS + 1):
            with translated(address.host):
                request = self._files.build_request("GET", address, headers=named, timeout=self._timeout)
                response = self._files.send(request, stream=True, auth=self._key)
            try:
                if not response.has_redirect_location:
                    yield response
                    return
                onward = result_url(response.headers["location"], str(address))
                if address.scheme == "https" and onward.scheme == "http":
                    raise DownloadFailed("The result URL redirects from https to http; the redirect was not followed.")
                address = onward
            finally:
                response.close()
        raise DownloadFailed(f"The result URL was redirected more than {REDIRECTS} times.")

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
        try:
            url = parsed_url(self.base_url + path)
            request = httpx.Request(
                method, url, headers={**HEADERS, **(headers or {})}, extensions=extensions, **content
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidRequest(f"{path[:80]} cannot be requested: {error}.") from None
        self._key.sign(request)
        with translated(url.host):
            response = await (self._fresh if method == "POST" else self._kept).send(request, stream=True)
        self._note_date(response)
        return response

    async def _json(self, method: str, path: str, *, limit: int | None = None, **options: Any) -> dict[str, Any]:
        """The JSON object of a successful answer of at most ``limit`` bytes; a ServiceError for any other answer."""
        content, status_code = await self._ask(method, path, limit or self._answer_limit, options)
        return responses.decode(content, status_code=status_code, what=f"{method} {path}")

    async def _done(self, method: str, path: str, **options: Any) -> None:
        """Send a request of which only the success matters."""
        await self._ask(method, path, self._answer_limit, options)

    async def _ask(self, method: str, path: str, limit: int, options: dict[str, Any]) -> tuple[bytes, int]:
        response = await self._open(method, path, **options)
        try:
            if not response.is_success:
                raise await self._failure(response)
            return await read(response, limit), response.status_code
        finally:
            await response.aclose()

    async def _failure(self, response: httpx.Response) -> Exception:
        """The exception for an answer that is an error."""
        try:
            content = await read(response, ERROR_LIMIT)
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
        if (self._date is None or date != self._date[0]) and (seconds := date_of(response)) is not None:
            self._date = (date, seconds, monotonic())

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return await self._json("GET", path, params=query)


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
                raise OutcomeUnknown(
                    f"The event stream was closed: an event of more than {_EVENT_LIMIT // 1024**2} MB."
                )
            tail = (tail + text)[-3:]
            if text:
                yield text


def _json_body(body: Mapping[str, Any] | bytes) -> dict[str, Any]:
    content = body if isinstance(body, bytes) else responses.encode(body)
    return {"content": content, "headers": {"Content-Type": "application/json"}}


def _segment(text: str) -> str:
    return quote(text, safe="")


def _given(**query: str | None) -> dict[str, str]:
    return {name: value for name, value in query.items() if value is not None}
