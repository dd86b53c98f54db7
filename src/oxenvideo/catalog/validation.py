"""A request's parameters against the model's schema and the documented rules, before anything is paid for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from oxenvideo.catalog import media_parameters, rules, schema
from oxenvideo.catalog.catalog import Model
from oxenvideo.errors import InvalidRequest
from oxenvideo.media.media import Kind, Media, is_url, replace

_MENTION = re.compile(r"(?<![\w@])@(Image|Video|Audio|Element)(\d+)\b")
_KINDS: dict[str, Kind] = {"Image": "image", "Video": "video", "Audio": "audio"}
_PLACEHOLDER = "https://media.invalid/file"
"""Stands for a medium while the schema is checked: it will be a URL when it is sent."""


def check(model: Model, parameters: Mapping[str, Any], count: int = 1) -> list[str]:
    """Warnings about a request; what is certainly wrong raises InvalidRequest with one line.

    A parameter that the schema does not know is only a warning, as schemas lag behind the service.
    """
    check_count(count)
    _check_prompt(model, parameters)
    warnings = list(_unknown(model, parameters))
    _check_schema(model, parameters)
    _check_addresses(model, parameters)
    warnings += rules.apply(model, parameters)
    _check_mentions(model, parameters)
    return warnings


def check_count(count: Any) -> None:
    """Refuse a number of videos that is no whole number from 1."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidRequest(f"count {schema.shown(count)} is not allowed: use a whole number from 1.")


def _check_prompt(model: Model, parameters: Mapping[str, Any]) -> None:
    """The API's rule: a prompt or shots, exactly one; only models that take neither, such as upscalers, go without."""
    prompt, listed = parameters.get("prompt"), parameters.get("multi_prompt")
    known = model.parameters if model.schema is not None else {"prompt": {}, "multi_prompt": {}}
    if prompt is not None and listed is not None:
        raise InvalidRequest("The request has both a prompt and shots (multi_prompt): give one of them.")
    if isinstance(prompt, str) and not prompt.strip() and "prompt" in known and not _optional_prompt(model):
        raise InvalidRequest(f"The prompt is empty: {model.id} needs one.")
    if listed is not None and "multi_prompt" not in known and "prompt" in known:
        raise InvalidRequest(f"{model.id} takes one prompt, not shots (multi_prompt).")
    if listed is not None and isinstance(listed, list) and not listed:
        raise InvalidRequest("The list of shots (multi_prompt) is empty.")
    if prompt is None and listed is None and "multi_prompt" in known and not _takes_video_alone(model, parameters):
        raise InvalidRequest(f"{model.id} needs a prompt or shots (multi_prompt).")


def _optional_prompt(model: Model) -> bool:
    return model.schema is not None and "prompt" not in model.required and "multi_prompt" not in model.parameters


def _takes_video_alone(model: Model, parameters: Mapping[str, Any]) -> bool:
    """An unknown model given a video may be an upscaler, which takes no prompt."""
    return model.schema is None and media_parameters.given(model, parameters, "video", ("main", "reference")) > 0


def _unknown(model: Model, parameters: Mapping[str, Any]) -> Iterator[str]:
    if model.schema is None:
        return
    for name in parameters:
        if name not in model.parameters:
            nearest = difflib.get_close_matches(name, model.parameters, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            yield f"{model.id} has no parameter {name!r} that is known here; it is sent as it is.{hint}"


def _check_schema(model: Model, parameters: Mapping[str, Any]) -> None:
    if model.schema is None:
        return
    instance = replace(parameters, lambda medium: _PLACEHOLDER)
    if schema.plainly_valid(model.schema, instance):
        return
    faults = [fault for fault in model.validator.iter_errors(instance) if fault.validator != "additionalProperties"]
    if faults:
        # What is missing first, then in the order in which the parameters were given.
        names = list(parameters)
        faults.sort(key=lambda fault: names.index(str(fault.absolute_path[0])) if fault.absolute_path else -1)
        raise InvalidRequest(schema.explain(faults[0], model.id))


def _check_addresses(model: Model, parameters: Mapping[str, Any]) -> None:
    """A text in a medium's place that is no URL: most often a path without a file."""
    for slot, value in media_parameters.addresses(model, parameters):
        if isinstance(value, str) and not is_url(value):
            raise InvalidRequest(f"{slot.name} {schema.shown(value)} is neither a URL nor the path of a file here.")
        if isinstance(value, Media) and value.kind != slot.kind and slot.role != "elements":
            raise InvalidRequest(f"{slot.name} of {model.id} takes {slot.kind} media, not {value.kind}: {value.label}.")


def _check_mentions(model: Model, parameters: Mapping[str, Any]) -> None:
    """Numbered mentions such as ``@Image2`` must have something behind them."""
    text = "\n".join(_texts(parameters))
    for word, digits in _MENTION.findall(text) if "@" in text else ():
        if word == "Element":
            elements = parameters.get("elements")
            count, what = len(elements) if isinstance(elements, list) else 0, "element"
        else:
            count = media_parameters.given(
                model, parameters, _KINDS[word], ("main", "reference", "keyframes", "special")
            )
            what = {"Image": "image", "Video": "video", "Audio": "sound"}[word]
        if not 1 <= int(digits) <= count:
            have = f"{count or 'no'} {what}{'' if count == 1 else 's'} {'is' if count == 1 else 'are'} given"
            raise InvalidRequest(f"The prompt mentions @{word}{digits}, but {have}.")


def _texts(parameters: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(parameters.get("prompt"), str):
        yield parameters["prompt"]
    listed = parameters.get("multi_prompt")
    for shot in listed if isinstance(listed, list) else ():
        if isinstance(shot, Mapping) and isinstance(shot.get("prompt"), str):
            yield shot["prompt"]
