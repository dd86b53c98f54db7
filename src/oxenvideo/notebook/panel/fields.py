"""The field of one parameter: its kind of control by the parameter's schema, and values from and to what it shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from oxenvideo.catalog import schema
from oxenvideo.notebook.panel.form_state import NOTHING
from oxenvideo.notebook.panel.labels import LENGTHS, choice_words, hint_of, label_of

Control = Literal["radio", "select", "checkbox", "slider", "text", "area"]

_RADIO_CHARACTERS = 26  # that fit into one row of a narrow form
_RADIO_CHOICES = 5
_SLIDER_STEPS = 4096  # with more steps than this, a slider is no help


class Field:
    """One parameter's field. What the browser shows is ``raw``: an option's index, a truth value, a number or a text."""

    def __init__(self, name: str, spec: Mapping[str, Any], *, required: bool = False, more: bool = False) -> None:
        self.name = name
        self._required = required
        self._more = more
        try:
            self._read_schema(spec)
        except (TypeError, ValueError, KeyError, ZeroDivisionError):  # a schema that makes no sense: enter JSON
            self._read_schema({"type": "object"})

    def _read_schema(self, spec: Mapping[str, Any]) -> None:
        self._spec = spec
        self._is_integer = schema.types(spec) == ["integer"]
        self._choices = list(spec.get("enum", ()))
        if self._choices and "default" not in spec and not self._required:
            self._choices.insert(0, NOTHING)
        self.control = self._control()
        texts = ["Default" if choice is NOTHING else choice_words(self.name, choice) for choice in self._choices]
        unit = " (s)" if self.name in LENGTHS and not self._choices else ""
        default = "" if self.control in ("text", "area") else self.raw(spec.get("default", NOTHING))
        self.described: dict[str, Any] = {
            "name": self.name,
            "control": self.control,
            "label": label_of(self.name) + unit,
            "hint": hint_of(self.name, spec),
            "more": self._more,
            "default": default,
        }
        if self._choices:
            self.described["options"] = texts
        elif self.control == "slider":
            self.described |= {"min": spec["minimum"], "max": spec["maximum"], "step": _step(spec)}
            if not spec["minimum"] <= default <= spec["maximum"] or (self._is_integer and default % 1):
                raise ValueError("The default is not a value of the slider.")
        else:
            self.described["placeholder"] = _placeholder(spec)

    def _control(self) -> Control:
        spec = self._spec
        if self._choices:
            texts = [choice_words(self.name, choice) for choice in spec["enum"]]
            short = len(texts) <= _RADIO_CHOICES and sum(map(len, texts)) <= _RADIO_CHARACTERS
            return "radio" if short and (self._required or "default" in spec) else "select"
        kinds = schema.types(spec)
        if kinds == ["boolean"]:
            return "checkbox"
        is_range = kinds in (["integer"], ["number"]) and {"minimum", "maximum", "default"} <= set(spec)
        if is_range and 0 < (spec["maximum"] - spec["minimum"]) / _step(spec) <= _SLIDER_STEPS:
            return "slider"
        return "area" if kinds == ["string"] and "prompt" in self.name.split("_") else "text"

    def value(self, raw: Any) -> Any:
        """The parameter's value, NOTHING for an empty field. Raises InvalidRequest for a text that is not a value."""
        match self.control:
            case "radio" | "select":
                return self._choices[int(raw)]
            case "checkbox":
                return bool(raw)
            case "slider":
                return int(raw) if self._is_integer else float(raw)
        text = str(raw).strip()
        if not text:
            return NOTHING
        return text if schema.types(self._spec) == ["string"] else schema.from_text(self._spec, self.name, text)

    def raw(self, value: Any) -> Any:
        """What the field shows for a value; None for its default, also for a value that the control cannot show."""
        match self.control:
            case "radio" | "select":
                same = (i for i, c in enumerate(self._choices) if c is value or (c == value and type(c) is type(value)))
                return next(same, None)
            case "checkbox":
                return value if isinstance(value, bool) else None
            case "slider":
                return value if isinstance(value, int | float) and not isinstance(value, bool) else None
        if value is NOTHING:
            return None
        return value if isinstance(value, str) else json.dumps(value, default=str)


def _step(spec: Mapping[str, Any]) -> float:
    if schema.types(spec) == ["integer"]:
        return 1
    span = spec["maximum"] - spec["minimum"]
    return 0.01 if span <= 2 else 0.05 if span <= 10 else 0.5


def _placeholder(spec: Mapping[str, Any]) -> str:
    limits = schema.allowed(spec)
    default = spec.get("default")
    if default not in (None, ""):
        return f"{schema.shown_choice(default)}{f' ({limits})' if limits else ''}"
    kinds = schema.types(spec)
    if kinds in (["array"], ["object"]):
        return "JSON"
    return limits if limits and len(limits) < 24 else "optional"
