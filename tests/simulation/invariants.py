"""What must hold in every life: checked at each write to the journal, at each request, and at the end."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import Status

from .service import TERMINAL, Job, canonical

if TYPE_CHECKING:
    from .kernel import Kernel
    from .life import Life

# A request of somebody else with our key that is identical to a lost one of ours and came within this many seconds of it
# cannot be told from ours by any client as long as a list has not shown ours.
SAME_MOMENT = (-5.0, 900.0)
LOST = "it is lost."  # the end of a note that is given once
_SNAPSHOT = (
    "SELECT g.key, g.submission, g.status, g.generation_id, g.delivered, g.path, g.result_url, s.step, s.synchronous"
    " FROM generation g JOIN submission s ON s.key = g.submission"
)
_STEPS = {"planned": 0, "sending": 1, "unknown": 2, "ambiguous": 3, "accepted": 4, "refused": 4}
_OPEN = ("sending", "unknown", "ambiguous")
_RANKS = {
    "waiting": 0, "submitting": 0, "unconfirmed": 0, "queued": 1, "unknown": 1, "processing": 2, "downloading": 3,
    "succeeded": 4, "failed": 4, "cancelled": 4,
}  # fmt: skip


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Ask:
    """One video that a person asked for."""

    kernel: int
    key: str
    generation: Generation | None  # None where the person dropped the handle
    asked: str
    withdrawn: bool = False  # it was cancelled before it was sent, as the person was told or the journal says


@dataclass(frozen=True)
class Row:
    """One generation in the journal."""

    key: str
    submission: str
    status: str
    id: str | None
    delivered: int
    path: str | None
    url: str | None
    step: str
    synchronous: int

    @property
    def covers(self) -> bool:
        """Whether this row says that the service may have a job of it."""
        return self.step in (*_OPEN, "accepted") and not (self.status == "cancelled" and self.id is None)


class Invariants:
    """The book of one life: what was asked for, what the disk says, and whether it all agrees."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.asks: dict[str, Ask] = {}
        self.rows: dict[str, Row] = {}
        self.cancelled: set[str] = set()  # keys and ids that somebody asked to cancel
        self.attached: set[str] = set()  # ids
        self.given_up: set[str] = set()  # keys of ambiguous ones that somebody cancelled
        self.mistaken: dict[str, str] = {}  # what was asked for, by key, where a video took a job that is not its own
        self.found = 0  # videos whose ids a search found
        self.failure: Broken | None = None
        self.deleted: dict[str, bytes] = {}  # files that a person deleted
        self.lost_notes = 0  # how often a resume said that a video was only in a dead kernel's memory
        self.kept: dict[str, bytes] = {}  # videos of which the data directory had the only copy, by key
        self._sent: dict[str, float] = {}  # when a request was last written to be sent, by key
        self._names: dict[str, str] = {}

    def broken(self, what: str, cause: BaseException | None = None) -> None:
        """Remember the first invariant that does not hold; the life ends there."""
        if self.failure is None:
            self.failure = Broken(what)
            self.failure.__cause__ = cause
            self.life.note(None, f"BROKEN: {what}")

    def name(self, key: str) -> str:
        """What a video is called in the history."""
        return self._names.setdefault(key, f"{'video' if key in self.asks else 'attached'} {len(self._names) + 1}")

    # What people do

    def asked(self, kernel: Kernel, generation: Generation, asked: str, *, kept: bool) -> None:
        self.asks[generation.key] = Ask(kernel.number, generation.key, generation if kept else None, asked)

    # At the service

    def created(self, job: Job) -> None:
        """The service has made a job."""
        if job.whose == "ours":
            self._check_cover(job.asked)

    def cancelling(self, kernel: Kernel, generation_id: str) -> None:
        """A kernel asks the service to cancel a job."""
        job = self.life.service.jobs.get(generation_id)
        if job is None:
            return
        live = [key for key, generation in kernel.handles.items() if generation.id == generation_id]
        written = [key for key, row in self.rows.items() if row.id == generation_id]
        if not self.cancelled & {generation_id, *live, *written}:
            self.broken(f"kernel {kernel.number} cancels #{job.number} ({job.whose}), which nobody asked for")

    def _check_cover(self, asked: str) -> None:
        """The service has no more jobs of ours than the journal says that it may have, and than were asked for."""
        jobs = [j for j in self.life.service.jobs.values() if j.whose == "ours" and j.asked == asked]
        jobs = [j for j in jobs if j.status not in ("failed", "cancelled")]
        asks = [key for key, ask in self.asks.items() if ask.asked == asked]
        wanted = [key for key in asks if not self.asks[key].withdrawn]
        numbers = ", ".join(f"#{job.number}" for job in jobs)
        if len(jobs) > len(wanted):
            self.broken(f"{len(jobs)} jobs ({numbers}) for {len(wanted)} videos that were asked for: {asked}")
        covering = [key for key in asks if key in self.given_up or ((row := self.rows.get(key)) and row.covers)]
        covering += [
            key for key, row in self.rows.items() if key not in self.asks and any(row.id == j.id for j in jobs)
        ]
        if len(jobs) > len(covering):
            self.broken(
                f"the service has {len(jobs)} jobs ({numbers}), the journal says that it may have {len(covering)}: {asked}"
            )

    # On the disk

    def written(self, kernel: Kernel) -> None:
        """A transaction is on the disk: compare with what was there before."""
        if self.failure is not None:
            return
        connection = kernel.connections[-1]
        try:
            found = connection.read(_SNAPSHOT)
        except Exception:  # the tables are being made
            return
        rows = {fields[0]: Row(*fields) for fields in found}
        before, self.rows = self.rows, rows
        changed = [row for key, row in rows.items() if before.get(key) != row]
        for key in before.keys() - rows.keys():
            self.broken(f"the row of {key} has gone")
        for row in changed:
            self._check_change(kernel, before.get(row.key), row)
        if changed:
            ids = [row.id for row in rows.values() if row.id is not None]
            if len(ids) != len(set(ids)):
                self.broken(f"one id stands for two rows: {sorted(ids)}")
            for asked in {self.asks[row.key].asked for row in changed if row.key in self.asks}:
                self._check_cover(asked)

    def _check_change(self, kernel: Kernel, before: Row | None, row: Row) -> None:
        name = self.name(row.key)
        self.life.note(
            kernel,
            f"  journal, {name}: {row.step}, {row.status}"
            + (f", #{self._number(row.id)}" if row.id else "")
            + (", delivered" if row.delivered else ""),
        )
        if row.key not in self.asks and row.step in ("planned", "sending"):
            self.broken(f"{name} can be sent, and nobody asked for that")
        if before is not None:
            if _STEPS[row.step] < _STEPS[before.step] and (before.step, row.step) != ("sending", "planned"):
                self.broken(f"the step of {name} went back from {before.step} to {row.step}")
            ended = row.step == "refused" or row.status == "cancelled"
            if before.step == "ambiguous" and ended and row.id is None and row.key in self.cancelled:
                self.given_up.add(row.key)
            elif before.step != row.step and (
                before.step in ("accepted", "refused")
                or (before.step in ("unknown", "ambiguous") and row.step == "refused")
            ):
                self.broken(f"the step of {name} went from {before.step} to {row.step}")
            again = (before.status, row.status) == ("succeeded", "downloading")
            if _RANKS[row.status] < _RANKS[before.status] and not again:
                self.broken(f"the status of {name} went back from {before.status} to {row.status}")
            if before.id is not None and row.id != before.id and row.key in self.asks:
                self.broken(f"the id of {name} changed from {before.id} to {row.id}")
        if row.step == "sending" and (before is None or before.step != "sending"):
            self._sent[row.key] = self.life.timeline.now
        if before is not None and before.step == "unknown" and row.step == "accepted":
            self.found += 1
        if row.id is not None and (before is None or before.id != row.id):
            self._check_adoption(kernel, row, name, decided=before is not None and before.step == "ambiguous")
        if before is not None and (before.step, row.status) == ("planned", "cancelled") and row.key in self.asks:
            self.asks[row.key].withdrawn = True
        if row.url is not None and row.url.startswith("file:") and row.key not in self.kept:
            with suppress(FileNotFoundError):  # it was saved before that could be written down
                self.kept[row.key] = Path(row.url.removeprefix("file://")).read_bytes()
        if row.delivered and row.path and (before is None or not before.delivered):
            self._check_file(row, name)

    def _number(self, generation_id: str | None) -> object:
        job = self.life.service.jobs.get(generation_id or "")
        return job.number if job else generation_id

    def _check_adoption(self, kernel: Kernel, row: Row, name: str, *, decided: bool) -> None:
        ask = self.asks.get(row.key)
        job = self.life.service.jobs.get(row.id or "")
        if job is None:
            self.broken(f"{name} stands for {row.id}, which the service never made")
        elif ask is not None and decided and job.id in self.attached and _other_media(ask.asked, job.asked):
            self.mistaken[row.key] = ask.asked  # it cannot be compared, and a person who was asked says so
        elif ask is not None and job.asked != ask.asked:
            self.broken(f"{name} asked for {ask.asked} and stands for #{job.number}: {job.asked}")
        elif ask is not None and self._was_answered(job, row.key):
            if job.id in self.attached:
                self.mistaken[row.key] = job.asked  # that was the user's word
            else:
                self.broken(f"{name} took #{job.number}, whose video was the answer to another synchronous request")
        elif ask is not None and job.whose in ("sharer", "colleague"):
            if job.id in self.attached or self._cannot_know(kernel, row, job):
                self.mistaken[row.key] = job.asked
            else:
                self.broken(f"{name} took #{job.number}, which a {job.whose} asked for")

    def _was_answered(self, job: Job, key: str = "") -> bool:
        """Whether this is the video of another row that is synchronous, and so has no id."""
        told = job.synchronous and any(post.told and job in post.jobs for post in self.life.network.posts)
        others = [row for row in self.rows.values() if row.synchronous and row.key != key and row.step == "accepted"]
        return told and any(row.id is None and self.asks[row.key].asked == job.asked for row in others)

    def _was_refused(self, job: Job) -> bool:
        """Whether the answer to a synchronous request said that this job ended without a video, and did not name it."""
        told = any(post.told and job in post.jobs for post in self.life.network.posts)
        return job.synchronous and job.status in ("failed", "cancelled") and told

    def _cannot_know(self, kernel: Kernel, row: Row, job: Job) -> bool:
        """Whether the job of somebody with our key looks in every way like a lost one of ours that was not seen yet."""
        if job.whose != "sharer" or self.life.service_stepped:  # after a step the times in the lists mean nothing
            return job.whose == "sharer"
        alike = [other for key, other in self.rows.items() if key in self.asks and self.asks[key].asked == job.asked]
        taken = {other.id for other in alike}
        lost = [self._sent[row.key], *(self._sent[other.key] for other in alike if other.step == "unknown")]
        candidates = [job.created]
        for made in self.life.service.jobs.values():
            free = made.whose == "ours" and made.asked == job.asked and made.id in kernel.shown and made.id not in taken
            if free and any(0.0 <= made.created - sent <= SAME_MOMENT[1] for sent in lost):
                candidates.append(made.created)
        for sent in sorted(lost):
            own = [when for when in sorted(candidates) if SAME_MOMENT[0] <= when - sent <= SAME_MOMENT[1]]
            candidates = [when for when in candidates if when not in own[:1]]
        return not candidates and kernel.looked >= self._sent[row.key]

    def _mistaken(self, asked: str) -> int:
        return sum(mistaken == asked for mistaken in self.mistaken.values())

    def _check_file(self, row: Row, name: str) -> None:
        path = Path(row.path or "")
        mark = f"video of {row.id}".encode() if row.id else b"video of "
        if not path.is_file():
            if row.path not in self.deleted:
                self.broken(f"{name} is delivered, and {path.name} is not there")
        elif mark not in path.read_bytes():
            self.broken(f"{name} is delivered, and {path.name} holds another video")

    # At the end

    def finish(self, kernel: Kernel, notes: list[str]) -> None:
        """Everything has been healed and brought back by a last kernel; ``notes`` are what its resume said."""
        for row in self.rows.values():
            self._check_end(row, kernel, notes)
            job = self.life.service.jobs.get(row.id or "")
            if (
                job is not None
                and row.key in self.asks
                and job.id in self.attached
                and (self._was_answered(job, row.key) or self._was_refused(job))
            ):  # a person attached it, and it is of another request
                self.mistaken[row.key] = self.asks[row.key].asked
        for key, content in self.kept.items():
            job = next(job for job in self.life.service.jobs.values() if _mark(job) in content)
            if not self._is_here(job):
                self.broken(
                    f"{self.name(key)} is in no file, and the data directory had the only copy of #{job.number}"
                )
        for asked in {job.asked for job in self.life.service.jobs.values() if job.whose == "ours"}:
            self._check_delivery(asked, kernel, notes)

    def _check_end(self, row: Row, kernel: Kernel, notes: list[str]) -> None:
        name = self.name(row.key)
        job = self.life.service.jobs.get(row.id or "")
        if job is not None:
            if row.status not in TERMINAL:
                self.broken(f"{name} (#{job.number}, {job.status}) is left as {row.status}; notes: {notes}")
            elif row.status != job.status:
                self.broken(f"{name} (#{job.number}, {job.status}) is called {row.status}")
            elif (
                job.paid
                and not (row.delivered and row.path in self.deleted)
                and not (row.delivered and row.path and Path(row.path).is_file())
            ):
                self.broken(f"{name} (#{job.number}) is paid and was not delivered; notes: {notes}")
        elif row.step == "planned" and not row.delivered:
            self.broken(f"{name} was never sent, and nobody was told; notes: {notes}")
        elif not row.delivered and row.key not in kernel.handles and not notes:
            self.broken(f"{name} ({row.step}, {row.status}) was not brought back, and nobody was told")

    def told(self, kernel: Kernel) -> None:
        """Nothing is wrong any more and time has passed: what the handles of a living kernel tell."""
        owners: dict[str, str] = {}
        for key, generation in kernel.handles.items():
            if not generation.state.is_settled:
                self.broken(f"{generation} never ended")
            elif generation.status in (Status.FAILED, Status.UNCONFIRMED) and not generation.error_message:
                self.broken(f"{generation} ended without a word")
            elif "\n" in (generation.error_message or "") or "Traceback" in (generation.error_message or ""):
                self.broken(f"{generation} ended with {generation.error_message!r}")
            if key in kernel.changes and kernel.changes[key] != generation.status:
                self.broken(f"the last change of {generation} that was reported was to {kernel.changes[key]}")
            if generation.id is not None and key in self.asks:
                if owners.setdefault(generation.id, key) != key:
                    self.broken(f"two handles stand for {generation.id}")
                job = self.life.service.jobs.get(generation.id)
                asked = self.asks[key].asked
                if job is None or not (
                    job.asked == asked or (job.id in self.attached and _other_media(asked, job.asked))
                ):
                    self.broken(f"{generation} stands for another request")

    def _check_delivery(self, asked: str, kernel: Kernel, notes: list[str]) -> None:
        """Each paid job is in the journal, or somebody was told that it is not known what became of it."""
        taken = {row.id for row in self.rows.values()}
        paid = [j for j in self.life.service.jobs.values() if j.whose == "ours" and j.paid and j.asked == asked]
        lost = [j for j in paid if j.id not in taken and not self._is_here(j)]
        if not lost:
            return
        open_asks = [key for key, ask in self.asks.items() if ask.asked == asked and self._is_open(key, kernel)]
        numbers = ", ".join(f"#{job.number}" for job in lost)
        # Of a submit that was doubled on its way either job will do.
        doubles = sum(
            j.whose == "network" and j.id in taken and j.asked == asked for j in self.life.service.jobs.values()
        )
        told = len(open_asks) + sum(not note.endswith(LOST) for note in notes) + self.lost_notes
        if told + self._mistaken(asked) + doubles < len(lost):
            self.broken(f"{numbers} paid, and nobody was told: {asked}")
        elif self._could_be_found(asked, lost, open_asks):
            self.broken(f"{numbers} paid and not found, though nothing else could be it: {asked}")

    def _is_here(self, job: Job) -> bool:
        """Whether the video of a synchronous job, which has no id, lies in a file, or did until a person deleted it."""
        contents = [path.read_bytes() for path in self.life.videos.glob("*.mp4")] + list(self.deleted.values())
        return job.synchronous and any(_mark(job) in content for content in contents)

    def _is_open(self, key: str, kernel: Kernel) -> bool:
        """Whether the person was told that it is not known what became of this one, or that its file cannot be fetched."""
        row = self.rows.get(key)
        if row is None or row.id is not None or key in self.given_up:
            return key in self.given_up
        handle = kernel.handles.get(key)
        told = handle is not None and bool(handle.error_message)
        return told and (row.step in _OPEN or (bool(row.synchronous) and row.step == "accepted"))

    def _could_be_found(self, asked: str, lost: list[Job], open_asks: list[str]) -> bool:
        """Whether the lists showed as many jobs like it as were lost, all sent and made in the same moment."""
        jobs = [j for j in self.life.service.jobs.values() if j.asked == asked]
        everybody = self.life.service.jobs.values()
        posts = [p for p in self.life.network.posts if not p.told]
        clear = not any(_other_media(asked, j.asked) for j in everybody)
        clear &= not any(_other_media(asked, canonical(p.body)) for p in posts)
        # A kernel that is killed before it sends what it has claimed leaves the same in the journal as one killed after.
        claimed = [ask.asked for key, ask in self.asks.items() if key in self.rows and self.rows[key].step in _OPEN]
        clear &= not any(_other_media(asked, other) for other in claimed)
        clear &= all(
            j.whose == "ours" and j.listed and not self._was_answered(j) and not self._was_refused(j) for j in jobs
        )
        if self.life.service_stepped or self.attached or not clear:
            return False
        if any(
            j.created - p.sent > 60 or not self.life.kernels[p.kernel].knew_the_time(p.sent)
            for p in posts
            if canonical(p.body) == asked
            for j in p.jobs
        ):
            return False
        return len(lost) == len(open_asks)


def _mark(job: Job) -> bytes:
    """What the video of a job holds and no other."""
    return f"video of {job.id}".encode()


def _other_media(asked: str, made: str) -> bool:
    """Whether two requests differ in images only."""
    one, other = ({n: v for n, v in json.loads(text).items() if n != "input_image"} for text in (asked, made))
    return asked != made and one == other and "input_image" in asked and "input_image" in made
