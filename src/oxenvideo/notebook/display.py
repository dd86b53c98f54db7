"""Updates the outputs of items, from one daemon thread and at a bounded rate, after their cell displayed them first."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from oxenvideo.catalog.pricing import dollars
from oxenvideo.environment import INLINE_LIMIT, FrontEnd, front_end
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation, observe
from oxenvideo.notebook import card as cards
from oxenvideo.notebook import embed, grid
from oxenvideo.notebook.card import Item
from oxenvideo.notebook.embed import Embedded
from oxenvideo.notebook.outputs import Output
from oxenvideo.notebook.renditions import Renditions

log = logging.getLogger("oxenvideo")

_GAP = 0.05  # seconds between two messages of all outputs together: at most 20 a second
SAME = 0.5  # seconds between two messages of one output: at most 2 a second
_TICK = 1.0  # seconds after which a running card shows a new elapsed time
_IDLE = 5.0  # seconds without anything to draw, after which the thread ends
_ATTEMPTS = 3  # to draw a card, before its errors are taken for permanent
_LARGE_TILES = 6  # tiles of a grid that get large posters


@dataclass(eq=False)
class Card:
    """One item and its output.

    ``how`` is how its videos are stored, ``limit`` the bytes up to which they are. ``renditions`` are made for a front end
    that cannot show the files themselves. ``resume`` is what brings back a running item, None for an output that is not
    updated. ``expected`` is how many seconds such a video usually takes, ``estimate`` its price in US dollars. ``notify``
    tells somebody at the end, or is called with the item. ``changed`` says that a state may be newer than what is drawn;
    ``settled`` that a final state is drawn.
    """

    item: Item
    output: Output
    how: str
    base: Path
    front_end: FrontEnd = field(default_factory=front_end)
    limit: int = INLINE_LIMIT
    renditions: Renditions | None = None
    resume: str | None = "%oxenvideo resume"
    expected: float | None = None
    estimate: Decimal | None = None
    remarks: tuple[str, ...] = ()
    notify: bool | Callable[[Any], object] = False
    changed: bool = True
    settled: bool = False
    drawn_at: float = 0.0
    failures: int = 0
    _drawn: tuple[object, ...] = ()
    _drawn_cost: Decimal | None = None
    _embedded: dict[str, Embedded] = field(default_factory=dict)
    _sha256: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.generations = cards.generations(self.item)
        self.free = cards.is_free(self.item)

    @property
    def is_final(self) -> bool:
        """Whether a final state is drawn, and no copy is made that would take the place of the video."""
        return self.settled and not (self.renditions is not None and self.renditions.pending)

    def due(self) -> float | None:
        """When to draw it next (monotonic seconds); None if only a change can need it."""
        if self.changed:
            return self.drawn_at + SAME
        running = isinstance(self.item, Generation) and not self.settled
        return self.drawn_at + _TICK if running else None

    def draw(self, *, first: bool = False) -> None:
        """Show what is new. A cost that becomes known at the end leaves the video alone, which may be playing."""
        # Cleared before the states are read: a change in the meantime sets it again, and is drawn next.
        self.changed = False
        self.drawn_at = time.monotonic()
        states = [g.state for g in self.generations]
        over = all(state.is_settled for state in states)
        made = self.renditions.made if self.renditions is not None else 0
        look = (made, *((s.status, s.path, s.error, s.error_message, s.notice, s.progress) for s in states))
        running = isinstance(self.item, Generation) and not self.settled
        if first or running or over != self.settled or look != self._drawn:
            html = self._html(over)
            self.output.draw(html, self._text(over), self._metadata(over), first=first)
            self._drawn = look
            cost = self.item.cost
            self._drawn_cost = cost if cost is not None and dollars(cost) in html else None
        if over and not self.settled:
            if self.notify and not first:
                self._tell()
            self.output.settle()
        if over:
            self._embedded.clear()  # megabytes of text that nothing needs again, unless a rendition is made
        cost = self.item.cost
        if over and cost is not None and cost != self._drawn_cost and not self.free:
            self.output.add_line(cards.cost_html(cost), self._metadata(over))
            self._drawn_cost = cost
        self.settled = over

    def _tell(self) -> None:
        """Tell that the item has ended: by its output, or by calling what the user gave."""
        if not callable(self.notify):
            self.output.notify(self._text(True))
            return
        try:
            self.notify(self.item)
        except Exception:
            log.exception("The callable of OxenVideo.notify failed.")

    def _html(self, over: bool) -> str:
        if isinstance(self.item, Generation):
            return cards.html(
                self.item,
                time.time(),
                expected=self.expected,
                estimate=self.estimate,
                free=self.free,
                embedded=self._files([self.item], self.limit, 640).get(self.item.key),
                path=cards.shown_path(self.item.path, self.base),
                remarks=self.remarks,
                resume=self.resume,
            )
        shown = grid.tiles(self.item)
        if over:
            limit, widest = self.limit // max(1, len(self.item)), 640 if len(self.item) <= _LARGE_TILES else 320
            files = self._files(shown, limit, widest)
        else:  # the grid is sent again and again, so its files are linked
            paths = [(g.key, g.path if self.front_end.links else None) for g in shown]
            files = {key: Embedded(embed.relative_link(path, self.base)) for key, path in paths if path is not None}
        return grid.html(
            self.item, shown, files, remarks=self.remarks, estimate=self.estimate, free=self.free, resume=self.resume
        )

    def _text(self, over: bool) -> str:
        words = cards.text(self.item) if isinstance(self.item, Generation) else cards.one_line(self.item)
        if over or self.resume is None:
            return words
        return f"{words}; it runs in the background, {cards.wait_command(self.item.name)} waits for it"

    def _files(self, generations: Iterable[Generation], limit: int, widest: int) -> dict[str, Embedded]:
        """The videos that are here, by key; each file is read once."""
        for generation in generations:
            path = generation.path
            if path is None or generation.key in self._embedded:
                continue
            try:
                url = generation.result_url
                made = embed.embed(
                    path,
                    self.how,
                    url=url,
                    base=self.base,
                    limit=limit,
                    widest=widest,
                    front_end=self.front_end,
                    renditions=self.renditions,
                )
            except OSError as error:
                log.info("%s cannot be shown: %s", path, error)
                continue
            self._embedded[generation.key] = made
            self._sha256[generation.key] = made.sha256
        return self._embedded

    def _metadata(self, over: bool) -> dict[str, Any]:
        if isinstance(self.item, Batch) and not over:
            return {}
        estimate = {"estimate": str(self.estimate) if self.estimate is not None else None}
        rows = [cards.metadata(g, sha256=self._sha256.get(g.key)) for g in self.generations]
        return {"oxenvideo": (rows[0] if isinstance(self.item, Generation) else {"batch": rows}) | estimate}


class LiveCards:
    """The cards that can still change, drawn by one thread that ends when nothing changes any more."""

    def __init__(self) -> None:
        self._cards: list[Card] = []
        self._lock = threading.Lock()  # of the fields here; held for moments, also on the engine's thread
        self._drawing = threading.RLock()  # one card is drawn at a time
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def show(self, card: Card) -> None:
        """Display the card in the calling cell, and update it from now on."""

        def changed() -> None:
            card.changed = True
            self._follow(card)

        if card.renditions is not None:
            card.renditions.ready = changed
        with self._drawing:
            # Subscribed before the first display: a change before, during or after it is seen by one of the two.
            subscriptions = [observe(generation, changed) for generation in card.generations]
            card.draw(first=True)
            already_over = card.settled and not card.changed
        if already_over:
            for unsubscribe in subscriptions:
                unsubscribe()
        else:
            self._follow(card)

    def flush(self, item: Item | None = None) -> None:
        """Draw now, in the calling thread, the cards of an item, or those whose final state is not yet drawn."""
        with self._lock:
            followed = list(self._cards)
        for card in followed:
            ended = not card.settled and all(g.state.is_settled for g in card.generations)
            if ended if item is None else card.item is item or item in card.generations:
                self._draw(card)

    def close(self) -> None:
        """Draw nothing more."""
        self._closed = True
        self._wake.set()

    def _follow(self, card: Card) -> None:
        """Have the thread draw the card. Also called after its end: the cost becomes known some seconds later."""
        with self._lock:
            if self._closed:
                return
            if card not in self._cards:
                self._cards.append(card)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="oxenvideo-display", daemon=True)
                self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        drawn_at = time.monotonic()
        while not self._closed:
            now = time.monotonic()
            with self._lock:
                if not self._cards and now - drawn_at > _IDLE:
                    self._thread = None  # under the lock: whoever adds a card next starts another thread
                    return
                due = [(at, card) for card in self._cards if (at := card.due()) is not None]
            at, card = min(due, key=lambda pair: pair[0], default=(now + _TICK, None))
            if card is not None and at <= now:
                self._draw(card)
                drawn_at = time.monotonic()
                time.sleep(_GAP)
            else:
                self._wake.wait(at - now)
                self._wake.clear()  # changes are looked for after this, so none is missed

    def _draw(self, card: Card) -> None:
        with self._drawing:
            # A waiting cell and the thread can both see the end; the second finds it drawn.
            if card.changed or not card.settled:
                try:
                    card.draw()
                    card.failures = 0
                except Exception:
                    log.exception("A card could not be drawn. Its video is not affected.")
                    card.failures += 1
                    card.changed = True
            with self._lock:
                finished = (card.settled and not card.changed) or card.failures >= _ATTEMPTS
                if finished and card in self._cards:
                    self._cards.remove(card)
