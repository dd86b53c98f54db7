"""The rules of a request: what is refused at once, and what fails a generation when it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
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
    for pattern, rule in RULES:
        if fnmatchcase(str(model["id"]), pattern) and (problem := rule(model, given)):
            return problem
    return None


def _shots_last(model: Model, given: Parameters) -> str | None:
    """The documented limits of the shots of kling o3: 3 to 15 s in total."""
    shots = given.get("multi_prompt")
    if not shots:
        return None
    total = sum(shot.get("duration", 5) for shot in shots)
    if total > 15:
        return f"Total shot duration ({total}s) exceeds maximum allowed (15s)."
    return _bad_duration(total, 5) if total < 3 else None


def _tail_needs_start(model: Model, given: Parameters) -> str | None:
    if given.get("tail_image_url") and not given.get("start_image_url"):
        return f"{_PREFIX}tail_image_url requires start_image_url."
    return None


def _images_at_most(limit: int) -> Callable[[Model, Parameters], str | None]:
    def rule(model: Model, given: Parameters) -> str | None:
        elements = given.get("elements") or ()
        count = len(given.get("input_image") or ())
        count += sum(1 + len(element.get("reference_image_urls") or ()) for element in elements)
        if count > limit:
            return f"{_PREFIX}At most {limit} images are allowed, those of elements included; got {count}."
        return None

    return rule


def _high_resolution_lasts_8(model: Model, given: Parameters) -> str | None:
    """The documented limit of Veo: 1080p and 4k videos are 8 s long."""
    if given.get("resolution") in ("1080p", "4k") and given.get("duration", 8) != 8:
        return f"{_PREFIX}resolution '{given['resolution']}' requires duration 8."
    return None


def _one_of(first: str, second: str) -> Callable[[Model, Parameters], str | None]:
    def rule(model: Model, given: Parameters) -> str | None:
        if given.get(first) and given.get(second):
            return f"{_PREFIX}Cannot provide both '{first}' and '{second}'."
        return None

    return rule


# Rules that involve several parameters, for the models whose ids match. The first broken rule is reported.
RULES: tuple[tuple[str, Callable[[Model, Parameters], str | None]], ...] = (
    ("kling-video-o3-*", _shots_last),
    ("kling-video-o3-*", _tail_needs_start),
    ("kling-video-o3-pro-reference-to-video", _images_at_most(4)),
    ("google-veo-3-1*", _high_resolution_lasts_8),
    ("flux-3-video", _one_of("input_images", "input_video")),
    ("wan-v2-7-image-to-video", _one_of("input_image", "input_video")),
    ("luma-ray-v3-2-video-to-video", _one_of("edit_strength", "auto_controls")),
)


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
    word = _MESSAGES.get(str(error.validator))
    words = error.message if word is None else word(error)
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


def _limit(error: ValidationError) -> Any:
    """Return the value of the violated keyword of the schema."""
    return error.validator_value


def _required(error: ValidationError) -> str:
    given: Any = error.instance
    missing = next((name for name in _limit(error) if name not in given), "")
    return "Field required" if error.absolute_path else f"{missing}: Field required"


def _type(error: ValidationError) -> str:
    wanted = _limit(error)
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    return f"Input should be a valid {' or '.join(_TYPES.get(name, name) for name in names)}"


_MESSAGES: Mapping[str, Callable[[ValidationError], str]] = {
    "required": _required,
    "type": _type,
    "enum": lambda error: f"Input should be {_choice(_limit(error))}",
    "minimum": lambda error: f"Input should be greater than or equal to {_limit(error)}",
    "maximum": lambda error: f"Input should be less than or equal to {_limit(error)}",
    "maxLength": lambda error: f"String should have at most {_limit(error)} characters",
    "maxItems": lambda error: f"List should have at most {_limit(error)} items",
    "minItems": lambda error: f"List should have at least {_limit(error)} items",
}
