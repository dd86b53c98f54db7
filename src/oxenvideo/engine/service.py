"""All work at one API endpoint, and the life of a submission there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any

from oxenvideo.client.client import Client
from oxenvideo.client.credentials import Secret, Target
from oxenvideo.client.responses import Observation, Rendered
from oxenvideo.client.retry import persist
from oxenvideo.engine.canceller import Canceller
from oxenvideo.engine.costs import Costs
from oxenvideo.engine.downloads import Downloads
from oxenvideo.engine.local_server import LocalService
from oxenvideo.engine.media_inputs import MediaInputs
from oxenvideo.engine.recovery import Recovery, could_be, row_parameters
from oxenvideo.engine.submitter import Submitter
from oxenvideo.engine.watcher import Watcher
from oxenvideo.errors import OxenVideoError
from oxenvideo.jobs.generation import Cancellation, Generation
from oxenvideo.jobs.job import Job, Registry, Submission
from oxenvideo.jobs.status import LOST, Status, Step
from oxenvideo.request.request import VideoRequest
from oxenvideo.settings import Settings

log = logging.getLogger("oxenvideo")

# Connections beside those of submits and downloads: the stream, lists, cancels, costs, synchronous requests.
_OTHER_CONNECTIONS = 48


class Service:
    """The engine's side of one service. Everything here runs on the engine's loop.

    ``find`` gives the generation of a key, ``client_factory`` makes the client. ``settings`` may be replaced at any time.
    """

    def __init__(
        self,
        target: Target,
        settings: Settings,
        registry: Registry,
        find: Callable[[str], Generation | None],
        client_factory: Callable[..., Client] | None,
    ) -> None:
        self.target = target
        self.settings = settings
        self._registry = registry
        self._pace = pace = settings.pace_at(local=target.is_local)
        self._client_factory = client_factory or Client
        self._opening = asyncio.Lock()
        self._client: Client | None = None
        self._local: LocalService | None = None
        self._watcher: Watcher | None = None
        self._costs: Costs | None = None
        self._find = find
        limits = settings.limits
        self._submitter = Submitter(self._open_with_stream, pace, limits.submits)
        self._downloads = Downloads(
            self.open, pace.backoff, settings.data_dir, at_once=limits.downloads, most=limits.video
        )
        self._tasks: set[asyncio.Task[Any]] = set()

    @cached_property
    def _inputs(self) -> MediaInputs:
        return MediaInputs(self.open, self._find, self._fresh_url, self.settings.limits.inline)

    @cached_property
    def _recovery(self) -> Recovery:
        return Recovery(self.open, self._registry, self._pace, self.target, self._submitter.in_flight)

    @cached_property
    def _canceller(self) -> Canceller:
        return Canceller(self.open)

    # The life of a submission

    async def run(self, submission: Submission) -> None:
        """From a request to its files. Each step asks the record whether it is done, so a resumed submission enters here too."""
        fresh = submission.step is Step.PLANNED
        try:
            if fresh:
                request = await self._prepared(submission)
                answer = await self._submitter.send(submission, request)
                if answer is not None:
                    self._take(submission, answer)
        except OxenVideoError as error:
            submission.refuse(error)
        except Exception as error:
            log.exception("A submission failed by an unforeseen error")
            if submission.step not in LOST:  # else the service may have it
                submission.refuse(OxenVideoError(f"Nothing was sent: {type(error).__name__}: {error}"))
        if submission.step in LOST:
            fresh = False
            if not self._take_kept(submission):
                await self._recovery.find(submission)
        if submission.step is Step.ACCEPTED:
            # The service may have made fewer than were asked for.
            made = [job for job in submission.jobs if job.state.remote is not None]
            deliveries = [self.deliver(job, look=not fresh) for job in made]
            # A single one needs no task of its own.
            await (deliveries[0] if len(deliveries) == 1 else asyncio.gather(*deliveries))

    async def deliver(self, job: Job, *, look: bool) -> None:
        """From a job that the service has to its file; ``look`` asks the service for its status at once."""
        if job.state.cancel_requested and not job.state.is_over_at_service:
            await self._canceller.cancel(job)
        while True:
            if not job.state.is_over_at_service:
                await (await self._opened_watcher(job)).ended(job, look=look)
            if self._costs is not None:
                self._costs.ask_for(job)
            # One that the service did not know any more goes on where it is seen again: in the history, or attached.
            await job.until(lambda state: state.remote is not None)
            if job.state.is_over_at_service:
                break
        if job.state.status is Status.DOWNLOADING:
            await self._downloads.fetch(job)
        elif job.state.status is Status.SUCCEEDED and job.state.result_url is None and job.state.path is None:
            client = await self.open()
            job.see(await persist(lambda: client.generation(job.state.generation_id or "")))

    async def _prepared(self, submission: Submission) -> VideoRequest:
        request = submission.request
        if request.has_media:
            request = await self._inputs.resolve(
                request,
                self.settings.media_repo,
                lambda names: submission.tell(local=Status.WAITING, notice=f"Waits for {names}."),
            )
            submission.tell(local=Status.SUBMITTING, notice=None)
        return request

    def _take(self, submission: Submission, answer: Rendered) -> None:
        """Take the answer of the synchronous endpoint, which names no id."""
        (job,) = submission.jobs
        url = answer.urls[0] if answer.urls else self._downloads.keep(job, answer.b64_json[0])
        submission.take_result(url)
        if url is None:
            self._spawn(self._keep(job))

    def _take_kept(self, submission: Submission) -> bool:
        """Take a video that was kept by a kernel which ended before it wrote that down."""
        url = self._downloads.kept_url(submission.jobs[0]) if submission.synchronous and submission.jobs else None
        if url is not None:
            submission.take_result(url)
        return url is not None

    async def _keep(self, job: Job) -> None:
        """Write a video that is only in memory as soon as there is room for it."""
        while job.state.path is None and job.state.result_url is None:
            await asyncio.sleep(self._pace.backoff.most)
            if (url := self._downloads.keep_again(job)) is not None:
                job.update(result_url=url)

    # What users ask for meanwhile

    def start(self, submission: Submission) -> None:
        """Begin the life of a submission, or go on with it."""
        self._spawn(self.run(submission))

    def look_again(self, submission: Submission) -> None:
        """Look once more for a submission of which it is not known whether the service has it."""
        submission.tell(local=Status.SUBMITTING, error=None, notice="Looking for it at the service.")
        if not self._recovery.look_again(submission):
            self.start(submission)

    def hand_over(self, submission: Submission, generation_id: str) -> bool:
        """Take the user's word that a lost submission became this generation."""
        open_still = submission.step in (Step.UNKNOWN, Step.AMBIGUOUS) and len(submission.jobs) == 1
        if not open_still or not submission.accept([generation_id], found=True):
            return False
        if submission in self._recovery.lost:
            self._recovery.settle(submission)
        else:
            self.start(submission)
        return True

    async def lost_job_like(self, seen: Observation) -> Job | None:
        """A job about which the user was asked and that could be this generation; an ambiguous one first.

        Returns when no submit is in flight here whose answer could name this generation.
        """
        self._recovery.note(seen)  # a list that is being read may be older, and not show what is attached now
        row = row_parameters(seen.fields)
        for submission in list(self._submitter.in_flight):
            if submission.jobs and could_be(submission.sent or {}, row):
                await submission.jobs[0].until(lambda state: state.generation_id is not None or state.is_settled)
        client = await self.open()
        now = client.service_time()
        lost = [
            job
            for job in self._registry.jobs()
            if job.state.status is Status.UNCONFIRMED
            and job.submission.target == self.target
            and len(job.submission.jobs) == 1
            and self._recovery.fits(job.submission, seen, now)
        ]
        shared = any(job.submission.request.target_namespace for job in lost)
        if shared and await self._recovery.strangers(client, [seen]):
            return None
        # Another kernel's submit that is still to be answered may be the one: its answer will say so.
        living, _ = self._registry.journal.unsettled_elsewhere(self.target.base_url)
        if any(entry.step is Step.SENDING and could_be(entry.sent or {}, row) for entry in living):
            return None
        return min(lost, key=lambda job: job.submission.step is not Step.AMBIGUOUS, default=None)

    def download_again(self, job: Job) -> None:
        """Fetch the file of a job that succeeded and whose file is not here, whatever became of an earlier download."""
        state = job.state
        is_here = state.path is not None and state.path.exists()
        if state.remote == "succeeded" and state.status is not Status.DOWNLOADING and not is_here:
            job.update(fetching=True, error=None, path=None, finished_at=None)
            self._spawn(self._downloads.fetch(job))

    async def cancel(self, job: Job) -> Cancellation:
        """Ask the service to cancel a job, and say what became of that."""
        return await self._canceller.cancel(job)

    # The client and what is made with it

    async def open(self) -> Client:
        """The client, made at the first call. The embedded server is started for it where it is meant and not running."""
        if self._client is not None and not self.target.is_local:
            return self._client
        async with self._opening:
            if self.target.is_local:
                local = self._local = self._local or LocalService(self.settings.data_dir / "local")
                if self._client is None or not local.is_running:
                    base_url, key = await asyncio.to_thread(local.start)
                    if self._client is not None:
                        self._client.relocate(base_url)
                    else:
                        self._connect(base_url, key)
            elif self._client is None:
                self._connect(self.target.base_url, self.target.api_key)
            assert self._client is not None  # noqa: S101 - narrows the type
            return self._client

    def _connect(self, base_url: str, key: Secret | None) -> None:
        limits = self.settings.limits
        self._client = self._client_factory(
            base_url,
            key,
            connections=limits.submits + limits.downloads + _OTHER_CONNECTIONS,
            timeout=self.settings.timeout,
            stream_silence=self._pace.stream_silence,
        )
        self._watcher = Watcher(self._client, self._pace, self.open, lambda seen: self._recovery.note(seen))
        self._costs = Costs(self._client)

    async def _opened_watcher(self, job: Job) -> Watcher:
        while self._watcher is None:
            try:
                await self.open()
            except OxenVideoError as error:  # the embedded server does not start
                job.update(notice=str(error))
                await asyncio.sleep(self._pace.backoff.most)
        return self._watcher

    async def _open_with_stream(self) -> Client:
        """The client, once the event stream is open, so that nothing that is enqueued from now on is missed."""
        client = await self.open()
        if self._watcher is not None:
            await self._watcher.stream_opened()
        return client

    async def _fresh_url(self, upstream: Generation) -> str | None:
        """A result URL that the service itself can read, for a generation of this service; else None."""
        generation_id = upstream.id
        if generation_id is None or upstream.target != self.target:
            return None
        client = await self.open()
        return (await persist(lambda: client.generation(generation_id))).result_url

    async def close(self) -> None:
        """Stop everything; what is unfinished stays in the journal."""
        for task in self._tasks:
            task.cancel()
        for name in ("_recovery", "_canceller", "_costs", "_watcher"):
            if (part := self.__dict__.get(name)) is not None:  # made when it was first needed
                part.stop()
        if self._client is not None:
            await self._client.aclose()

    def kill_server(self) -> None:
        """End the embedded server, if one was started here. From any thread."""
        if self._local is not None:
            self._local.stop()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("in the background: %s", error, exc_info=None if isinstance(error, OxenVideoError) else error)
