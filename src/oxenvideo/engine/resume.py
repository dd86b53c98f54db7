"""Brings back what earlier kernels left, and attaches generations that were submitted elsewhere."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from oxenvideo.client import credentials
from oxenvideo.client.credentials import Target
from oxenvideo.client.responses import Observation
from oxenvideo.client.retry import persist
from oxenvideo.engine.engine import Engine, plan_of
from oxenvideo.engine.recovery import AMBIGUOUS, row_parameters
from oxenvideo.errors import ConfigurationError, NotFound, OutcomeUnknown, OxenVideoError
from oxenvideo.jobs import file_names
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.job import Job, Submission
from oxenvideo.jobs.journal import Entry
from oxenvideo.jobs.status import State, Status, Step
from oxenvideo.request.request import TARGETS, VideoRequest
from oxenvideo.settings import Settings

if TYPE_CHECKING:
    from oxenvideo.engine.service import Service


class Resumed(list[Generation]):
    """The generations that were brought back. ``notes`` lists what could not be resumed, and why."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []


# Resuming


def resume(engine: Engine, settings: Settings, notebook: str | None) -> Resumed:
    """Go on with every open submission of a notebook, or of all notebooks, from the step that it has reached.

    What cannot be resumed, such as a video that was submitted with another key, stays as it is and is named in ``notes``.
    Jobs of this kernel that were not found at the service, or whose download failed, are tried again too.
    """
    resumed = Resumed()
    resumed.extend(_tried_again(engine))
    by_submission: dict[str, list[Entry]] = {}
    for entry in open_entries(engine, notebook, resumed.notes):
        by_submission.setdefault(entry.submission, []).append(entry)
    for entries in by_submission.values():
        try:
            resumed.extend(_take_up(engine, settings, entries, resumed.notes))
        except OxenVideoError as error:
            resumed.notes.append(str(error))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            resumed.notes.append(f"The journal's entry of a {entries[0].model} cannot be read ({error}).")
    return resumed


def open_entries(engine: Engine, notebook: str | None, notes: list[str] | None = None) -> list[Entry]:
    """What is unfinished or undelivered and has no live job here; ``notes`` takes a line for each damaged entry."""
    notes = [] if notes is None else notes
    found = engine.journal.open_entries(notebook=notebook, damaged=notes.append)
    return [entry for entry in found if engine.registry.get(entry.key) is None]


def _tried_again(engine: Engine) -> list[Generation]:
    again = []
    for job in engine.registry.jobs():
        state, submission = job.state, job.submission
        if state.status is Status.UNCONFIRMED and submission.step is Step.UNKNOWN:
            engine.look_again(submission)
        elif state.status is Status.SUCCEEDED and state.path is None and state.error is not None:
            engine.download(job)
        else:
            continue
        again.append(engine.handle(job))
    return again


def _take_up(engine: Engine, settings: Settings, entries: Sequence[Entry], notes: list[str]) -> list[Generation]:
    entries = [_with_kept_video(engine, entry) for entry in entries]
    first = entries[0]
    submission = _submission_of(engine, first, _target_of(first, settings))
    kept = [(entry, _state_of(engine, entry)) for entry in entries if not _stands_for_nothing(entry)]
    if first.owner != engine.journal.owner and not engine.journal.take_over(first.submission, first.owner):
        return []  # another kernel was faster
    for entry in entries:
        if _stands_for_nothing(entry):
            engine.journal.forget(entry.key)
            if entry.synchronous and entry.step is Step.ACCEPTED:
                notes.append(f"A video of {entry.model} was only in the memory of a kernel that has ended; it is lost.")
    submission.jobs = [Job(submission, entry.key, entry.name, entry.place, state) for entry, state in kept]
    if submission.jobs:
        engine.start(submission)
    return [engine.handle(job) for job in submission.jobs]


def _with_kept_video(engine: Engine, entry: Entry) -> Entry:
    """The entry with its video's URL, where a kernel kept that video and ended before it wrote so."""
    kept = file_names.kept(engine.settings.data_dir, entry.key)
    if entry.synchronous and entry.step is Step.ACCEPTED and entry.result_url is None and kept.exists():
        return replace(entry, status=Status.SUCCEEDED, result_url=kept.as_uri())
    return entry


def _stands_for_nothing(entry: Entry) -> bool:
    """Whether another job took its id, or the service made fewer generations than were asked for."""
    return entry.step in (Step.ACCEPTED, Step.REFUSED) and entry.generation_id is None and entry.result_url is None


def _target_of(entry: Entry, settings: Settings) -> Target:
    key = settings.api_key.reveal() if settings.api_key else None
    if entry.base_url == credentials.LOCAL:
        return Target(credentials.LOCAL, settings.api_key if settings.base_url == credentials.LOCAL else None)
    target = credentials.resolve(entry.base_url, key)
    if target.account != entry.account:
        raise ConfigurationError(
            f"A generation of {entry.model} was submitted to {target.host} with another API key: set that key, then resume."
        )
    return target


def _submission_of(engine: Engine, entry: Entry, target: Target) -> Submission:
    """The submission of an entry as the journal knows it, without its jobs."""
    made = Submission(
        key=entry.submission,
        target=target,
        request=VideoRequest.from_json(entry.request),
        registry=engine.registry,
        step=entry.step,
        synchronous=entry.synchronous,
        batch=entry.batch,
        save_as=entry.save_as,
        directory=entry.directory or engine.settings.download_dir.absolute(),
        attached=entry.attached,
        sent=entry.sent,
        sent_at=entry.sent_at_service,
    )
    if entry.sent_at is not None:
        made.sent_monotonic = engine.monotonic() - (engine.registry.clock() - entry.sent_at)
    return made


def _state_of(engine: Engine, entry: Entry) -> State:
    """The state of a job as the journal knows it."""
    here = entry.delivered and entry.path is not None and entry.path.exists()
    ambiguous = entry.step is Step.AMBIGUOUS and entry.generation_id is None
    return State(
        local=Status.UNCONFIRMED if ambiguous else Status.SUBMITTING,
        error=OutcomeUnknown(AMBIGUOUS) if ambiguous else None,
        remote=_remote_of(entry),
        generation_id=entry.generation_id,
        result_url=entry.result_url,
        submitted_at=entry.submitted_at,
        finished_at=entry.finished_at if here else None,
        cost=entry.cost,
        path=entry.path if here else None,
        fetching=engine.settings.download and not here,
        cancel_requested=entry.cancel_requested,
    )


def _remote_of(entry: Entry) -> str | None:
    if entry.status in (Status.DOWNLOADING, Status.SUCCEEDED):
        return str(Status.SUCCEEDED)
    if entry.generation_id is None:
        return None
    ours = (Status.WAITING, Status.SUBMITTING, Status.UNCONFIRMED)
    return str(Status.QUEUED) if entry.status in ours else entry.status


def recall(engine: Engine, key: str) -> Job | None:
    """A job that only the journal still has, where its video is here; None otherwise."""
    entry = engine.journal.entry(key)
    if entry is None or not entry.delivered or entry.path is None or not entry.path.exists():
        return None
    submission = _submission_of(engine, entry, Target(entry.base_url))
    return Job(submission, entry.key, entry.name, entry.place, _state_of(engine, entry))


# Attaching


async def attach(engine: Engine, target: Target, generation_id: str, name: str | None) -> Job:
    """A live job for an id: the one here, the journal's, or a new one. Nothing is ever sent for it.

    Raises NotFound where the service does not know the id.
    """
    service = engine.service(target)
    if (live := engine.registry.find(target, generation_id)) is not None:
        if live.state.remote is None:  # the service did not know it any more
            live.see(await _look(service, generation_id))
        return live
    seen = await _look(service, generation_id)
    lost = await service.lost_job_like(seen)
    if (live := engine.registry.find(target, generation_id)) is not None:
        return live
    entry = engine.journal.find(generation_id, target.base_url)
    if entry is None and lost is not None:
        if service.hand_over(lost.submission, generation_id):
            lost.see(seen)
            return lost
        entry = engine.journal.find(generation_id, target.base_url)
    if entry is not None and entry.status == Status.FAILED and seen.status != Status.FAILED:
        seen = await _look(service, generation_id)  # it may have failed since the first look
        if (live := engine.registry.find(target, generation_id)) is not None:
            return live
    job = _journalled(engine, target, entry, name) if entry is not None else None
    if job is None:
        job = _attached(engine, target, seen, name, entry)
    job.see(seen)
    service.start(job.submission)
    return job


async def _look(service: Service, generation_id: str) -> Observation:
    client = await service.open()
    try:
        return await persist(lambda: client.generation(generation_id))
    except NotFound:
        raise NotFound(
            f"The service knows no generation {generation_id!r} under this key. See %oxenvideo history.",
            status_code=404,
        ) from None


def _journalled(engine: Engine, target: Target, entry: Entry, name: str | None) -> Job | None:
    """The journal's job, where it is this kernel's or a dead one's."""
    journal = engine.journal
    if entry.owner != journal.owner and (
        journal.is_alive(entry.owner) or not journal.take_over(entry.submission, entry.owner)
    ):
        return None
    submission = _submission_of(engine, entry, target)
    state = _state_of(engine, entry)
    if entry.status == Status.FAILED:  # perhaps only because the service did not know it for a while
        state = replace(state, remote=str(Status.QUEUED))
    job = Job(submission, entry.key, name or entry.name, entry.place, state)
    submission.jobs = [job]
    return job


def _attached(engine: Engine, target: Target, seen: Observation, name: str | None, entry: Entry | None) -> Job:
    """A new job for what was submitted elsewhere. Where another living kernel has it in the journal, it stays that one's."""
    submission = Submission(
        key=engine.journal.new_key(),
        target=target,
        request=VideoRequest.from_json(entry.request) if entry is not None else request_of(seen),
        registry=engine.registry,
        step=Step.ACCEPTED,
        directory=engine.settings.download_dir.absolute(),
        attached=True,
    )
    state = State(
        remote=str(Status.QUEUED),
        generation_id=seen.generation_id,
        submitted_at=seen.enqueued_at,
        fetching=engine.settings.download,
    )
    key = uuid.uuid4().hex
    if entry is None:
        try:
            engine.journal.attach(replace(plan_of(submission), jobs=[(key, name, None)]), seen.generation_id)
        except sqlite3.IntegrityError:
            pass  # another kernel has just taken it into the journal
        except (sqlite3.Error, OSError) as error:
            raise OxenVideoError(f"Not attached: the journal cannot be written ({error}).") from None
    submission.jobs = [Job(submission, key, name, None, state)]
    return submission.jobs[0]


def request_of(seen: Observation) -> VideoRequest:
    """The request that made a generation, as far as the service's row tells."""
    parameters = row_parameters(seen.fields)
    model = parameters.pop("model", None) or "unknown"
    targets = {name: parameters.pop(name) for name in TARGETS if name in parameters}
    return VideoRequest(str(model), parameters, **targets)
