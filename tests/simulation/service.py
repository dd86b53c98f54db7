"""A model of Oxen's service in memory: jobs and their courses, lists, history, event streams and result files."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .choices import Choices
from .loop import Timeline

EPOCH = 1_790_000_000.0
US, COLLEAGUE = "ox", "mel"  # user names; somebody else with our key is "ox" as well
TEAM = "team"  # a namespace that both may use; lists without a namespace show one's own
TERMINAL = ("succeeded", "failed", "cancelled")
_ROUTING = ("target_namespace", "target_repo", "target_directory")
_NULLS = ("seed", "aspect_ratio", "duration", "input_image", "negative_prompt", "generate_audio")


def canonical(body: Mapping[str, Any]) -> str:
    """What a video is asked to be: two requests are the same if these texts are equal, however they are delivered."""
    kept = {name: value for name, value in body.items() if name not in ("num_generations", "response_format")}
    return json.dumps(kept, sort_keys=True)


@functools.cache
def _container() -> tuple[bytes, bytes]:
    """The parts of the smallest MP4 that the metadata library accepts, around the mark that names the job."""

    def box(kind: bytes, *parts: bytes) -> bytes:
        content = b"".join(parts)
        return (len(content) + 8).to_bytes(4, "big") + kind + content

    header = bytes(12) + (1000).to_bytes(4, "big") + (5000).to_bytes(4, "big") + b"\0\1\0\0\1\0" + bytes(10)
    header += b"\0\1\0\0" + bytes(12) + b"\0\1\0\0" + bytes(12) + b"\x40\0\0\0" + bytes(24) + b"\0\0\0\2"
    return box(b"ftyp", b"isom\0\0\2\0isomiso2mp41"), box(b"moov", box(b"mvhd", header))


def video(job_id: str) -> bytes:
    """The result of a job: an MP4 that names it."""
    first, last = _container()
    mark = f"video of {job_id}".encode()
    return first + (len(mark) + 8).to_bytes(4, "big") + b"mdat" + mark + last


@dataclass
class Post:
    """One submit as our side sent it: over the whole life there are no others that ask for payment."""

    kernel: int
    body: dict[str, Any]
    sent: float  # virtual time
    synchronous: bool
    jobs: list[Job] = field(default_factory=list)
    told: bool = False  # the answer has reached the kernel, whole


@dataclass
class Job:
    """One generation. ``whose``: ours, network (ours, doubled on its way), sharer (our key, another machine), colleague."""

    id: str
    number: int
    whose: str
    body: dict[str, Any]
    asked: str
    enqueued_at: int
    created: float
    course: list[tuple[float, str, int]]  # (virtual time, status, the service's clock)
    synchronous: bool = False
    listed: bool = True
    error_message: str | None = None
    charged: float | None = None
    link: int = 1
    expired: int = 0
    at_end: list[Callable[[], object]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return self.course[-1][1]

    @property
    def paid(self) -> bool:
        return self.status == "succeeded"

    @property
    def namespace(self) -> str:
        return str(self.body.get("target_namespace", US))

    @property
    def username(self) -> str:
        return COLLEAGUE if self.whose == "colleague" else US


class Service:
    """The service itself; it is never wrong. What goes wrong on the way to it is the network's doing."""

    def __init__(self, timeline: Timeline, choices: Choices, offset: float) -> None:
        self.jobs: dict[str, Job] = {}
        self.offset = offset  # seconds by which its clock is ahead of true time; the life steps it
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self.created: Callable[[Job], None] = lambda job: None
        self._names_default = choices.happens("rows name the default namespace", 0.5)
        self._hidden = (
            ("model", "response_format") if choices.happens("rows do not show the format", 0.5) else ("model",)
        )
        self.nulls = choices.happens("rows show parameters that were not sent as null", 0.3)
        self.synchronous_listed = not choices.happens("synchronous jobs are not listed", 0.5)
        self._timeline = timeline
        self._choices = choices

    def clock(self) -> float:
        return EPOCH + self._timeline.now + self.offset

    # Jobs

    def create(self, body: Mapping[str, Any], whose: str, *, synchronous: bool = False) -> list[Job]:
        """Enqueue what a body asks for."""
        made = []
        wanted = {name: value for name, value in body.items() if name != "num_generations"}
        for _ in range(int(body.get("num_generations", 1))):
            number = len(self.jobs) + 1
            now = self._timeline.now
            job = Job(
                id=f"{number:08x}-0000-4000-8000-{(number * 2654435761) & 0xFFFFFFFFFFFF:012x}",
                number=number,
                whose=whose,
                body=wanted,
                asked=canonical(body),
                enqueued_at=int(self.clock()),
                created=now,
                course=[(now, "queued", int(self.clock()))],
                synchronous=synchronous,
                listed=self.synchronous_listed if synchronous else True,
            )
            self.jobs[job.id] = job
            made.append(job)
            self._timeline.after(self._choices.between("seconds in the queue", 0.3, 15.0), self._start, job)
            self.created(job)
        return made

    def _start(self, job: Job) -> None:
        if self._advance(job, "processing"):
            self._timeline.after(self._choices.between("seconds of rendering", 1.0, 60.0), self._end, job)

    def _end(self, job: Job) -> None:
        failed = self._choices.happens("the job fails", 0.1)
        job.error_message = "Input should be '5' or '10'" if failed else None
        if self._advance(job, "failed" if failed else "succeeded"):
            if not failed:
                self._timeline.after(self._choices.between("seconds until it is charged", 0.5, 90.0), self._charge, job)
            self.publish(self.notice(job))

    def _charge(self, job: Job) -> None:
        job.charged = 0.35

    def cancel(self, job: Job) -> bool:
        return self._advance(job, "cancelled")

    def _advance(self, job: Job, status: str) -> bool:
        if job.status in TERMINAL:
            return False
        job.course.append((self._timeline.now, status, int(self.clock())))
        if status in TERMINAL:
            for call in job.at_end:
                call()
        return True

    def expire(self, job: Job) -> None:
        """Links handed out so far no longer open; the next reading shows a new one."""
        job.expired = job.link

    # What it shows

    def notice(self, job: Job) -> dict[str, Any]:
        data: dict[str, Any] = {"generation_id": job.id, "status": job.status, "media_type": "video"}
        if job.status == "succeeded":
            return data | {"model": job.body["model"], "url": self.url(job)}
        return data | {"error": job.error_message}

    def publish(self, data: dict[str, Any]) -> None:
        for listener in list(self.listeners):
            listener(data)

    def url(self, job: Job) -> str:
        return f"https://files.sim/{job.id}.mp4?signature={job.link}"

    def row(self, job: Job, at: float, *, history: bool = False) -> dict[str, Any] | None:
        """A generation as a copy of the service knew it at a time; None where it did not know it yet."""
        course = [step for step in job.course if step[0] <= at]
        if not course:
            return None
        status = course[-1][1]
        if status == "succeeded" and job.link <= job.expired:
            job.link = job.expired + 1
        started = next((clock for _, word, clock in course if word == "processing"), None)
        row: dict[str, Any] = dict.fromkeys((*_ROUTING, "prompt"))
        if self._names_default:
            row["target_namespace"] = US
        if self.nulls:
            row |= dict.fromkeys(_NULLS)
        row |= {name: value for name, value in job.body.items() if name not in self._hidden}
        row |= {
            "generation_id": job.id,
            "model_name": job.body["model"],
            "media_type": "video",
            "status": status,
            "result_url": self.url(job) if status == "succeeded" else None,
            "error_message": job.error_message if status == "failed" else None,
            "enqueued_at": job.enqueued_at,
            "started_at": started,
            "completed_at": course[-1][2] if status in TERMINAL else None,
        }
        if history:
            row |= {"cost": job.charged and str(job.charged), "user_id": job.username, "username": job.username}
        return row

    def _rows(self, query: Mapping[str, str], at: float, *, history: bool) -> list[dict[str, Any]]:
        namespace = query.get("namespace", US)
        jobs = [job for job in self.jobs.values() if job.listed and job.namespace == namespace]
        rows = [row for job in jobs if (row := self.row(job, at, history=history)) is not None]
        return [row for row in rows if query.get("model") in (None, row["model_name"])]

    def _listing(self, query: Mapping[str, str], at: float) -> list[dict[str, Any]]:
        wanted = (query["status"],) if "status" in query else ("queued", "processing")
        return [row for row in self._rows(query, at, history=False) if row["status"] in wanted]

    def _history(self, query: Mapping[str, str], at: float) -> dict[str, Any]:
        rows = [r for r in self._rows(query, at, history=True) if query.get("status") in (None, r["status"])][::-1]
        size, page = min(int(query.get("page_size", 50)), 1000), int(query.get("page", 1))
        part = rows[(page - 1) * size : page * size]
        return {
            "count": len(part), "generations": part, "page_number": page, "page_size": size,
            "total_pages": max(1, -(-len(rows) // size)), "total_entries": len(rows), "total_cost": "0.00",
        }  # fmt: skip

    # Requests

    def answer(self, method: str, path: str, query: Mapping[str, str], lag: float) -> tuple[int, Any]:
        """The status and the JSON with which a request is answered that is no submit. ``lag``: seconds, of the copy."""
        at = self._timeline.now - lag
        if path == "/api/ai/queue":
            rows = self._listing(query, at)
            return 200, {"count": len(rows), "generations": rows}
        if path == "/api/ai/generations":
            return 200, self._history(query, at)
        if found := re.fullmatch(r"/api/ai/(queue|generations)/([^/]+)", path):
            job = self.jobs.get(found[2])
            row = None if job is None or not job.listed else self.row(job, at, history=found[1] == "generations")
            if job is None or row is None:
                return 404, NOT_FOUND
            if method == "DELETE":
                self.cancel(job)
                return 200, {"status": "success", "generation_id": job.id}
            if found[1] == "generations":
                return 200, {"status": "success", "status_message": "resource_found", "generation": row}
            return 200, row
        if path == "/api/authorize":
            return 200, {"user": {"name": US, "email": "ox@example.com"}}
        if path == "/api/ai/models":
            return 200, {"object": "list", "data": []}
        return 404, NOT_FOUND

    def rendered(self, job: Job) -> tuple[int, Any]:
        """The synchronous endpoint's answer for a job that has ended."""
        if job.status != "succeeded":
            return 422, {"error": {"message": job.error_message or "It was cancelled."}}
        entry = {"url": self.url(job)}
        if job.body.get("response_format") == "b64_json":
            entry = {"b64_json": base64.b64encode(video(job.id)).decode()}
        return 200, {"model": job.body["model"], "created": job.enqueued_at, "videos": [entry]}

    def file(self, path: str, query: Mapping[str, str]) -> bytes | None:
        """A result file; None for a link that has expired or never was."""
        job = self.jobs.get(path.removeprefix("/").removesuffix(".mp4"))
        if job is None or job.status != "succeeded" or int(query.get("signature", 0)) <= job.expired:
            return None
        return video(job.id)


NOT_FOUND = {
    "error": {"type": "resource_not_found", "title": "The requested resource could not be found"},
    "status": "error",
    "status_message": "resource_not_found",
}
