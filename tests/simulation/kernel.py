"""One kernel: a real Session with its engine, journal and Client, on a loop in virtual time; and its end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from oxenvideo.client.client import Client
from oxenvideo.engine import resume
from oxenvideo.engine.engine import Engine
from oxenvideo.errors import OxenVideoError, WaitTimeout
from oxenvideo.jobs import generation as generation_module
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Cancellation, Generation
from oxenvideo.jobs.journal import Journal
from oxenvideo.session import Session

from .disk import Connection, KernelKilled
from .loop import KernelLoop
from .network import ANSWER_LIMIT, Files, Wire

if TYPE_CHECKING:
    from .life import Life

BASE_URL = "https://hub.sim"
KEY = "key-of-ox"

generation_module.TICK = 30.0  # virtual seconds; a wait looks up for interrupts, of which there are none here


class _Journal(Journal):
    """Asks the life which kernels run, in place of the operating system."""

    life: Life

    def is_alive(self, owner: str) -> bool:
        return self.life.is_alive(owner)


class _Engine(Engine):
    """Runs on a loop that nobody may block: what waits for it in a real kernel is only begun."""

    def run(self, coroutine: Any, target: Any, timeout: float | None = 60.0) -> Any:
        self.spawn(coroutine, target)


class _Callbacks:
    """Calls people's callbacks on the kernel's own loop, in order."""

    def __init__(self, loop: KernelLoop) -> None:
        self._loop = loop

    def submit(self, function: Callable[..., object], *arguments: object) -> None:
        self._loop.call_soon(function, *arguments)

    def shutdown(self, wait: bool) -> None:
        """Nothing to end."""


class Kernel:
    """A process with a notebook. ``handles`` are what its person still holds, by the key of the generation."""

    def __init__(self, life: Life, number: int, notebook: str) -> None:
        self.life = life
        self.number = number
        self.notebook = notebook
        self.owner = ""
        self.ready = False
        self.dead = False
        self.connections: list[Connection] = []
        self.handles: dict[str, Generation] = {}
        self.changes: dict[str, str] = {}  # the last status that a callback was called with, by key
        self.shown: set[str] = set()  # ids that this kernel has read of in lists
        self.looked = (
            0.0  # when the service made the last list of what is active, or page of the history, that came here
        )
        self.batches: list[Batch] = []
        self._asked: set[asyncio.Task[Cancellation]] = set()
        self.tasks: list[asyncio.Task[Any]] = []  # what its person began, each of which must end
        self._steps = 0
        self._writes = 0
        self._first_answer = math.inf
        choices = life.choices
        end = choices.pick("how a kernel ends", 4) if life.hostile("a kernel is killed", 0.5) else 0
        self._dies_at_step = int(choices.between("step at which a kernel is killed", 5, 1500)) if end == 1 else 0
        self._dies_at_write = 1 + choices.pick("write at which a kernel is killed", 30) if end > 1 else 0
        self._dies_when = choices.pick("before, amid or after the write", 3)
        pauses = life.hostile("a kernel pauses", 0.1)
        self._pauses_at = int(choices.between("step at which a kernel pauses", 20, 600)) if pauses else 0
        self.loop = KernelLoop(life.timeline, origin=1000.0 * number, delay=self._delay, stepped=self._stepped)
        self.loop.failed = self._failed  # type: ignore[method-assign]

    def open(self) -> None:
        """Start the session; may raise what a person would see."""
        disk, settings = self.life.disk, self.life.settings
        disk.opening = self
        try:
            journal = _Journal(settings.data_dir / "journal.sqlite3", notebook=self.notebook, clock=self.life.clock)
        finally:
            disk.opening = None
        journal.life = self.life
        self.owner = journal.owner
        self.engine = _Engine(
            journal, settings, recall=resume.recall, loop=self.loop, clock=self.life.clock, client_factory=self._client
        )
        self.engine.registry._callbacks = _Callbacks(self.loop)  # type: ignore[assignment]
        self.session = session = Session.__new__(Session)
        session.settings, session.journal, session.engine = settings, journal, self.engine
        session._observers, session._catalog_cache = [], None
        self.ready = True

    def _client(self, base_url: str, key: Any, **options: Any) -> Client:
        network = self.life.network
        return Client(
            base_url,
            key,
            **(options | {"answer_limit": ANSWER_LIMIT}),
            transport=Wire(network, self),
            file_transport=Files(network, self),
        )

    # What a person can do that waits for an answer

    async def attach(self, generation_id: str) -> Generation:
        attaching = resume.attach(self.engine, self.session.target, generation_id, None)
        try:
            return self.engine.handle(await asyncio.wait_for(attaching, 60.0))
        except TimeoutError:
            raise WaitTimeout("No answer within 60 s.") from None

    async def resume(self, everything: bool) -> resume.Resumed:
        return self.session.resume(everything=everything)

    async def cancel(self, generation: Generation) -> Cancellation:
        job = generation._job
        if generation.done:
            return self.engine.cancel(job, None)
        if self.engine.closed:
            raise OxenVideoError("oxenvideo was shut down here; load the extension again.")
        asked = self.loop.create_task(self.engine.service(job.submission.target).cancel(job))
        self._asked.add(asked)
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            if not self.engine.closed:
                raise
            raise OxenVideoError("oxenvideo was shut down here before there was an answer.") from None

    async def close(self) -> None:
        """End in order; waits must end too."""
        self.ready = False
        self.engine.closed = True
        await self.engine._stop()
        self.engine.close()
        registry = self.engine.registry
        registry._schedule = lambda seconds: None  # type: ignore[method-assign] # the engine's thread has ended
        if registry._timer is not None:
            registry._timer.cancel()
        for asked in self._asked:  # as the engine's thread does with what is left on its loop
            asked.cancel()
        self.life.note(self, "is closed")
        self.life.timeline.after(3 * generation_module.TICK, self._closed)

    def _closed(self) -> None:
        left = [task.get_name() for task in self.tasks if not task.done()]
        if left and not self.dead:
            self.life.invariants.broken(f"kernel {self.number} is closed, and these have not ended: {left}")
        self.kill("after it was closed")

    def hold(self, generation: Generation) -> None:
        """Keep a handle as a person does, in a variable, and watch it."""
        key = generation.key
        if key not in self.handles:

            def changed(generation: Generation) -> None:
                self.changes[key] = generation.status

            generation.on_change(changed)
        self.handles[key] = generation

    def begin(self, what: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Have something done here that must end some day."""
        task = self.loop.create_task(work, name=what)
        self.tasks.append(task)
        return task

    # Time and death

    def _delay(self) -> float:
        pause, self._pauses_at = (
            (self.life.choices.between("seconds of a pause", 1.0, 900.0), 0)
            if self._pauses_at and self._steps >= self._pauses_at and self.ready and not self.life.healed
            else (0.0, self._pauses_at)
        )
        if pause:
            self.life.note(self, f"pauses for {pause:.0f} s")
        return pause + self.life.choices.fraction("turn") * 0.004

    def _stepped(self) -> None:
        self._steps += 1
        if self._steps == self._dies_at_step and not self.life.healed:
            self.kill("between two steps")

    def before_write(self) -> None:
        """A transaction is about to begin."""
        self._writes += 1
        self._die(0, "before a write to the journal")
        self.life.let_others_act(self)
        self.check()

    def amid_write(self) -> None:
        """Something was written that is not on the disk yet."""
        self._die(1, "in the middle of a write to the journal")

    def written(self) -> None:
        """A transaction is on the disk."""
        self.life.invariants.written(self)
        self._die(2, "after a write to the journal")

    def _die(self, when: int, how: str) -> None:
        if self._writes == self._dies_at_write and when == self._dies_when and not self.life.healed:
            self.kill(how)
            raise KernelKilled

    def check(self) -> None:
        if self.dead:
            raise KernelKilled

    def kill(self, how: str) -> None:
        """End without a word, as kill -9 does."""
        if self.dead:
            return
        self.life.note(self, f"KILLED {how}")
        self.dead = self.loop.dead = True
        for connection in self.connections:
            connection.die()
        self.life.lost(self)

    def _failed(self, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, KernelKilled) or self.dead:
            return
        if not isinstance(error, OxenVideoError):
            self.life.invariants.broken(f"kernel {self.number}: {context.get('message')}: {error!r}", error)

    # What it learns

    def knew_the_time(self, when: float) -> bool:
        """Whether an answer had told the service's clock before ``when``, or no clock was ever wrong."""
        return self._first_answer < when or not self.life.clocks_differ

    def seen(self, payload: Any, *, candidates: bool) -> None:
        """An answer has been read; its ``candidates`` are generations that a search for a lost answer can know."""
        self._first_answer = min(self._first_answer, self.life.timeline.now)
        rows = payload.get("generations") if isinstance(payload, dict) else None
        for row in rows if isinstance(rows, list) else [payload.get("generation", payload)]:
            if candidates and isinstance(row, dict) and "generation_id" in row:
                self.shown.add(row["generation_id"])
