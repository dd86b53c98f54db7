"""Past generations: the service's record, joined with the journal's."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from oxenvideo.client.credentials import Target
from oxenvideo.client.responses import HistoryPage, Observation
from oxenvideo.client.retry import persist
from oxenvideo.engine.engine import Engine
from oxenvideo.engine.resume import request_of
from oxenvideo.jobs.journal import Entry
from oxenvideo.request.request import VideoRequest

if TYPE_CHECKING:
    from oxenvideo.engine.service import Service


@dataclass(frozen=True)
class HistoryRow:
    """One past generation. ``cost`` is in US dollars, ``enqueued_at`` in unix seconds; ``path`` is its file here."""

    id: str | None
    status: str
    model: str
    prompt: str
    cost: Decimal | None
    path: Path | None
    enqueued_at: float | None
    request: VideoRequest | None


def history(engine: Engine, target: Target, page: int, page_size: int) -> list[HistoryRow]:
    """One page of the service's record, newest first. The first page begins with what the service does not know yet."""

    async def ask(service: Service) -> HistoryPage:
        client = await service.open()
        return await persist(lambda: client.history(page=page, page_size=page_size, media_type="video"))

    rows = engine.run(ask, target).generations
    joined = [_row(seen, engine.journal.find(seen.generation_id, target.base_url)) for seen in rows]
    if page == 1:
        unsent = [e for e in engine.journal.entries(limit=page_size) if e.generation_id is None and not e.delivered]
        joined = [_own_row(e) for e in unsent if e.base_url == target.base_url] + joined
    return joined


def _row(seen: Observation, entry: Entry | None) -> HistoryRow:
    path = entry.path if entry is not None and entry.path is not None and entry.path.exists() else None
    request = VideoRequest.from_json(entry.request) if entry is not None else request_of(seen)
    return HistoryRow(
        seen.generation_id, seen.status, request.model, request.prompt, seen.cost, path, seen.enqueued_at, request
    )


def _own_row(entry: Entry) -> HistoryRow:
    request = VideoRequest.from_json(entry.request)
    return HistoryRow(None, entry.status, entry.model, request.prompt, None, entry.path, entry.created_at, request)
