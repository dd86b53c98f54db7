"""The shots of a prompt as rows that can be added, moved and taken away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from oxenvideo.catalog.pricing import DEFAULT_DURATION
from oxenvideo.notebook.panel.labels import class_of
from oxenvideo.notebook.panel.widgets import Kit
from oxenvideo.request.shots import Shot

_MOST_SECONDS = 60  # where the model's schema sets no limit


class ShotList:
    """Rows of text and seconds. ``on_change(shots)`` is told of everything that a person does."""

    def __init__(self, kit: Kit, on_change: Callable[[list[Shot]], object]) -> None:
        self._kit = kit
        self._on_change = on_change
        self._shots: list[Shot] = []
        self._rows: list[_Row] = []
        self._bounds = (1, _MOST_SECONDS)
        self._column = kit.column(classes="oxv-shot-rows")
        add = kit.button("Add a shot", "oxv-quiet oxv-add-shot", then=self._add)
        self.widget = kit.column([self._column, add], f"oxv-shots {class_of('multi_prompt')}")

    def show(self, shots: Sequence[Shot], spec: Mapping[str, Any]) -> None:
        """Show these shots, with the bounds of ``multi_prompt``'s schema; tells nobody."""
        seconds = spec.get("items", {}).get("properties", {}).get("duration", {})
        self._bounds = (seconds.get("minimum", 1), seconds.get("maximum", _MOST_SECONDS))
        self._shots = [dict(shot) for shot in shots]
        self._draw()

    def _draw(self) -> None:
        while len(self._rows) < len(self._shots):
            self._rows.append(_Row(self._kit, len(self._rows), self._edit, self._move, self._remove))
        for row, shot in zip(self._rows, self._shots, strict=False):
            row.show(shot, self._bounds, last=len(self._shots) - 1)
        self._column.children = tuple(row.widget for row in self._rows[: len(self._shots)])

    def _edit(self, index: int, name: str, value: Any) -> None:
        self._shots[index][name] = value
        self._tell()

    def _add(self) -> None:
        self._shots.append({"prompt": ""})
        self._draw()
        self._tell()

    def _move(self, index: int, to: int) -> None:
        self._shots.insert(to, self._shots.pop(index))
        self._draw()
        self._tell()

    def _remove(self, index: int) -> None:
        del self._shots[index]
        self._draw()
        self._tell()

    def _tell(self) -> None:
        self._on_change([dict(shot) for shot in self._shots])


class _Row:
    """The widgets of one place in the list; which shot stands there changes."""

    def __init__(
        self,
        kit: Kit,
        index: int,
        edit: Callable[[int, str, Any], object],
        move: Callable[[int, int], object],
        remove: Callable[[int], object],
    ) -> None:
        number = index + 1
        self._index = index
        self._quiet = False
        self._text = kit.make(
            widgets.Textarea,
            "oxv-field oxv-area oxv-shot-text",
            description=f"Shot {number}",
            placeholder="What this shot shows",
            rows=2,
        )
        self._seconds = kit.make(
            widgets.BoundedIntText, "oxv-field oxv-shot-seconds", description="Seconds", min=1, max=_MOST_SECONDS
        )
        self._up = kit.button("↑", "oxv-tiny", hint=f"Move shot {number} up", then=lambda: move(index, index - 1))
        self._down = kit.button("↓", "oxv-tiny", hint=f"Move shot {number} down", then=lambda: move(index, index + 1))
        away = kit.button("×", "oxv-tiny", hint=f"Remove shot {number}", then=lambda: remove(index))
        side = kit.column([self._seconds, kit.row([self._up, self._down, away])])
        self.widget = kit.row([self._text, side], "oxv-shot")
        for widget, name in ((self._text, "prompt"), (self._seconds, "duration")):
            widget.observe(lambda change, name=name: None if self._quiet else edit(index, name, change["new"]), "value")

    def show(self, shot: Shot, bounds: tuple[int, int], *, last: int) -> None:
        """Show a shot; tells nobody."""
        self._quiet = True
        try:
            self._seconds.min, self._seconds.max = bounds
            self._text.value = str(shot.get("prompt", ""))
            self._seconds.value = shot.get("duration", DEFAULT_DURATION)
        finally:
            self._quiet = False
        self._up.disabled, self._down.disabled = self._index == 0, self._index == last
