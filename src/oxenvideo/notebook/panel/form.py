"""The form: a model, and the fields that its schema asks for. Every change makes another request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

import ipywidgets as widgets

from oxenvideo.catalog.catalog import Model
from oxenvideo.notebook.panel import fields
from oxenvideo.notebook.panel.fields import Field
from oxenvideo.notebook.panel.form_state import NOTHING, Draft, media_slots, takes_prompt, takes_shots
from oxenvideo.notebook.panel.form_state import fields as fields_of
from oxenvideo.notebook.panel.labels import class_of
from oxenvideo.notebook.panel.media_input import Inlet
from oxenvideo.notebook.panel.model_picker import Picker
from oxenvideo.notebook.panel.shot_list import ShotList
from oxenvideo.notebook.panel.validation import Verdict, judge
from oxenvideo.notebook.panel.widgets import Kit, mark, show
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session

_OTHER = "other parameters"
_FIELDS = {"model", "prompt", "multi_prompt", "num_generations"}


class Form:
    """The fields of one draft. ``on_change()`` is called after everything that a person changes."""

    def __init__(
        self, kit: Kit, session: Session, make_inlet: Callable[[], Inlet], on_change: Callable[[], object]
    ) -> None:
        self._kit = kit
        self._session = session
        self._make_inlet = make_inlet
        self._on_change = on_change
        self.inlet: Inlet | None = None
        self._fields: dict[tuple[str, str], Field] = {}
        self._quiet = False
        chosen = session.settings.model
        self.draft = Draft(session.catalog.get(chosen, Model(chosen, chosen)))
        self.picker = Picker(kit, lambda: session.catalog, self._pick)
        self._prompt = kit.make(
            widgets.Textarea,
            f"oxv-field oxv-area oxv-prompt {class_of('prompt')}",
            description="Prompt",
            placeholder="What the video should show",
            rows=4,
        )
        self._prompt.observe(lambda change: self._write(change["new"]), "value")
        self._ways: Any = None
        self._shots: ShotList | None = None
        self._common = kit.column(classes="oxv-fields oxv-section")
        self._more_button = kit.button("", "oxv-quiet oxv-more", then=self._toggle_more)
        self._more = kit.column(classes="oxv-fields oxv-section oxv-hidden")
        self._other: Field | None = None
        self._where = kit.html(classes="oxv-where")
        self.widget = kit.column(classes="oxv-inputs")
        self._show_draft()

    # From code

    @property
    def verdict(self) -> Verdict:
        """The request as it stands, and what is wrong with it."""
        return judge(self.draft)

    def load(self, request: VideoRequest) -> None:
        """Fill the form with a request."""
        model = self._session.catalog.get(request.model, Model(request.model, request.model))
        self.draft = Draft.of(request, model)
        self._show_draft()
        self._on_change()

    def clear(self) -> None:
        """Empty the form; the model and the number of videos stay."""
        self.draft = Draft(self.draft.model, count=self.draft.count)
        self._show_draft()
        self._on_change()

    def put(self, slot_name: str, value: Any) -> None:
        """Put a medium into a slot of the present model. Raises InvalidRequest for what is none."""
        slot = next(slot for slot in media_slots(self.draft.model) if slot.name == slot_name)
        assert self.inlet is not None  # noqa: S101 - the model has a slot, so the inlet is there
        self.inlet.put(slot, value)

    # What a person does

    def _pick(self, model: Model) -> None:
        if model.id != self.draft.model.id:
            self.draft.change_model(model)
            self._show_draft()
            self._on_change()

    def _write(self, text: str) -> None:
        self._set("prompt", text.strip() or NOTHING)

    def _set(self, name: str, value: Any) -> None:
        if not self._quiet:
            self.draft.give(name, value)
            self._on_change()

    def _cannot_read(self, name: str, why: str) -> None:
        if not self._quiet:
            self.draft.give(name, NOTHING)
            self.draft.unreadable[name] = why
            self._on_change()

    def _shoot(self, shots: list[dict[str, Any]]) -> None:
        self.draft.shots = shots
        self._on_change()

    def _change_way(self, change: Any) -> None:
        if self._quiet:
            return
        self.draft.in_shots = change["new"] == "shots"
        if self.draft.in_shots and not self.draft.shots:
            self.draft.shots = [{"prompt": self.draft.given.get("prompt", "")}]
        self._show_draft()
        self._on_change()

    def _toggle_more(self) -> None:
        is_open = "oxv-hidden" not in self._more._dom_classes
        show(self._more, when=not is_open)
        mark(self._more_button, "oxv-opened", on=not is_open)
        self._show_more()

    # Showing the draft

    def _show_draft(self) -> None:
        self._quiet = True
        try:
            draft, model = self.draft, self.draft.model
            self.picker.show(model)
            parts = [self.picker.widget, *self._writing(draft, model)]
            if media_slots(model):
                self.inlet = self.inlet or self._make_inlet()
                self.inlet.show(draft)
                parts.append(self.inlet)
            first, rest = fields_of(model)
            self._show_fields(self._common, first)
            parts += [self._common] if first else []
            number = len(rest)
            self._more_button.description = f"More settings ({number})" if number else "Other settings"
            self._show_more()
            if draft.targets:
                where = "/".join(draft.targets.values())
                self._where.value = f"<div class='oxv-faint'>Kept in: {escape(where)}</div>"
                parts.append(self._where)
            self.widget.children = (*parts, self._more_button, self._more)
        finally:
            self._quiet = False

    def _writing(self, draft: Draft, model: Model) -> Iterable[Any]:
        """What the prompt is written in."""
        if takes_shots(model):
            yield self._way(draft)
        if draft.in_shots:
            self._shots = self._shots or ShotList(self._kit, self._shoot)
            self._shots.show(draft.shots, model.parameters.get("multi_prompt", {}))
            yield self._shots.widget
        elif takes_prompt(model):
            text = draft.given.get("prompt", "")
            if text != self._prompt.value.strip():
                self._prompt.value = text
            yield self._prompt

    def _way(self, draft: Draft) -> Any:
        if self._ways is None:
            options = [("One prompt", "prompt"), ("Shots", "shots")]
            self._ways = self._kit.make(
                widgets.ToggleButtons, "oxv-field oxv-toggle oxv-ways", description="Written as", options=options
            )
            self._ways.observe(self._change_way, "value")
        self._ways.value = "shots" if draft.in_shots else "prompt"
        return self._ways

    def _show_fields(self, place: Any, names: Iterable[str]) -> None:
        shown = []
        for name in names:
            field = self._field(name)
            field.show(self.draft.given.get(name, NOTHING))
            shown.append(field.widget)
        if place.children != tuple(shown):
            place.children = tuple(shown)

    def _show_more(self) -> None:
        """The rarer fields, which are made when they are first looked at."""
        if "oxv-hidden" in self._more._dom_classes:
            self._more.children = ()
            return
        if self._other is None:
            spec: Mapping[str, Any] = {"type": "object", "description": "parameters that the schema does not have"}
            self._other = fields.make(self._kit, _OTHER, spec, self._set_others, self._cannot_read, required=False)
        self._other.show(json.loads(json.dumps(self.draft.extra, default=str)) if self.draft.extra else NOTHING)
        self._show_fields(self._more, fields_of(self.draft.model)[1])
        self._more.children = (*self._more.children, self._other.widget)

    def _set_others(self, _: str, value: Any) -> None:
        if self._quiet:
            return
        others = {} if value is NOTHING else dict(value)
        own = next((name for name in others if name in self.draft.model.parameters or name in _FIELDS), None)
        if own is not None:
            self._cannot_read(_OTHER, f"{own} has a field of its own: set it there.")
            return
        self.draft.unreadable.pop(_OTHER, None)
        self.draft.extra = others
        self._on_change()

    def _field(self, name: str) -> Field:
        """The field of a parameter; one with the same schema in two models is one and the same."""
        spec, required = self.draft.model.parameters[name], name in self.draft.model.required
        key = (name, json.dumps([spec, required], sort_keys=True, default=str))
        if key not in self._fields:
            self._fields[key] = fields.make(self._kit, name, spec, self._set, self._cannot_read, required=required)
        return self._fields[key]
