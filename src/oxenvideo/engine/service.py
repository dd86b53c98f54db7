"""One service and everything of ours that is under way there: sent, seen, cancelled and brought home."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from oxenvideo.client.client import Client
from oxenvideo.client.responses import Rendered
from oxenvideo.credentials import Target
from oxenvideo.engine.canceller import Canceller
from oxenvideo.engine.costs import Costs
from oxenvideo.engine.downloads import Deliveries
from oxenvideo.engine.local_server import LocalService
from oxenvideo.engine.media_inputs import Inputs
from oxenvideo.engine.submitter import Submitter
from oxenvideo.engine.watcher import Watcher
from oxenvideo.errors import NotFound, OxenVideoError
from oxenvideo.jobs.generation import Cancellation, Generation
from oxenvideo.jobs.records import Step
from oxenvideo.jobs.status import Observation, State, Status, advance
from oxenvideo.jobs.submission import Submission, put
from oxenvideo.request.request import VideoRequest
from oxenvideo.retry import persist

if TYPE_CHECKING:
    from oxenvideo.engine.engine import Engine

log = logging.getLogger("oxenvideo")

_ENDS = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
# Connections beside those of submits and downloads: the stream, lists, cancels, costs, synchronous requests, questions.
_OTHER_CONNECTIONS = 48


class Channel:
    """The engine's side of one service. Everything here runs on the engine's loop."""

    def __init__(self, engine: Engine, target: Target) -> None:
        setup = engine.setup
        self.target = target
        self.base_url = target.base_url
        self.ledger = engine.ledger
        self.pace = setup.local_pace if target.is_local else setup.pace
        self._engine = engine
        self._opening = asyncio.Lock()
        self._client: Client | None = None
        self._local: LocalService | None = None
        self._watcher: Watcher | None = None
        self._costs: Costs | None = None
        self._submitter = Submitter(self, setup.limits.submits)
        self._submission_of: dict[Generation, Submission] = {}
        self._canceller = Canceller(self)
        self._deliveries = Deliveries(
            self, lambda: engine.setup.download_dir, at_once=setup.limits.downloads, most=setup.limits.video
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._inputs = Inputs(
            self.open,
            engine.find,
            self._fresh_url,
            inline_limit=setup.limits.inline,
            repository=lambda: engine.setup.media_repo,
        )

    # Opening and closing

    async def open(self) -> Client:
        """The client, made at the first call; the embedded server is started for it where it is meant and not running."""
        if self._client is not None and not self.target.is_local:
            return self._client
        async with self._opening:
            if self.target.is_local:
                await self._open_local()
            elif self._client is None:
                assert self.target.api_key is not None  # noqa: S101 - every remote target has a key
                self._connect(self.target.base_url, self.target.api_key)
            assert self._client is not None  # noqa: S101 - narrows the type
            return self._client

    async def _open_local(self) -> None:
        local = self._local = self._local or LocalService(self._engine.setup.data_dir / "local")
        if self._client is not None and local.is_running:
            return
        base_url, key = await asyncio.to_thread(local.start)
        if self._client is None:
            self._connect(base_url, key)
        else:
            self._client.relocate(base_url)

    def _connect(self, base_url: str, key: Any) -> None:
        limits = self._engine.setup.limits
        self._client = client = Client(
            base_url,
            key,
            connections=limits.submits + limits.downloads + _OTHER_CONNECTIONS,
            timeout=self._engine.setup.client_timeout,
            stream_silence=self.pace.stream_silence,
        )
        self._watcher = Watcher(
            client, self.pace, observed=self.observed, changed=self.change, vanished=self._vanished, revive=self.open
        )
        self._costs = Costs(client, self.observed)

    async def close(self) -> None:
        """Stop everything; what is unfinished stays in the journal."""
        self._submitter.stop()
        self._canceller.stop()
        self._deliveries.stop()
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

    async def _watching(self) -> Watcher:
        await self.open()
        assert self._watcher is not None  # noqa: S101 - made with the client
        return self._watcher

    # Submitting

    def submit(self, submission: Submission) -> None:
        """Send a submission that is in the journal."""
        self._enter(submission)
        self._submitter.submit(submission)

    def adopt(self, submission: Submission, step: Step) -> None:
        """Go on with a submission from the journal, from the step it had reached."""
        self._enter(submission)
        if step == "planned":
            self._submitter.submit(submission)
        elif step in ("sending", "unknown"):
            self._submitter.look_for(submission)
        else:
            for generation in submission.generations:
                self.follow(generation)

    def fail(self, submission: Submission, error: OxenVideoError) -> None:
        """End a submission of which nothing was sent."""
        self._submitter.fail(submission, error)

    def look_again(self, generation: Generation) -> bool:
        """Look once more for what could not be found; False where that is not the matter."""
        submission = self._submission_of.get(generation)
        if submission is None or generation.status is not Status.UNCONFIRMED:
            return False
        for one in submission.generations:
            put(self.change, one, local=Status.SUBMITTING, error=None, notice="Looking for it at the service.")
        self._submitter.look_for(submission)
        return True

    def _enter(self, submission: Submission) -> None:
        for generation in submission.generations:
            self._submission_of[generation] = submission
            self._deliveries.name(generation, submission.save_as, submission.directory)

    def follow(self, generation: Generation, save_as: str | None = None) -> None:
        """Watch a generation that the service has, or bring its file home."""
        self._deliveries.name(generation, save_as)
        if generation.status is Status.DOWNLOADING:
            self._deliveries.bring(generation)
        elif not generation.done:
            self._spawn(self._watch(generation))

    async def _watch(self, generation: Generation) -> None:
        while True:
            try:
                watcher = await self._watching()
                break
            except OxenVideoError as error:  # the embedded server does not start
                self.change(generation, replace(generation.state, notice=str(error)))
                await asyncio.sleep(self.pace.backoff.most)
        if generation.state.remote not in _ENDS:
            watcher.add(generation)
            watcher.look()

    async def stream_ready(self) -> None:
        """See Watcher.ready."""
        await (self._watcher or await self._watching()).ready()

    async def prepare(self, request: VideoRequest, waiting: Callable[[str], None]) -> VideoRequest:
        """See Inputs.resolve."""
        return await self._inputs.resolve(request, waiting)

    def accepted(self, submission: Submission, ids: Sequence[str], *, told: bool) -> bool:
        """The service has these ids for it: write them down before anything else happens.

        False where ids that were found in a list belong to another already; ``told`` ones are ours in any case.
        """
        pairs = list(zip(submission.generations, ids, strict=False))
        if not self.ledger.accept(submission.key, [(g.key, i) for g, i in pairs], told=told):
            return False
        watcher = self._watcher
        assert watcher is not None  # noqa: S101 - ids are known only after open()
        for generation, generation_id in pairs:
            state = replace(generation.state, generation_id=generation_id, remote="queued", error=None, notice=None)
            self.change(generation, state)
            watcher.add(generation)
            if generation in submission.unwanted:
                self._spawn(self.cancel(generation))
        if not told:
            watcher.look()
        for generation in submission.generations[len(pairs) :]:
            error = OxenVideoError(f"The service made only {len(pairs)} of {len(submission.generations)} generations.")
            self._end(generation, replace(generation.state, local=Status.FAILED, error=error))
        if len(ids) > len(pairs):
            more = ", ".join(ids[len(pairs) :])
            notice = f"The service made more than was asked for; bring the others back with %oxenvideo attach: {more}"
            self.change(pairs[0][0], replace(pairs[0][0].state, notice=notice))
        submission.settled.set()
        return True

    def rendered(self, submission: Submission, result: Rendered) -> None:
        """The synchronous endpoint has answered with the video."""
        generation = submission.generations[0]
        url = result.urls[0] if result.urls else None
        if url is not None:
            self.ledger.answered(submission.key, generation.key, url)
        self.change(generation, replace(generation.state, remote="succeeded", result_url=url, notice=None))
        submission.settled.set()
        if result.b64_json:
            self._deliveries.store(generation, result.b64_json[0], lambda: self.ledger.step(submission.key, "accepted"))
        else:
            self._finish(generation)

    # Seeing

    def change(self, generation: Generation, state: State) -> None:
        """See Engine.change."""
        self._engine.change(generation, state)
        if generation.done:
            self._submission_of.pop(generation, None)

    def observed(self, generation: Generation, seen: Observation) -> None:
        """Take in what the service said of a generation, and do what follows from it."""
        before = generation.status
        state = advance(generation.state, seen, time.time())
        if state == generation.state:
            return
        self.change(generation, state)
        if state.status != before and state.remote in _ENDS:
            self._finish(generation)

    def _finish(self, generation: Generation) -> None:
        """The service is done with it: watch no longer, and bring home what there is."""
        if self._watcher is not None:
            self._watcher.discard(generation)
        if self._costs is not None and generation.id is not None and generation.state.cost is None:
            self._costs.ask_for(generation)
        if generation.status is Status.DOWNLOADING:
            self._deliveries.bring(generation)
        elif generation.status is Status.SUCCEEDED:  # not to be downloaded here
            self._end(generation, generation.state)
            if generation.result_url is None:
                self._spawn(self._read_again(generation))

    async def _read_again(self, generation: Generation) -> None:
        client = await self.open()
        self.observed(generation, await persist(lambda: client.generation(generation.id or "")))

    def _vanished(self, generation: Generation) -> None:
        error = NotFound(
            f"The service knows no generation {generation.id!r} under this key (HTTP 404).", status_code=404
        )
        if self._watcher is not None:
            self._watcher.discard(generation)
        self._end(generation, replace(generation.state, remote=None, local=Status.FAILED, error=error))

    def _end(self, generation: Generation, state: State) -> None:
        self.change(generation, replace(state, notice=None, finished_at=time.time()))

    # Cancelling

    async def cancel(self, generation: Generation) -> Cancellation:
        """See Generation.cancel."""
        return await self._canceller.cancel(generation)

    def submission_of(self, generation: Generation) -> Submission | None:
        """The submission of one that has not ended."""
        return self._submission_of.get(generation)

    def may_have_arrived(self, submission: Submission) -> bool:
        """Whether the service may have it, its answer being waited or looked for."""
        return self._submitter.holds(submission)

    def withdraw(self, submission: Submission, generation: Generation) -> None:
        """Take a generation out of a submission that was not sent."""
        submission.drop(generation)
        self.ledger.withdraw(generation.key)
        if not submission.generations:
            self.ledger.step(submission.key, "refused")
            submission.settled.set()
        self._end(generation, replace(generation.state, local=Status.CANCELLED, error=None))

    # Bringing home

    def download_again(self, generation: Generation) -> None:
        """Fetch the file of a generation that succeeded, whatever became of an earlier download."""
        state = generation.state
        if state.remote == Status.SUCCEEDED and state.status is not Status.DOWNLOADING:
            self.change(generation, replace(state, fetching=True, error=None, path=None, finished_at=None))
            self._deliveries.bring(generation)

    async def _fresh_url(self, upstream: Generation) -> str | None:
        """A result URL that the service itself can open, for a generation of this service; else None."""
        if upstream.id is None or self._engine.channel_of(upstream) is not self:
            return None
        client = await self.open()
        return (await persist(lambda: client.generation(upstream.id or ""))).result_url

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("in the background: %s", error, exc_info=None if isinstance(error, OxenVideoError) else error)
