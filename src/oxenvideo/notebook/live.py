"""Who owns which output, and when it is drawn again: one plain thread, within a budget of display messages.

A plain daemon thread is what front ends and headless runs let update a finished cell's output. It only ever updates:
the first display of anything happens in the cell that made it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from oxenvideo.batch import Batch
from oxenvideo.generation import Generation
from oxenvideo.notebook import card, embed, grid
from oxenvideo.notebook.embed import Embedded, How
from oxenvideo.price import dollars

log = logging.getLogger("oxenvideo")

_GAP = 0.05  # seconds between two messages of all outputs together: at most 20 a second
_SAME = 0.5  # seconds between two messages of one output: at most 2 a second
_TICK = 1.0  # seconds after which a running card's elapsed time is drawn anew
_IDLE = 5.0  # seconds without anything to draw, after which the thread ends


class Publisher(Protocol):
    """IPython's display publisher, as far as it is used here."""

    def publish(
        self, data: dict[str, Any], metadata: Any = None, *, transient: Any = None, update: bool = False
    ) -> None:
        """Send a display message."""


class Place(Protocol):
    """Where one item is shown."""

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Show it, or show it anew."""

    def settle(self) -> None:
        """Nothing will change any more: take away what only made sense until now."""


@dataclass(eq=False)
class Shown:
    """One item on the page. ``expected`` is seconds, ``price`` US dollars in words."""

    item: Generation | Batch
    place: Place
    how: How
    base: Path
    expected: float | None = None
    estimate: Any = None
    remarks: tuple[str, ...] = ()
    dirty: bool = True
    settled: bool = False
    drawn_at: float = 0.0
    embedded: dict[str, Embedded] = field(default_factory=dict)

    @property
    def generations(self) -> tuple[Generation, ...]:
        """All that it consists of."""
        return (self.item,) if isinstance(self.item, Generation) else tuple(self.item)

    @property
    def over(self) -> bool:
        """Whether everything in it has ended or waits for a person."""
        return all(g.state.is_settled for g in self.generations)

    def draw(self, *, first: bool = False) -> None:
        """Render and show it as it stands."""
        self.dirty = False
        over = self.over
        self.drawn_at = time.monotonic()
        if isinstance(self.item, Batch):
            html = grid.html(self.item, self._tile_file, remarks=self.remarks, price=self._price())
            self.place.draw(html, grid.text(self.item), self._batch_metadata(), first=first)
        else:
            view = self._view(self.item)
            self.place.draw(card.html(view), card.text(view), card.metadata(self.item, view.embedded), first=first)
        if over and not self.settled:
            self.settled = True
            self.place.settle()
        elif not over:
            self.settled = False

    def _view(self, generation: Generation) -> card.View:
        embedded = self._file(generation, self.how, embed.INLINE_LIMIT)
        return card.view_of(
            generation,
            time.time(),
            expected=self.expected,
            estimate=self.estimate,
            embedded=embedded,
            path=_shown_path(generation.path, self.base),
            remarks=self.remarks,
        )

    def _price(self) -> str:
        return f"about {dollars(self.estimate)}" if self.estimate is not None else ""

    def _tile_file(self, generation: Generation) -> Embedded | None:
        """While others run the grid is sent again and again, so files are linked; at the end they are kept as asked."""
        if not self.over:
            return self._link(generation)
        return self._file(generation, self.how, embed.INLINE_LIMIT // max(1, len(self.generations)))

    def _link(self, generation: Generation) -> Embedded | None:
        if generation.path is None:
            return None
        return Embedded(embed.relative_link(generation.path, self.base), None, "", False, "video/mp4")

    def _file(self, generation: Generation, how: How, limit: int) -> Embedded | None:
        path = generation.path
        if path is None:
            return None
        if generation.key not in self.embedded:
            try:
                self.embedded[generation.key] = embed.embed(
                    path, how, url=generation.result_url, base=self.base, limit=limit
                )
            except OSError as error:
                log.info("cannot show %s: %s", path, error)
                return None
        return self.embedded[generation.key]

    def _batch_metadata(self) -> dict[str, Any]:
        rows = [card.metadata(g, self.embedded.get(g.key))["oxenvideo"] for g in self.generations]
        return {"oxenvideo": {"batch": rows}} if self.over else {}


def _shown_path(path: Path | None, base: Path) -> str | None:
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

        def changed(_: Generation) -> None:
            shown.dirty = True
            self._stir()

        for generation in shown.generations:
            generation.observe(changed)
        shown.dirty = True
        self._stir()

    def flush(self, item: Generation | Batch | None = None) -> None:
        """Draw now, in the calling thread, what has changed: at the end of a cell that waited."""
        with self._lock:
            waiting = [s for s in self._shown if item is None or s.item is item or item in s.generations]
        for shown in waiting:
            if shown.dirty or (shown.over and not shown.settled):
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
            turn = shown.drawn_at + (_SAME if shown.dirty else _TICK)
            if turn <= now:
                due.append((turn, shown))
            soonest = turn if soonest is None else min(soonest, turn)
        if due:
            return min(due, key=lambda pair: pair[0])[1], 0.0
        return None, (None if soonest is None else max(0.01, soonest - now))

    def _draw(self, shown: Shown) -> None:
        with self._draw_lock:
            try:
                shown.draw()
            except Exception:
                log.exception("A card could not be drawn; the generation itself is not affected.")
                shown.drawn_at = time.monotonic()
        # The cost comes after the end, once: such a card stays until then, but is not redrawn for the clock.
        if shown.settled and all(g.done for g in shown.generations):
            with self._lock:
                if shown in self._shown:
                    self._shown.remove(shown)


class OutputPlace:
    """An output of plain HTML with a display id, which saves and exports as it is."""

    def __init__(self, publisher: Publisher, control: Callable[[], Any] | None = None) -> None:
        self._publisher = publisher
        self._display_id = uuid.uuid4().hex
        self._control_id = uuid.uuid4().hex
        self._make_control = control
        self._control: Any = None

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Show or update the output; a control, such as a Cancel button, comes below it."""
        self._send({"text/html": html, "text/plain": text}, metadata, self._display_id, first)
        if first and self._make_control is not None:
            self._control = self._make_control()
            if self._control is not None:
                bundle = self._control._repr_mimebundle_()
                data = bundle[0] if isinstance(bundle, tuple) else bundle
                self._send({**data, "text/plain": ""}, {}, self._control_id, True)

    def settle(self) -> None:
        """Replace the control by nothing, so that no dead widget is saved."""
        if self._control is not None:
            self._send({"text/html": "", "text/plain": ""}, {}, self._control_id, False)
            self._control.close()
            self._control = None

    def _send(self, data: dict[str, Any], metadata: dict[str, Any], display_id: str, first: bool) -> None:
        self._publisher.publish(data, metadata, transient={"display_id": display_id}, update=not first)


class WidgetPlace:
    """A widget that shows everything itself, for front ends that ignore display updates."""

    def __init__(self, publisher: Publisher, control: Callable[[], Any] | None = None) -> None:
        import ipywidgets

        self._publisher = publisher
        self._html = ipywidgets.HTML()
        self._control = control() if control is not None else None
        self._box = ipywidgets.VBox([self._html, *([self._control] if self._control is not None else [])])

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Set the widget's HTML; the first time, display it."""
        self._html.value = html
        if first:
            bundle = self._box._repr_mimebundle_()
            data = bundle[0] if isinstance(bundle, tuple) else bundle
            self._publisher.publish({**data, "text/plain": text}, metadata)

    def settle(self) -> None:
        """Take the control away."""
        if self._control is not None:
            self._box.children = (self._html,)
            self._control.close()
            self._control = None
