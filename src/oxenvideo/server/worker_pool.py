"""The pool: takes generations from the queue, has worker processes render them, and stores the results."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from oxenvideo.server.events import Endings
from oxenvideo.server.models import Models, cost
from oxenvideo.server.queue import MAX_ATTEMPTS, Generation, Queue
from oxenvideo.server.renderer import InputRules, Job
from oxenvideo.server.repos import Repos
from oxenvideo.server.settings import Settings

log = logging.getLogger("oxenvideo.server")

# Another server on the same data directory may cancel what runs here, or die. It is noticed after these seconds.
_CANCEL_SECONDS = 1.0
_TAKE_OVER_SECONDS = 2.0
_RETRY_SECONDS = 1.0  # pause after an error of the database


class Worker:
    """One worker process, restarted when it is needed after it was killed."""

    def __init__(self, spec: str) -> None:
        self._spec = spec
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._is_stopped = False

    def start(self) -> subprocess.Popen[bytes]:
        """Return the running process, starting it if there is none."""
        with self._lock:
            if self._is_stopped:
                raise RuntimeError("The worker was stopped.")
            if self._process is None or self._process.poll() is not None:
                self._close()
                self._process = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-P", "-m", "oxenvideo.server.worker", self._spec],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=_worker_environment(),
                    start_new_session=True,  # so that an interrupt of the terminal reaches the server only
                )
            return self._process

    def render(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Render a job and return the answer, or None if the process ended without one. Blocks."""
        process = self.start()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("The worker has no pipes.")
        line = b""
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line.endswith(b"\n"):
            process.kill()
            process.wait()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """End the process at once; a call of `render` then returns None."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """End the process for good and wait for it."""
        with self._lock:
            self._is_stopped = True
            self.kill()
            if self._process is not None:
                self._process.wait()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout) if self._process else ():
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Pool:
    """Renders at most ``settings.workers`` generations at a time. ``first`` is a worker that was started already."""

    def __init__(
        self, settings: Settings, queue: Queue, models: Models, repos: Repos, endings: Endings, first: Worker
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._models = models
        self._repos = repos
        self._endings = endings
        self._workers = [first, *(Worker(settings.renderer) for _ in range(settings.workers - 1))]
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="worker")
        self._work = asyncio.Event()
        self._running: dict[str, tuple[Worker, asyncio.Event]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, is_alive: Callable[[str], bool]) -> None:
        """Start rendering, also what servers that are not alive have left."""
        self._tasks = [asyncio.create_task(self._serve(worker)) for worker in self._workers]
        self._tasks.append(asyncio.create_task(self._take_over(is_alive)))

    async def stop(self) -> None:
        """Stop at once. What was running goes back into the queue for the next server."""
        for task in self._tasks:
            task.cancel()
        for worker in self._workers:
            worker.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown()

    def wake(self) -> None:
        """Look for work in the queue."""
        self._work.set()

    def interrupt(self, id_: str) -> None:
        """Stop rendering a generation that was cancelled."""
        if id_ in self._running:
            worker, cancelled = self._running[id_]
            cancelled.set()
            worker.kill()

    async def _take_over(self, is_alive: Callable[[str], bool]) -> None:
        while True:
            try:
                if self._queue.take_over(is_alive):
                    self.wake()
            except sqlite3.Error:
                log.exception("looking for generations of other servers")
            await asyncio.sleep(_TAKE_OVER_SECONDS)

    async def _serve(self, worker: Worker) -> None:
        while True:
            self._work.clear()  # before the look into the queue, so that work that comes after it is not missed
            try:
                generation = self._queue.claim()
                if generation is None:
                    await self._wait_for_work()
                    continue
            except sqlite3.Error:
                log.exception("taking a generation from the queue")
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            try:
                await self._run(worker, generation)
            except Exception:
                log.exception("generation %s", generation.id)
                await self._fail(generation)

    async def _wait_for_work(self) -> None:
        due = self._queue.next_due()
        timeout = None if due is None else max(0.01, due - time.time())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._work.wait(), timeout)

    async def _fail(self, generation: Generation) -> None:
        while True:
            try:
                message = "The server could not render or store the video. Its log has the reason."
                return self._end(self._queue.fail(generation.id, message))
            except sqlite3.Error:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _run(self, worker: Worker, generation: Generation) -> None:
        cancelled = asyncio.Event()
        self._running[generation.id] = worker, cancelled
        watch = asyncio.create_task(self._watch(generation))
        scratch = self._settings.scratch_dir / f"{generation.id}.mp4"
        begun = time.monotonic()
        try:
            message = {"job": self._job(generation).to_json(), "path": os.fspath(scratch)}
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, worker.render, message)
            rest = self._settings.min_seconds - (time.monotonic() - begun)
            if answer is not None and rest > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(cancelled.wait(), rest)
            if not cancelled.is_set():
                self._settle(generation, answer)
        except asyncio.CancelledError:
            self._queue.release(generation.id)
            raise
        finally:
            watch.cancel()
            del self._running[generation.id]
            scratch.unlink(missing_ok=True)

    async def _watch(self, generation: Generation) -> None:
        while True:
            await asyncio.sleep(_CANCEL_SECONDS)
            with contextlib.suppress(sqlite3.Error):
                row = self._queue.get(generation.id)
                if row is None or row.status != "processing":
                    self.interrupt(generation.id)

    def _job(self, generation: Generation) -> Job:
        settings = self._settings
        # The addresses that mean "every address" cannot be connected to.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
        rules = InputRules(
            own=tuple(f"{f'[{name}]' if ':' in name else name}:{settings.port}" for name in sorted(settings.hosts)),
            address=(host, settings.port),
            key=settings.api_key,
            allow_private=settings.allow_private_inputs,
            allow_files=settings.allow_file_inputs,
        )
        model = self._models.get(generation.model) or {"id": generation.model, "request_schema": None}
        return Job(generation.id, model, generation.parameters, generation.variation, rules)

    def _settle(self, generation: Generation, answer: dict[str, Any] | None) -> None:
        if answer is not None and "error" not in answer:
            self._store(generation, answer)
        elif answer is not None:
            self._end(self._queue.fail(generation.id, answer["error"]))
        elif generation.attempts < MAX_ATTEMPTS:
            self._queue.release(generation.id)
        else:
            message = f"The rendering process ended unexpectedly, {generation.attempts} times."
            self._end(self._queue.fail(generation.id, message))

    def _store(self, generation: Generation, answer: dict[str, Any]) -> None:
        row = self._queue.get(generation.id)
        if row is None or row.status != "processing":
            return
        result = self._settings.results_dir / f"{generation.id}.mp4"
        os.replace(self._settings.scratch_dir / result.name, result)
        if generation.repo is not None:
            name = "/".join(filter(None, (generation.directory, result.name)))
            self._repos.link(generation.namespace, generation.repo, name, result)
        model = self._models.get(generation.model) or {}
        self._end(self._queue.succeed(generation.id, cost(model.get("pricing"), **answer)))

    def _end(self, generation: Generation | None) -> None:
        if generation is not None:
            self._endings.publish(generation)


def _worker_environment() -> dict[str, str]:
    """Return the environment of a worker: one thread for each library, and no API key."""
    own = {name: value for name, value in os.environ.items() if name != "OXEN_API_KEY"}
    return own | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
