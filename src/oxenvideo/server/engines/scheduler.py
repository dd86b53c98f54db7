"""The scheduler: a runner for each engine of `engines.toml`, which is read again whenever it changes."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import ChainMap
from dataclasses import replace
from typing import Any

from oxenvideo.server.engines import configuration, registry
from oxenvideo.server.engines.configuration import Configuration
from oxenvideo.server.engines.engine import ConfigurationError, Engine, EngineConfig, EngineError, ModelConfig
from oxenvideo.server.engines.runner import Runner, Timing, Workplace
from oxenvideo.server.events import Endings
from oxenvideo.server.models import Model, Models
from oxenvideo.server.queue import Generation, Queue
from oxenvideo.server.results import Results
from oxenvideo.server.settings import Settings
from oxenvideo.server.worker_pool import input_rules

log = logging.getLogger("oxenvideo.server")

_WATCH_SECONDS = 1.0
_CANCEL_SECONDS = 2.0
_CHECK_SECONDS = 3.0
_LOOK_SECONDS = 1.0

_NEW_MODEL: Model = {
    "object": "model",
    "created": None,
    "description": None,
    "summary": "",
    "model_type": "custom",
    "endpoint": "/videos/generate",
    "capabilities": {"input": ["text"], "output": ["video"]},
    "developer": {"name": "local", "logo": None},
    "released_at": None,
    "request_schema": None,
}


class Scheduler:
    """Runs the generations of models that engines make. ``models`` are the bundled ones and those of engines."""

    def __init__(
        self, settings: Settings, queue: Queue, bundled: Models, results: Results, endings: Endings, timing: Timing
    ) -> None:
        self._bundled = bundled
        self._described: dict[str, Model] = {}
        self.models: Models = ChainMap(self._described, dict(bundled))
        self._path = settings.engines
        self._queue = queue
        self._place = Workplace(settings, queue, self.models, results, endings, input_rules(settings), timing)
        self._configuration = Configuration()
        self._refusals: dict[str, str] = {}
        self._seen: object = None
        self._runners: dict[str, tuple[EngineConfig, Runner]] = {}
        self._tasks: dict[Runner, asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the configuration and start all engines. Wait a moment for what they say about their models."""
        self._reload()
        looks = [asyncio.create_task(runner.has_looked.wait()) for _, runner in self._runners.values()]
        if looks:
            _, late = await asyncio.wait(looks, timeout=_LOOK_SECONDS)
            for task in late:
                task.cancel()
            self._describe()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop following jobs. They go on at their engines, and the next server finds them again."""
        tasks = [*self._tasks.values(), *([self._watching] if self._watching else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look for work in the queue."""
        for _, runner in self._runners.values():
            runner.wake()

    def serves(self, model: str) -> bool:
        """Return whether engines make the videos of a model."""
        self._reload_if_changed()
        return model in self._described

    async def refusal(self, model: str) -> str | None:
        """Return why no engine can make the videos of a model, or None. Engines that lacked something are asked again."""
        if model in self._refusals:
            return self._refusals[model]
        runners = self._runners_of(model)
        if runners and all(model in runner.lacks for runner in runners):
            config, words = self._configuration.models[model], []
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    words = [await runner.look(config) for runner in runners]
            except (TimeoutError, EngineError):
                return None  # the job waits in the queue
            return " ".join(words) if all(words) else None
        return None

    async def cancel(self, id_: str) -> None:
        """Stop the job of a generation that was cancelled, and wait a moment for the engine to confirm it."""
        end = asyncio.get_running_loop().time() + _CANCEL_SECONDS
        for runner in self._tasks:
            runner.cancel(id_)
        while any(runner.busy_with == id_ for runner in self._tasks) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)

    def shown(self, row: Generation) -> dict[str, Any] | None:
        """Return what a client sees of the engine of a generation, or None if no engine has to do with it."""
        if not row.on_engine:
            return None
        for runner in self._tasks:
            if runner.busy_with == row.id:
                if row.status == "cancelled":
                    return runner.shown | {"notice": f"{runner.name} has not confirmed yet that it stopped the job."}
                return runner.shown
            if row.id in runner.said:
                return {"name": runner.name, "notice": runner.said[row.id]}
        if row.status != "queued":
            return None
        return {"notice": notice} if (notice := self._notice(row.model)) else {}

    def _notice(self, model: str) -> str | None:
        """Return why a queued generation does not start, or None if it only has to wait for its turn."""
        config = self._configuration.models.get(model)
        if config is None:
            return f"No engine is configured for the model {model}. Configure one, or cancel the job."
        if model in self._refusals:
            return self._refusals[model]
        reasons = []
        for name in config.engines:
            if name not in self._runners:
                reasons.append(self._configuration.problems.get(name) or f"Engine {name} is not configured.")
                continue
            runner = self._runners[name][1]
            reason = runner.trouble or runner.lacks.get(model)
            if reason is None:
                return None
            reasons.append(reason)
        return f"Waiting for an engine. {' '.join(reasons)}"

    def _runners_of(self, model: str) -> list[Runner]:
        config = self._configuration.models.get(model)
        return [self._runners[name][1] for name in (config.engines if config else ()) if name in self._runners]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                self._reload_if_changed()
                if any(runner.has_learned for _, runner in self._runners.values()):
                    self._describe()
                for runner in self._tasks:
                    busy_with = runner.busy_with
                    if busy_with and (row := self._queue.get(busy_with)) and row.status == "cancelled":
                        runner.cancel(busy_with)  # by another server on the data directory
            except sqlite3.Error:
                log.exception("looking at the generations of engines")

    def _reload_if_changed(self) -> None:
        if self._signature() != self._seen:
            self._reload()

    def _signature(self) -> object:
        """Return what changes when the configuration or a file that it names does."""
        named = [
            config.directory / value
            for config in self._configuration.models.values()
            for value in config.options.values()
            if isinstance(value, str)
        ]
        stats = []
        for path in (self._path, *named):
            try:
                stat = path.stat()
                stats.append((stat.st_mtime_ns, stat.st_size))
            except (OSError, ValueError):
                stats.append((0, 0))
        return stats

    def _reload(self) -> None:
        try:
            self._configuration = configuration.read(self._path, self._bundled)
        except ConfigurationError as error:
            log.warning("%s The engines stay as they were.", error)
            self._seen = self._signature()
            return
        self._seen = self._signature()
        for name, (config, runner) in list(self._runners.items()):
            if self._configuration.engines.get(name) != config:
                runner.leave()
                del self._runners[name]
        problems = dict(self._configuration.problems)
        for name, config in self._configuration.engines.items():
            if name not in self._runners:
                try:
                    self._start(config, registry.connect(config))
                except ConfigurationError as error:
                    problems[name] = str(error)
        for name in self._queue.engines() - self._configuration.engines.keys():
            self._queue.abandon(name, self._configuration.models)
        self._configuration = replace(self._configuration, problems=problems)
        for problem in problems.values():
            log.warning("%s", problem)
        self._describe()
        for name, (_, runner) in self._runners.items():
            models = [model for id_, model in self._configuration.models.items() if id_ not in self._refusals]
            runner.configure({model.id: model for model in models if name in model.engines})

    def _start(self, config: EngineConfig, engine: Engine) -> None:
        def others(model: str) -> list[Runner]:
            return [other for other in self._runners_of(model) if other.name != config.name]

        runner = Runner(config.name, engine, self._place, others)
        earlier = [task for other, task in self._tasks.items() if other.name == config.name]

        async def serve() -> None:
            if earlier:
                await asyncio.wait(earlier)  # it finishes its job with the earlier configuration
            await runner.serve()

        task = self._tasks[runner] = asyncio.create_task(serve())
        task.add_done_callback(lambda _: self._tasks.pop(runner, None))
        self._runners[config.name] = config, runner

    def _describe(self) -> None:
        described: dict[str, Model] = {}
        refusals: dict[str, str] = {}
        for _, runner in self._runners.values():
            runner.has_learned = False
        for model in self._configuration.models.values():
            try:
                described[model.id] = self._description(model)
            except ConfigurationError as error:
                refusals[model.id] = str(error)
                described[model.id] = self._entry(model) | {"request_schema": None, "summary": str(error)}
        self._described.clear()
        self._described.update(described)
        self._refusals = refusals

    def _description(self, model: ModelConfig) -> Model:
        engines = [self._runners[name] for name in model.engines if name in self._runners]
        if len({config.kind for config, _ in engines}) > 1:
            raise ConfigurationError(f"Model {model.id}: its engines are of different kinds.")
        # What an engine has learned makes its description more exact.
        best = next((runner for _, runner in engines if runner.trouble is None), engines[0][1] if engines else None)
        return self._entry(model) | dict(best.engine.describe(model) if best else {})

    def _entry(self, model: ModelConfig) -> dict[str, Any]:
        deployments = [{"status": "active", "provider": name} for name in model.engines]
        own = {"id": model.id, "display_name": model.id, **_NEW_MODEL, **(model.catalog or {})}
        return own | {"owned_by": "local", "pricing": None, "deployments": deployments}
