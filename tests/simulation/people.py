"""People: what they submit, wait for, cancel, attach, resume and fetch again, and their colleagues who ask for the same."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from oxenvideo.errors import OxenVideoError
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import Status
from oxenvideo.request.request import VideoRequest

from .invariants import LOST
from .service import TEAM, canonical

if TYPE_CHECKING:
    from .kernel import Kernel
    from .life import Life

_PROMPT = "A red balloon floating upward through blue sky"
_TEXT, _IMAGE = "kling-video-v2-6-pro-text-to-video", "kling-video-o3-pro-reference-to-video"
_A, _B = "data:image/png;base64,iVBORw0KGgoAAAA=", "data:image/png;base64,iVBORw0KGgoBBBB="


@functools.cache
def requests() -> tuple[VideoRequest, ...]:
    """Requests that are easily taken for one another: neighbours differ in one parameter."""
    plain = {"prompt": _PROMPT, "duration": 5}
    shots = [{"prompt": _PROMPT, "duration": 5}]
    bodies: list[tuple[str, dict[str, Any]]] = [
        (_TEXT, plain),
        (_TEXT, plain | {"seed": 1}),
        (_TEXT, plain | {"seed": 2}),
        (_TEXT, plain | {"duration": 10}),
        (_TEXT, {"prompt": _PROMPT}),
        (_TEXT, plain | {"cfg_scale": 0.5}),
        (_IMAGE, {"prompt": _PROMPT}),
        (_IMAGE, {"multi_prompt": shots}),
        (_IMAGE, {"multi_prompt": [{"prompt": "Another", "duration": 5}]}),
        (_IMAGE, {"prompt": _PROMPT, "input_image": [_A]}),
        (_IMAGE, {"prompt": _PROMPT, "input_image": [_B]}),
        (_IMAGE, {"prompt": _PROMPT, "input_image": ["https://files.example/a.png"]}),
    ]
    return tuple(VideoRequest(model, parameters) for model, parameters in bodies)


class People:
    """Everybody who acts in one life."""

    def __init__(self, life: Life) -> None:
        self.life = life
        choices = life.choices
        # A life is about few requests, so that they are alike.
        first = choices.pick("the request of this life", len(requests()))
        self._pool = [requests()[first]]
        for _ in range(choices.pick("other requests of this life", 3)):
            self._pool.append(requests()[(first + 1 + choices.pick("another request", 4)) % len(requests())])
        if choices.happens("shots are mistaken", 0.05):
            self._pool = list(requests()[6:9])
        if choices.happens("requests go to a shared namespace", 0.3):
            self._pool = [replace(request, target_namespace=TEAM) for request in self._pool]
        self._with_colleagues = choices.happens("there are colleagues", 0.5)
        self._asked = 0
        self._most = 1 + choices.pick("videos that are asked for", 6)

    # Those who use the package

    def act(self) -> None:
        """Somebody does something in a kernel that lives."""
        life = self.life
        alive = [kernel for kernel in life.kernels if kernel.ready and not kernel.dead]
        if not alive:
            return
        kernel = alive[life.choices.pick("in which kernel", len(alive))]
        deeds: tuple[Callable[[Kernel], object], ...] = (
            self._do_nothing, self._submit, self._submit, self._submit_several, self._generate, self._wait, self._cancel,
            self._attach, self._decide, self._resume, self._retry, self._download, self._close,
        )  # fmt: skip
        deed = deeds[life.choices.pick("what somebody does", len(deeds))]
        kernel.loop.call_soon(self._guarded, kernel, deed)

    def _guarded(self, kernel: Kernel, deed: Callable[[Kernel], object]) -> None:
        try:
            deed(kernel)
        except OxenVideoError as error:
            self.life.note(kernel, f"a person is told: {error}")

    def begin(self, kernel: Kernel) -> None:
        """The first thing in a life: somebody submits."""
        kernel.loop.call_soon(self._guarded, kernel, self._submit)

    def _request(self) -> VideoRequest:
        return self._pool[self.life.choices.pick("which request", len(self._pool))]

    def _room(self, count: int = 1) -> bool:
        return self._asked + count <= self._most

    def _take(self, kernel: Kernel, generations: list[Generation]) -> None:
        """Hold what was asked for, and wait for it perhaps."""
        self._asked += len(generations)
        for generation in generations:
            asked = canonical(generation.request.body(count=1))
            kept = not self.life.choices.happens("somebody drops the handle", 0.1)
            self.life.invariants.asked(kernel, generation, asked, kept=kept)
            self.life.note(kernel, f"a person asks for {self.life.invariants.name(generation.key)}: {asked}")
            if kept:
                kernel.hold(generation)
                if not self.life.choices.happens("nobody waits for it", 0.3):
                    self.wait_for(kernel, generation)

    def _submit(self, kernel: Kernel) -> None:
        if self._room():
            self._take(kernel, [kernel.session.submit(self._request())])

    def _submit_several(self, kernel: Kernel) -> None:
        if not self._room(2):
            return
        if self.life.choices.happens("several of one request", 0.5):
            made = kernel.session.submit_batch([self._request().with_(count=2)])
        else:
            made = kernel.session.submit_batch([self._request(), self._request()])
        self._take(kernel, list(made))
        kernel.batches.append(made)

    def _generate(self, kernel: Kernel) -> None:
        if not self._room():
            return
        request = self._request()
        if not self.life.choices.happens("a synchronous video as a URL", 0.5):
            request = request.with_(response_format="b64_json")
        self._take(kernel, [kernel.session.generate(request, wait=False)])

    def _retry(self, kernel: Kernel) -> None:
        for batch in kernel.batches:
            if batch.failed and self._room(len(batch.failed)):
                self._take(kernel, list(batch.retry_failed()))
                return

    def _some(self, kernel: Kernel) -> Generation | None:
        handles = list(kernel.handles.values())
        return handles[self.life.choices.pick("which video", len(handles))] if handles else None

    def _wait(self, kernel: Kernel) -> None:
        if (generation := self._some(kernel)) is not None:
            self.wait_for(kernel, generation)

    def wait_for(self, kernel: Kernel, generation: Generation) -> None:
        """Wait without a limit; the wait must end some day."""

        async def wait() -> None:
            try:
                await generation.wait_async()
                words = str(generation.status)
            except OxenVideoError as error:
                words = f"{type(error).__name__}: {error}"
            self.life.note(kernel, f"a wait for {self.life.invariants.name(generation.key)} ended: {words}")

        kernel.begin(f"a wait for {self.life.invariants.name(generation.key)}", wait())

    def _cancel(self, kernel: Kernel) -> None:
        if (generation := self._some(kernel)) is not None:
            self.spawn(kernel, "a cancellation", self._cancelling(kernel, generation))

    async def _cancelling(self, kernel: Kernel, generation: Generation) -> None:
        invariants = self.life.invariants
        invariants.cancelled.add(generation.key)
        if generation.id is not None:
            invariants.cancelled.add(generation.id)
        self.life.note(kernel, f"a person cancels {self.life.invariants.name(generation.key)} ({generation.status})")
        answer = await kernel.cancel(generation)
        self.life.note(kernel, f"cancelling {self.life.invariants.name(generation.key)}: {answer}")
        if "before it was sent" in answer and generation.key in invariants.asks:
            invariants.asks[generation.key].withdrawn = True

    def _attach(self, kernel: Kernel) -> None:
        """Somebody types an id: one of the history, whoever asked for it."""
        jobs = list(self.life.service.jobs.values())
        if jobs:
            job = jobs[self.life.choices.pick("which id is attached", len(jobs))]
            self.spawn(kernel, "an attach", self._attaching(kernel, job.id))

    def _decide(self, kernel: Kernel) -> None:
        """Somebody who was told that it is not clear which job is theirs looks at the history, and attaches the right one."""
        for generation in kernel.handles.values():
            if generation.status is Status.UNCONFIRMED and generation.key in self.life.invariants.asks:
                asked = self.life.invariants.asks[generation.key].asked
                taken = {row.id for row in self.life.invariants.rows.values()}
                ours = [j for j in self.life.service.jobs.values() if j.whose == "ours" and j.asked == asked]
                for job in ours:
                    if job.id not in taken:
                        self.spawn(kernel, "an attach", self._attaching(kernel, job.id))
                        return

    async def _attaching(self, kernel: Kernel, generation_id: str) -> None:
        self.life.invariants.attached.add(generation_id)
        job = self.life.service.jobs[generation_id]
        self.life.note(kernel, f"a person attaches #{job.number} ({job.whose})")
        generation = await kernel.attach(generation_id)
        kernel.hold(generation)
        self.life.note(
            kernel, f"attached #{job.number} as {self.life.invariants.name(generation.key)} ({generation.status})"
        )

    def _resume(self, kernel: Kernel) -> None:
        everything = self.life.choices.happens("resume everything", 0.5)
        self.spawn(kernel, "a resume", self.resume(kernel, everything))

    async def resume(self, kernel: Kernel, everything: bool) -> list[str]:
        """Bring back what can be; returns what the person was told."""
        self.life.note(kernel, f"a person resumes{' everything' if everything else ''}")
        resumed = await kernel.resume(everything)
        for generation in resumed:
            kernel.hold(generation)
        kept = ", ".join(f"{self.life.invariants.name(g.key)} ({g.status})" for g in resumed)
        self.life.note(kernel, f"resumed: {kept or 'nothing'}; notes: {resumed.notes}")
        for generation in resumed:
            self.wait_for(kernel, generation)
        self.life.invariants.lost_notes += sum(note.endswith(LOST) for note in resumed.notes)
        return list(resumed.notes)

    def _download(self, kernel: Kernel) -> None:
        generation = self._some(kernel)
        if generation is not None and generation.status is Status.SUCCEEDED and generation.path is not None:
            if self.life.choices.happens("the file was deleted", 0.5):
                with suppress(OSError):  # somebody may have deleted it before
                    self.life.invariants.deleted[str(generation.path)] = generation.path.read_bytes()
                    generation.path.unlink()
            self.life.note(kernel, f"a person fetches {self.life.invariants.name(generation.key)} again")
            generation.download()

    def _do_nothing(self, kernel: Kernel) -> None:
        """The harmless choice."""

    def _close(self, kernel: Kernel) -> None:
        """Somebody restarts a kernel in order."""
        if self.life.choices.happens("a kernel is closed", 0.3):
            self.spawn(kernel, "a close", kernel.close())

    def spawn(self, kernel: Kernel, what: str, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that takes its time, and note what the person is told if it does not work."""

        async def guarded() -> None:
            try:
                await work
            except OxenVideoError as error:
                self.life.note(kernel, f"a person is told: {error}")

        kernel.begin(what, guarded())

    # The others

    def after_submit(self, body: dict[str, Any]) -> None:
        """We have just sent something: somebody else may ask for the same now, or for nearly the same."""
        if self._with_colleagues and self.life.choices.happens("a colleague asks for the like", 0.4):
            self.life.timeline.after(
                self.life.choices.between("seconds until a colleague asks", 0.1, 60.0), self.colleague, body
            )

    def unprompted(self) -> None:
        """A colleague asks for something by themselves."""
        if self._with_colleagues:
            self.colleague()

    def colleague(self, body: dict[str, Any] | None = None) -> None:
        """Somebody else asks for something, with the same key on another machine, or with a key of their own."""
        choices = self.life.choices
        if body is None or choices.happens("a colleague asks for another request", 0.4):
            body = self._request().body(count=1)
        shared = body.get("target_namespace") == TEAM
        whose = "colleague" if shared and choices.happens("a colleague has a key of their own", 0.7) else "sharer"
        made = self.life.service.create({n: v for n, v in body.items() if n != "num_generations"}, whose)
        self.life.note(None, f"a {whose} asks for #{made[0].number}: {made[0].asked}")
