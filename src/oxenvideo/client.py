"""The only module that knows HTTP: every endpoint, the event stream, and what a failed request means."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Self
from urllib.parse import quote, urljoin

import httpx
from httpx_sse import EventSource, SSEError

from oxenvideo import wire
from oxenvideo.config import Secret, resolve
from oxenvideo.errors import (
    ConfigurationError,
    ConnectionFailed,
    DownloadFailed,
    NotFound,
    OutcomeUnknown,
    UnexpectedAnswer,
)
from oxenvideo.retry import parse_retry_after
from oxenvideo.state import Observation
from oxenvideo.wire import Accepted, HistoryPage, Rendered, User

#: The service sends a keep-alive every 15 s; three missed ones mean a dead connection.
STREAM_SILENCE = 46.0
#: The synchronous endpoint answers when the video is ready, which the documentation puts at up to 15 minutes.
SYNCHRONOUS_ANSWER = 20 * 60.0
_ANSWER = 30.0  # seconds for an ordinary answer
_REDIRECTS = 5
_ANSWER_LIMIT = 512 * 1024 * 1024  # bytes; a b64_json answer holds whole videos

# Failures before a single byte of the request was on its way: sending again cannot be a second submit.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


class Client:
    """Oxen.ai's inference API, typed and asynchronous.

    Every method raises a ServiceError for an answer that is an error, ConnectionFailed where the request never reached
    the service, and OutcomeUnknown where it may have. Nothing is retried here: what may be repeated is the caller's
    decision, because some of it costs money.

    The key goes to the origin of ``base_url`` and nowhere else. API calls follow no redirects.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        *,
        connections: int = 16,
        timeout: float = _ANSWER,
        stream_silence: float = STREAM_SILENCE,
    ) -> None:
        target = resolve(base_url, api_key.reveal() if isinstance(api_key, Secret) else api_key)
        if target.is_local or target.api_key is None:
            raise ConfigurationError(
                "A Client needs an address and a key: give base_url and api_key, or set OXEN_API_KEY."
            )
        self.base_url = target.base_url
        self.clock_offset: float | None = None
        self._key = target.api_key
        self._origin = _origin(httpx.URL(self.base_url))
        self._stream_silence = stream_silence
        # One pool for API calls, the stream and downloads. Keep-alive is shorter than common servers' 5 s, so that a
        # submit is not sent into a connection which the other side is just closing.
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout, connect=10.0, pool=120.0),
            limits=httpx.Limits(
                max_connections=connections + 8, max_keepalive_connections=connections, keepalive_expiry=3.0
            ),
            headers={"User-Agent": "oxenvideo"},
            follow_redirects=False,
            trust_env=self._origin[1] not in ("127.0.0.1", "localhost", "::1"),
        )

    def __repr__(self) -> str:
        return f"Client(base_url={self.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    # Making videos

    async def generate(self, body: Mapping[str, Any]) -> Rendered:
        """POST /api/ai/videos/generate: answers when the video is ready, after 1 to 15 minutes as a rule."""
        return wire.rendered(await self._json("POST", "/api/ai/videos/generate", json=body, timeout=SYNCHRONOUS_ANSWER))

    async def enqueue(self, body: Mapping[str, Any]) -> list[Accepted]:
        """POST /api/ai/queue: one or more generations; the answer comes at once."""
        return wire.accepted(await self._json("POST", "/api/ai/queue", json=body))

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
        """GET /api/ai/queue: the account's generations, only active ones where no status is named."""
        query = _given(status=status, model=model, media_type=media_type, namespace=namespace, repo=repo, folder=folder)
        return wire.observations(await self._json("GET", "/api/ai/queue", params=query), what="the queue")

    async def generation(self, generation_id: str) -> Observation:
        """GET /api/ai/queue/{id}: one generation's status and result; NotFound for an id the service does not know."""
        return wire.observation(await self._json("GET", f"/api/ai/queue/{_segment(generation_id)}"))

    async def cancel(self, generation_id: str) -> None:
        """DELETE /api/ai/queue/{id}; on one that has ended it succeeds and has no effect."""
        await self._json("DELETE", f"/api/ai/queue/{_segment(generation_id)}")

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
        """GET /api/ai/generations: paged, with cost; ``page_size`` is at most 1000."""
        query = _given(
            page=str(page),
            page_size=str(page_size),
            status=status,
            model=model,
            media_type=media_type,
            namespace=namespace,
            repo=repo,
            folder=folder,
        )
        return wire.history_page(await self._json("GET", "/api/ai/generations", params=query))

    async def history_entry(self, generation_id: str) -> Observation:
        """GET /api/ai/generations/{id}: one generation in full, with cost."""
        payload = await self._json("GET", f"/api/ai/generations/{_segment(generation_id)}")
        inner = payload.get("generation")
        return wire.observation(inner if isinstance(inner, dict) else payload)

    # Models

    async def models(
        self, *, developer_name: str | None = None, provider_name: str | None = None, action: str | None = None
    ) -> dict[str, Any]:
        """GET /api/ai/models as the service gives it; ``Catalog.from_service`` reads it."""
        query = _given(developer_name=developer_name, provider_name=provider_name, action=action)
        return await self._json("GET", "/api/ai/models", params=query)

    async def search_models(self, words: str) -> dict[str, Any]:
        """GET /api/ai/models/search."""
        return await self._json("GET", "/api/ai/models/search", params={"search": words})

    async def featured_models(self) -> dict[str, Any]:
        """GET /api/ai/models/featured."""
        return await self._json("GET", "/api/ai/models/featured")

    async def favorite_models(self) -> dict[str, Any]:
        """GET /api/ai/models/favorites."""
        return await self._json("GET", "/api/ai/models/favorites")

    async def model(self, model_id: str) -> dict[str, Any]:
        """GET /api/ai/models/{id}: one model, with its ``request_schema``."""
        return await self._json("GET", f"/api/ai/models/{_segment(model_id)}")

    # Account and files

    async def authorize(self) -> User:
        """GET /api/authorize: whose key this is; a free way to check one."""
        user = (await self._json("GET", "/api/authorize")).get("user")
        if not isinstance(user, dict):
            raise UnexpectedAnswer("The service accepted the key and named no user.")
        return User(str(user.get("name", "")), user.get("email"))

    async def create_repository(self, namespace: str, name: str) -> None:
        """POST /api/repos; BadRequest with status 409 where it exists already."""
        await self._json("POST", "/api/repos", json={"namespace": namespace, "name": name})

    async def upload(
        self, namespace: str, repo: str, path: str, content: bytes, *, branch: str = "main", mime: str, message: str
    ) -> str:
        """PUT a file into an Oxen repository and return the URL it then has; readable by the service if public."""
        user = await self.authorize()
        where = "/".join(quote(part, safe="") for part in path.split("/"))
        route = f"/api/repos/{_segment(namespace)}/{_segment(repo)}/file/{_segment(branch)}/{where}"
        await self._json(
            "PUT",
            route,
            files={"file": (path.rpartition("/")[2], content, mime)},
            data={"message": message, "name": user.name, "email": user.email or ""},
            timeout=300.0,
        )
        return self.base_url + route

    # The event stream

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncGenerator[Observation, None]]:
        """GET /api/events: completion notices, once the stream stands.

        Entering returns after the service answered 200, so whatever is enqueued inside cannot be missed. The stream
        ends with OutcomeUnknown when it breaks or stays silent for three keep-alives. Events of other kinds are passed
        over.
        """
        timeout = httpx.Timeout(_ANSWER, connect=10.0, read=self._stream_silence, pool=120.0)
        request = self._request("GET", "/api/events", headers={"Accept": "text/event-stream"}, timeout=timeout)
        response = await self._send(request, stream=True)
        try:
            if response.status_code != 200:
                raise await self._failure(response)
            async with aclosing(self._completions(response)) as completions:
                yield completions
        finally:
            await response.aclose()

    async def _completions(self, response: httpx.Response) -> AsyncGenerator[Observation, None]:
        try:
            async for event in EventSource(response).aiter_sse():
                seen = wire.completion(event.event, event.data)
                if seen is not None:
                    yield seen
        except httpx.TimeoutException:
            raise OutcomeUnknown(f"The event stream was silent for {self._stream_silence:.0f} s.") from None
        except (httpx.TransportError, httpx.StreamError) as error:
            raise OutcomeUnknown(f"The event stream broke: {_why(error)}.") from None
        except SSEError as error:
            raise NotFound(f"There is no event stream: {error}.") from None

    # Result files

    @asynccontextmanager
    async def open_result(self, url: str, *, headers: Mapping[str, str] | None = None) -> AsyncIterator[httpx.Response]:
        """GET a result URL as a stream, whatever its status; redirects are followed, at most five.

        The key goes along only while the address is this client's own origin. Only http and https are followed, and no
        redirect leads from https to http. Raises DownloadFailed, ConnectionFailed or OutcomeUnknown.
        """
        address = _result_url(urljoin(self.base_url + "/", url))
        for _ in range(_REDIRECTS + 1):
            sent = {**self._authorization(address), "Accept-Encoding": "identity", **(headers or {})}
            request = self._http.build_request("GET", address, headers=sent)
            response = await self._send(request, stream=True)
            try:
                if not response.has_redirect_location:
                    yield response
                    return
                onward = _result_url(str(address.join(response.headers["location"])))
                if address.scheme == "https" and onward.scheme == "http":
                    raise DownloadFailed("The result URL leads from https to http; it was not followed.")
                address = onward
            finally:
                await response.aclose()
        raise DownloadFailed(f"The result URL was redirected more than {_REDIRECTS} times.")

    # Requests

    def _authorization(self, url: httpx.URL) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key.reveal()}"} if _origin(url) == self._origin else {}

    def _request(self, method: str, path: str, **options: Any) -> httpx.Request:
        url = httpx.URL(self.base_url + path)
        headers = {"Accept": "application/json", **options.pop("headers", {}), **self._authorization(url)}
        return self._http.build_request(method, url, headers=headers, **options)

    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        try:
            response = await self._http.send(request, stream=stream)
        except _NEVER_SENT as error:
            raise ConnectionFailed(f"Cannot reach {request.url.host}: {_why(error)}.") from None
        except httpx.TimeoutException:
            raise OutcomeUnknown(f"{request.url.host} did not answer in time.") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise OutcomeUnknown(f"The connection to {request.url.host} broke: {_why(error)}.") from None
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise DownloadFailed(f"The address is not usable: {error}.") from None
        if date := response.headers.get("date"):
            self.clock_offset = _clock_offset(date)
        return response

    async def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = await self._send(self._request(method, path, **options), stream=True)
        try:
            if not response.is_success:
                raise await self._failure(response)
            content = await self._read(response)
        finally:
            await response.aclose()
        return wire.decode(content, status_code=response.status_code, what=f"{method} {path}")

    async def _failure(self, response: httpx.Response) -> Exception:
        retry_after = parse_retry_after(response.headers.get("retry-after"), time.time())
        try:
            content = await self._read(response)
        except (OutcomeUnknown, UnexpectedAnswer):
            content = b""  # the status line already says it is an error
        if response.has_redirect_location:
            return UnexpectedAnswer(
                f"{response.url.host} redirects API requests (HTTP {response.status_code}): check base_url.",
                status_code=response.status_code,
            )
        return wire.error_from(response.status_code, content, retry_after)

    async def _read(self, response: httpx.Response) -> bytes:
        parts = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                parts += chunk
                if len(parts) > _ANSWER_LIMIT:
                    raise UnexpectedAnswer("The service's answer is larger than 512 MB.")
        except httpx.TimeoutException:
            raise OutcomeUnknown("The service stopped in the middle of its answer.") from None
        except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
            raise OutcomeUnknown(f"The service's answer broke off: {_why(error)}.") from None
        return bytes(parts)


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


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


def _segment(text: str) -> str:
    return quote(text, safe="")


def _given(**query: str | None) -> dict[str, str]:
    return {name: value for name, value in query.items() if value is not None}


def _why(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _clock_offset(date: str) -> float | None:
    """Seconds by which the service's clock is ahead of ours, to the second that a Date header tells."""
    there = parse_retry_after(date, 0.0)
    return None if there is None else there - time.time()
