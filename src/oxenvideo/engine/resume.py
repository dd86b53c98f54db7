"""Bringing back what earlier kernels left, from the journal and from the service."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from oxenvideo import credentials
from oxenvideo.client.responses import HistoryPage
from oxenvideo.credentials import Target
from oxenvideo.errors import ConfigurationError, NotFound, OxenVideoError
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.records import Entry
from oxenvideo.jobs.status import Observation, State, Status
from oxenvideo.jobs.submission import Submission
from oxenvideo.request.request import VideoRequest
from oxenvideo.retry import persist
from oxenvideo.settings import account_of

if TYPE_CHECKING:
    from oxenvideo.engine.engine import Engine
    from oxenvideo.engine.service import Channel
    from oxenvideo.session import Settings

# What the service adds to the parameters of a generation when it lists it.
_NOT_PARAMETERS = frozenset(
    {
        *("generation_id", "status", "model_name", "media_type", "result_url", "error_message"),
        *("enqueued_at", "started_at", "completed_at", "cost", "user_id", "username"),
        *("target_namespace", "target_repo", "target_directory", "num_generations"),
    }
)


@dataclass(frozen=True)
class HistoryRow:
    """One generation in the history: the service's record joined with the journal's. Cost in US dollars, unix seconds."""

    id: str | None
    status: str
    model: str
    prompt: str
    cost: Decimal | None
    path: Path | None
    enqueued_at: float | None
    request: VideoRequest | None


class Resumed(list[Generation]):
    """What was brought back, and in ``notes`` a line for each that was not, and why."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []


def open_entries(engine: Engine, notebook: str | None) -> list[Entry]:
    """What is unfinished or undelivered and has no live Generation here."""
    return [e for e in engine.journal.open_entries(notebook=notebook) if e.key not in engine.known]


def resume(engine: Engine, settings: Settings, notebook: str | None) -> Resumed:
    """Make live Generations of everything open and go on with each from the step that it had reached.

    What cannot be gone on with (submitted with another key, say) is left as it is and told of in ``notes``. Those of
    this kernel that were not found at the service, or whose download failed, are tried again too.
    """
    resumed = Resumed()
    resumed.extend(_once_more(engine))
    by_submission: dict[str, list[Entry]] = {}
    for entry in open_entries(engine, notebook):
        by_submission.setdefault(entry.submission, []).append(entry)
    for entries in by_submission.values():
        try:
            resumed.extend(_take_up(engine, settings, entries))
        except OxenVideoError as error:
            resumed.notes.append(str(error))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            resumed.notes.append(f"The journal's entry of a {entries[0].model} cannot be read ({error}); it was left.")
    return resumed


def _once_more(engine: Engine) -> list[Generation]:
    again = []
    for generation in engine.generations():
        if generation.status is Status.UNCONFIRMED:
            engine.look_again(generation)
        elif generation.status is Status.SUCCEEDED and generation.path is None and generation.state.error is not None:
            generation.download()
        else:
            continue
        again.append(generation)
    return again


def _take_up(engine: Engine, settings: Settings, entries: list[Entry]) -> list[Generation]:
    first = entries[0]
    target = _target_of(first, settings)
    kept = [entry for entry in entries if not _is_orphan(entry)]
    generations = [_revived(engine, entry) for entry in kept]
    if first.owner != engine.journal.owner and not engine.journal.take_over(first.submission, first.owner):
        return []  # another kernel was faster
    for entry in entries:
        if _is_orphan(entry):
            engine.journal.forget(entry.key)
    if not generations:
        return []
    submission = Submission(
        generations[0].request,
        generations,
        key=first.submission,
        synchronous=first.synchronous,
        batch=first.batch,
        save_as=first.save_as,
        fingerprint=first.fingerprint or {},
        since=first.sent_at or first.created_at,
    )
    engine.adopt(target, submission, first.step)
    return generations


def _is_orphan(entry: Entry) -> bool:
    """Whether it stands for nothing any more: another took its id, or the service made fewer than were asked for."""
    return entry.step in ("accepted", "refused") and entry.generation_id is None and entry.result_url is None


def _target_of(entry: Entry, settings: Settings) -> Target:
    key = settings.api_key.reveal() if settings.api_key else None
    if entry.base_url == credentials.LOCAL:
        return Target(credentials.LOCAL, settings.api_key if settings.base_url == credentials.LOCAL else None)
    target = credentials.resolve(entry.base_url, key)
    if account_of(target) != entry.account:
        raise ConfigurationError(
            f"A generation of {entry.model} was submitted to {target.host} with another API key: set that key, then resume."
        )
    return target


def _revived(engine: Engine, entry: Entry, name: str | None = None) -> Generation:
    """A Generation in the state that the journal knows."""
    here = entry.delivered and entry.path is not None and entry.path.exists()
    state = State(
        local=Status.SUBMITTING,
        remote=_remote_of(entry),
        generation_id=entry.generation_id,
        result_url=entry.result_url,
        submitted_at=entry.submitted_at,
        finished_at=entry.finished_at if here else None,
        cost=entry.cost,
        path=entry.path if here else None,
        fetching=engine.setup.download and not here,
    )
    request = VideoRequest.from_json(entry.request)
    return Generation(request, key=entry.key, port=engine, name=name or entry.name, index=entry.place, state=state)


def _remote_of(entry: Entry) -> str | None:
    if entry.status in (Status.DOWNLOADING, Status.SUCCEEDED):
        return str(Status.SUCCEEDED)
    if entry.generation_id is None:
        return None
    ours = (Status.WAITING, Status.SUBMITTING, Status.UNCONFIRMED)
    return str(Status.QUEUED) if entry.status in ours else entry.status


def recall(engine: Engine, key: str) -> Generation | None:
    """A Generation that the journal alone knows any more, where its video is here; None otherwise."""
    entry = engine.journal.entry(key)
    if entry is None or not entry.delivered or entry.path is None or not entry.path.exists():
        return None
    return _revived(engine, entry)


def attach(engine: Engine, target: Target, generation_id: str, name: str | None) -> Generation:
    """A live Generation for an id: the one here, the journalled one, or a new one made from what the service tells."""
    generation_id = generation_id.strip()
    return engine.ask(lambda channel: _attach(engine, target, channel, generation_id, name), target)


async def _attach(engine: Engine, target: Target, channel: Channel, generation_id: str, name: str | None) -> Generation:
    if (live := engine.find_id(target, generation_id)) is not None:
        return live
    seen = await _look(channel, generation_id)
    if (live := engine.find_id(target, generation_id)) is not None:  # attached twice at the same time
        return live
    entry = engine.journal.find(generation_id, target.base_url)
    if entry is not None and _is_ours_to_take(engine, entry):
        generation = _revived(engine, entry, name)
    else:
        generation = _newly_known(engine, target, seen, name, entry)
    engine.follow(target, generation, seen, entry.save_as if entry is not None else None)
    return generation


def _is_ours_to_take(engine: Engine, entry: Entry) -> bool:
    if entry.owner == engine.journal.owner:
        return True
    return not engine.journal.is_followed_elsewhere(entry) and engine.journal.take_over(entry.submission, entry.owner)


def _newly_known(
    engine: Engine, target: Target, seen: Observation, name: str | None, entry: Entry | None
) -> Generation:
    """A Generation for what was submitted elsewhere; where another living kernel has it in the journal, that one keeps it."""
    state = State(
        remote=str(Status.QUEUED),
        generation_id=seen.generation_id,
        submitted_at=seen.enqueued_at,
        fetching=engine.setup.download,
    )
    request = VideoRequest.from_json(entry.request) if entry is not None else request_of(seen)
    generation = Generation(request, key=uuid.uuid4().hex, port=engine, name=name, state=state)
    if entry is None:
        submission = Submission(request, [generation])
        try:
            engine.plan(target, [submission])
            engine.journal.accept(submission.key, [(generation.key, seen.generation_id)], told=False)
        except (sqlite3.Error, OSError) as error:
            raise OxenVideoError(f"Not attached: the journal cannot be written ({error}).") from None
    return generation


async def _look(channel: Channel, generation_id: str) -> Observation:
    client = await channel.open()
    try:
        return await persist(lambda: client.generation(generation_id))
    except NotFound:
        raise NotFound(
            f"The service knows no generation {generation_id!r} under this key. See %oxenvideo history.",
            status_code=404,
        ) from None


def request_of(seen: Observation) -> VideoRequest:
    """The request that made a generation, as far as the service's description tells."""
    fields = seen.fields
    parameters = {n: v for n, v in fields.items() if n not in _NOT_PARAMETERS and v is not None}
    targets = {n: fields[n] for n in ("target_namespace", "target_repo", "target_directory") if fields.get(n)}
    return VideoRequest(str(fields.get("model_name", "unknown")), parameters, **targets)


def history(engine: Engine, target: Target, page: int, page_size: int) -> list[HistoryRow]:
    """One page of the service's record, newest first; before it, on the first page, what of ours it does not know yet."""

    async def ask(channel: Channel) -> HistoryPage:
        client = await channel.open()
        return await persist(lambda: client.history(page=page, page_size=page_size, media_type="video"))

    rows = engine.ask(ask, target).generations
    ours = {e.generation_id: e for e in _entries_for(engine, target, [seen.generation_id for seen in rows])}
    joined = [_row(seen, ours.get(seen.generation_id)) for seen in rows]
    if page == 1:
        unsent = [e for e in engine.journal.entries(limit=page_size) if e.generation_id is None and not e.delivered]
        joined = [_own_row(e) for e in unsent if e.base_url == target.base_url] + joined
    return joined


def _entries_for(engine: Engine, target: Target, ids: Iterable[str]) -> list[Entry]:
    return [e for e in (engine.journal.find(i, target.base_url) for i in ids) if e is not None]


def _row(seen: Observation, entry: Entry | None) -> HistoryRow:
    path = entry.path if entry is not None and entry.path is not None and entry.path.exists() else None
    request = VideoRequest.from_json(entry.request) if entry is not None else request_of(seen)
    return HistoryRow(
        seen.generation_id, seen.status, request.model, request.prompt, seen.cost, path, seen.enqueued_at, request
    )


def _own_row(entry: Entry) -> HistoryRow:
    request = VideoRequest.from_json(entry.request)
    return HistoryRow(None, entry.status, entry.model, request.prompt, None, entry.path, entry.created_at, request)
