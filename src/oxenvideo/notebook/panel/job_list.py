"""The jobs that a panel shows: every generation of the session, as rows of JSON, and which rows have changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from oxenvideo.catalog.catalog import Model
from oxenvideo.catalog.pricing import dollars
from oxenvideo.client.responses import Observation
from oxenvideo.engine.history import HistoryRow
from oxenvideo.jobs.generation import Generation, observe
from oxenvideo.jobs.status import Status
from oxenvideo.notebook import card
from oxenvideo.notebook.panel.labels import LENGTHS, choice_words, cut, details_of, label_of, shown_path
from oxenvideo.session import Session

_PROMPT = 300  # characters of a prompt in a row
_RUNNING = {Status.SUBMITTING, Status.QUEUED, Status.PROCESSING, Status.UNKNOWN, Status.DOWNLOADING}


class JobList:
    """Follows a session, with what it has already. ``on_change()`` is called from any thread and must be quick.

    ``media_names`` are the names of media by the path of their file.
    """

    def __init__(self, session: Session, media_names: Mapping[str, str], on_change: Callable[[], object]) -> None:
        self._session = session
        self._media_names = media_names
        self._on_change = on_change
        self._lock = threading.Lock()
        self._shown: dict[str, Generation] = {}
        self._order: dict[str, int] = {}
        self._changed: set[str] = set()
        self._typical: dict[tuple[str, str], float | None] = {}  # by _kind
        self._subscriptions: dict[str, Callable[[], None]] = {}
        self._unsubscribe = session.on_submit(self._add)
        self._add(session.generations)

    def close(self) -> None:
        """Stop following."""
        self._unsubscribe()
        for unsubscribe in self._subscriptions.values():
            unsubscribe()

    @property
    def generations(self) -> list[Generation]:
        """The generations that are shown, oldest first."""
        with self._lock:
            return list(self._shown.values())

    def get(self, key: str) -> Generation | None:
        """The generation with this key, or None."""
        with self._lock:
            return self._shown.get(key)

    def dismiss(self, key: str) -> None:
        """Stop showing a generation."""
        with self._lock:
            generation = self._shown.pop(key, None)
            self._changed.add(key)
        if generation is not None:
            self._subscriptions.pop(key)()
            self._on_change()

    def rows(self) -> dict[str, dict[str, Any]]:
        """All rows by key."""
        return {generation.key: self._row(generation) for generation in self.generations}

    def changes(self) -> dict[str, dict[str, Any] | None]:
        """The rows that are new or have changed since the last call, by key; None for one that was dismissed."""
        with self._lock:
            changed, self._changed = self._changed, set()
            current = {key: self._shown.get(key) for key in changed}
        return {key: self._row(generation) if generation else None for key, generation in current.items()}

    def _add(self, generations: Sequence[Generation]) -> None:
        with self._lock:
            added = [generation for generation in generations if generation.key not in self._shown]
            for generation in added:
                self._shown[generation.key] = generation
                self._order.setdefault(generation.key, len(self._order))
        for generation in added:
            self._subscriptions[generation.key] = observe(generation, partial(self._observe, generation))
            self._observe(generation)

    def _observe(self, generation: Generation) -> None:
        with self._lock:
            self._changed.add(generation.key)
            if generation.done:
                self._typical.pop(_kind(generation), None)  # this one counts from now on
        self._on_change()

    def _row(self, generation: Generation) -> dict[str, Any]:
        """One row. Times are unix seconds of this machine's clock; ``expected`` and ``took`` are seconds."""
        state, request, group = generation.state, generation.request, group_of(generation)
        name, progress = generation.name or "", state.progress
        return {
            "key": generation.key,
            "order": self._order[generation.key],
            "group": group,
            "word": card.WORDS[state.status],
            "name": f"{name}[{generation.index}]" if name and generation.index is not None else name,
            "index": generation.index,
            "prompt": cut(request.prompt, _PROMPT),
            "model": request.model,
            "details": self._default_length(request.model) | details_of(request, self._media_names),
            "since": state.submitted_at,
            "ended": state.finished_at,
            "took": state.elapsed,
            "expected": None if generation.done else self._typical_seconds(generation),
            "received": state.received,
            "size": state.expected,
            "steps": card.steps_text(state),
            "share": progress.step / progress.total if progress and progress.step and progress.total else 0,
            "preview": (progress.preview if progress and group == "running" else None) or "",
            "money": self._money(generation, group),
            "error": generation.error_message or "",
            "notice": state.notice or "",
            "file": shown_path(generation.path),
        }

    def _default_length(self, model: str) -> dict[str, str]:
        """The length of a video whose request names none, as of ``details_of``; empty if it is not known."""
        known = self._session.catalog.get(model, Model(model)).parameters
        return {
            name: f"{label_of(name)} {choice_words(name, known[name]['default'])}"
            for name in LENGTHS
            if "default" in known.get(name, {})
        }

    def _money(self, generation: Generation, group: str) -> str:
        if card.is_free(generation):
            return "free preview" if group == "done" else ""
        if generation.cost is not None:
            return f"cost {dollars(generation.cost)}"
        if group in ("failed", "cancelled"):
            return ""
        estimate = self._session.estimate(generation.request.with_(count=1))
        return f"about {dollars(estimate.total)}" if estimate else ""

    def _typical_seconds(self, generation: Generation) -> float | None:
        kind = _kind(generation)
        if kind not in self._typical:
            self._typical[kind] = self._session.journal.typical_seconds(*kind)
        return self._typical[kind]


def _kind(generation: Generation) -> tuple[str, str]:
    """The model and the server, which together tell how long a video usually takes."""
    return generation.request.model, generation.target.base_url


def group_of(generation: Generation) -> str:
    """``waiting``, ``running``; ``done`` with a file; ``missing`` if only the file is missing; ``unconfirmed`` if it is
    not known whether the service has it; ``failed`` or ``cancelled``.
    """
    status = generation.status
    if status is Status.SUCCEEDED:
        return "done" if generation.path is not None else "missing"
    return "running" if status in _RUNNING else str(status)


def history_row(row: HistoryRow, *, free: bool) -> dict[str, Any]:
    """One generation of the account's history; ``free`` if the embedded server made it, which only simulates a cost."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.enqueued_at)) if row.enqueued_at else ""
    return {
        "id": row.id or "",
        "group": "done" if row.status == Status.SUCCEEDED else str(row.status),
        "word": _word(row.status),
        "when": when,
        "model": row.model,
        "prompt": cut(row.prompt, _PROMPT),
        "money": "free preview" if free else dollars(row.cost) if row.cost is not None else "",
        "file": shown_path(row.path),
        "reusable": row.request is not None,
    }


def account_row(seen: Observation, own: Generation | None) -> dict[str, Any]:
    """One running job of the account; ``own`` is its Generation if it is one of this kernel."""
    return {
        "id": seen.generation_id,
        "group": "running",
        "word": _word(seen.status),
        "since": seen.enqueued_at,
        "model": str(seen.fields.get("model_name") or ""),
        "prompt": cut(str(seen.fields.get("prompt") or ""), _PROMPT),
        "key": own.key if own is not None else "",
    }


def _word(status: str) -> str:
    """The word for a status; an undocumented one of the service stays."""
    return card.WORDS[Status(status)] if status in set(Status) else status
