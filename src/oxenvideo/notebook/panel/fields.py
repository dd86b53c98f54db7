"""One field for a parameter: its kind of control by the parameter's schema, and values there and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import ipywidgets as widgets
from traitlets import TraitError

from oxenvideo.catalog import schema
from oxenvideo.errors import InvalidRequest
from oxenvideo.notebook.panel.form_state import NOTHING
from oxenvideo.notebook.panel.labels import LENGTHS, choice_words, class_of, hint_of, label_of
from oxenvideo.notebook.panel.widgets import Kit

Control = Literal["toggle", "dropdown", "checkbox", "slider", "text", "area"]

_TOGGLE_CHARACTERS = 26  # that fit into one row of a narrow form
_TOGGLE_CHOICES = 5
_SLIDER_STEPS = 4096  # above which a slider is no help to find a value
OnChange = Callable[[str, Any], object]
OnUnreadable = Callable[[str, str], object]


def control_of(name: str, spec: Mapping[str, Any], *, required: bool = False) -> Control:
    """The control that suits a parameter."""
    if choices := spec.get("enum"):
        texts = [choice_words(name, choice) for choice in choices]
        short = len(texts) <= _TOGGLE_CHOICES and sum(map(len, texts)) <= _TOGGLE_CHARACTERS
        return "toggle" if short and (required or "default" in spec) else "dropdown"
    kinds = schema.types(spec)
    if kinds == ["boolean"]:
        return "checkbox"
    if kinds in (["integer"], ["number"]) and {"minimum", "maximum", "default"} <= set(spec):
        step = _step(spec)
        if 0 < (spec["maximum"] - spec["minimum"]) / step <= _SLIDER_STEPS:
            return "slider"
    return "area" if kinds == ["string"] and "prompt" in name.split("_") else "text"


def _step(spec: Mapping[str, Any]) -> float:
    if schema.types(spec) == ["integer"]:
        return 1
    span = spec["maximum"] - spec["minimum"]
    return 0.01 if span <= 2 else 0.05 if span <= 10 else 0.5


@dataclass(frozen=True)
class Field:
    """A parameter's widget. ``show`` puts a value in, or the default for NOTHING, and tells nobody."""

    name: str
    widget: Any
    show: Callable[[Any], None]


def make(
    kit: Kit, name: str, spec: Mapping[str, Any], on_change: OnChange, on_unreadable: OnUnreadable, *, required: bool
) -> Field:
    """The field of a parameter. What a person sets goes to ``on_change(name, value)``, NOTHING where it was emptied;
    text that is no value of the parameter's type to ``on_unreadable(name, why)``.
    """
    try:
        return _made(kit, name, spec, on_change, on_unreadable, required=required)
    except (TypeError, ValueError, TraitError):  # a schema that no control can follow: JSON will do
        return _made(kit, name, {"type": "object"}, on_change, on_unreadable, required=required)


def _made(
    kit: Kit, name: str, spec: Mapping[str, Any], on_change: OnChange, on_unreadable: OnUnreadable, *, required: bool
) -> Field:
    control = control_of(name, spec, required=required)
    unit = " (s)" if name in LENGTHS and control not in ("toggle", "dropdown") else ""
    common = {"description": label_of(name) + unit, "tooltip": hint_of(name, spec)}
    classes = f"oxv-field oxv-{control} {class_of(name)}"
    widget: Any
    match control:
        case "toggle" | "dropdown":
            widget = _choice(kit, control, name, spec, classes, common, required=required)
        case "checkbox":
            widget = kit.make(widgets.Checkbox, classes, indent=False, value=spec.get("default") is True, **common)
        case "slider":
            widget = _slider(kit, spec, classes, common)
        case "text" | "area":
            return _written(kit, name, spec, classes, common, on_change, on_unreadable, large=control == "area")
    return _simple(name, widget, spec.get("default", _unset(control)), on_change)


def _unset(control: Control) -> Any:
    return {"checkbox": False}.get(control)


def _choice(
    kit: Kit,
    control: Control,
    name: str,
    spec: Mapping[str, Any],
    classes: str,
    common: dict[str, Any],
    *,
    required: bool,
) -> Any:
    options = [(choice_words(name, choice), choice) for choice in spec["enum"]]
    if "default" not in spec and not required:
        options.insert(0, ("The model's choice", None))
    default = spec.get("default")
    value = default if any(default == choice for _, choice in options) else None
    if control == "dropdown":
        return kit.make(widgets.Dropdown, classes, options=options, value=value, **common)
    return kit.make(widgets.ToggleButtons, classes, options=options, value=value, **common)


def _slider(kit: Kit, spec: Mapping[str, Any], classes: str, common: dict[str, Any]) -> Any:
    whole = schema.types(spec) == ["integer"]
    kind = widgets.IntSlider if whole else widgets.FloatSlider
    bounds = {"min": spec["minimum"], "max": spec["maximum"], "step": _step(spec), "value": spec["default"]}
    return kit.make(kind, classes, readout_format="d" if whole else ".2f", **bounds, **common)


def _simple(name: str, widget: Any, default: Any, on_change: OnChange) -> Field:
    """A widget whose value is the parameter's."""
    quiet = False

    def changed(change: Any) -> None:
        if not quiet:
            on_change(name, NOTHING if change["new"] is None else change["new"])

    def show(value: Any) -> None:
        nonlocal quiet
        quiet = True
        try:
            widget.value = default if value is NOTHING else value
        except Exception:  # a loaded value that the control cannot show; the check says what is wrong with it
            widget.value = default
        finally:
            quiet = False

    widget.observe(changed, "value")
    return Field(name, widget, show)


def _written(
    kit: Kit,
    name: str,
    spec: Mapping[str, Any],
    classes: str,
    common: dict[str, Any],
    on_change: OnChange,
    on_unreadable: OnUnreadable,
    *,
    large: bool,
) -> Field:
    """A text that stands for the value; an empty one for none."""
    placeholder = _placeholder(spec)
    kind, rows = (widgets.Textarea, {"rows": 2}) if large else (widgets.Text, {})
    widget = kit.make(kind, classes, placeholder=placeholder, **rows, **common)
    quiet = False

    def changed(change: Any) -> None:
        text = change["new"].strip()
        if quiet:
            return
        if not text:
            on_change(name, NOTHING)
            return
        try:
            value = text if schema.types(spec) == ["string"] else schema.from_text(spec, name, text)
        except InvalidRequest as error:
            on_unreadable(name, str(error))
        else:
            on_change(name, value)

    def show(value: Any) -> None:
        nonlocal quiet
        quiet = True
        widget.value = "" if value is NOTHING else value if isinstance(value, str) else json.dumps(value, default=str)
        quiet = False

    widget.observe(changed, "value")
    return Field(name, widget, show)


def _placeholder(spec: Mapping[str, Any]) -> str:
    limits = schema.allowed(spec)
    default = spec.get("default")
    if default not in (None, ""):
        return f"{schema.shown_choice(default)}{f' ({limits})' if limits else ''}"
    kinds = schema.types(spec)
    if kinds in (["array"], ["object"]):
        return "as JSON"
    if limits and len(limits) < 24:
        return limits
    return "optional" if kinds == ["string"] else "the model's choice"
