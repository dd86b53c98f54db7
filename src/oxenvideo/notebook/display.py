"""Who owns which output, and when it is drawn again: one plain thread, within a budget of display messages.

A plain daemon thread is what front ends and headless runs let update a finished cell's output. It only ever updates:
the first display of anything happens in the cell that made it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from oxenvideo.catalog.pricing import dollars
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation, observe
from oxenvideo.notebook import card, embed, grid
from oxenvideo.notebook.embed import Embedded, How
from oxenvideo.notebook.outputs import Place

log = logging.getLogger("oxenvideo")

_GAP = 0.05  # seconds between two messages of all outputs together: at most 20 a second
_SAME = 0.5  # seconds between two messages of one output: at most 2 a second
_TICK = 1.0  # seconds after which a running card's elapsed time is drawn anew
_LARGE_TILES = 6  # tiles that have room for large posters; many small ones take a tenth of the time and the bytes
_IDLE = 5.0  # seconds without anything to draw, after which the thread ends


@dataclass(eq=False)
class Shown:
    """One item on the page. ``expected`` is seconds, ``estimate`` US dollars; ``free`` is what costs nothing."""

    item: Generation | Batch
    place: Place
    how: How
    base: Path
    expected: float | None = None
    estimate: Decimal | None = None
    free: bool = False
    remarks: tuple[str, ...] = ()
    dirty: bool = True
    settled: bool = False
    drawn_at: float = 0.0
    embedded: dict[str, Embedded] = field(default_factory=dict)
    _drawn: tuple[object, ...] = ()
    _told: Decimal | None = None
    _sha256: dict[str, str] = field(default_factory=dict)

    @property
    def generations(self) -> tuple[Generation, ...]:
        """All that it consists of."""
        return (self.item,) if isinstance(self.item, Generation) else tuple(self.item)

    @property
    def over(self) -> bool:
        """Whether everything in it has ended or waits for a person."""
        return all(g.state.is_settled for g in self.generations)

    @property
    def ticks(self) -> bool:
        """Whether it changes with time alone: a running card tells the seconds, a grid does not."""
        return isinstance(self.item, Generation) and not self.settled

    def draw(self, *, first: bool = False) -> None:
        """Render and show what is new. A video that plays is left alone by a cost that becomes known later."""
        self.dirty = False
        self.drawn_at = time.monotonic()
        over, cost = self.over, self.item.cost
        stand = tuple((g.status, g.path, g.error_message, g.state.notice) for g in self.generations)
        if first or self.ticks or (over and not self.settled) or stand != self._drawn:
            html, text = self._render()
            self.place.draw(html, text, self._metadata(), first=first)
            self._drawn, self._told = stand, cost
        if over and not self.settled:
            self.place.settle()
            self.embedded.clear()  # megabytes of text that nothing will ask for again
        if over and cost is not None and cost != self._told and not self.free:
            self.place.tell(card.cost_html(cost), "", self._metadata())
            self._told = cost
        self.settled = over

    def _render(self) -> tuple[str, str]:
        if isinstance(self.item, Batch):
            html = grid.html(self.item, self._tile_file, remarks=self.remarks, price=self._price(), free=self.free)
            return html, grid.text(self.item) + self._way_on()
        view = self._view(self.item)
        return card.html(view), card.text(view) + self._way_on()

    def _way_on(self) -> str:
        """What plain text adds while it runs: where no update arrives, it stays as it is."""
        if self.over:
            return ""
        return f"; it goes on in the background, %oxenvideo wait{f' {self.item.name}' if self.item.name else ''} waits for it"

    def _view(self, generation: Generation) -> card.View:
        embedded = self._file(generation, self.how, embed.INLINE_LIMIT)
        return card.view_of(
            generation,
            time.time(),
            expected=self.expected,
            estimate=self.estimate,
            embedded=embedded,
            free=self.free,
            path=shown_path(generation.path, self.base),
            remarks=self.remarks,
        )

    def _price(self) -> str:
        return f"about {dollars(self.estimate)}" if self.estimate is not None else ""

    def _tile_file(self, generation: Generation) -> Embedded | None:
        """While others run the grid is sent again and again, so files are linked; at the end they are kept as asked."""
        if not self.over:
            return self._link(generation)
        count = len(self.generations)
        widest = 640 if count <= _LARGE_TILES else 320
        return self._file(generation, self.how, embed.INLINE_LIMIT // max(1, count), widest)

    def _link(self, generation: Generation) -> Embedded | None:
        if generation.path is None:
            return None
        return Embedded(embed.relative_link(generation.path, self.base), None, "", False, "video/mp4")

    def _file(self, generation: Generation, how: How, limit: int, widest: int = 640) -> Embedded | None:
        path = generation.path
        if path is None:
            return None
        if generation.key not in self.embedded:
            try:
                made = embed.embed(path, how, url=generation.result_url, base=self.base, limit=limit, widest=widest)
                self.embedded[generation.key] = made
                self._sha256[generation.key] = made.sha256
            except OSError as error:
                log.info("cannot show %s: %s", path, error)
                return None
        return self.embedded[generation.key]

    def _metadata(self) -> dict[str, Any]:
        rows = [card.metadata(g, sha256=self._sha256.get(g.key), free=self.free) for g in self.generations]
        about = {"estimate": str(self.estimate) if self.estimate is not None else None}
        if isinstance(self.item, Generation):
            return {"oxenvideo": rows[0] | about}
        return {"oxenvideo": {"batch": rows} | about} if self.over else {}


def shown_path(path: Path | None, base: Path) -> str | None:
    """A path as people want to read it: relative to ``base`` where it lies below."""
    if path is None:
        return None
    shown = os.path.relpath(path, base)
    return str(path) if shown.startswith("..") else shown


class Live:
    """Draws what is shown whenever it changes, from one thread that ends when there is nothing to draw."""

    def __init__(self) -> None:
        self._shown: list[Shown] = []
        self._lock = threading.Lock()
        self._draw_lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def show(self, shown: Shown) -> None:
        """Draw it for the first time, in the calling cell, and keep it up to date from here on."""
        shown.draw(first=True)
        if shown.over:
            return
        with self._lock:
            self._shown.append(shown)

        def changed() -> None:
            # Also after the end: the cost becomes known some seconds later, and a file can be fetched again.
            shown.dirty = True
            with self._lock:
                if shown not in self._shown:
                    self._shown.append(shown)
            self._stir()

        for generation in shown.generations:
            observe(generation, changed)
        shown.dirty = True
        self._stir()

    def flush(self, item: Generation | Batch | None = None) -> None:
        """Draw now, in the calling thread, what has changed: at the end of a cell that waited."""
        with self._lock:
            waiting = [s for s in self._shown if item is None or s.item is item or item in s.generations]
        for shown in waiting:
            self._draw(shown)

    def flush_ended(self) -> None:
        """Draw now, in the calling thread, what has ended and is not yet drawn so."""
        with self._lock:
            ended = [s for s in self._shown if s.over and not s.settled]
        for shown in ended:
            self._draw(shown)

    def close(self) -> None:
        """Draw nothing more."""
        self._closed = True
        self._wake.set()

    @property
    def items(self) -> list[Generation | Batch]:
        """What is still being kept up to date."""
        with self._lock:
            return [s.item for s in self._shown]

    # The thread

    def _stir(self) -> None:
        self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            with self._lock:
                if self._closed or (self._thread is not None and self._thread.is_alive()):
                    return
                self._thread = threading.Thread(target=self._run, name="oxenvideo-display", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        idle_since = time.monotonic()
        while not self._closed:
            shown, pause = self._next()
            if shown is not None:
                self._draw(shown)
                time.sleep(_GAP)
                idle_since = time.monotonic()
                continue
            if pause is None and time.monotonic() - idle_since > _IDLE:
                with self._lock:
                    if not self._shown:
                        self._thread = None
                        return
            self._wake.wait(_TICK if pause is None else pause)
            self._wake.clear()

    def _next(self) -> tuple[Shown | None, float | None]:
        """The one that has waited longest among those whose turn it is; else seconds until the next turn."""
        now = time.monotonic()
        with self._lock:
            waiting = list(self._shown)
        due: list[tuple[float, Shown]] = []
        soonest: float | None = None
        for shown in waiting:
            if not shown.dirty and not shown.ticks:
                continue
            turn = shown.drawn_at + (_SAME if shown.dirty else _TICK)
            if turn <= now:
                due.append((turn, shown))
            soonest = turn if soonest is None else min(soonest, turn)
        if due:
            return min(due, key=lambda pair: pair[0])[1], 0.0
        return None, (None if soonest is None else max(0.01, soonest - now))

    def _draw(self, shown: Shown) -> None:
        with self._draw_lock:
            # A waiting cell and the thread may both have seen the end; whoever comes second finds it drawn.
            if shown.dirty or not shown.settled:
                try:
                    shown.draw()
                except Exception:
                    log.exception("A card could not be drawn; the generation itself is not affected.")
                    shown.drawn_at = time.monotonic()
            with self._lock:
                if shown.settled and not shown.dirty and shown in self._shown:
                    self._shown.remove(shown)
