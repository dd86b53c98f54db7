"""The faulty service: a server in its own thread, its scripts, and its counts of what was asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import h11

from .behaviours import Behaviour, error, ok
from .connection import Incoming
from .exchange import Exchange, Reply, Request, Subscription, reset
from .model import MODELS, TERMINAL, Job, Model
from .routes import ROUTES, Routes, described_models
from .stream import Course, stream
from .video import small_video

KNOWN_ROUTES = frozenset(
    {route for _, _, route in ROUTES} | {"connection", "PUT /api/repos/file", "GET /api/repos/file"}
)


class FaultyService:
    """A scriptable Oxen service on 127.0.0.1, to be used in a `with` block.

    job_seconds: how long a job takes from its submission, or a function of the job; None: jobs end by hand only.
    failure: a function of a job that ends by itself; a text it returns is the job's error message.
    keep_alive: seconds between two comments of an idle event stream.
    files_elsewhere: results lie at another origin than the interface, as behind presigned links.
    clock_skew: seconds by which the service's clock is ahead.
    """

    def __init__(
        self,
        *,
        job_seconds: float | Callable[[Job], float] | None = None,
        failure: Callable[[Job], str | None] = lambda job: None,
        keep_alive: float = 15.0,
        api_key: str = "test-key",
        video: bytes | None = None,
        files_elsewhere: bool = True,
        clock_skew: float = 0.0,
    ) -> None:
        self.api_key = api_key
        self.keep_alive = keep_alive
        self.counts: Counter[str] = Counter()  # requests by route
        self.log: list[Request] = []
        self.submits: list[Any] = []  # bodies of enqueuing requests whose body arrived, acted on or not
        self.delivered: Counter[str] = Counter()  # bytes of results sent, by generation
        self.connections_open = 0
        self.connections_ever = 0
        self.authorizations: defaultdict[str, set[str]] = defaultdict(set)  # header values by origin
        self.errors: list[BaseException] = []  # of the server itself; raised when the `with` block ends
        self.withholds: Callable[[Job], bool] = lambda job: False  # jobs of whose end no event tells
        self.lags = False  # lists leave out the jobs made meanwhile, as a replica that lags behind
        self._job_seconds = job_seconds
        self._failure = failure
        self._model = Model(video=small_video() if video is None else video, clock_skew=clock_skew)
        self._model.on_end = self._announce
        self._routes = Routes(self._model, described_models(MODELS), self._created)
        self._scripts: dict[str, deque[Behaviour]] = {route: deque() for route in KNOWN_ROUTES}
        self._always: dict[str, Behaviour] = {}
        self._subscriptions: set[Subscription] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._files_elsewhere = files_elsewhere
        self._holders: list[socket.socket] = []
        self._listeners: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._run, name="faulty-service", daemon=True)
        self._ready = threading.Event()

    # --- scripting --------------------------------------------------------------------------------------------------

    def script(self, route: str, *behaviours: Behaviour) -> None:
        """Treat the next requests of this route so, one after the other; then properly again.

        Routes are named as in "GET /api/ai/queue/{id}", "GET /files/{file}"; "connection" stands for the accepting
        of a connection.
        """
        self._known(route).extend(behaviours)

    def always(self, route: str, behaviour: Behaviour) -> None:
        """Treat every request of this route so, once its script is used up."""
        self._known(route)
        self._always[route] = behaviour

    def clear(self, route: str) -> None:
        """Forget what was scripted for this route."""
        self._known(route).clear()
        self._always.pop(route, None)

    def scripted(self, route: str) -> int:
        """How many scripted behaviours of this route are still to come."""
        return len(self._known(route))

    def _known(self, route: str) -> deque[Behaviour]:
        if route not in self._scripts:
            raise ValueError(f"no such route: {route!r}; there are {', '.join(sorted(self._scripts))}")
        return self._scripts[route]

    # --- the jobs ---------------------------------------------------------------------------------------------------

    @property
    def jobs(self) -> dict[str, Job]:
        """All jobs by id, oldest first."""
        with self._model.lock:
            return self._model.jobs

    @property
    def models(self) -> list[dict[str, Any]]:
        """The models as they are described; a test may change them."""
        return self._routes.models

    def start(self, job_id: str) -> None:
        self._model.start(job_id)

    def finish(self, *job_ids: str) -> None:
        """Let these jobs succeed; without ids, all that have not ended."""
        for job_id in job_ids or [job.id for job in list(self.jobs.values()) if job.status not in TERMINAL]:
            self._model.end(job_id, "succeeded")

    def fail(self, job_id: str, message: str) -> None:
        self._model.end(job_id, "failed", message)

    def cancel(self, job_id: str) -> None:
        """Cancel a job from the service's side; no event tells of it."""
        self._model.end(job_id, "cancelled")

    def expire(self, job_id: str, status: int = 403) -> None:
        """Let the links handed out so far answer with this status; reading the generation hands out a new one."""
        self._model.expire(job_id, status)

    def publish(self, data: dict[str, Any]) -> None:
        """Send an event of this data on every open stream, whatever the jobs' state."""
        self._loop.call_soon_threadsafe(self._broadcast, data)

    # --- what was seen ----------------------------------------------------------------------------------------------

    @property
    def streams_open(self) -> int:
        return len(self._subscriptions)

    def requests(self, route: str) -> list[Request]:
        """The requests of one route, in the order in which they came."""
        return [request for request in list(self.log) if request.route == route]

    def wait_until(self, holds: Callable[[], object], timeout: float = 30.0) -> None:
        """Return as soon as `holds()` is true; AssertionError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"not so within {timeout:g} s; requests: {dict(self.counts)}")
            time.sleep(0.002)

    # --- up and down ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def down(self, *, drop: bool = True) -> Iterator[None]:
        """Refuse connections within the block; with `drop`, reset those that are open first."""
        self._call(self._stop_listening, drop)
        try:
            yield
        finally:
            self._call(self._listen)

    def drop_connections(self) -> None:
        """Reset every open connection."""
        self._loop.call_soon_threadsafe(self._drop)

    def __enter__(self) -> FaultyService:
        self._thread.start()
        self._ready.wait(30)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(30)
        for holder in self._holders:
            holder.close()
        if kind is None and self.errors:
            raise self.errors[0]

    def _call(self, what: Callable[..., Any], *args: object) -> None:
        async def run() -> None:
            result = what(*args)
            if result is not None:
                await result

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._holders = [hold_port() for _ in range(2)]
        origins = [f"http://127.0.0.1:{holder.getsockname()[1]}" for holder in self._holders]
        self.base_url, self.other_origin = origins
        self._model.files_origin = origins[1] if self._files_elsewhere else origins[0]
        await self._listen()
        self._ready.set()
        await self._stopping.wait()
        self._stop_listening(drop=True)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        for holder in self._holders:
            listening = _bound(holder.getsockname()[1])
            self._listeners.append(await asyncio.start_server(self._connection, sock=listening, backlog=1024))

    def _stop_listening(self, drop: bool) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if drop:
            self._drop()

    def _drop(self) -> None:
        for writer in list(self._writers):
            reset(writer)

    # --- connections ------------------------------------------------------------------------------------------------

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_open += 1
        self.connections_ever += 1
        self._writers.add(writer)
        try:
            if self._scripts["connection"] and self._scripts["connection"].popleft().at_accept:
                reset(writer)
                return
            incoming = Incoming(reader, self.connections_ever)
            while await self._exchange(incoming, writer):
                pass
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass  # the client left or spoke badly, which is its right; or the service ends
        except Exception as mistake:
            self.errors.append(mistake)
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._writers.discard(writer)
            self.connections_open -= 1

    async def _exchange(self, incoming: Incoming, writer: asyncio.StreamWriter) -> bool:
        """Take one request; False when the connection is at its end."""
        request = await incoming.head()
        if request is None:
            return False
        behaviour = self._behaviour(request.route)
        request.behaviour = behaviour.name
        self._note(request)
        if behaviour.reads_body:
            request.body = await incoming.body()
            if request.route == "POST /api/ai/queue":
                self.submits.append(_decoded(request))

        async def act() -> Reply:
            return await self._act(request, exchange)

        def delivered(number: int) -> None:
            if job is not None:
                self.delivered[job.id] += number

        job = self._routes.file_job(request.path)
        exchange = Exchange(request, incoming.reader, writer, act, delivered, job, self._model.now)
        try:
            await behaviour.run(exchange)
        finally:
            self._subscriptions.discard(exchange.subscription)
        return incoming.keep_alive and not exchange.closed

    def _behaviour(self, route: str) -> Behaviour:
        script = self._scripts.get(route)
        if script:
            return script.popleft()
        usual = stream(Course(), "ok") if route == "GET /api/events" else ok()
        return self._always.get(route, usual)

    def _note(self, request: Request) -> None:
        self.counts[request.route] += 1
        self.log.append(request)
        key = request.headers.get("authorization")
        if key is not None:
            self.authorizations[f"http://{request.headers.get('host', '')}"].add(key)

    async def _act(self, request: Request, exchange: Exchange) -> Reply:
        if request.path.startswith("/api/") and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return error(401, "You must be signed in", kind="unauthenticated")
        if request.route == "GET /api/events":
            exchange.subscription = Subscription(self.keep_alive)
            self._subscriptions.add(exchange.subscription)
            return Reply()
        return await self._routes.answer(request)

    # --- the course of jobs -----------------------------------------------------------------------------------------

    def _created(self, job: Job) -> None:
        job.hidden = self.lags
        if self._job_seconds is not None:
            seconds = self._job_seconds(job) if callable(self._job_seconds) else self._job_seconds
            self._loop.call_later(seconds / 4, self._model.start, job.id)
            self._loop.call_later(seconds, self._end_by_itself, job)

    def _end_by_itself(self, job: Job) -> None:
        message = self._failure(job)
        self._model.end(job.id, "succeeded" if message is None else "failed", message)

    def _announce(self, job: Job) -> None:
        if not self.withholds(job):
            self.publish(self._model.notice(job))

    def _broadcast(self, data: dict[str, Any]) -> None:
        for subscription in self._subscriptions:
            subscription.events.put_nowait(data)


def _bound(port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's algorithm off, 40 ms an answer, only where it is.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    return listening


def hold_port() -> socket.socket:
    """A socket that is bound and never listens: it keeps the port ours while nothing listens there."""
    return _bound(0)


def _decoded(request: Request) -> Any:
    try:
        return request.json()
    except ValueError:
        return request.body
