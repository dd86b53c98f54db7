"""A generation, and a line of the history, as the browser's side of the panel takes them: plain JSON. Pure."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from oxenvideo.catalog.pricing import Estimate, dollars
from oxenvideo.client.responses import Observation
from oxenvideo.engine.history import HistoryRow
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import Status
from oxenvideo.notebook import card
from oxenvideo.notebook.panel.labels import cut, details_of

_PROMPT = 300  # characters that a tile shows at most
_RUNS = {Status.SUBMITTING, Status.QUEUED, Status.PROCESSING, Status.UNKNOWN, Status.DOWNLOADING}


def group_of(generation: Generation) -> str:
    """``waits`` or ``runs``; ``done`` with a video here; ``lost`` where only the file is missing; ``unsure`` where nobody
    knows whether the service has it; ``failed`` or ``cancelled``.
    """
    status = generation.status
    if status is Status.SUCCEEDED:
        return "done" if generation.path is not None else "lost"
    if status is Status.UNCONFIRMED:
        return "unsure"
    if status is Status.WAITING:
        return "waits"
    return "runs" if status in _RUNS else str(status)


def row_of(
    generation: Generation, order: int, *, expected: float | None = None, estimate: Estimate | None = None
) -> dict[str, Any]:
    """A job. Times are unix seconds of this machine's clock; ``expected`` and ``took`` are seconds."""
    state = generation.state
    name = generation.name or ""
    prompt = generation.request.prompt
    money = (
        f"cost {dollars(state.cost)}"
        if state.cost is not None
        else f"about {dollars(estimate.total)}"
        if estimate
        else ""
    )
    return {
        "key": generation.key,
        "order": order,
        "group": group_of(generation),
        "word": card.WORDS[state.status],
        "name": f"{name}[{generation.index}]" if name and generation.index is not None else name,
        "prompt": cut(prompt, _PROMPT),
        "model": generation.request.model,
        "details": details_of(generation.request),
        "since": state.submitted_at,
        "took": state.elapsed,
        "expected": expected,
        "received": state.received,
        "size": state.expected,
        "money": money if group_of(generation) not in ("failed", "cancelled") or state.cost is not None else "",
        "error": generation.error_message or "",
        "notice": state.notice or "",
        "file": shown_path(generation.path),
    }


def history_row(row: HistoryRow) -> dict[str, Any]:
    """One generation of the history."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.enqueued_at)) if row.enqueued_at else ""
    return {
        "id": row.id or "",
        "status": str(row.status),
        "word": _word(row.status),
        "when": when,
        "model": row.model,
        "prompt": cut(row.prompt, _PROMPT),
        "money": dollars(row.cost) if row.cost is not None else "",
        "file": shown_path(row.path),
        "reusable": row.request is not None,
    }


def account_row(seen: Observation, own: Generation | None) -> dict[str, Any]:
    """One job of the account, as the service tells of it; ``own`` is the one of this kernel, if it is."""
    fields = seen.fields
    return {
        "id": seen.generation_id,
        "word": _word(seen.status),
        "since": seen.enqueued_at,
        "model": str(fields.get("model_name") or ""),
        "prompt": cut(str(fields.get("prompt") or ""), _PROMPT),
        "key": own.key if own is not None else "",
    }


def _word(status: str) -> str:
    """The word for people for a status; the service's own where it has one that is not documented."""
    return card.WORDS[Status(status)] if status in set(Status) else status


def shown_path(path: Path | None) -> str:
    """A file as seen from the notebook, where it lies below."""
    if path is None:
        return ""
    shown = os.path.relpath(path)
    return str(path) if shown.startswith("..") else shown
