"""The rules of a request: what is refused at once, and what fails a generation when it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import ValidationError

Model = Mapping[str, Any]
Parameters = Mapping[str, Any]

_PREFIX = "Getting model response error: 422 - Value error, "
_TYPES = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "list",
    "object": "dictionary",
}


def prompt_problem(model: Model, parameters: Parameters) -> str | None:
    """Return what is wrong with the prompts, in the words of the service, or None.

    Exactly one of `prompt` and `multi_prompt` is required, unless the model's schema requires neither.
    """
    prompt, shots = parameters.get("prompt"), parameters.get("multi_prompt")
    if prompt and shots:
        return f"{_PREFIX}Cannot provide both 'prompt' and 'multi_prompt'."
    if not prompt and not shots and _needs_prompt(model):
        return f"{_PREFIX}Either 'prompt' or 'multi_prompt' must be provided."
    return None


def load() -> None:
    """Import the library that `run_problem` needs."""
    # jsonschema imports these for formats that are not checked here. They take longer than all the rest of it.
    absent = {"rfc3987_syntax", "isoduration"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    importlib.import_module("jsonschema")
    for name in absent:
        del sys.modules[name]


def run_problem(model: Model, parameters: Parameters) -> str | None:
    """Return why a generation with these parameters fails when it runs, in the words of the service, or None.

    Parameters that are not in the schema are ignored.
    """
    given = {name: value for name, value in parameters.items() if value is not None}
    if problem := prompt_problem(model, given):
        return problem
    if problem := _schema_problem(model.get("request_schema") or {}, given):
        return problem
    return _combination_problem(str(model["id"]), given)


def _combination_problem(model: str, given: Parameters) -> str | None:
    """Check the documented rules that involve several parameters. The first broken rule is reported."""
    if model.startswith("kling-video-o3-"):
        total = sum(shot.get("duration", 5) for shot in given.get("multi_prompt") or ())
        if total > 15:
            return f"Total shot duration ({total}s) exceeds maximum allowed (15s)."
        if given.get("multi_prompt") and total < 3:
            return _bad_duration(total, 5)
        if given.get("tail_image_url") and not given.get("start_image_url"):
            return f"{_PREFIX}tail_image_url requires start_image_url."
    if model == "kling-video-o3-pro-reference-to-video":
        in_elements = [1 + len(element.get("reference_image_urls") or ()) for element in given.get("elements") or ()]
        count = len(given.get("input_image") or ()) + sum(in_elements)
        if count > 4:
            return f"{_PREFIX}At most 4 images are allowed, those of elements included; got {count}."
    needs_8 = model.startswith("google-veo-3-1") and given.get("resolution") in ("1080p", "4k")
    if needs_8 and given.get("duration", 8) != 8:
        return f"{_PREFIX}resolution '{given['resolution']}' requires duration 8."
    exclusive = _EXCLUSIVE.get(model, ())
    if exclusive and all(given.get(name) for name in exclusive):
        return f"{_PREFIX}Cannot provide both '{exclusive[0]}' and '{exclusive[1]}'."
    return None


_EXCLUSIVE = {
    "flux-3-video": ("input_images", "input_video"),
    "wan-v2-7-image-to-video": ("input_image", "input_video"),
    "luma-ray-v3-2-video-to-video": ("edit_strength", "auto_controls"),
}


def _needs_prompt(model: Model) -> bool:
    schema = model.get("request_schema")
    if not schema:
        return True
    properties = schema.get("properties") or {}
    return "multi_prompt" in properties or "prompt" in (schema.get("required") or ())


def _schema_problem(schema: Mapping[str, Any], given: Parameters) -> str | None:
    from jsonschema import Draft202012Validator  # slow to import, and only workers need it

    errors: Iterable[ValidationError] = Draft202012Validator(schema).iter_errors(given)
    # prompt_problem reports the choice between prompt and multi_prompt in the documented words.
    reported = [error for error in errors if not (error.validator in ("oneOf", "anyOf") and not error.path)]
    if not reported:
        return None
    return _words(min(reported, key=lambda error: (error.validator != "required", list(map(str, error.absolute_path)))))


def _words(error: ValidationError) -> str:
    path = list(error.absolute_path)
    if path and path[-1] == "duration" and error.validator in ("enum", "minimum", "maximum"):
        return _duration_words(error, in_shot=len(path) > 1)
    limit: Any = error.validator_value  # the value of the violated keyword of the schema
    if error.validator == "required":
        given: Any = error.instance
        missing = next((name for name in limit if name not in given), "")
        return "Field required" if path else f"{missing}: Field required"
    if error.validator == "type":
        names = [limit] if isinstance(limit, str) else limit
        words = f"Input should be a valid {' or '.join(_TYPES.get(name, name) for name in names)}"
    elif error.validator == "enum":
        words = f"Input should be {_choice(limit)}"
    else:
        words = _MESSAGES[str(error.validator)].format(limit) if error.validator in _MESSAGES else error.message
    where = ".".join(str(part) for part in path)
    # For shots the service does not name the field.
    return f"{where}: {words}" if where and path[0] != "multi_prompt" else words


def _duration_words(error: ValidationError, *, in_shot: bool) -> str:
    schema: Any = error.schema
    value: Any = error.instance
    if "enum" not in schema and (in_shot or not 1 <= value <= schema.get("maximum", value)):
        return f"Input should be {_choice(range(1, int(schema.get('maximum', 15)) + 1))}"
    return _bad_duration(value, schema.get("default", 5))


def _bad_duration(value: object, instead: object) -> str:
    return (
        f"duration value '{value}' is invalid. Try using duration='{instead}' instead,"
        " as duration support may vary by model and mode."
    )


def _choice(values: Iterable[object]) -> str:
    *most, last = [f"'{value}'" for value in values]
    return f"{', '.join(most)} or {last}" if most else last


_MESSAGES = {
    "minimum": "Input should be greater than or equal to {}",
    "maximum": "Input should be less than or equal to {}",
    "maxLength": "String should have at most {} characters",
    "maxItems": "List should have at most {} items",
    "minItems": "List should have at least {} items",
}
