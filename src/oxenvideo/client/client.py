"""Oxen.ai's inference API: every endpoint, the event stream and result files, typed."""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractContextManager, aclosing, asynccontextmanager
from typing import Any, Self, cast
from urllib.parse import quote

import httpx
from httpx_sse import EventSource, SSEError

from oxenvideo.client import responses
from oxenvideo.client.responses import Accepted, HistoryPage, Observation, Rendered, User
from oxenvideo.client.transport import CONNECT, POOL, Transport, why
from oxenvideo.credentials import Secret, resolve
from oxenvideo.errors import ConfigurationError, NotFound, OutcomeUnknown, UnexpectedAnswer

#: The service sends a keep-alive every 15 s; three missed ones mean a dead connection.
STREAM_SILENCE = 46.0
#: The synchronous endpoint answers when the video is ready, which the documentation puts at up to 15 minutes.
SYNCHRONOUS_ANSWER = 20 * 60.0
_ANSWER = 30.0  # seconds for an ordinary answer
_VIDEO_ANSWER_LIMIT = 512 * 1024 * 1024  # bytes; a b64_json answer holds whole videos


#: Characters from one empty line of the stream to the next. An event of the service has a few hundred.
EVENT_LIMIT = 4 * 1024 * 1024

_BETWEEN_EVENTS = re.compile(r"\r\n\r\n|\n\n|\r\r")


class TooLong(Exception):
    """The stream sends without end what never becomes an event."""


class Client:
    """Oxen.ai's inference API, typed and asynchronous.

    Every method raises a ServiceError for an answer that is an error, ConnectionFailed where the request never reached
    the service, and OutcomeUnknown where it may have. Nothing is retried here: what may be repeated is the caller's
    decision, because some of it costs money.

    The key goes to the origin of ``base_url`` and nowhere else. API calls follow no redirects. ``connections`` bounds the
    connections that are open at once; ``timeout`` is seconds for an ordinary answer.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        *,
        connections: int = 64,
        timeout: float = _ANSWER,
        stream_silence: float = STREAM_SILENCE,
    ) -> None:
        target = resolve(base_url, api_key.reveal() if isinstance(api_key, Secret) else api_key)
        if target.is_local or target.api_key is None:
            raise ConfigurationError(
                "A Client needs an address and a key: give base_url and api_key, or set OXEN_API_KEY."
            )
        self._wire = Transport(target.base_url, target.api_key, connections=connections, timeout=timeout)
        self._stream_silence = stream_silence

    def __repr__(self) -> str:
        return f"Client(base_url={self.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._wire.aclose()

    @property
    def base_url(self) -> str:
        """Where API requests go."""
        return self._wire.base_url

    @property
    def clock_offset(self) -> float | None:
        """Seconds by which the service's clock is ahead of ours, as its last answer told, to the second."""
        return self._wire.clock_offset

    def relocate(self, base_url: str) -> None:
        """Go on with the same service at another address, as the embedded server has after a restart."""
        self._wire.relocate(base_url)

    # Making videos

    async def generate(self, body: Mapping[str, Any] | bytes) -> Rendered:
        """POST /api/ai/videos/generate: answers when the video is ready, after 1 to 15 minutes as a rule."""
        return responses.rendered(
            await self._wire.json(
                "POST",
                "/api/ai/videos/generate",
                **_json_body(body),
                timeout=httpx.Timeout(SYNCHRONOUS_ANSWER, connect=CONNECT, write=60.0, pool=POOL),
                most=_VIDEO_ANSWER_LIMIT,
            )
        )

    async def enqueue(self, body: Mapping[str, Any] | bytes) -> list[Accepted]:
        """POST /api/ai/queue: one or more generations; the answer comes at once. ``body`` may be encoded already."""
        return responses.accepted(await self._wire.json("POST", "/api/ai/queue", **_json_body(body)))

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
        return responses.observations(await self._wire.json("GET", "/api/ai/queue", params=query), what="the queue")

    async def generation(self, generation_id: str) -> Observation:
        """GET /api/ai/queue/{id}: one generation's status and result; NotFound for an id the service does not know."""
        return responses.observation(await self._wire.json("GET", f"/api/ai/queue/{_segment(generation_id)}"))

    async def cancel(self, generation_id: str) -> None:
        """DELETE /api/ai/queue/{id}; on one that has ended it succeeds and has no effect."""
        await self._wire.done("DELETE", f"/api/ai/queue/{_segment(generation_id)}")

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
        return responses.history_page(await self._wire.json("GET", "/api/ai/generations", params=query))

    async def history_entry(self, generation_id: str) -> Observation:
        """GET /api/ai/generations/{id}: one generation in full, with cost."""
        payload = await self._wire.json("GET", f"/api/ai/generations/{_segment(generation_id)}")
        inner = payload.get("generation")
        return responses.observation(inner if isinstance(inner, dict) else payload)

    # Models

    async def models(
        self, *, developer_name: str | None = None, provider_name: str | None = None, action: str | None = None
    ) -> dict[str, Any]:
        """GET /api/ai/models as the service gives it; ``Catalog.from_service`` reads it."""
        query = _given(developer_name=developer_name, provider_name=provider_name, action=action)
        return await self._wire.json("GET", "/api/ai/models", params=query)

    async def search_models(self, words: str) -> dict[str, Any]:
        """GET /api/ai/models/search."""
        return await self._wire.json("GET", "/api/ai/models/search", params={"search": words})

    async def featured_models(self) -> dict[str, Any]:
        """GET /api/ai/models/featured."""
        return await self._wire.json("GET", "/api/ai/models/featured")

    async def favorite_models(self) -> dict[str, Any]:
        """GET /api/ai/models/favorites."""
        return await self._wire.json("GET", "/api/ai/models/favorites")

    async def model(self, model_id: str) -> dict[str, Any]:
        """GET /api/ai/models/{id}: one model, with its ``request_schema``."""
        return await self._wire.json("GET", f"/api/ai/models/{_segment(model_id)}")

    # Account and files

    async def authorize(self) -> User:
        """GET /api/authorize: whose key this is; a free way to check one."""
        user = (await self._wire.json("GET", "/api/authorize")).get("user")
        if not isinstance(user, dict):
            raise UnexpectedAnswer("The service accepted the key and named no user.")
        return User(str(user.get("name", "")), user.get("email"))

    async def create_repository(self, namespace: str, name: str) -> None:
        """POST /api/repos, public, for the service reads no other; BadRequest with status 409 where it exists already."""
        await self._wire.done("POST", "/api/repos", json={"namespace": namespace, "name": name, "is_public": True})

    async def upload(
        self, namespace: str, repo: str, path: str, content: bytes, *, branch: str = "main", mime: str, message: str
    ) -> str:
        """PUT a file into an Oxen repository and return the URL it then has; readable by the service if public."""
        user = await self.authorize()
        where = "/".join(quote(part, safe="") for part in path.split("/"))
        route = f"/api/repos/{_segment(namespace)}/{_segment(repo)}/file/{_segment(branch)}/{where}"
        await self._wire.done(
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
        """GET /api/events: completion notices, once the stream stands.

        Entering returns after the service answered 200, so whatever is enqueued inside cannot be missed. The stream
        ends with OutcomeUnknown when it breaks or stays silent for three keep-alives. Events of other kinds are passed
        over.
        """
        timeout = httpx.Timeout(_ANSWER, connect=CONNECT, read=self._stream_silence, pool=POOL)
        headers = {"Accept": "text/event-stream"}
        response = await self._wire.open("GET", "/api/events", headers=headers, timeout=timeout)
        try:
            if response.status_code != 200:
                raise await self._wire.failure(response)
            async with aclosing(self._completions(response)) as completions:
                yield completions
        finally:
            await response.aclose()

    async def _completions(self, response: httpx.Response) -> AsyncGenerator[Observation, None]:
        try:
            async for event in EventSource(bounded_events(response)).aiter_sse():
                seen = responses.completion(event.event, event.data)
                if seen is not None:
                    yield seen
        except httpx.TimeoutException:
            raise OutcomeUnknown(f"The event stream was silent for {self._stream_silence:.0f} s.") from None
        except SSEError as error:  # a kind of TransportError, and yet an answer
            raise NotFound(f"There is no event stream: {error}") from None
        except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
            raise OutcomeUnknown(f"The event stream broke: {why(error)}.") from None
        except TooLong as error:
            raise OutcomeUnknown(f"The event stream was left: {error}.") from None

    # Result files

    def open_result(
        self, url: str, *, headers: Mapping[str, str] | None = None
    ) -> AbstractContextManager[httpx.Response]:
        """GET a result URL, absolute or relative to ``base_url``, and give its answer as a stream, whatever its status.

        This blocks and may be called on any thread: large files are read off the event loop. At most five redirects
        are followed, to http and https only, and never from https to http. The key is sent only to the service's own
        origin. Raises DownloadFailed for a URL that is not usable, ConnectionFailed and OutcomeUnknown.
        """
        return self._wire.open_result(url, headers=headers)


def _json_body(body: Mapping[str, Any] | bytes) -> dict[str, Any]:
    content = body if isinstance(body, bytes) else responses.encode(body)
    return {"content": content, "headers": {"Content-Type": "application/json"}}


def _segment(text: str) -> str:
    return quote(text, safe="")


def _given(**query: str | None) -> dict[str, str]:
    return {name: value for name, value in query.items() if value is not None}


def bounded_events(response: httpx.Response, limit: int = EVENT_LIMIT) -> httpx.Response:
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
