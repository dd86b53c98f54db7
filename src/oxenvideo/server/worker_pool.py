"""The pool: takes jobs from the queue, has worker processes render them, and files what they made."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oxenvideo.server import pricing
from oxenvideo.server.models import Models
from oxenvideo.server.queue import MAX_ATTEMPTS, Generation, Queue
from oxenvideo.server.renderer import InputRules, Job
from oxenvideo.server.repos import Repos
from oxenvideo.server.settings import Settings

log = logging.getLogger("oxenvideo.server")

# Another server on the same data directory may cancel what runs here; this is how soon it is noticed, in seconds.
CANCEL_CHECK = 1.0
_WARM_UP = 0.1


class Worker:
    """One worker process, started when it is first needed and again after it was killed."""

    def __init__(self, spec: str) -> None:
        self._spec = spec
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> asyncio.subprocess.Process:
        """Return the running process."""
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "oxenvideo.server.worker", self._spec,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=_worker_environment(),
                start_new_session=True,  # an interrupt of the terminal or kernel is the server's to answer
            )  # fmt: skip
        return self._process

    async def render(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Have a job rendered; None where the process ended without an answer."""
        process = await self.start()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            await process.wait()
            return None
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            await process.wait()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """End the process and wait for it."""
        self.kill()
        if self._process is not None:
            await self._process.wait()


class Pool:
    """Runs at most ``settings.workers`` jobs at a time; ``on_end`` hears of each that succeeded or failed."""

    def __init__(
        self, settings: Settings, queue: Queue, models: Models, repos: Repos, on_end: Callable[[Generation], None]
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._models = models
        self._repos = repos
        self._on_end = on_end
        self._work = asyncio.Event()
        self._running: dict[str, tuple[Worker, asyncio.Event]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.address: tuple[str, int] = (settings.host, settings.port)

    def start(self) -> None:
        """Start taking jobs."""
        self._tasks = [asyncio.create_task(self._serve(index)) for index in range(self._settings.workers)]

    async def stop(self) -> None:
        """Stop at once; what was running goes back into the queue for the next server."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Say that there is work."""
        self._work.set()

    def interrupt(self, id_: str) -> None:
        """End the rendering of a generation that was cancelled."""
        if id_ in self._running:
            worker, cancelled = self._running[id_]
            cancelled.set()
            worker.kill()

    async def _serve(self, index: int) -> None:
        worker = Worker(self._settings.renderer)
        try:
            if index == 0:  # loading the codecs takes longer than anything else on the way to a first video
                await asyncio.sleep(_WARM_UP)
                await worker.start()
            while True:
                self._work.clear()  # before the look, so that work that comes after it is not slept over
                generation = self._queue.claim()
                if generation is None:
                    await self._wait_for_work()
                    continue
                try:
                    await self._run(worker, generation)
                except Exception:
                    log.exception("generation %s", generation.id)
                    self._end(
                        self._queue.fail(
                            generation.id, "The server could not render or keep the video; its log says why."
                        )
                    )
        finally:
            await worker.stop()

    async def _wait_for_work(self) -> None:
        due = self._queue.next_due()
        timeout = None if due is None else max(0.01, due - time.time())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._work.wait(), timeout)

    async def _run(self, worker: Worker, generation: Generation) -> None:
        cancelled = asyncio.Event()
        self._running[generation.id] = worker, cancelled
        watch = asyncio.create_task(self._watch(generation))
        scratch = self._settings.scratch_dir / f"{generation.id}.mp4"
        begun = time.monotonic()
        try:
            answer = await worker.render({"job": self._job(generation).to_json(), "path": os.fspath(scratch)})
            rest = self._settings.min_seconds - (time.monotonic() - begun)
            if answer is not None and rest > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(cancelled.wait(), rest)
            if not cancelled.is_set():
                self._settle(generation, answer, scratch)
        except asyncio.CancelledError:
            worker.kill()
            self._queue.release(generation.id)
            raise
        finally:
            watch.cancel()
            del self._running[generation.id]
            scratch.unlink(missing_ok=True)

    async def _watch(self, generation: Generation) -> None:
        while True:
            await asyncio.sleep(CANCEL_CHECK)
            row = self._queue.get(generation.id)
            if row is None or row.status != "processing":
                self.interrupt(generation.id)

    def _job(self, generation: Generation) -> Job:
        host, port = self.address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # names every address, leads to none
        rules = InputRules(
            own=tuple(f"{f'[{name}]' if ':' in name else name}:{port}" for name in sorted(self._settings.hosts)),
            address=(host, port),
            key=self._settings.users.get(generation.user),
            allow_private=self._settings.allow_private_inputs,
            allow_files=self._settings.allow_file_inputs,
        )
        model = self._models.get(generation.model) or {"id": generation.model, "request_schema": None}
        return Job(generation.id, model, generation.parameters, generation.variation, rules)

    def _settle(self, generation: Generation, answer: dict[str, Any] | None, scratch: Path) -> None:
        if answer is None:
            if generation.attempts < MAX_ATTEMPTS:
                self._queue.release(generation.id)
            else:
                message = f"The rendering process ended unexpectedly, {generation.attempts} times."
                self._end(self._queue.fail(generation.id, message))
        elif "error" in answer:
            self._end(self._queue.fail(generation.id, answer["error"]))
        else:
            self._keep(generation, answer, scratch)

    def _keep(self, generation: Generation, answer: dict[str, Any], scratch: Path) -> None:
        row = self._queue.get(generation.id)
        if row is None or row.status != "processing":
            return
        result = self._settings.results_dir / f"{generation.id}.mp4"
        os.replace(scratch, result)
        if generation.repo is not None:
            name = "/".join(filter(None, (generation.directory, result.name)))
            self._repos.link(generation.user, generation.namespace, generation.repo, name, result)
        model = self._models.get(generation.model) or {}
        cost = pricing.cost(
            model.get("pricing"), seconds=answer["seconds"], audio=answer["audio"], resolution=answer["resolution"]
        )
        self._end(self._queue.succeed(generation.id, cost))

    def _end(self, generation: Generation | None) -> None:
        if generation is not None:
            self._on_end(generation)


def _worker_environment() -> dict[str, str]:
    """Return the environment of a worker: one thread for each library, and not the API key."""
    own = {name: value for name, value in os.environ.items() if name != "OXEN_API_KEY"}
    return own | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
