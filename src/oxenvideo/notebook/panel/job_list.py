"""The jobs that a panel shows: every generation of the session, and which of them have changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from oxenvideo.catalog.pricing import Estimate
from oxenvideo.jobs.generation import Generation, observe
from oxenvideo.notebook.panel.serialize import row_of
from oxenvideo.session import Session


class Jobs:
    """Follows a session, from what is there already. What is called by ``notify`` may come from any thread."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._on_news: Callable[[], object] = _nothing
        self._lock = threading.Lock()
        self._followed: dict[str, Generation] = {}
        self._order: dict[str, int] = {}
        self._changed: set[str] = set()
        self._estimates: dict[str, Estimate | None] = {}
        self._typical: dict[str, float | None] = {}
        self._unsubscribe: dict[str, Callable[[], None]] = {}
        self._forget = session.on_submit(self._enter)
        self._enter(session.generations)

    def notify(self, on_news: Callable[[], object]) -> None:
        """Call ``on_news()`` from here on when there is something new, and now; it must be tiny."""
        self._on_news = on_news
        on_news()

    def close(self) -> None:
        """Follow nothing any more."""
        self._forget()
        for generation in self.generations:
            self._unsubscribe[generation.key]()

    @property
    def generations(self) -> list[Generation]:
        """All that are shown, oldest first."""
        with self._lock:
            return list(self._followed.values())

    def get(self, key: str) -> Generation | None:
        """The generation with this key."""
        with self._lock:
            return self._followed.get(key)

    def dismiss(self, key: str) -> None:
        """Show this one no longer."""
        with self._lock:
            generation = self._followed.pop(key, None)
            self._changed.add(key)
        if generation is not None:
            self._unsubscribe.pop(key)()
            self._on_news()

    def news(self) -> dict[str, dict[str, Any] | None]:
        """The rows that are new or have changed since the last call, by key; None for one that is gone."""
        with self._lock:
            changed, self._changed = self._changed, set()
            current = {key: self._followed.get(key) for key in changed}
        return {key: self._row(generation) if generation else None for key, generation in current.items()}

    def _enter(self, generations: Sequence[Generation]) -> None:
        entered = []
        with self._lock:
            for generation in generations:
                if generation.key not in self._followed:
                    self._followed[generation.key] = generation
                    self._order.setdefault(generation.key, len(self._order))
                    self._changed.add(generation.key)
                    entered.append(generation)
        for generation in entered:
            self._unsubscribe[generation.key] = observe(generation, partial(self._change, generation))
            self._change(generation)

    def _change(self, generation: Generation) -> None:
        with self._lock:
            self._changed.add(generation.key)
            if generation.done:
                self._typical.pop(generation.request.model, None)  # there is one more to learn from
        self._on_news()

    def _row(self, generation: Generation) -> dict[str, Any]:
        key = generation.key
        if key not in self._estimates:
            local = self._session.target.is_local
            self._estimates[key] = None if local else self._session.estimate(generation.request.with_(count=1))
        expected = None if generation.done else self._typical_seconds(generation.request.model)
        return row_of(generation, self._order[key], expected=expected, estimate=self._estimates[key])

    def _typical_seconds(self, model: str) -> float | None:
        if model not in self._typical:
            self._typical[model] = self._session.journal.typical_seconds(model, self._session.target.base_url)
        return self._typical[model]


def _nothing() -> None:
    """Nobody wants to know yet."""
