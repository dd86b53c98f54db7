"""Generations in a given state, which no engine follows."""

from __future__ import annotations

import functools
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from oxenvideo.client.credentials import Target
from oxenvideo.jobs.generation import Cancellation, Generation
from oxenvideo.jobs.job import Job, Registry, Submission
from oxenvideo.jobs.journal import Journal
from oxenvideo.jobs.status import State
from oxenvideo.request.request import VideoRequest


class NoEngine:
    """Controls that control nothing."""

    closed = False

    def check_usable(self) -> None:
        pass

    def handle(self, job: Job) -> Generation:
        return Generation(job, self)

    def cancel(self, job: Job, timeout: float | None) -> Cancellation:
        raise AssertionError("nothing is to be cancelled here")

    def download(self, job: Job) -> None:
        raise AssertionError("nothing is to be downloaded here")


class Unwritten(Registry):
    """A registry that writes nothing, and so needs no event loop."""

    def _note(self, job: Job, state: State) -> None:
        pass


def generation(request: VideoRequest, state: State | None = None, **fields: Any) -> Generation:
    """A Generation in this state; ``fields`` are those of its job (name, index, key), target (base_url), submission."""
    job = [fields.pop(name, None) for name in ("key", "name", "index")]
    registry = Unwritten(_journal(), time.time)
    target = Target(fields.pop("base_url", "https://hub.example"))
    submission = Submission(uuid.uuid4().hex, target, request, registry, **fields)
    submission.jobs = [Job(submission, job[0] or uuid.uuid4().hex, job[1], job[2], state or State(submitted_at=100.0))]
    return Generation(submission.jobs[0], NoEngine())


@functools.cache
def _journal() -> Journal:
    return Journal(Path(tempfile.mkdtemp()) / "journal.sqlite3")


def change(made: Generation, state: State) -> None:
    """Put another state in place."""
    made._job.submission.registry.replace(made._job, state)
