"""Check a request against the model's schema and its documented rules, before anything is paid for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from oxenvideo.catalog import media_parameters, schema
from oxenvideo.catalog.catalog import Model
from oxenvideo.catalog.media_parameters import NOUNS, MediaParameter
from oxenvideo.catalog.pricing import shots_seconds
from oxenvideo.errors import InvalidRequest
from oxenvideo.media.media import Kind, Media, is_url, replace

_MENTION = re.compile(r"(?<![\w@])@(Image|Video|Audio|Element)(\d+)\b")
_KINDS: dict[str, Kind] = {"Image": "image", "Video": "video", "Audio": "audio"}
_FRAMES_AND_ELEMENTS = {"start", "end", "elements"}  # roles of images that a mention does not count
_PLACEHOLDER = "https://media.invalid/file"
"""Replaces each Media while the schema is checked, because a URL is sent in its place."""


def check(model: Model, parameters: Mapping[str, Any], count: int = 1) -> list[str]:
    """Warnings about a request; InvalidRequest, with one line, for what is certainly wrong.

    A parameter that the schema does not know is only a warning, because schemas lag behind the service.
    """
    check_count(count)
    _check_prompt(model, parameters)
    warnings = []
    if model.schema is not None:
        for name in [name for name in parameters if name not in model.parameters]:
            nearest = difflib.get_close_matches(name, model.parameters, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            warnings.append(f"{model.id} has no known parameter {name!r}; it is sent as it is.{hint}")
        _check_schema(model, parameters)
    media = list(media_parameters.values(model, parameters))
    _check_media(model, media)
    given = Given(model, parameters)
    refusing, warning = _rules_for(model.id)
    if problem := next(filter(None, (rule(given) for rule in refusing)), None):
        raise InvalidRequest(problem)
    _check_mentions(parameters, media)
    return [*warnings, *filter(None, (rule(given) for rule in warning))]


def check_count(count: Any) -> None:
    """InvalidRequest unless the number of videos is a whole number from 1."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidRequest(f"count {schema.shown(count)} is not allowed: use a whole number from 1.")


def _check_prompt(model: Model, parameters: Mapping[str, Any]) -> None:
    """The API takes a prompt or shots, exactly one; only models that know neither, such as upscalers, need none."""
    prompt, shots = parameters.get("prompt"), parameters.get("multi_prompt")
    known = model.parameters if model.schema is not None else {"prompt": {}, "multi_prompt": {}}
    optional = model.schema is not None and "prompt" not in model.required and "multi_prompt" not in known
    if prompt is not None and shots is not None:
        raise InvalidRequest("The request has both a prompt and shots (multi_prompt): give one of them.")
    if isinstance(prompt, str) and not prompt.strip() and "prompt" in known and not optional:
        raise InvalidRequest(f"The prompt is empty: {model.id} needs one.")
    if shots is not None and "multi_prompt" not in known and "prompt" in known:
        raise InvalidRequest(f"{model.id} takes one prompt, not shots (multi_prompt).")
    if isinstance(shots, list) and not shots:
        raise InvalidRequest("The list of shots (multi_prompt) is empty.")
    if prompt is None and shots is None and "multi_prompt" in known:
        # A model without a schema may be an upscaler, which takes a video and no prompt.
        media = media_parameters.values(model, parameters) if model.schema is None else ()
        if not any(found.kind == "video" and found.role in ("main", "reference") for found, _ in media):
            raise InvalidRequest(f"{model.id} needs a prompt or shots (multi_prompt).")


def _check_schema(model: Model, parameters: Mapping[str, Any]) -> None:
    from fastjsonschema import JsonSchemaValueException

    try:
        try:
            model.validate(dict(parameters))
        except JsonSchemaValueException:
            model.validate(replace(parameters, lambda medium: _PLACEHOLDER))
    except JsonSchemaValueException as error:
        raise InvalidRequest(schema.explain(error, model.id)) from None


def _check_media(model: Model, media: Sequence[tuple[MediaParameter, Any]]) -> None:
    """Refuse media of another kind, and text that is not a URL, most often a path without a file."""
    for parameter, value in media:
        name, kind = parameter.name, parameter.kind
        if isinstance(value, str) and not is_url(value):
            raise InvalidRequest(f"{name} {schema.shown(value)} is neither a URL nor the path of a file here.")
        if isinstance(value, Media) and value.kind != kind and parameter.role != "elements":
            raise InvalidRequest(f"{name} of {model.id} takes {kind} media, not {value.kind}: {value.label}.")


def _check_mentions(parameters: Mapping[str, Any], media: Sequence[tuple[MediaParameter, Any]]) -> None:
    """Refuse numbered mentions such as ``@Image2`` without that many inputs."""
    shots = parameters.get("multi_prompt")
    prompts = [shot.get("prompt") for shot in shots if isinstance(shot, Mapping)] if isinstance(shots, list) else []
    for text in [parameters.get("prompt"), *prompts]:
        for word, digits in _MENTION.findall(text) if isinstance(text, str) and "@" in text else ():
            if word == "Element":
                elements = parameters.get("elements")
                count, what = len(elements) if isinstance(elements, list) else 0, "element"
            else:
                kind = _KINDS[word]
                counted = [found for found, _ in media if found.kind == kind and found.role not in _FRAMES_AND_ELEMENTS]
                count, what = len(counted), NOUNS[kind]
            if not 1 <= int(digits) <= count:
                have = f"{count or 'no'} {what}{'' if count == 1 else 's'} {'is' if count == 1 else 'are'} given"
                raise InvalidRequest(f"The prompt mentions @{word}{digits}, but {have}.")


# Documented rules across parameters, which no schema states


@dataclass(frozen=True)
class Given:
    """The parameters of one request and the model they are for."""

    model: Model
    parameters: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """Whether the parameter was given and is not false, empty or null; 0 counts as given."""
        value = self.parameters.get(name)
        return bool(value) or (value == 0 and value is not False)

    def effective(self, name: str) -> Any:
        """The value that will be used: the given one, or the schema's default."""
        return self.parameters.get(name, self.model.default(name))

    def count(self, *names: str) -> int:
        """How many values the named parameters hold together."""
        values = [self.parameters.get(name) for name in names]
        return sum(len(value) if isinstance(value, (list, tuple)) else value is not None for value in values)


Rule = Callable[[Given], str | None]
"""A rule returns what is wrong, in one line, or None."""


def _matches(model_id: str, pattern: str) -> bool:
    # Most patterns differ in their first letters, and fnmatch compiles each that it sees.
    return model_id.startswith(pattern.partition("*")[0]) and fnmatchcase(model_id, pattern)


@lru_cache(maxsize=512)
def _rules_for(model_id: str) -> tuple[list[Rule], list[Rule]]:
    """The rules that refuse a request for this model, and those that warn."""
    refusing, warning = (
        [rule for pattern, rules in table.items() if _matches(model_id, pattern) for rule in rules]
        for table in (RULES, WARNINGS)
    )
    return refusing, warning


def not_if(when: Callable[[Given], bool], message: str) -> Rule:
    """``when`` must not hold; ``{}`` in the message is the model's id."""
    return lambda given: message.format(given.model.id) if when(given) else None


def needs(name: str, other: str) -> Rule:
    """``name`` may be given only with ``other``."""
    message = f"{name} needs {other} for {{}}: give both, or neither."
    return not_if(lambda given: given.has(name) and not given.has(other), message)


def excludes(some: Sequence[str], others: Sequence[str]) -> Rule:
    """None of ``some`` may be given with any of ``others``."""

    def rule(given: Given) -> str | None:
        pairs = [(one, other) for one in some for other in others if given.has(one) and given.has(other)]
        words = " and ".join(pairs[0]) if pairs else ""
        return f"{words} exclude each other for {given.model.id}: give one of them." if pairs else None

    return rule


def at_most(limit: int, what: str, *names: str, beside: str | None = None) -> Rule:
    """The named parameters hold at most ``limit`` values together, if ``beside`` is given or not named."""

    def rule(given: Given) -> str | None:
        count = given.count(*names) if beside is None or given.has(beside) else 0
        return f"{given.model.id} takes at most {limit} {what}; {count} were given." if count > limit else None

    return rule


def at_most_characters(limit: int, name: str) -> Rule:
    """A text of at most ``limit`` characters."""

    def rule(given: Given) -> str | None:
        length = len(str(given.parameters.get(name, "")))
        return (
            f"{name} is {length} characters long; {given.model.id} takes at most {limit}." if length > limit else None
        )

    return rule


def at_most_megabytes(limit: int, name: str) -> Rule:
    """Local files in this parameter of at most ``limit`` MB each; the size of a file at a URL is not known."""

    def rule(given: Given) -> str | None:
        value = given.parameters.get(name)
        items = value if isinstance(value, list) else [value]
        size = max((item.size or 0 for item in items if isinstance(item, Media)), default=0) / 1e6
        most = f"{given.model.id} takes at most {limit} MB."
        return f"{name} is a file of {size:.1f} MB; {most}" if size > limit else None

    return rule


def only_with(name: str, values: Sequence[Any], other: str, others: Sequence[Any]) -> Rule:
    """``name`` may be one of ``values`` only if ``other`` is one of ``others``; defaults count."""

    def rule(given: Given) -> str | None:
        value, held = given.effective(name), given.effective(other)
        if value not in values or held in others:
            return None
        what = name if value is True else f"{name} {schema.shown_choice(value)}"
        origin = "" if name in given.parameters else " (its default)"
        choices = schema.either([schema.shown_choice(entry) for entry in others])
        return f"{given.model.id} makes {what}{origin} only with {other} {choices}, not {schema.shown_choice(held)}."

    return rule


def shot_total(low: int, high: int) -> Rule:
    """The shots last ``low`` to ``high`` seconds together."""

    def rule(given: Given) -> str | None:
        shots = given.parameters.get("multi_prompt")
        total = shots_seconds(shots) if isinstance(shots, list) else low
        takes = f"{given.model.id} takes {low} to {high} s."
        return None if low <= total <= high else f"The shots (multi_prompt) last {total:g} s in all; {takes}"

    return rule


def _views_of_elements(given: Given) -> str | None:
    """ "At most 4 images in all" leaves open whether an element counts as one or by its images."""
    elements = [entry for entry in given.parameters.get("elements") or () if isinstance(entry, Mapping)]
    views = given.count("input_image", "elements") + sum(len(e.get("reference_image_urls") or ()) for e in elements)
    takes = f"{given.model.id} takes 4 images in all"
    return f"{takes}; with all views of the elements, these are {views}." if views > 4 else None


def _long_clips(given: Given) -> str | None:
    duration, fps, resolution = (given.effective(name) for name in ("duration", "fps", "resolution"))
    if not isinstance(duration, (int, float)) or duration <= 10 or (fps, resolution) == (25, "1080p"):
        return None
    return f"{given.model.id} makes more than 10 s only at fps 25 and resolution 1080p, not {fps} and {resolution}."


def _one_more_than_a_multiple_of_four(given: Given) -> str | None:
    frames = given.parameters.get("num_frames")
    if not isinstance(frames, int) or (frames - 1) % 4 == 0:
        return None
    near = (frames - 1) // 4 * 4 + 1
    return f"num_frames {frames} should be one more than a multiple of 4 for {given.model.id}, such as {near}."


_REFERENCES = ["input_images", "input_videos", "input_audios"]
_IMAGES = ("input_image", "input_images", "start_image_url", "first_frame_image", "reference_image_url")

RULES: Mapping[str, Sequence[Rule]] = {
    "kling-video-o3-*": [needs("tail_image_url", "start_image_url")],
    "kling-video-o3-pro-reference-to-video": [
        shot_total(3, 15),
        at_most(4, "images and elements in all", "input_image", "elements"),
    ],
    "kling-video-o3-omni": [
        at_most(4, "images and elements in all beside a video", "input_image", "elements", beside="input_video"),
        at_most(7, "images and elements in all", "input_image", "elements"),
        not_if(
            lambda given: given.has("input_video") and given.parameters.get("generate_audio") is True,
            "{} makes no sound when a video is given: leave generate_audio off.",
        ),
    ],
    "kling-video-v3-pro-motion-control": [
        at_most(1, "element", "elements"),
        not_if(
            lambda given: given.has("elements") and given.effective("character_orientation") != "video",
            "{} takes an element only with character_orientation video.",
        ),
    ],
    "bytedance-seedance-2-0-*reference-to-video": [
        at_most(9, "images", "input_images", "input_face_images"),
        at_most(3, "videos", "input_videos", "input_face_videos"),
        at_most(3, "audio files", "input_audios"),
        at_most(15, "references in all", *_REFERENCES, "input_face_images", "input_face_videos"),
    ],
    "bytedance-seedance-2-5-reference-to-video": [
        at_most(30, "images", "input_images", "input_face_images"),
        at_most(10, "videos", "input_videos", "input_face_videos"),
        at_most(10, "audio files", "input_audios"),
    ],
    "flux-3-video": [
        excludes(["input_images", "input_image"], ["input_video"]),
        at_most(10, "keyframes", "input_images"),
    ],
    "google-veo-3-1*": [only_with("resolution", ["1080p", "4k"], "duration", [8])],
    "happyhorse-*-r2v": [at_most(9, "reference images", "reference_images"), at_most_megabytes(10, "reference_images")],
    "happyhorse-*-video-edit": [
        at_most(5, "reference images", "reference_images"),
        at_most_characters(2500, "prompt"),
        at_most_megabytes(100, "input_video"),
    ],
    "ltx-2-3-fast-*": [_long_clips],
    "ltx-2-3-pro-audio-to-video": [
        not_if(
            lambda given: not given.has("input_image") and not given.has("prompt"),
            "{} needs a prompt when it is given no image (input_image).",
        )
    ],
    "ltx-2-3-quality-reference-video-to-video": [
        needs("skip_control_preprocess", "control_video_url"),
        needs("preserve_original_video", "skip_control_preprocess"),
    ],
    "luma-ray-v3-2-*": [
        not_if(
            lambda given: given.parameters.get("loop") is True and given.effective("duration") == "10s",
            "{} makes no loop of 10s: use duration 5s, or leave loop off.",
        )
    ],
    "luma-ray-v3-2-video-to-video": [
        excludes(["edit_strength"], ["auto_controls"]),
        needs("exr_export", "hdr"),
        only_with("hdr", [True], "resolution", ["720p", "1080p"]),
    ],
    "minimax-h3": [
        excludes(["input_image", "tail_image_url"], _REFERENCES),
        at_most(9, "images", "input_images"),
        at_most(3, "videos", "input_videos"),
        at_most(3, "audio files", "input_audios"),
    ],
    "wan-v2-7-edit-video": [at_most_megabytes(100, "input_video")],
    "wan-v2-7-image-to-video": [
        excludes(["input_image"], ["input_video"]),
        at_most_characters(5000, "prompt"),
        at_most_characters(500, "negative_prompt"),
    ],
    "wan-v2-7-reference-to-video": [at_most(5, "images and videos", "reference_images", "reference_videos")],
    "wan-v3-0-video": [at_most_characters(5000, "prompt")],
}
"""The rules that the documentation states, by shell-style patterns of model ids."""

WARNINGS: Mapping[str, Sequence[Rule]] = {
    # Some schemas of models that animate images allow none, and that is rarely intended.
    "*-image-to-video": [
        not_if(
            lambda given: not any(map(given.has, _IMAGES)),
            "{} starts from an image, and none is given: give one with --image.",
        )
    ],
    "kling-video-o3-pro-reference-to-video": [
        not_if(
            lambda given: given.has("multi_prompt") and "duration" in given.parameters,
            "duration is ignored: the lengths of the shots are used.",
        ),
        _views_of_elements,
    ],
    "wan-ai-wan2-2-t2v-a14b-diffusers": [_one_more_than_a_multiple_of_four],
    "wan-v2-7-text-to-video": [at_most_characters(500, "prompt")],
}
"""Rules that the documentation leaves open."""
