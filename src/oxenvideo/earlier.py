"""Bringing back what earlier kernels left, from the journal and from the service."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from oxenvideo import config
from oxenvideo.config import Target
from oxenvideo.engine import account_of
from oxenvideo.errors import ConfigurationError, NotFound
from oxenvideo.generation import Generation
from oxenvideo.journal import Entry
from oxenvideo.request import VideoRequest
from oxenvideo.state import Observation, State, Status
from oxenvideo.submit import Submission
from oxenvideo.wire import HistoryPage

if TYPE_CHECKING:
    from oxenvideo.channel import Channel
    from oxenvideo.engine import Engine
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


def open_entries(engine: Engine, notebook: str | None) -> list[Entry]:
    """What is unfinished or undelivered and has no live Generation here."""
    return [e for e in engine.journal.open_entries(notebook=notebook) if e.key not in engine.known]


def resume(engine: Engine, settings: Settings, notebook: str | None) -> list[Generation]:
    """Make live Generations of everything open and go on with each from the step that it had reached."""
    by_submission: dict[str, list[Entry]] = {}
    for entry in open_entries(engine, notebook):
        by_submission.setdefault(entry.submission, []).append(entry)
    brought: list[Generation] = []
    for key, entries in by_submission.items():
        first = entries[0]
        target = _target_of(first, settings)
        if first.owner != engine.journal.owner and not engine.journal.take_over(key, first.owner):
            continue  # another kernel was faster
        generations = [_revived(engine, entry) for entry in entries]
        submission = Submission(
            generations[0].request,
            generations,
            key=key,
            synchronous=first.synchronous,
            batch=first.batch,
            save_as=first.save_as,
            fingerprint=first.fingerprint or {},
            since=first.sent_at or first.created_at,
        )
        engine.adopt(target, submission, first.step)
        brought.extend(generations)
    return brought


def _target_of(entry: Entry, settings: Settings) -> Target:
    key = settings.api_key.reveal() if settings.api_key else None
    if entry.base_url == config.LOCAL:
        return Target(config.LOCAL, settings.api_key if settings.base_url == config.LOCAL else None)
    target = config.resolve(entry.base_url, key)
    if account_of(target) != entry.account:
        raise ConfigurationError(
            f"The generation of {entry.model} was submitted to {target.host} with another API key: set that key, then resume."
        )
    return target


def _revived(engine: Engine, entry: Entry) -> Generation:
    request = VideoRequest.from_json(entry.request)
    known_remote = entry.generation_id is not None and entry.status not in (Status.SUBMITTING, Status.UNCONFIRMED)
    succeeded = entry.status in (Status.DOWNLOADING, Status.SUCCEEDED)
    remote = (Status.SUCCEEDED if succeeded else entry.status) if known_remote else None
    if entry.generation_id is not None and remote is None:
        remote = Status.QUEUED
    state = State(
        local=Status.SUBMITTING,
        remote=str(remote) if remote else None,
        generation_id=entry.generation_id,
        result_url=entry.result_url,
        submitted_at=entry.submitted_at,
        cost=entry.cost,
        fetching=engine.setup.download,
    )
    generation = Generation(request, key=entry.key, port=engine, name=entry.name, state=state)
    generation.index = entry.position if entry.count > 1 else None
    return generation


def attach(engine: Engine, target: Target, generation_id: str, name: str | None) -> Generation:
    """A live Generation for an id: the one here, the journalled one, or a new one made from what the service tells."""
    generation_id = generation_id.strip()
    entry = engine.journal.find(generation_id, target.base_url)
    if entry is not None and entry.key in engine.known:
        return engine.known[entry.key]
    seen = engine.ask(lambda channel: _look(channel, generation_id), target)
    if entry is not None:
        generation = _revived(engine, entry)
        key = entry.submission
    else:
        request = request_of(seen)
        state = State(submitted_at=seen.enqueued_at, fetching=engine.setup.download)
        generation = Generation(request, key=uuid.uuid4().hex, port=engine, name=name, state=state)
        key = uuid.uuid4().hex
    submission = Submission(generation.request, [generation], key=key, save_as=entry.save_as if entry else None)
    engine.bring(target, submission, seen, journalled=entry is not None)
    return generation


async def _look(channel: Channel, generation_id: str) -> Observation:
    try:
        return await (await channel.open()).generation(generation_id)
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
    """One page, newest first; the journal alone where the service cannot be asked."""

    async def ask(channel: Channel) -> HistoryPage:
        return await (await channel.open()).history(page=page, page_size=page_size, media_type="video")

    rows = engine.ask(ask, target).generations
    ours = {e.generation_id: e for e in _entries_for(engine, target, [seen.generation_id for seen in rows])}
    joined = [_row(seen, ours.get(seen.generation_id)) for seen in rows]
    if page == 1:
        unsent = [e for e in engine.journal.entries(limit=page_size) if e.generation_id is None]
        joined = [_own_row(e) for e in unsent if e.base_url == target.base_url and e.status != "failed"] + joined
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
