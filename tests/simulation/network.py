"""The way between kernels and the service: transports for httpx, and everything that goes wrong on a network."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import httpx

from .choices import Choices
from .loop import Timeline
from .service import Job, Post, Service

if TYPE_CHECKING:
    from .kernel import Kernel

KEEP_ALIVE = 15.0
ANSWER_LIMIT = 256 * 1024  # bytes; the real limit would make an oversized list cost seconds

# For a submit: (seconds until it arrives, or None for never; whether the service acts; the answer; seconds of that)
_SOON, _LATE = (0.01, 0.4), (5.0, 80.0)
POST_FAULTS: tuple[tuple[str, tuple[float, float] | None, bool, str, tuple[float, float]], ...] = (
    ("connection refused", None, False, "refused connection", _SOON),
    ("429", _SOON, False, "429", _SOON),
    ("503, not acted", _SOON, False, "503", _SOON),
    ("500, not acted", _SOON, False, "500", _SOON),
    ("reset, not acted", None, False, "reset", _SOON),
    ("swallowed", None, False, "silence", _SOON),
    ("page with 200, not acted", _SOON, False, "page200", _SOON),
    ("error with 200", _SOON, False, "error200", _SOON),
    ("400", _SOON, False, "400", _SOON),
    ("402", _SOON, False, "402", _SOON),
    ("acted, reset", _SOON, True, "reset", _SOON),
    ("acted, silence", _SOON, True, "silence", _SOON),
    ("acted, 500", _SOON, True, "500", _SOON),
    ("acted, 502 page", _SOON, True, "page502", _SOON),
    ("acted, page with 200", _SOON, True, "page200", _SOON),
    ("acted, half the answer", _SOON, True, "half", _SOON),
    ("acted, cut JSON", _SOON, True, "cut", _SOON),
    ("acted, empty answer", _SOON, True, "empty", _SOON),
    ("acted, ids missing", _SOON, True, "no ids", _SOON),
    ("arrives late", _LATE, True, "proper", _SOON),
    ("arrives late, reset at once", _LATE, True, "reset", (0.0, 0.0)),
    ("answer late", _SOON, True, "proper", _LATE),
    ("doubled on its way", _SOON, True, "proper", _SOON),
    ("doubled on its way, reset", _SOON, True, "reset", _SOON),
)
READ_FAULTS = (
    "refused connection", "429", "500", "503", "504", "page200", "page502", "reset", "silence", "half", "cut", "empty",
    "late", "stale", "oversized",
)  # fmt: skip
OTHER_BODIES = ("half", "cut", "empty", "no ids", "error200")  # the status stays as it is
STREAM_FAULTS = (
    "refused connection",
    "500",
    "404",
    "429",
    "silence",
    "drops",
    "goes silent",
    "loses events",
    "repeats",
)
FILE_FAULTS = ("refused connection", "503", "429", "expired", "page", "half", "empty", "reset")


class Network:
    """Carries requests. ``rate`` is the share of them that meet a fault, 0 once everything is healed."""

    def __init__(self, timeline: Timeline, choices: Choices, service: Service, rate: float) -> None:
        self.rate = rate
        self.down = False  # nothing can be connected to
        self.broken_lists: tuple[str, ...] = ()  # statuses whose lists always fail
        self.posts: list[Post] = []
        self.faults = 0
        self._timeline = timeline
        self._choices = choices
        self._service = service

    def fault(self, question: str, count: int) -> int:
        """Which fault befalls a request, 0 for none."""
        if self.rate and self._choices.happens(f"a fault of {question}", self.rate):
            self.faults += 1
            return 1 + self._choices.pick(f"which fault of {question}", count)
        return 0

    def seconds(self, low: float = 0.01, high: float = 0.4) -> float:
        return self._choices.between("seconds on the way", low, high) if high else 0.0

    def send(self, exchange: Exchange) -> None:
        """Take a request up; its answer, or its failure, settles the exchange."""
        method, path = exchange.method, exchange.path
        if self.down:
            self._fail_to_connect(exchange)
        elif method == "POST" and path in ("/api/ai/queue", "/api/ai/videos/generate"):
            self._submit(exchange)
        elif path == "/api/events":
            self._open_stream(exchange)
        else:
            self._read(exchange)

    def _fail_to_connect(self, exchange: Exchange) -> None:
        self._timeline.after(self.seconds(), exchange.fail, httpx.ConnectError("Connection refused"))

    # Submits

    def _submit(self, exchange: Exchange) -> None:
        synchronous = exchange.path.endswith("generate")
        body = json.loads(exchange.content)
        post = Post(exchange.kernel.number, body, self._timeline.now, synchronous)
        number = self.fault("a submit", len(POST_FAULTS))
        name, arrives, acts, answer, after = POST_FAULTS[number - 1] if number else ("", _SOON, True, "proper", _SOON)
        exchange.describe(f"{json.dumps(body)[:150]}" + (f" | {name}" if name else ""))
        if name != "connection refused":
            self.posts.append(post)
            exchange.life.people.after_submit(body)
        if arrives is None:
            self._timeline.after(self.seconds(*after), self._reply, exchange, answer, None, None)
            return
        on_its_way = self.seconds(*arrives)
        if name == "arrives late, reset at once":
            self._timeline.after(self.seconds(), self._reply, exchange, "reset", None, None)
            self._timeline.after(on_its_way, self._act, exchange, post, "silence", after)
        elif acts:
            if answer != "proper":
                exchange.life.answer_lost()
            self._timeline.after(on_its_way, self._act, exchange, post, answer, after)
            if name.startswith("doubled"):
                self._timeline.after(on_its_way + self.seconds(), self._service.create, body, "network")
        else:
            self._timeline.after(on_its_way, self._reply, exchange, answer, None, None)

    def _act(self, exchange: Exchange, post: Post, answer: str, after: tuple[float, float]) -> None:
        post.jobs = self._service.create(post.body, "ours", synchronous=post.synchronous)
        exchange.note(f"the service made {', '.join(f'#{job.number}' for job in post.jobs)}")
        if post.synchronous:
            job = post.jobs[0]
            job.at_end.append(lambda: self._rendered(exchange, post, job, answer, after))
            return
        rows = [{"generation_id": job.id, "status": "queued"} for job in post.jobs]
        self._timeline.after(self.seconds(*after), self._reply, exchange, answer, (200, {"generations": rows}), post)

    def _rendered(self, exchange: Exchange, post: Post, job: Job, answer: str, after: tuple[float, float]) -> None:
        self._timeline.after(self.seconds(*after), self._reply, exchange, answer, self._service.rendered(job), post)

    # Everything else

    def _read(self, exchange: Exchange) -> None:
        status = exchange.query.get("status")
        kind = exchange.kind
        if kind == "list" and status in self.broken_lists:
            self._timeline.after(self.seconds(), self._reply, exchange, "504", None, None)
            return
        number = self.fault(f"a {kind}", len(READ_FAULTS))
        name = READ_FAULTS[number - 1] if number else "proper"
        if name == "oversized" and kind not in ("list", "history"):
            name = "reset"
        exchange.describe(f"| {name}" if number else "")
        lag = self._choices.between("seconds of lag", 0.2, 20.0) if name == "stale" else 0.0
        arrives = self.seconds(*_LATE) if name == "late" else self.seconds()
        if name == "refused connection":
            self._fail_to_connect(exchange)
        elif name in ("reset", "silence", "429", "500", "503", "504") and self._choices.happens("not acted", 0.5):
            self._timeline.after(arrives, self._reply, exchange, name, None, None)
        else:
            self._timeline.after(arrives, self._serve, exchange, "proper" if name in ("late", "stale") else name, lag)

    def _serve(self, exchange: Exchange, answer: str, lag: float) -> None:
        if exchange.method == "DELETE":
            exchange.life.invariants.cancelling(exchange.kernel, exchange.path.rpartition("/")[2])
        exchange.served = self._timeline.now
        served = self._service.answer(exchange.method, exchange.path, exchange.query, lag)
        self._timeline.after(self.seconds(), self._reply, exchange, answer, served, None)

    def _reply(self, exchange: Exchange, kind: str, served: tuple[int, Any] | None, post: Post | None) -> None:
        status, payload = served or (200, {})
        body = json.dumps(payload).encode()
        headers = {"content-type": "application/json", "date": formatdate(self._service.clock(), usegmt=True)}
        if post is not None and exchange.waits and (kind == "proper" or (kind in OTHER_BODIES and status >= 400)):
            post.told = True  # the status alone says that a request was refused
        match kind:
            case "refused connection":
                return exchange.fail(httpx.ConnectError("Connection refused"))
            case "reset":
                return exchange.fail(httpx.ReadError("Connection reset by peer"))
            case "silence":
                return None
            case "429":
                status, body = 429, b'{"error": {"message": "Rate limit exceeded"}}'
                named = self._choices.pick("pace that a 429 names", 3)
                if named:
                    clock = formatdate(self._service.clock() + 5, usegmt=True)
                    headers["retry-after"] = "4" if named == 1 else clock
            case "500" | "503" | "504":
                status, body = int(kind), b'{"error": {"message": "Something went wrong"}}'
            case "400" | "402":
                status, body = int(kind), b'{"error": {"message": "Insufficient credits or a bad request"}}'
            case "page200" | "page502":
                status, body = int(kind[-3:]), b"<html><body>Sorry!</body></html>"
            case "error200":
                body = b'{"generations": [], "error": {"message": "The model is overloaded."}}'
            case "no ids":
                body = b'{"generations": [{}]}'
            case "empty":
                body = b""
            case "cut":
                body = body[: len(body) // 2]
            case "oversized":
                body += b" " * (ANSWER_LIMIT + 1)
            case "half":
                stream = _Cut(body[: len(body) // 2])
                return exchange.settle(httpx.Response(status, headers=headers, stream=stream))
            case "proper":
                if post is None and status == 200:
                    candidates = exchange.kind != "history" or "media_type" in exchange.query
                    exchange.kernel.seen(payload, candidates=candidates)
                    if candidates and exchange.kind in ("list", "history") and "status" not in exchange.query:
                        exchange.kernel.looked = exchange.served
        exchange.note(f"answered {status}" if kind == "proper" else f"answered {kind}")
        return exchange.settle(httpx.Response(status, headers=headers, content=body))

    # The event stream

    def _open_stream(self, exchange: Exchange) -> None:
        number = self.fault("a stream", len(STREAM_FAULTS))
        name = STREAM_FAULTS[number - 1] if number else "proper"
        exchange.describe(f"| {name}" if number else "")
        if name in ("refused connection", "500", "404", "429", "silence"):
            kind = "page502" if name == "404" else name
            self._timeline.after(
                self.seconds(), self._reply, exchange, kind, (404, {}) if name == "404" else None, None
            )
            return
        self._timeline.after(self.seconds(), self._subscribe, exchange, name)

    def _subscribe(self, exchange: Exchange, name: str) -> None:
        if not exchange.waits:
            return
        stream = EventStream(self, exchange, name)
        self._service.listeners.append(stream.hear)
        headers = {"content-type": "text/event-stream", "date": formatdate(self._service.clock(), usegmt=True)}
        exchange.settle(httpx.Response(200, headers=headers, stream=stream))

    def unsubscribe(self, stream: EventStream) -> None:
        if stream.hear in self._service.listeners:
            self._service.listeners.remove(stream.hear)

    # Result files

    def file(self, kernel: Kernel, request: httpx.Request) -> httpx.Response:
        """Answer a request for a result file, blocking, in no time."""
        number = self.fault("a file", len(FILE_FAULTS))
        name = FILE_FAULTS[number - 1] if number else "proper"
        kernel.life.note(kernel, f"GET {request.url.path}" + (f" | {name}" if number else ""))
        if self.down or name == "refused connection":
            raise httpx.ConnectError("Connection refused")
        if name == "reset":
            raise httpx.ReadError("Connection reset by peer")
        if name in ("503", "429"):
            return httpx.Response(int(name), request=request)
        job = self._service.jobs.get(request.url.path.removeprefix("/").removesuffix(".mp4"))
        if name == "expired" and job is not None:
            self._service.expire(job)
        content = self._service.file(request.url.path, dict(request.url.params))
        if content is None:
            return httpx.Response(403, content=b"<Error>Request has expired</Error>", request=request)
        headers = {"content-type": "video/mp4", "content-length": str(len(content))}
        if name == "page":
            return httpx.Response(200, content=b"<html><body>Sorry!</body></html>", request=request)
        if name == "empty":
            return httpx.Response(200, content=b"", request=request)
        if name == "half":
            return httpx.Response(200, headers=headers, stream=_Cut(content[: len(content) // 2]), request=request)
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(content), request=request)


class Exchange:
    """One request of a kernel and the future that its answer settles."""

    def __init__(self, network: Network, kernel: Kernel, request: httpx.Request) -> None:
        self.kernel = kernel
        self.life = kernel.life
        self.method = request.method
        self.path = request.url.path
        self.query = dict(request.url.params)
        self.content = request.content if request.method == "POST" else b""
        self.read_timeout: float | None = (request.extensions.get("timeout") or {}).get("read")
        self.served = 0.0  # when the service answered
        self._request = request
        self._future: asyncio.Future[httpx.Response] = kernel.loop.create_future()
        self._network = network

    @property
    def kind(self) -> str:
        if self.method == "DELETE":
            return "cancellation"
        if self.path.startswith("/api/ai/queue/"):
            return "read"
        return {"/api/ai/queue": "list", "/api/ai/generations": "history"}.get(self.path, "request")

    @property
    def waits(self) -> bool:
        return not self._future.done() and not self.kernel.dead

    async def answer(self) -> httpx.Response:
        self._network.send(self)
        if self.read_timeout is not None and self.path != "/api/events":
            timeline = self._network._timeline
            timeline.after(self.read_timeout, self.fail, httpx.ReadTimeout("No answer in time"))
        return await self._future

    def describe(self, text: str) -> None:
        query = "?" + "&".join(f"{n}={v}" for n, v in self.query.items()) if self.query else ""
        self.life.note(self.kernel, f"{self.method} {self.path}{query} {text}")

    def note(self, text: str) -> None:
        self.life.note(self.kernel, f"  {self.method} {self.path}: {text}")

    def settle(self, response: httpx.Response) -> None:
        if self.waits:
            response.request = self._request
            self._future.set_result(response)

    def fail(self, error: Exception) -> None:
        if self.waits:
            if not isinstance(error, httpx.ReadTimeout):
                self.note(str(error))
            self._future.set_exception(error)


class EventStream(httpx.AsyncByteStream):
    """The body of an event stream, with keep-alives, and with the faults of one."""

    def __init__(self, network: Network, exchange: Exchange, fault: str) -> None:
        self._network = network
        self._timeline = network._timeline
        self._loop = exchange.kernel.loop
        self._silence = exchange.read_timeout
        self._fault = fault
        self._chunks: deque[bytes | Exception] = deque([b": keep-alive\n\n"])
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._heard = self._timeline.now
        self._timeline.after(KEEP_ALIVE, self._keep_alive)
        if fault in ("drops", "goes silent"):
            self._timeline.after(network.seconds(0.5, 60.0), self._break)

    def hear(self, data: dict[str, Any]) -> None:
        text = f"event: media_generation_completed\ndata: {json.dumps(data)}\n\n".encode()
        if self._fault == "loses events" and self._network.rate:
            return
        delay = self._network.seconds()
        self._timeline.after(delay, self._push, text)
        if self._fault == "repeats":
            self._timeline.after(delay + 0.1, self._push, text)

    def _keep_alive(self) -> None:
        if not self._closed and not self._loop.dead:
            self._push(b": keep-alive\n\n")
            self._timeline.after(KEEP_ALIVE, self._keep_alive)

    def _break(self) -> None:
        self._network.unsubscribe(self)
        if self._fault == "drops":
            self._push(httpx.ReadError("Connection reset by peer"))
        self._fault = "silent"

    def _push(self, chunk: bytes | Exception) -> None:
        if self._closed or self._loop.dead or self._fault == "silent":
            return
        self._chunks.append(chunk)
        self._heard = self._timeline.now
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _timed_out(self, since: float) -> None:
        if self._heard == since and not self._closed and self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(httpx.ReadTimeout("The stream is silent"))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
            self._waiter = self._loop.create_future()
            if self._silence is not None:
                self._timeline.at(self._heard + self._silence, self._timed_out, self._heard)
            await self._waiter

    async def aclose(self) -> None:
        self._closed = True
        self._network.unsubscribe(self)


class _Cut(httpx.AsyncByteStream, httpx.SyncByteStream):
    """A body that breaks off."""

    def __init__(self, part: bytes) -> None:
        self._part = part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._part
        raise httpx.ReadError("Connection reset by peer")

    def __iter__(self) -> Iterator[bytes]:
        yield self._part
        raise httpx.ReadError("Connection reset by peer")


class Wire(httpx.AsyncBaseTransport):
    """What a kernel's Client sends API requests through."""

    def __init__(self, network: Network, kernel: Kernel) -> None:
        self._network = network
        self._kernel = kernel

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._kernel.check()
        if request.method != "GET":
            await request.aread()
        return await Exchange(self._network, self._kernel, request).answer()


class Files(httpx.BaseTransport):
    """What a kernel's Client fetches result files through."""

    def __init__(self, network: Network, kernel: Kernel) -> None:
        self._network = network
        self._kernel = kernel

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._kernel.check()
        return self._network.file(self._kernel, request)
