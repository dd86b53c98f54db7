"""Finding a model: by words, by what it takes, from a list that shows what a second costs."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets

from oxenvideo.catalog.catalog import Catalog, Model
from oxenvideo.notebook.panel.labels import rate_of
from oxenvideo.notebook.panel.widgets import Kit, show

_ANY = ""
_FILTERS = (("Any", _ANY), ("Text", "text"), ("Image", "image"), ("Video", "video"), ("Sound", "audio"))


class Picker:
    """The chosen model as a button, which opens the search. ``on_pick(model)`` is told of another choice."""

    def __init__(self, kit: Kit, catalog: Callable[[], Catalog], on_pick: Callable[[Model], object]) -> None:
        self._kit = kit
        self._catalog = catalog
        self._on_pick = on_pick
        self._model: Model | None = None
        self._quiet = False
        self._search: Any = None
        self._button = kit.button("", "oxv-model", hint="Choose another model", then=self.toggle)
        self._about = kit.html(classes="oxv-about")
        self._drawer = kit.column(classes="oxv-picker oxv-hidden")
        self.widget = kit.column([self._button, self._about, self._drawer], "oxv-section")

    def show(self, model: Model) -> None:
        """Show this one as the chosen one; tells nobody."""
        self._model = model
        self._button.description = model.display_name or model.id
        facts = [
            rate_of(model),
            escape(f"takes {', '.join(model.inputs)}") if model.inputs else "",
            f"<code>{escape(model.id)}</code>",
        ]
        summary = f"<div>{escape(model.summary)}</div>" if model.summary else ""
        self._about.value = f"{summary}<div class='oxv-faint'>{' · '.join(fact for fact in facts if fact)}</div>"
        if self._search is not None:
            self._list_models()

    @property
    def is_open(self) -> bool:
        """Whether the search is to be seen."""
        return "oxv-hidden" not in self._drawer._dom_classes

    def toggle(self) -> None:
        """Open or close the search."""
        self.open() if not self.is_open else self.close()

    def open(self, takes: str = _ANY) -> None:
        """Open the search, for models that take this kind of input."""
        if self._search is None:
            self._make()
        if takes:
            self._filter.value = takes
        show(self._drawer, when=True)

    def pick(self, line: str) -> None:
        """Take the model of this line of the list, where it is one, and close the search."""
        found = next((model for model in self._catalog().values() if _line(model) == line), None)
        if found is not None:
            self._on_pick(found)
        self.close()

    def close(self) -> None:
        """Close the search."""
        show(self._drawer, when=False)

    def _make(self) -> None:
        """The search itself is made when it is first wanted: a panel appears sooner without."""
        self._search = self._kit.make(
            widgets.Text, "oxv-field oxv-search", description="Find", placeholder="kling, veo, image to video …"
        )
        self._filter = self._kit.make(
            widgets.ToggleButtons, "oxv-field oxv-toggle oxv-filter", description="Takes", options=_FILTERS
        )
        self._list = self._kit.make(widgets.Select, "oxv-field oxv-models", description="Models", rows=8)
        self._search.observe(lambda _: self._list_models(), "value")
        self._search.on_msg(lambda _, content, __: self._take_first() if content.get("event") == "submit" else None)
        self._filter.observe(lambda _: self._list_models(), "value")
        self._list.observe(self._chosen, "value")
        self._list_models()
        self._drawer.children = (self._search, self._filter, self._list)

    def _list_models(self) -> None:
        wanted = self._filter.value
        models = self._catalog().search(self._search.value, input=wanted or None)
        if wanted == "text":
            models = [model for model in models if model.inputs == ("text",)]
        options = [(_line(model), model.id) for model in models]
        chosen = self._model.id if self._model is not None else None
        self._quiet = True
        self._list.options = options
        self._list.value = chosen if any(model_id == chosen for _, model_id in options) else None
        self._list.description = f"{len(options)} model{'' if len(options) == 1 else 's'}"
        self._quiet = False

    def _chosen(self, change: Any) -> None:
        if not self._quiet and change["new"] is not None:
            self._on_pick(self._catalog().get(change["new"]))

    def _take_first(self) -> None:
        if self._list.options:
            self._list.value = self._list.options[0][1]
            self.close()


def _line(model: Model) -> str:
    rate = rate_of(model)
    return f"{model.display_name or model.id}{f'  ·  {rate}' if rate else ''}"
