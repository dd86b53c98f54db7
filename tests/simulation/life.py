"""One life: a service, some kernels, some people, some trouble, and what has become of it all in the end."""

from __future__ import annotations

import gc
import random
import tempfile
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from oxenvideo.client.credentials import Secret
from oxenvideo.errors import OxenVideoError
from oxenvideo.settings import Pace, Settings

from . import disk
from .choices import Address, Choices
from .invariants import Invariants
from .kernel import BASE_URL, KEY, Kernel
from .loop import Timeline
from .network import Network
from .people import People
from .service import EPOCH, Service

_RATES = (0.0, 0.03, 0.1, 0.3)
_TROUBLE = (
    "nothing", "the journal is locked", "the journal's disk is full", "the video directory is full",
    "the whole disk is full", "the service cannot be reached", "lists fail", "our clock steps", "the service's clock steps",
)  # fmt: skip
_STEPS = (-3600.0, 3600.0, -30.0, 30.0, 86400.0)
_SETTLE = 1500.0  # virtual seconds within which everything must have ended once nothing is wrong any more


@dataclass
class Outcome:
    """What came of a life. ``failure`` is None where all invariants held."""

    seed: int
    failure: str | None
    history: list[str]
    taken: list[Address]
    figures: dict[str, int]


class Life:
    """Everything that exists while a life is played."""

    def __init__(self, seed: int, directory: Path, suppressed: Collection[Address | str] = ()) -> None:
        self.choices = choices = Choices(seed, suppressed)
        self.timeline = Timeline()
        self.data_dir = directory / "data"
        self.videos = directory / "videos"
        self.disk = disk.Disk()
        self._place = f"{directory}/"
        self.healed = False
        self.service_stepped = False
        self.clocks_differ = False
        self._history: list[tuple[float, int | None, str]] = []
        self._ahead = 0.0  # seconds by which this machine's clock is ahead
        self._acting: list[Kernel] = []
        self._uuids = random.Random(seed)
        self._hostile = choices.happens("a hostile life", 0.7)
        offset = (0.0, 7.0, -7.0, 3600.0)[choices.pick("offset of the service's clock", 4)]
        self.clocks_differ = offset != 0.0
        self.service = Service(self.timeline, choices, offset)
        self.network = Network(
            self.timeline, choices, self.service, _RATES[choices.pick("rate of faults", len(_RATES))]
        )
        self.invariants = Invariants(self)
        self.service.created = self.invariants.created
        self.kernels: list[Kernel] = []
        self.people = People(self)
        self.settings = Settings(
            base_url=BASE_URL,
            api_key=Secret(KEY),
            data_dir=self.data_dir,
            download_dir=self.videos,
            pace=Pace(poll=20.0),
        )

    # What the parts ask of it

    def hostile(self, question: str, probability: float) -> bool:
        return self._hostile and self.choices.happens(question, probability)

    def clock(self) -> float:
        """This machine's wall clock."""
        return EPOCH + self.timeline.now + self._ahead

    def uuid4(self) -> uuid.UUID:
        return uuid.UUID(int=self._uuids.getrandbits(128), version=4)

    def is_alive(self, owner: str) -> bool:
        """Whether a kernel runs and has not closed its journal."""
        return any(kernel.owner == owner and kernel.ready and not kernel.dead for kernel in self.kernels)

    def note(self, kernel: Kernel | None, text: str) -> None:
        text = text.replace(self._place, "")  # a directory that no other run has
        self._history.append((self.timeline.now, kernel.number if kernel else None, text))

    def let_others_act(self, kernel: Kernel) -> None:
        """One kernel is about to write to the journal: the others may be faster."""
        if len(self._acting) < 2 and len(self.kernels) > 1 and self.choices.happens("others are faster", 0.2):
            self._acting.append(kernel)
            self.timeline.run(
                self.timeline.now + self.choices.between("seconds by which others are faster", 0.001, 2.0)
            )
            self._acting.pop()

    def lost(self, kernel: Kernel) -> None:
        """A kernel has died: somebody may start another and resume."""
        if not self.healed and self.choices.happens("a kernel is started again", 0.8):
            self.timeline.after(
                self.choices.between("seconds until it is started again", 0.5, 60.0), self._restart, kernel
            )

    def answer_lost(self) -> None:
        """The service has acted, and its answer does not arrive: our clock may be set before that is looked for."""
        if self.choices.happens("our clock steps while an answer is lost", 0.15):
            step = _STEPS[self.choices.pick("by how much a clock steps then", len(_STEPS))]
            self.timeline.after(0.2, self._trouble, "our clock steps", step, True)

    # The course of a life

    def play(self) -> Outcome:
        """From the first submit to the last resume; ends early at the first invariant that is broken."""
        random.seed(self.choices.seed)
        self.data_dir.mkdir()
        choices = self.choices
        for number in range(1 + choices.pick("further kernels", 3)):
            self._start(("a.ipynb", "b.ipynb")[number % 2])
        busy = choices.between("seconds in which people act", 20.0, 120.0)
        self.timeline.at(0.1, lambda: [self.people.begin(kernel) for kernel in self.kernels[:1]])
        for _ in range(choices.pick("things that people do", 16)):
            self.timeline.at(choices.between("when somebody acts", 0.0, busy), self.people.act)
        for _ in range(choices.pick("things that colleagues do", 3)):
            self.timeline.at(choices.between("when a colleague acts", 0.0, busy), self.people.unprompted)
        if self._hostile:
            for _ in range(choices.pick("troubles", 4)):
                self._plan_trouble(busy)
        steps = (
            lambda: self._run(busy), self._heal, self._settle, self._check_waits, self._finish,
        )  # fmt: skip
        for step in steps:
            step()
            if self.invariants.failure is not None:
                break
        return self._outcome()

    def _run(self, seconds: float) -> None:
        """Let time pass, in slices, as long as nothing is broken."""
        end = self.timeline.now + seconds
        while self.timeline.now < end and self.invariants.failure is None:
            self.timeline.run(min(end, self.timeline.now + 10.0))

    def _heal(self) -> None:
        self.note(None, "everything is healed")
        self.healed = True
        self.network.rate = 0.0
        self.network.down = False
        self.network.broken_lists = ()
        self.disk.journal = None
        self.disk.full.clear()

    def _settle(self) -> None:
        """Until nobody waits any more, and sometimes for longer."""
        longer = self.choices.happens("time goes on for long", 0.1)
        end = self.timeline.now + _SETTLE
        while self.timeline.now < end and self.invariants.failure is None:
            self.timeline.run(self.timeline.now + 20.0)
            if not longer and all(self._is_quiet(kernel) for kernel in self.kernels):
                break

    def _is_quiet(self, kernel: Kernel) -> bool:
        return kernel.dead or (
            kernel.loop.idle
            and all(task.done() for task in kernel.tasks)
            and all(g.state.is_settled for g in kernel.handles.values())
        )

    def _check_waits(self) -> None:
        for kernel in self.kernels:
            for task in kernel.tasks:
                if not task.done() and not kernel.dead:
                    self.invariants.broken(f"{task.get_name()} in kernel {kernel.number} has not ended")
            if kernel.ready and not kernel.dead:
                self.invariants.told(kernel)

    def _finish(self) -> None:
        """All kernels end; a last one brings everything back, and what it cannot bring back it says."""
        for kernel in self.kernels:
            if not kernel.dead:
                kernel.kill("at the end")
        last = self._start("c.ipynb")
        if last is None:
            return
        notes: list[str] = []

        async def resume() -> None:
            notes.extend(await self.people.resume(last, everything=True))

        task = last.begin("the last resume", resume())
        self._settle()
        if not task.done():
            self.invariants.broken("the last resume has not ended")
        elif task.exception() is not None:
            self.invariants.broken(f"the last resume failed: {task.exception()!r}", task.exception())
        self._check_waits()
        if self.invariants.failure is None:
            self.invariants.finish(last, notes)
        last.kill("at the very end")

    # Kernels and trouble

    def _start(self, notebook: str) -> Kernel | None:
        kernel = Kernel(self, len(self.kernels), notebook)
        self.note(kernel, f"starts, for {notebook}")
        self.kernels.append(kernel)
        try:
            kernel.open()
        except (OxenVideoError, disk.KernelKilled) as error:
            self.note(kernel, f"does not start: {error}")
            kernel.kill("as it started")
            return None
        return kernel

    def _restart(self, before: Kernel) -> None:
        if self.healed or len(self.kernels) > 5:
            return
        kernel = self._start(before.notebook)
        if kernel is not None and not self.choices.happens("nobody resumes", 0.2):
            self.people.spawn(kernel, "a resume", self.people.resume(kernel, everything=False))

    def _plan_trouble(self, busy: float) -> None:
        choices = self.choices
        kind = _TROUBLE[choices.pick("kind of trouble", len(_TROUBLE))]
        begins = choices.between("when trouble begins", 0.0, busy)
        ends = begins + choices.between("how long trouble lasts", 0.5, 90.0)
        step = _STEPS[choices.pick("by how much a clock steps", len(_STEPS))]
        self.timeline.at(begins, self._trouble, kind, step, True)
        self.timeline.at(ends, self._trouble, kind, step, False)

    def _trouble(self, kind: str, step: float, begins: bool) -> None:
        if kind == "nothing" or self.healed:
            return
        self.note(None, f"{kind}{f' by {step:g} s' if 'steps' in kind else ''}" + ("" if begins else ": over"))
        match kind:
            case "the journal is locked":
                self.disk.journal = "database is locked" if begins else None
            case "the journal's disk is full":
                self.disk.journal = "database or disk is full" if begins else None
            case "the video directory is full" | "the whole disk is full":
                where = self.videos if kind.startswith("the video") else self.videos.parent
                (self.disk.full.add if begins else self.disk.full.discard)(str(where))
                if where != self.videos:
                    self.disk.journal = "database or disk is full" if begins else None
            case "the service cannot be reached":
                self.network.down = begins
            case "lists fail":
                self.network.broken_lists = ("succeeded", "failed") if begins else ()
            case "our clock steps":
                self._ahead += step if begins else -step
                self.clocks_differ = True
            case "the service's clock steps":
                self.service.offset += step if begins else -step
                self.service_stepped = self.clocks_differ = True

    def _outcome(self) -> Outcome:
        jobs = self.service.jobs.values()
        rows = self.invariants.rows.items()
        figures = {
            "submits": len(self.network.posts),
            "lost answers": sum(not post.told for post in self.network.posts),
            "faults": self.network.faults,
            "colleagues' jobs": sum(job.whose in ("sharer", "colleague") for job in jobs),
            "kernels": len(self.kernels),
            "attached": len(self.invariants.attached),
            "adopted by a search": self.invariants.found,
            "ambiguous": sum(row.step == "ambiguous" or key in self.invariants.given_up for key, row in rows),
            "not to be told from ours": len(self.invariants.mistaken),
            "left unconfirmed": sum(row.step == "unknown" for _, row in rows),
            "virtual seconds": int(self.timeline.now),
        }
        failure = self.invariants.failure
        return Outcome(self.choices.seed, str(failure) if failure else None, self._told(), self.choices.taken, figures)

    def _told(self) -> list[str]:
        return [
            f"{when:9.3f}  {'world  ' if number is None else f'kernel {number}'}  {text}"
            for when, number, text in self._history
        ]


def play(seed: int, suppressed: Collection[Address | str] = ()) -> Outcome:
    """Play one life in a directory of its own, in memory where there is such a place.

    Garbage is collected between lives only: what a kernel still finds alive must not depend on other lives.
    """
    memory = Path("/dev/shm")  # noqa: S108 - a directory made by mkdtemp in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        life = Life(seed, Path(place), suppressed)
        gc.disable()
        try:
            with disk.installed(life.disk, life.uuid4):
                return life.play()
        finally:
            gc.enable()
