"""The rules of a request: what is refused at once, and what fails a generation when it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oxenvideo.server.models import Model

Parameters = Mapping[str, Any]

_PREFIX = "Getting model response error: 422 - Value error, "
_EXCLUSIVE = {
    "flux-3-video": ("input_images", "input_video"),
    "wan-v2-7-image-to-video": ("input_image", "input_video"),
    "luma-ray-v3-2-video-to-video": ("edit_strength", "auto_controls"),
}
_TYPES = {"array": "list", "object": "dictionary"}  # other types have the name of the schema
_MESSAGES = {
    "minimum": "Input should be greater than or equal to {}",
    "maximum": "Input should be less than or equal to {}",
    "maxLength": "String should have at most {} characters",
    "maxItems": "List should have at most {} items",
    "minItems": "List should have at least {} items",
}


def prompt_problem(model: Model, parameters: Parameters) -> str | None:
    """Return what is wrong with the prompts, in the words of the service, or None.

    Exactly one of `prompt` and `multi_prompt` is required, unless the model's schema requires neither.
    """
    prompt, shots = parameters.get("prompt"), parameters.get("multi_prompt")
    if prompt and shots:
        return f"{_PREFIX}Cannot provide both 'prompt' and 'multi_prompt'."
    schema = model.get("request_schema")
    is_needed = not schema or "multi_prompt" in schema.get("properties", ()) or "prompt" in schema.get("required", ())
    if is_needed and not prompt and not shots:
        return f"{_PREFIX}Either 'prompt' or 'multi_prompt' must be provided."
    return None


def run_problem(model: Model, parameters: Parameters) -> str | None:
    """Return why a generation with these parameters fails when it runs, in the words of the service, or None.

    Parameters that are not in the schema are ignored.
    """
    given = {name: value for name, value in parameters.items() if value is not None}
    return (
        prompt_problem(model, given)
        or _schema_problem(model.get("request_schema") or {}, given)
        or _combination_problem(str(model["id"]), given)
    )


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


def _schema_problem(schema: Mapping[str, Any], given: Parameters) -> str | None:
    import fastjsonschema  # only workers need it

    # prompt_problem reports the choice between prompt and multi_prompt in the documented words.
    checked = {keyword: value for keyword, value in schema.items() if keyword not in ("oneOf", "anyOf")}
    try:
        fastjsonschema.validate(checked, given, use_default=False, use_formats=False)
    except fastjsonschema.JsonSchemaValueException as error:
        return _words(error.path[1:], str(error.rule), error.definition, error.value)
    return None


def _words(path: list[str], rule: str, schema: Mapping[str, Any], value: Any) -> str:
    """Return a violation in the words of the service. ``path`` leads to the value."""
    limit = schema.get(rule)
    if path and path[-1] == "duration" and rule in ("enum", "minimum", "maximum"):
        if "enum" not in schema and (len(path) > 1 or not 1 <= value <= schema.get("maximum", value)):
            return f"Input should be {_choice(range(1, int(schema.get('maximum', 15)) + 1))}"
        return _bad_duration(value, schema.get("default", 5))
    if rule == "required":
        missing = next(name for name in schema["required"] if name not in value)
        return "Field required" if path else f"{missing}: Field required"
    if rule == "type":
        names = [limit] if isinstance(limit, str) else limit or ()
        words = f"Input should be a valid {' or '.join(_TYPES.get(name, name) for name in names)}"
    elif rule == "enum":
        words = f"Input should be {_choice(limit or ())}"
    else:
        words = _MESSAGES.get(rule, "Input should be valid").format(limit)
    # For shots the service does not name the field.
    return words if path[:1] == ["multi_prompt"] else f"{'.'.join(path)}: {words}"


def _bad_duration(value: object, instead: object) -> str:
    return (
        f"duration value '{value}' is invalid. Try using duration='{instead}' instead,"
        " as duration support may vary by model and mode."
    )


def _choice(values: Iterable[object]) -> str:
    *most, last = [f"'{value}'" for value in values]
    return f"{', '.join(most)} or {last}" if most else last
