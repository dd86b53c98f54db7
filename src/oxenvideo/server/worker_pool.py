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
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from oxenvideo.server.models import Models, cost
from oxenvideo.server.queue import RETRY_SECONDS, Generation, Queue, stored
from oxenvideo.server.renderer import InputRules, Job
from oxenvideo.server.results import Results
from oxenvideo.server.settings import Settings

log = logging.getLogger("oxenvideo.server")

_MAX_ATTEMPTS = 2
# Another server on the same data directory may cancel what runs here, or die. It is noticed after these seconds.
_WATCH_SECONDS = 1.0


class Worker:
    """One worker process."""

    def __init__(self, renderer: str) -> None:
        self._renderer = renderer
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process unless it is running."""
        if self._process is None or self._process.poll() is not None:
            single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", "oxenvideo.server.worker", self._renderer],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={name: value for name, value in os.environ.items() if name != "OXEN_API_KEY"} | single,
                start_new_session=True,  # so that an interrupt of the terminal reaches the server only
            )

    def render(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Render a job and return the answer, or None if the process ended without one. Blocks."""
        process, line = self._process, b""
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeError("The worker was not started.")
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line.endswith(b"\n"):
            process.kill()
            process.communicate()  # closes the pipes
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """End the process at once; a call of `render` then returns None."""
        if self._process is not None:
            self._process.kill()


class Pool:
    """Renders at most ``settings.workers`` generations at a time. ``first`` is a worker that was started already."""

    def __init__(self, settings: Settings, queue: Queue, models: Models, results: Results, first: Worker) -> None:
        self._settings = settings
        self._queue = queue
        self._models = models
        self._results = results
        self._input_rules = input_rules(settings)
        self._workers = [first, *(Worker(settings.renderer) for _ in range(settings.workers - 1))]
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="worker")
        self._work = asyncio.Event()
        self._running: dict[str, tuple[Worker, asyncio.Event]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, is_alive: Callable[[str], bool]) -> None:
        """Start rendering, also what servers that are not alive have left."""
        self._tasks = [asyncio.create_task(self._serve(worker)) for worker in self._workers]
        self._tasks.append(asyncio.create_task(self._watch(is_alive)))

    async def stop(self) -> None:
        """Stop at once. What was running goes back into the queue for the next server."""
        for task in self._tasks:
            task.cancel()
        for worker in self._workers:
            worker.kill()
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

    async def _watch(self, is_alive: Callable[[str], bool]) -> None:
        """Notice what other servers on the data directory do."""
        while True:
            try:
                if self._queue.take_over(is_alive):
                    self.wake()
                for id_ in list(self._running):
                    if (row := self._queue.get(id_)) and row.status == "cancelled":
                        self.interrupt(id_)
            except sqlite3.Error:
                log.exception("looking at the generations of other servers")
            await asyncio.sleep(_WATCH_SECONDS)

    async def _serve(self, worker: Worker) -> None:
        while True:
            self._work.clear()  # before the look into the queue, so that work that comes after it is not missed
            try:
                if generation := self._queue.claim():
                    await self._run(worker, generation)
                    continue
                due = self._queue.next_due()
            except sqlite3.Error:
                log.exception("taking a generation from the queue")
                due = time.time() + RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.01, due - time.time())):
                    await self._work.wait()

    async def _run(self, worker: Worker, generation: Generation) -> None:
        cancelled = asyncio.Event()
        self._running[generation.id] = worker, cancelled
        scratch = self._settings.scratch(generation.id)
        end = time.monotonic() + self._settings.min_seconds
        model = self._models.get(generation.model) or {"id": generation.model, "request_schema": None}
        job = Job(generation.id, model, generation.parameters, generation.variation, self._input_rules)
        try:
            worker.start()
            message = asdict(job) | {"path": os.fspath(scratch)}
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, worker.render, message)
            if answer is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(end - time.monotonic()):
                        await cancelled.wait()
            if not cancelled.is_set():
                await stored(lambda: self._settle(generation, answer))
        except asyncio.CancelledError:
            with contextlib.suppress(sqlite3.Error):  # else the next server takes the job over
                self._queue.release(generation.id)
            raise
        except Exception:
            log.exception("generation %s", generation.id)
            reason = "The server could not render or store the video. Its log has the reason."
            await stored(lambda: self._results.fail(generation, reason))
        finally:
            del self._running[generation.id]
            scratch.unlink(missing_ok=True)

    def _settle(self, generation: Generation, answer: dict[str, Any] | None) -> None:
        if answer is None and generation.attempts < _MAX_ATTEMPTS:
            self._queue.release(generation.id)
        elif answer is None:
            message = f"The rendering process ended unexpectedly, {generation.attempts} times."
            self._results.fail(generation, message)
        elif "error" in answer:
            self._results.fail(generation, answer["error"])
        else:
            pricing = self._models.get(generation.model, {}).get("pricing")
            self._results.succeed(generation, cost(pricing, **answer))


def input_rules(settings: Settings) -> InputRules:
    """Return what may be fetched for a generation."""
    # The addresses that mean "every address" cannot be connected to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return InputRules(
        own=tuple(f"{f'[{name}]' if ':' in name else name}:{settings.port}" for name in sorted(settings.hosts)),
        address=(host, settings.port),
        key=settings.api_key,
        allow_private=settings.allow_private_inputs,
        allow_files=settings.allow_file_inputs,
    )
