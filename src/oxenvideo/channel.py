"""One service and everything of ours that is under way there: what is seen of it, cancelled, and brought home."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oxenvideo import download, files
from oxenvideo.client import Client
from oxenvideo.config import Target
from oxenvideo.costs import Costs
from oxenvideo.errors import (
    ConnectionFailed,
    DownloadFailed,
    NotFound,
    OutcomeUnknown,
    OxenVideoError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
)
from oxenvideo.generation import Cancellation, Generation
from oxenvideo.inputs import Inputs
from oxenvideo.local import LocalService
from oxenvideo.request import VideoRequest
from oxenvideo.retry import Backoff
from oxenvideo.state import Observation, State, Status, advance
from oxenvideo.submit import Submission, Submitter
from oxenvideo.watch import Watcher
from oxenvideo.wire import Rendered

if TYPE_CHECKING:
    from oxenvideo.engine import Engine

_PROGRESS_EVERY = 0.5  # seconds between two changes of state that only tell bytes
_CANCEL_ATTEMPTS = 4


class Channel:
    """The engine's side of one service. Everything here runs on the engine's loop."""

    def __init__(self, engine: Engine, target: Target) -> None:
        self.target = target
        self.base_url = target.base_url
        self.journal = engine.journal
        self.pace = engine.setup.local_pace if target.is_local else engine.setup.pace
        self._engine = engine
        self._setup = engine.setup
        self._opening = asyncio.Lock()
        self._client: Client | None = None
        self._local: LocalService | None = None
        self._watcher: Watcher | None = None
        self._costs: Costs | None = None
        self._submitter = Submitter(self, engine.setup.limits.submits)
        self._submission_of: dict[Generation, Submission] = {}
        self._downloads = asyncio.Semaphore(engine.setup.limits.downloads)
        self._tasks: set[asyncio.Task[None]] = set()
        self._inputs = Inputs(
            self.open,
            engine.known.get,
            self._fresh_url,
            inline_limit=engine.setup.limits.inline,
            repository=engine.setup.media_repo,
        )

    # Opening and closing

    async def open(self) -> Client:
        """The client, made at the first call; the embedded server is started for it where it is meant."""
        async with self._opening:
            if self._client is None:
                base_url, key = self.target.base_url, self.target.api_key
                if self.target.is_local:
                    self._local = self._local or LocalService(self._setup.data_dir / "local")
                    base_url, key = await asyncio.to_thread(self._local.start)
                self._client = Client(
                    base_url, key, connections=self._setup.limits.submits, timeout=self._setup.client_timeout
                )
                self._watcher = Watcher(self._client, self.pace, self._observed, self.change, self._vanished)
                self._costs = Costs(self._client, self._observed)
        return self._client

    async def close(self) -> None:
        """Stop everything; what is unfinished stays in the journal."""
        self._submitter.stop()
        for task in self._tasks:
            task.cancel()
        if self._costs is not None:
            self._costs.stop()
        if self._watcher is not None:
            self._watcher.stop()
        if self._client is not None:
            await self._client.aclose()

    def kill_server(self) -> None:
        """End the embedded server, if one was started here. From any thread."""
        if self._local is not None:
            self._local.stop()

    def _opened(self) -> tuple[Watcher, Costs]:
        assert self._watcher is not None  # noqa: S101 - ids are known only after open()
        assert self._costs is not None  # noqa: S101
        return self._watcher, self._costs

    # Submitting

    def submit(self, submission: Submission) -> None:
        """Send a submission that is in the journal."""
        self._remember(submission)
        self._submitter.submit(submission)

    def adopt(self, submission: Submission, step: str) -> None:
        """Go on with a submission from the journal, from the step it had reached."""
        self._remember(submission)
        if step == "planned":
            self._submitter.submit(submission)
        elif step in ("sending", "unknown"):
            self._submitter.look_for(submission)
        else:
            self._spawn(self._go_on(submission))

    def bring(self, submission: Submission, seen: Observation) -> None:
        """Follow a generation that the service was just seen to have."""
        self._remember(submission)
        self.accepted(submission, [seen.generation_id])
        self._observed(submission.generations[0], seen)

    def fail(self, submission: Submission, error: OxenVideoError) -> None:
        """End a submission of which nothing was sent."""
        self._submitter.fail(submission, error)

    def _remember(self, submission: Submission) -> None:
        for generation in submission.generations:
            self._submission_of[generation] = submission

    async def _go_on(self, submission: Submission) -> None:
        try:
            await self.open()
        except OxenVideoError as error:
            self.fail(submission, error)
            return
        for generation in submission.generations:
            if generation.status is Status.DOWNLOADING:
                self._bring_home(generation)
            elif not generation.done:
                self._opened()[0].add(generation)
                self._opened()[0].look()

    async def stream_ready(self) -> None:
        """See Watcher.ready."""
        await self._opened()[0].ready()

    async def prepare(self, request: VideoRequest, waiting: Callable[[str], None]) -> VideoRequest:
        """See Inputs.resolve."""
        return await self._inputs.resolve(request, waiting)

    def accepted(self, submission: Submission, ids: Sequence[str]) -> None:
        """The service has named the ids: write them down before anything else happens."""
        pairs = list(zip(submission.generations, ids, strict=False))
        self.journal.accept(submission.key, [(g.key, i) for g, i in pairs])
        watcher = self._opened()[0]
        for generation, generation_id in pairs:
            state = replace(generation.state, generation_id=generation_id, remote="queued", error=None, notice=None)
            self.change(generation, state)
            watcher.add(generation)
        for generation in submission.generations[len(pairs) :]:
            error = OxenVideoError(f"The service made only {len(pairs)} of {len(submission.generations)} generations.")
            self._end(generation, replace(generation.state, local=Status.FAILED, error=error))
        if len(ids) > len(pairs):
            more = ", ".join(ids[len(pairs) :])
            notice = f"The service made more than was asked for; bring the others back with %oxenvideo attach: {more}"
            self.change(pairs[0][0], replace(pairs[0][0].state, notice=notice))
        submission.settled.set()

    def rendered(self, submission: Submission, result: Rendered) -> None:
        """The synchronous endpoint has answered with the video."""
        self.journal.step(submission.key, "accepted")
        generation = submission.generations[0]
        url = result.urls[0] if result.urls else None
        self.change(generation, replace(generation.state, remote="succeeded", result_url=url, notice=None))
        submission.settled.set()
        if result.b64_json:
            self._spawn(self._store(generation, result.b64_json[0]))
        else:
            self._finish(generation)

    # Seeing

    def change(self, generation: Generation, state: State) -> None:
        """See Engine.change."""
        self._engine.change(generation, state)

    def _observed(self, generation: Generation, seen: Observation) -> None:
        before = generation.status
        state = advance(generation.state, seen, time.time())
        if state == generation.state:
            return
        if state.remote == Status.SUCCEEDED and state.result_url is None and state.path is None:
            self._spawn(self._read_again(generation))  # the notice of the end came without the address
        self.change(generation, state)
        if state.status != before and state.remote in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED):
            self._finish(generation)

    async def _read_again(self, generation: Generation) -> None:
        with contextlib.suppress(OxenVideoError):
            self._observed(generation, await (await self.open()).generation(generation.id or ""))

    def _finish(self, generation: Generation) -> None:
        """The service is done with it: watch no longer, and bring home what there is."""
        watcher, costs = self._opened()
        watcher.discard(generation)
        if generation.id is not None and generation.state.cost is None:
            costs.ask_for(generation)
        if generation.status is Status.DOWNLOADING:
            self._bring_home(generation)
        elif generation.done:
            self._submission_of.pop(generation, None)

    def _vanished(self, generation: Generation) -> None:
        error = NotFound(
            f"The service knows no generation {generation.id!r} under this key (HTTP 404).", status_code=404
        )
        self._opened()[0].discard(generation)
        self._end(generation, replace(generation.state, remote=None, local=Status.FAILED, error=error))

    def _end(self, generation: Generation, state: State) -> None:
        self._submission_of.pop(generation, None)
        self.change(generation, replace(state, notice=None, finished_at=time.time()))

    # Cancelling

    async def cancel(self, generation: Generation) -> Cancellation:
        """Ask, then look: the service's answer to a DELETE is the same whether or not it was too late."""
        submission = self._submission_of.get(generation)
        if generation.id is None and submission is not None and not self._submitter.holds(submission):
            submission.cancelled = True
            for one in submission.generations:
                self._end(one, replace(one.state, local=Status.CANCELLED, error=None))
            self.journal.step(submission.key, "refused")
            return Cancellation("Cancelled before it was sent; nothing is charged.", cancelled=True)
        if generation.id is None and submission is not None:
            await submission.settled.wait()
        if generation.id is None:
            return Cancellation("There is nothing at the service to cancel.", cancelled=generation.done)
        client = await self.open()
        seen = await _persist(lambda: _delete_and_look(client, generation.id or ""))
        self._observed(generation, seen)
        return _verdict(seen.status)

    # Bringing home

    def download_again(self, generation: Generation) -> None:
        """Fetch the file of a generation that succeeded, whatever became of an earlier download."""
        state = generation.state
        if state.remote == Status.SUCCEEDED and state.status is not Status.DOWNLOADING:
            self.change(generation, replace(state, fetching=True, error=None, path=None, finished_at=None))
            self._bring_home(generation)

    def _bring_home(self, generation: Generation) -> None:
        if not self._setup.download:
            self._end(generation, replace(generation.state, fetching=False))
        elif generation.state.result_url is not None:
            self._spawn(self._fetch(generation))
        elif generation.id is not None:
            self._spawn(self._fetch(generation, renew_first=True))

    async def _fetch(self, generation: Generation, *, renew_first: bool = False) -> None:
        last = 0.0

        def progress(received: int, expected: int | None) -> None:
            nonlocal last
            if time.monotonic() - last >= _PROGRESS_EVERY:
                last = time.monotonic()
                self.change(generation, replace(generation.state, received=received, expected=expected))

        async def renew() -> str:
            seen = await client.generation(generation.id or "")
            self._observed(generation, seen)
            if seen.result_url is None:
                raise DownloadFailed(f"The service has no result URL any more; the generation is {seen.status}.")
            return seen.result_url

        async with self._downloads:
            try:
                client = await self.open()
                url = await renew() if renew_first else generation.state.result_url or ""
                path = await download.fetch(
                    client,
                    url,
                    self._destination(generation),
                    renew=renew if generation.id else _no_renewal,
                    progress=progress,
                    backoff=self.pace.backoff,
                    finish=lambda whole: files.stamp(whole, generation),
                )
            except OxenVideoError as error:
                self._end(generation, replace(generation.state, fetching=False, error=_as_download_failure(error)))
            else:
                size = path.stat().st_size
                arrived = replace(generation.state, fetching=False, path=path, received=size, expected=size, error=None)
                self._end(generation, arrived)

    async def _store(self, generation: Generation, encoded: str) -> None:
        try:
            content = await asyncio.to_thread(base64.b64decode, encoded)
            path = await asyncio.to_thread(
                download.store,
                content,
                self._destination(generation),
                finish=lambda whole: files.stamp(whole, generation),
            )
        except (OxenVideoError, ValueError) as error:
            failure = (
                error if isinstance(error, OxenVideoError) else DownloadFailed(f"The answer holds no video: {error}.")
            )
            self._end(generation, replace(generation.state, fetching=False, error=failure))
        else:
            self._end(generation, replace(generation.state, fetching=False, path=path))

    def _destination(self, generation: Generation) -> Path:
        submission = self._submission_of.get(generation)
        return files.destination(generation, submission.save_as if submission else None, self._setup.download_dir)

    async def _fresh_url(self, upstream: Generation) -> str | None:
        """A result URL that the service itself can open, for a generation of this service; else None."""
        if self._engine.channel_of(upstream) is not self or upstream.id is None:
            return None
        return (await (await self.open()).generation(upstream.id)).result_url

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _delete_and_look(client: Client, generation_id: str) -> Observation:
    await client.cancel(generation_id)
    return await client.generation(generation_id)


async def _persist(ask: Callable[[], Awaitable[Observation]]) -> Observation:
    """Both requests may be repeated without harm, so a failed one is."""
    backoff = Backoff(first=0.3, most=5.0)
    for attempt in range(1, _CANCEL_ATTEMPTS):
        try:
            return await ask()
        except (ConnectionFailed, OutcomeUnknown, ServiceUnavailable, RateLimited) as error:
            pace = error.retry_after if isinstance(error, ServiceError) else None
            await asyncio.sleep(backoff.delay(attempt, retry_after=pace))
    return await ask()


def _verdict(status: str) -> Cancellation:
    match status:
        case Status.CANCELLED:
            return Cancellation("The service cancelled it.", cancelled=True)
        case Status.SUCCEEDED:
            return Cancellation("Too late: the video was already finished, and is charged.", cancelled=False)
        case Status.FAILED:
            return Cancellation("Too late: it had already failed.", cancelled=False)
        case _:
            return Cancellation(f"The service took the request and still calls it {status}.", cancelled=False)


def _as_download_failure(error: OxenVideoError) -> OxenVideoError:
    return error if isinstance(error, DownloadFailed) else DownloadFailed(f"Download failed: {error}")


async def _no_renewal() -> str:
    raise DownloadFailed("The result URL expired, and a synchronous request has no id by which to renew it.")
