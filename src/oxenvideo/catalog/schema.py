"""A value against a parameter's JSON Schema: a fast answer where it plainly fits, and the fault in words for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oxenvideo.errors import InvalidRequest

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_ANNOTATIONS = {"title", "description", "default", "examples", "format", "x-notes"}
_PLAIN = _ANNOTATIONS | {
    "type",
    "enum",
    "minimum",
    "maximum",
    "maxLength",
    "minLength",
    "maxItems",
    "minItems",
    "items",
    "properties",
    "required",
    "oneOf",
    "additionalProperties",
}
_CLASSES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
_TYPE_WORDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def plainly_valid(schema: Any, value: Any) -> bool:
    """Whether the value surely fits the schema; False means only that the real validator must be asked.

    Importing jsonschema takes up to a second where its optional format checkers are installed, as they are beside
    JupyterLab, and a good request should not wait for it. Only what needs no interpretation is decided here.
    """
    if not isinstance(schema, Mapping) or not _PLAIN.issuperset(schema):
        return False
    if schema.get("additionalProperties", True) is not True or not _plain_type(schema.get("type"), value):
        return False
    if "enum" in schema and not any(type(entry) is type(value) and entry == value for entry in schema["enum"]):
        return False
    if isinstance(value, (int, float)):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if isinstance(value, str):
        return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)))
    if isinstance(value, list):
        fits = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return fits and all(plainly_valid(schema.get("items", {}), item) for item in value)
    return value is None or (isinstance(value, dict) and _plain_object(schema, value))


def _plain_type(names: Any, value: Any) -> bool:
    if names is None:
        return True
    classes = [cls for name in ([names] if isinstance(names, str) else names) for cls in _CLASSES.get(name, ())]
    return type(value) in classes


def _plain_object(schema: Mapping[str, Any], value: dict[str, Any]) -> bool:
    alternatives = schema.get("oneOf")
    if alternatives is not None:
        if not all(isinstance(branch, Mapping) and set(branch) == {"required"} for branch in alternatives):
            return False
        if sum(all(name in value for name in branch["required"]) for branch in alternatives) != 1:
            return False
    properties = schema.get("properties", {})
    return all(name in value for name in schema.get("required", ())) and all(
        plainly_valid(properties[name], item) for name, item in value.items() if name in properties
    )


def allowed(spec: Mapping[str, Any]) -> str:
    """What a parameter takes, in words: "5 or 10", "0 to 10", "at most 20"; empty where its schema sets no limit."""
    if "enum" in spec:
        return either([shown_choice(entry) for entry in spec["enum"]])
    branches = [branch for word in ("anyOf", "oneOf") for branch in spec.get(word, ()) if isinstance(branch, Mapping)]
    if branches:
        return either([words for words in (allowed(branch) or type_words(branch) for branch in branches) if words])
    if "const" in spec:
        return shown_choice(spec["const"])
    low = spec.get("minimum", spec.get("exclusiveMinimum"))
    high = spec.get("maximum", spec.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"at least {low}" if "minimum" in spec else f"more than {low}"
    if high is not None:
        return f"at most {high}" if "maximum" in spec else f"less than {high}"
    return ""


def type_words(spec: Mapping[str, Any]) -> str:
    """The type of a parameter in words, such as "a whole number or a text"; empty where the schema names none."""
    return either([_TYPE_WORDS.get(name, name) for name in types(spec)])


def types(spec: Mapping[str, Any]) -> list[str]:
    """The JSON types that a parameter may have, in the schema's order; those of alternatives included."""
    named = spec.get("type", [])
    found = [named] if isinstance(named, str) else list(named)
    for word in ("anyOf", "oneOf"):
        for branch in spec.get(word, ()):
            found += types(branch) if isinstance(branch, Mapping) else []
    return list(dict.fromkeys(found))


def either(words: Sequence[str]) -> str:
    """A list of choices as a sentence has it: "a, b or c"."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def shown_choice(value: Any) -> str:
    """A permitted value as a person would write it: text without quotes, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def shown(value: Any) -> str:
    """A given value, short enough for one line."""
    if isinstance(value, bool) or value is None or isinstance(value, (dict, list)):
        text = json.dumps(value, default=str, ensure_ascii=False)
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def explain(error: ValidationError, model_id: str) -> str:
    """One line for a fault that jsonschema found: the parameter, the value, and what the model takes."""
    spec = error.schema if isinstance(error.schema, Mapping) else {}
    where = _where(list(error.absolute_path))
    value: Any = error.instance
    limit: Any = error.validator_value
    match error.validator:
        case "required":
            missing = next((name for name in limit if name not in value), "a parameter")
            return f"{where or model_id} needs {'a prompt' if missing == 'prompt' else missing}."
        case "maxLength":
            return f"{where} is {len(value)} characters long; {model_id} takes at most {limit}."
        case "maxItems" | "minItems":
            bound = "at most" if error.validator == "maxItems" else "at least"
            return f"{where} has {len(value)} items; {model_id} takes {bound} {limit}."
        case "type" if "enum" not in spec:
            limits = allowed(spec)
            return f"{where} {shown(value)} is not {type_words(spec)}{f': use {limits}' if limits else ''}."
    choices = allowed(spec)
    if choices and error.validator in {"enum", "type", "const", "minimum", "maximum", "anyOf", "oneOf"} | {
        "exclusiveMinimum",
        "exclusiveMaximum",
    }:
        if str(value) in [str(entry) for entry in spec.get("enum", ())]:  # 5 for "5": say which of the two is meant
            choices = either([repr(entry) for entry in spec["enum"]])
        return f"{where} {shown(value)} is not allowed for {model_id}: use {choices}."
    return f"{where or 'The request'} is not allowed for {model_id}: {error.message}."


def _where(path: Sequence[str | int]) -> str:
    """A place in the parameters as a person would say it."""
    if path[:1] == ["multi_prompt"] and len(path) > 1:
        inner = _where(path[2:])
        return f"Shot {int(path[1]) + 1}{f': {inner}' if inner else ''}"
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{step}"
    return text


def from_text(spec: Mapping[str, Any], name: str, text: str) -> Any:
    """The value that an option's text stands for, by the parameter's schema.

    A JSON string literal (``"4"``, in its quotes) stands for that string; without a schema, text that is JSON stands
    for its value and other text for itself. Raises InvalidRequest where the text is not of the parameter's type.
    """
    literal = _json(text)
    kinds = sorted(types(spec), key=lambda kind: kind == "string")  # any text is a string: ask the others first
    for choice in spec.get("enum", ()):
        if text == shown_choice(choice) or (literal == choice and type(literal) is type(choice)):
            return choice
    folded = [entry for entry in spec.get("enum", ()) if isinstance(entry, str) and entry.lower() == text.lower()]
    if len(folded) == 1:
        return folded[0]  # 1080p for 1080P: models differ in nothing but the case
    if not kinds:
        return text if literal is _NOTHING else literal
    for kind in kinds:
        value = _as(kind, spec, name, text, literal)
        if value is not _NOTHING:
            return value
    limits = allowed(spec)
    raise InvalidRequest(f"{name} {shown(text)} is not {type_words(spec)}{f': use {limits}' if limits else ''}.")


_NOTHING: Any = object()


def _as(kind: str, spec: Mapping[str, Any], name: str, text: str, literal: Any) -> Any:
    """The text as a value of this JSON type, or nothing."""
    if kind == "string":
        return literal if isinstance(literal, str) else text
    if kind == "boolean":
        return _TRUTH.get(text.strip().lower(), _NOTHING)
    if kind == "array":
        if isinstance(literal, list):
            return literal
        items = spec.get("items")
        return [from_text(items if isinstance(items, Mapping) else {}, name, text)]
    fits = type(literal) in _CLASSES.get(kind, ())
    return literal if fits else _NOTHING


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return _NOTHING


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
