"""An adapter without an engine, controlled by the test, and the parts of a server around a scheduler."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from oxenvideo.server import models
from oxenvideo.server.engines.engine import EngineConfig, EngineUnavailable, Host, Job, ModelConfig
from oxenvideo.server.engines.runner import Timing
from oxenvideo.server.engines.scheduler import Scheduler
from oxenvideo.server.events import Endings
from oxenvideo.server.queue import Generation, Queue
from oxenvideo.server.repos import Repos
from oxenvideo.server.results import Results
from oxenvideo.server.settings import Settings
from server.engines.comfy_stub import movie

FAST = Timing(pause=0.02, rest=0.1, longest=0.4, patience=0.3, idle=0.05, recheck=0.2)


@dataclass
class Control:
    """What one engine does: ``outcomes`` are raised by its next runs, before or after it has accepted the job."""

    seconds: float = 0.02
    is_up: bool = True
    accepts: bool = True
    outcomes: list[Exception] = field(default_factory=list)
    missing: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 0.0
    cannot_stop: str | None = None
    previews: Sequence[bytes] = ()
    ran: list[tuple[str, str, str | None]] = field(default_factory=list)  # id, model, remote id
    accepted: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)


class Fake:
    """An adapter. ``controls`` has the control of each engine by name."""

    controls: ClassVar[dict[str, Control]] = {}

    def __init__(self, config: EngineConfig) -> None:
        self.name = config.name
        self.control = self.controls[config.name]

    def describe(self, model: ModelConfig) -> Mapping[str, Any]:
        return {"request_schema": {"type": "object", "properties": {"prompt": {"type": "string"}}}}

    async def ping(self) -> None:
        self.control.pings.append(asyncio.get_running_loop().time())
        if not self.control.is_up:
            raise EngineUnavailable(f"{self.name} cannot be reached.")

    async def check(self, model: ModelConfig) -> Sequence[str]:
        if not self.control.is_up:
            raise EngineUnavailable(f"{self.name} cannot be reached.")
        return [self.control.missing[model.id]] if model.id in self.control.missing else []

    async def run(self, job: Job, host: Host) -> None:
        control = self.control
        control.ran.append((job.id, job.model.id, job.remote_id))
        if not control.is_up:
            raise EngineUnavailable(f"{self.name} cannot be reached.")
        if control.accepts and job.remote_id is None:
            control.accepted.append(job.id)
            host.accepted(f"{self.name}/{job.id}")
        if control.outcomes:
            raise control.outcomes.pop(0)
        for step in range(4):
            await asyncio.sleep(control.seconds / 4)
            if not control.is_up:
                raise EngineUnavailable(f"{self.name} cannot be reached.")
            host.report(step + 1, 4, control.previews[step] if step < len(control.previews) else None)
        job.path.write_bytes(movie(1))

    async def stop(self, job: Job) -> str | None:
        if not self.control.is_up:
            raise EngineUnavailable(f"{self.name} cannot be reached.")
        await asyncio.sleep(self.control.stop_seconds)
        self.control.stopped.append(job.id)
        return self.control.cannot_stop

    async def close(self) -> None:
        pass


class Plant:
    """A queue and a scheduler on a data directory, without HTTP."""

    def __init__(self, directory: Path, timing: Timing = FAST) -> None:
        self.settings = Settings(
            data_dir=directory, api_key="key", host="127.0.0.1", port=1, workers=1, delay=0, min_seconds=0,
            allow_host=[], allow_private_inputs=False, allow_file_inputs=False, max_body=10**8, url_ttl=60,
            keep_alive=15, renderer="none", models=None, engines=directory / "engines.toml",
        )  # fmt: skip
        self.settings.make_directories()
        self.queue = Queue(directory / "queue.sqlite3", "me")
        self.endings = Endings()
        self.repos = Repos(directory / "repos")
        results = Results(self.settings, self.queue, self.repos, self.endings)
        self.scheduler = Scheduler(self.settings, self.queue, models.load(None), results, self.endings, timing)

    def enqueue(self, model: str, count: int = 1, **parameters: Any) -> list[str]:
        """Queue generations for engines; return their ids."""
        given = {"prompt": "A fox"} | parameters
        ids = [self.queue.enqueue(model, given, namespace="local", on_engine=True)[0].id for _ in range(count)]
        self.scheduler.wake()
        return ids

    def row(self, id_: str) -> Generation:
        """Read a generation."""
        row = self.queue.get(id_)
        assert row is not None
        return row

    async def ended(self, *ids: str) -> list[str]:
        """Wait for generations; return their statuses."""
        await until(lambda: all(self.row(id_).status in ("succeeded", "failed", "cancelled") for id_ in ids))
        return [self.row(id_).status for id_ in ids]

    def notice(self, id_: str) -> str:
        """What a client reads about a generation."""
        return str((self.scheduler.shown(self.row(id_)) or {}).get("notice", ""))

    async def cancel(self, id_: str) -> None:
        """Cancel a generation as the route does."""
        self.queue.cancel(id_)
        await self.scheduler.cancel(id_)


@contextlib.asynccontextmanager
async def plant(directory: Path, timing: Timing = FAST) -> AsyncIterator[Plant]:
    """A plant whose scheduler runs."""
    made = Plant(directory, timing)
    await made.scheduler.start()
    try:
        yield made
    finally:
        await made.scheduler.stop()
        made.queue.close()


def configure(directory: Path, engines: Sequence[str], **served: Sequence[str]) -> None:
    """Write engines of this kind, and models with the names of their engines."""
    directory.mkdir(exist_ok=True)
    lines = [f'[engines.{name}]\nkind = "server.engines.fake:Fake"\n' for name in engines]
    lines += [f"[models.{model}]\nengines = {list(names)}\n" for model, names in served.items()]
    (directory / "engines.toml").write_text("\n".join(lines))


async def until(look: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until the result is true."""
    async with asyncio.timeout(seconds):
        while not look():
            await asyncio.sleep(0.005)
