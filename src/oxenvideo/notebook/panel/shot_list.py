"""The shots of a prompt as rows that can be added, moved and taken away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from oxenvideo.notebook.panel.kit import Kit, discard
from oxenvideo.notebook.panel.words import class_of
from oxenvideo.shots import DEFAULT_DURATION, Shot

_MOST_SECONDS = 60  # where the model's schema sets no limit


class ShotList:
    """Rows of text and seconds. ``on_change(shots)`` is told of everything that a person does."""

    def __init__(self, kit: Kit, on_change: Callable[[list[Shot]], object]) -> None:
        self._kit = kit
        self._on_change = on_change
        self._shots: list[Shot] = []
        self._bounds = (1, _MOST_SECONDS)
        self._rows = kit.column(classes="oxv-shot-rows")
        add = kit.button("Add a shot", "oxv-quiet oxv-add-shot", then=self._add)
        self.widget = kit.column([self._rows, add], f"oxv-shots {class_of('multi_prompt')}")

    def show(self, shots: Sequence[Shot], spec: Mapping[str, Any]) -> None:
        """Show these shots, with the bounds of ``multi_prompt``'s schema; tells nobody."""
        seconds = spec.get("items", {}).get("properties", {}).get("duration", {})
        self._bounds = (seconds.get("minimum", 1), seconds.get("maximum", _MOST_SECONDS))
        self._shots = [dict(shot) for shot in shots]
        self._draw()

    def _draw(self) -> None:
        for row in self._rows.children:
            discard(row)
        self._rows.children = tuple(self._row(index) for index in range(len(self._shots)))

    def _row(self, index: int) -> Any:
        shot, number = self._shots[index], index + 1
        text = self._kit.make(
            widgets.Textarea,
            "oxv-field oxv-area oxv-shot-text",
            description=f"Shot {number}",
            value=str(shot.get("prompt", "")),
            placeholder="What this shot shows",
            rows=2,
        )
        low, high = self._bounds
        seconds = self._kit.make(
            widgets.BoundedIntText,
            "oxv-field oxv-shot-seconds",
            description="Seconds",
            value=shot.get("duration", DEFAULT_DURATION),
            min=low,
            max=high,
        )
        text.observe(lambda change: self._edit(index, "prompt", change["new"]), "value")
        seconds.observe(lambda change: self._edit(index, "duration", change["new"]), "value")
        last = len(self._shots) - 1
        up = self._kit.button("↑", "oxv-tiny", hint=f"Move shot {number} up", then=lambda: self._move(index, index - 1))
        down = self._kit.button(
            "↓", "oxv-tiny", hint=f"Move shot {number} down", then=lambda: self._move(index, index + 1)
        )
        away = self._kit.button("×", "oxv-tiny", hint=f"Remove shot {number}", then=lambda: self._remove(index))
        up.disabled, down.disabled = index == 0, index == last
        return self._kit.row([text, self._kit.column([seconds, self._kit.row([up, down, away])])], "oxv-shot")

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
