"""The board: queue, gallery, history and account, drawn in the browser from rows of plain JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import traitlets

from oxenvideo.notebook.panel import assets
from oxenvideo.notebook.panel.labels import class_of

Hear = Callable[[Mapping[str, Any]], object]


class Board(anywidget.AnyWidget):
    """The browser's half of the panel.

    ``jobs`` holds the rows by key. Of a change only the changed rows are sent, as a message; a page that is opened later
    reads the whole. ``faults`` are messages by the CSS class of the field that they belong to,
    each with its tone: ``need`` for what is still to be given, ``fault`` for what is wrong.
    """

    _esm = assets.module("link.js", "jobs.js", "attend.js", "board.js")
    _css = assets.style()
    jobs = traitlets.Dict().tag(sync=True)
    faults = traitlets.Dict().tag(sync=True)
    said = traitlets.Dict().tag(sync=True)
    code = traitlets.Dict().tag(sync=True)
    history = traitlets.Dict().tag(sync=True)
    account = traitlets.Dict().tag(sync=True)
    service = traitlets.Unicode().tag(sync=True)
    shown: Any = traitlets.List().tag(sync=True)

    def __init__(self, hear: Hear, **traits: Any) -> None:
        super().__init__(_dom_classes=("oxv-board-host",), **traits)
        self._hear = hear
        self.watched = False  # whether a page shows it, as far as pages tell
        self.on_msg(self._receive)

    def tell(self, rows: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Send changed rows; None takes one away."""
        if rows:
            self.jobs = {key: row for key, row in {**self.jobs, **rows}.items() if row is not None}
            self.send({"is": "rows", "rows": dict(rows), "now": time.time()})

    def say(self, text: str, tone: str = "plain") -> None:
        """One line for a person, above the queue; ``tone`` is plain, good or bad."""
        self.said = {"text": text, "tone": tone, "at": time.time()}

    def focus(self, name: str) -> None:
        """Have the page show the field of a parameter, and put the focus there."""
        self.send({"is": "focus", "field": class_of(name)})

    def _should_send_property(self, key: str, value: Any) -> bool:
        return key != "jobs" and bool(super()._should_send_property(key, value))

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        if content.get("do") == "away":
            self.watched = False
            return
        if content.get("do") == "hello":
            self.watched = True
            self._hear(content)
        if content.get("do") in ("hello", "ping"):
            self.send({"is": "pong", "n": content.get("n"), "now": time.time()})
        else:
            self._hear(content)


class Stage(anywidget.AnyWidget):
    """One video large, or two side by side and in step."""

    _esm = assets.module("stage.js")
    clips: Any = traitlets.List().tag(sync=True)

    def __init__(self, hear: Hear, **traits: Any) -> None:
        super().__init__(_dom_classes=("oxv-stage-host",), **traits)
        self._hear = hear
        self.on_msg(lambda _, content, __: self._hear(content))
