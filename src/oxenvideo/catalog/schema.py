"""JSON Schemas of models: check a value, describe what is allowed, and read a value from text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from oxenvideo.errors import InvalidRequest

if TYPE_CHECKING:
    from fastjsonschema import JsonSchemaValueException

# Fields of a schema that are not checked.
_UNCHECKED = {"additionalProperties", "default", "description", "examples", "format", "title", "$id", "id", "$schema"}
_NAMED_SCHEMAS = {"properties", "patternProperties", "$defs", "definitions"}
_CLASSES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "null": (type(None),),
}
_TYPE_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def compiled(schema: Mapping[str, Any]) -> Callable[[Any], Any]:
    """A function that raises JsonSchemaValueException for a value that breaks the schema.

    It accepts additional properties and any format. A schema that is broken itself accepts everything, because only the
    service knows what was meant.
    """
    import fastjsonschema  # 12 ms that %load_ext does not spend

    try:
        validate: Callable[[Any], Any] = fastjsonschema.compile(_checked(schema))
    except Exception:  # it is compiled from an answer of the service, and anything may be in there
        return lambda value: value
    return validate


def _checked(schema: Any, *, names: bool = False) -> Any:
    """The parts of a schema that are checked; with ``names``, of a mapping from names to schemas."""
    if isinstance(schema, list):
        return [_checked(branch) for branch in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {}
    for word, value in schema.items():
        remote = word == "$ref" and not str(value).startswith("#")  # would be fetched, from anywhere
        if names or not (remote or word in _UNCHECKED):
            whole = not names and word in {"enum", "const", "required"}
            kept[word] = value if whole else _checked(value, names=not names and word in _NAMED_SCHEMAS)
    return kept


@lru_cache(maxsize=512)
def _compiled_text(schema: str) -> Callable[[Any], Any]:
    return compiled(json.loads(schema))


def accepts(spec: Mapping[str, Any], value: Any) -> bool:
    """Whether a parameter with this schema may have this value."""
    from fastjsonschema import JsonSchemaValueException

    try:
        _compiled_text(json.dumps(spec))(value)
        return True
    except JsonSchemaValueException:
        return False


def allowed(spec: Mapping[str, Any]) -> str:
    """What a parameter accepts, in words: "5 or 10", "0 to 10", "at most 20"; empty if its schema sets no limit."""
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
    return "" if high is None else f"at most {high}" if "maximum" in spec else f"less than {high}"


def type_words(spec: Mapping[str, Any]) -> str:
    """The type of a parameter in words, such as "a whole number or text"; empty if the schema names none."""
    return either([_TYPE_WORDS.get(name, name) for name in types(spec)])


def types(spec: Mapping[str, Any]) -> list[str]:
    """The JSON types that a parameter may have, also in alternatives, in the schema's order."""
    named = spec.get("type", [])
    found = [named] if isinstance(named, str) else list(named)
    for word in ("anyOf", "oneOf"):
        for branch in spec.get(word, ()):
            found += types(branch) if isinstance(branch, Mapping) else []
    return list(dict.fromkeys(found))


def either(words: Sequence[str]) -> str:
    """Choices in a sentence: "a, b or c"."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def shown_choice(value: Any) -> str:
    """A permitted value for display: text without quotes, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def shown(value: Any) -> str:
    """A given value, short enough for one line."""
    if isinstance(value, bool) or value is None or isinstance(value, (dict, list)):
        text = json.dumps(value, default=str, ensure_ascii=False)
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def explain(error: JsonSchemaValueException, model_id: str) -> str:
    """One line for a value that breaks the schema: the parameter, the value, and what the model takes."""
    spec: Mapping[str, Any] = error.definition
    where = _where(error.path[1:])
    value: Any = error.value
    limit: Any = error.rule_definition
    match error.rule:
        case "required":
            missing = next((name for name in limit if name not in value), "a parameter")
            return f"{where or model_id} needs {'a prompt' if missing == 'prompt' else missing}."
        case "maxLength":
            return f"{where} is {len(value)} characters long; {model_id} takes at most {limit}."
        case "maxItems" | "minItems":
            bound = "at most" if error.rule == "maxItems" else "at least"
            return f"{where} has {len(value)} items; {model_id} takes {bound} {limit}."
        case "type" if "enum" not in spec:
            limits = allowed(spec)
            return f"{where} {shown(value)} is not {type_words(spec)}{f': use {limits}' if limits else ''}."
    choices = allowed(spec)
    if where and choices and error.rule != "pattern":
        if str(value) in [str(entry) for entry in spec.get("enum", ())]:  # 5 for "5": show which of the two is meant
            choices = either([repr(entry) for entry in spec["enum"]])
        return f"{where} {shown(value)} is not allowed for {model_id}: use {choices}."
    what = f"{where} {shown(value)}" if where else "The request"
    return f"{what} is not allowed for {model_id}: it {error.message.removeprefix(error.name or '').strip()}."


def _where(path: Sequence[str]) -> str:
    """A place in the parameters in words; steps that are digits are positions in a list."""
    if path[:1] == ["multi_prompt"] and len(path) > 1:
        inner = _where(path[2:])
        return f"Shot {int(path[1]) + 1}{f': {inner}' if inner else ''}"
    return "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in path).removeprefix(".")


def from_text(spec: Mapping[str, Any], name: str, text: str) -> Any:
    """The value of an option's text, by the parameter's schema.

    A JSON string literal (``"4"``, with its quotes) is that string. Without a schema, text that is JSON is its value and
    other text is itself. Raises InvalidRequest if the text is not of the parameter's type.
    """
    literal = _json(text)
    kinds = sorted(types(spec), key=lambda kind: kind == "string")  # any text is a string, so other types come first
    for choice in spec.get("enum", ()):
        if text == shown_choice(choice) or (literal == choice and type(literal) is type(choice)):
            return choice
    folded = [entry for entry in spec.get("enum", ()) if isinstance(entry, str) and entry.lower() == text.lower()]
    if len(folded) == 1:
        return folded[0]  # 1080p for 1080P: some models differ only in the case
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
    """The text as a value of this JSON type, or _NOTHING."""
    if kind == "string":
        return literal if isinstance(literal, str) else text
    if kind == "boolean":
        return _TRUTH.get(text.strip().lower(), _NOTHING)
    if kind == "array":
        if isinstance(literal, list):
            return literal
        items = spec.get("items")
        return [from_text(items if isinstance(items, Mapping) else {}, name, text)]
    return literal if type(literal) in _CLASSES.get(kind, ()) else _NOTHING


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return _NOTHING


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
