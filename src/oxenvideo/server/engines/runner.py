"""One engine at work: it takes its next job when it is free, and rests when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from oxenvideo.server.engines.engine import (
    ConfigurationError,
    Engine,
    EngineDied,
    EngineError,
    EngineUnavailable,
    Job,
    JobFailed,
    ModelConfig,
    ModelUnavailable,
    is_mp4,
)
from oxenvideo.server.engines.host import JobHost
from oxenvideo.server.events import Endings
from oxenvideo.server.models import Models
from oxenvideo.server.queue import Generation, Queue, stored
from oxenvideo.server.renderer import InputRules
from oxenvideo.server.results import Results
from oxenvideo.server.settings import Settings
from oxenvideo.server.validation import run_problem

log = logging.getLogger("oxenvideo.server")

_MAX_DEATHS = 2  # engines that a job may end
_MAX_PREFERRED = 4  # jobs of the loaded model in a row that may go before an older job of another model


@dataclass(frozen=True)
class Timing:
    """Times in seconds.

    After a failure an engine pauses for ``pause``; from the third in a row on it rests for ``rest``, which doubles up to
    ``longest``. After ``patience`` without an answer, its unfinished jobs go to other engines. ``look`` is the time
    after which an engine without work looks at the queue and checks again a model that it lacked something for.
    """

    pause: float = 1.0
    rest: float = 10.0
    longest: float = 60.0
    patience: float = 120.0
    idle: float = 1.0
    recheck: float = 60.0


@dataclass(frozen=True)
class Workplace:
    """The parts of the server that all runners share."""

    settings: Settings
    queue: Queue
    models: Models
    results: Results
    endings: Endings
    rules: InputRules
    timing: Timing


class Runner:
    """Gives one engine its jobs. ``others`` returns the other runners of a model.

    ``trouble`` is why the engine takes no jobs, or None. ``lacks`` is what it lacks for a model, by id of the model.
    ``said`` is what it could not stop, by id of the generation. ``has_learned`` is true when a model may look different,
    and ``has_looked`` is set when the engine was asked for the first time.
    """

    def __init__(self, name: str, engine: Engine, place: Workplace, others: Callable[[str], Sequence[Runner]]) -> None:
        self.name = name
        self.engine = engine
        self.models: Mapping[str, ModelConfig] = {}
        self.trouble: str | None = None
        self.lacks: dict[str, str] = {}
        self.said: dict[str, str] = {}
        self.has_learned = False
        self.has_looked = asyncio.Event()
        self._place = place
        self._others = others
        self._wake = asyncio.Event()
        self._leaving = False
        self._failures = 0
        self._failing_since = 0.0
        self._checked_at: float | None = None
        self._loaded: str | None = None
        self._preferred = 0
        self._host: JobHost | None = None
        self._running: tuple[str, asyncio.Task[None]] | None = None
        self._is_cancelled = False

    @property
    def busy_with(self) -> str | None:
        """The id of the generation that occupies the engine."""
        return self._running[0] if self._running else None

    @property
    def shown(self) -> dict[str, object]:
        """What a client sees of the running job."""
        return self._host.shown if self._host else {}

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    def configure(self, models: Mapping[str, ModelConfig]) -> None:
        """Serve these models from now on."""
        if models != self.models:
            self.models, self._checked_at, self.lacks = models, None, {}
        self.wake()

    def leave(self) -> None:
        """Finish the running job, and take no other."""
        self._leaving = True
        self.wake()

    def cancel(self, id_: str) -> None:
        """Stop the job of a generation that was cancelled."""
        if self._running and self._running[0] == id_:
            self._is_cancelled = True
            self._running[1].cancel()

    async def serve(self) -> None:
        """Work until `leave`. When cancelled, put the running job back and leave it alone at the engine."""
        try:
            while not self._leaving:
                self._wake.clear()
                try:
                    if not await self._work():
                        await self._wait(self._place.timing.idle)
                except EngineError as error:
                    await self._rest(str(error))
                except sqlite3.Error:
                    log.exception("engine %s: the queue", self.name)
                    await asyncio.sleep(self._place.timing.pause)
                except Exception as error:
                    log.exception("engine %s", self.name)
                    await self._rest(f"{self.name}: its adapter failed ({type(error).__name__}).")
        finally:
            await self.engine.close()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _rest(self, why: str) -> None:
        loop, timing = asyncio.get_running_loop(), self._place.timing
        if self._failures == 0:
            self._failing_since = loop.time()
        self._failures += 1
        if self.trouble is None:
            log.warning("engine %s takes no jobs: %s", self.name, why)
        self.trouble = why
        self.has_looked.set()
        if loop.time() - self._failing_since >= timing.patience:
            movable = [m for m in self.models if any(o.trouble is None and m not in o.lacks for o in self._others(m))]
            if self._place.queue.abandon(self.name, movable):
                for other in (other for model in movable for other in self._others(model)):
                    other.wake()
        pause = timing.pause if self._failures < 3 else timing.rest * 2 ** min(self._failures - 3, 10)
        end = loop.time() + min(pause, timing.longest)
        while not self._leaving and (left := end - loop.time()) > 0:
            await self._wait(left)
            self._wake.clear()

    def _is_well(self) -> None:
        self._failures, self.trouble = 0, None

    async def _work(self) -> bool:
        """Do one thing that there is to do; return whether there was any."""
        if self._failures:
            await self.engine.ping()
        await self._check()
        self.has_looked.set()
        self.trouble = None  # the failures are forgotten only after a job, or an idle look at the queue
        for generation, remote_id in self._place.queue.unwanted(self.name):
            await self._stop(self._job(generation, remote_id))
        serving = [model for model in self.models if model not in self.lacks or self._is_last(model)]
        preferred = self._loaded if self._preferred < _MAX_PREFERRED else None
        claimed = None if self._leaving else self._place.queue.claim_on(self.name, serving, preferred)
        if claimed is None:
            self._is_well()
            return False
        await self._run(*claimed)
        return True

    def _is_last(self, model: str) -> bool:
        """Return whether all other engines of a model lack something for it too."""
        return all(model in other.lacks for other in self._others(model))

    async def look(self, model: ModelConfig) -> str:
        """Check a model now; return what the engine lacks for it, or an empty text. Raises EngineUnavailable."""
        try:
            words = " ".join(await self.engine.check(model))
        except ConfigurationError as error:
            words = str(error)
        self.has_learned = True
        if words:
            self.lacks[model.id] = words
        else:
            self.lacks.pop(model.id, None)
        return words

    async def _check(self) -> None:
        """Check all models at the beginning, and now and then if something is missing."""
        now = asyncio.get_running_loop().time()
        if self._checked_at is None or (self.lacks and now - self._checked_at >= self._place.timing.recheck):
            models = self.models
            for model in models.values():
                await self.look(model)
            if models is self.models:  # else they were configured anew meanwhile
                self._checked_at = now

    def _job(self, generation: Generation, remote_id: str | None) -> Job:
        model = self.models.get(generation.model) or ModelConfig(
            generation.model, (), {}, self._place.settings.data_dir
        )
        path = self._place.settings.scratch(generation.id)
        return Job(generation.id, model, generation.parameters, generation.variation, remote_id, path)

    async def _run(self, generation: Generation, remote_id: str | None) -> None:
        queue, results = self._place.queue, self._place.results
        job = self._job(generation, remote_id)
        self._preferred = self._preferred + 1 if generation.model == self._loaded else 0
        host = JobHost(job.id, self.name, remote_id, queue, self._place.endings, self._place.rules)
        self._host, self._is_cancelled = host, False
        self._running = job.id, asyncio.create_task(self._make(job, host))
        publishing = asyncio.create_task(host.publish())
        try:
            await asyncio.wait([self._running[1]])
            if self._is_cancelled:
                await self._stop(replace(job, remote_id=host.remote_id))
                return
            self._running[1].result()
            self._loaded = generation.model
            await stored(lambda: results.succeed(generation, "0.00"))
            await stored(lambda: queue.forget(job.id, self.name))
            self._is_well()
        except asyncio.CancelledError:  # the server stops
            self._running[1].cancel()
            await asyncio.wait([self._running[1]])
            with contextlib.suppress(sqlite3.Error):  # else the next server takes the job over
                queue.release(job.id)
            raise
        except (JobFailed, ConfigurationError) as error:
            await self._end(generation, str(error))
            self._is_well()
        except ModelUnavailable as error:
            await self._cannot(generation, str(error), is_accepted=host.remote_id is not None)
        except EngineDied as error:
            self._loaded = None
            await stored(lambda: queue.forget(job.id, self.name))
            if await stored(lambda: queue.died(job.id)) >= _MAX_DEATHS:
                message = f"The job ended {_MAX_DEATHS} engines. {error}"
                await stored(lambda: results.fail(generation, message))
            await self._release(generation)
            raise
        except EngineError:
            await self._release(generation)
            raise
        except sqlite3.Error:  # the engine may have the job, and its id of the job could not be stored
            log.exception("generation %s on engine %s", job.id, self.name)
            await stored(host.store)
            await self._release(generation)
        except Exception as error:
            log.exception("generation %s on engine %s", job.id, self.name)
            await self._end(generation, f"The adapter of engine {self.name} failed ({type(error).__name__}).")
        finally:
            publishing.cancel()
            self._running = self._host = None
            job.path.unlink(missing_ok=True)

    async def _release(self, generation: Generation) -> None:
        """Put a job back into the queue, for other engines to take it now."""
        await stored(lambda: self._place.queue.release(generation.id))
        for other in self._others(generation.model):
            other.wake()

    async def _end(self, generation: Generation, message: str) -> None:
        await stored(lambda: self._place.results.fail(generation, message))
        await stored(lambda: self._place.queue.forget(generation.id, self.name))

    async def _cannot(self, generation: Generation, why: str, is_accepted: bool) -> None:
        """Leave a job to other engines. Fail it if there are none, or if this one may have made its video."""
        self.lacks[generation.model] = why
        self._checked_at = asyncio.get_running_loop().time()
        await stored(lambda: self._place.queue.forget(generation.id, self.name))
        if is_accepted or self._is_last(generation.model):
            await stored(lambda: self._place.results.fail(generation, why))
        else:
            await self._release(generation)

    async def _make(self, job: Job, host: JobHost) -> None:
        job.path.unlink(missing_ok=True)
        if is_mp4(self._place.settings.result(job.id)):
            return  # an earlier server stored the video, and ended before it had completed the row
        model = self._place.models.get(job.model.id) or {"id": job.model.id}
        problem = None if host.remote_id else await asyncio.to_thread(run_problem, model, job.parameters)
        if problem:
            raise JobFailed(problem)
        if host.remote_id is None and job.model.id in self.lacks and (words := await self.look(job.model)):
            raise ModelUnavailable(words)
        await self.engine.run(job, host)
        if not is_mp4(job.path):
            raise JobFailed(f"{self.name} reported success, but its file is not an MP4.")

    async def _stop(self, job: Job) -> None:
        """Stop a job that nobody wants any more. If the engine does not answer, it is stopped later."""
        said = None
        try:
            said = await self.engine.stop(job)
        except EngineError as error:
            raise EngineUnavailable(str(error)) from None
        except Exception:
            log.exception("stopping generation %s on engine %s", job.id, self.name)
        if said:
            self.said = dict([*self.said.items(), (job.id, said)][-100:])
            log.warning("engine %s: %s", self.name, said)
        self._place.queue.forget(job.id, self.name)
