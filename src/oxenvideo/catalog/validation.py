"""Check a request against the model's schema and its documented rules, before anything is paid for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from oxenvideo.catalog import media_parameters, schema
from oxenvideo.catalog.catalog import Model
from oxenvideo.catalog.pricing import shots_seconds
from oxenvideo.errors import InvalidRequest
from oxenvideo.media.media import Kind, Media, is_url, replace

_MENTION = re.compile(r"(?<![\w@])@(Image|Video|Audio|Element)(\d+)\b")
_KINDS: dict[str, Kind] = {"Image": "image", "Video": "video", "Audio": "audio"}
_PLACEHOLDER = "https://media.invalid/file"
"""Replaces each Media while the schema is checked, because a URL is sent in its place."""


def check(model: Model, parameters: Mapping[str, Any], count: int = 1) -> list[str]:
    """Warnings about a request; InvalidRequest, with one line, for what is certainly wrong.

    A parameter that the schema does not know is only a warning, because schemas lag behind the service.
    """
    check_count(count)
    _check_prompt(model, parameters)
    warnings = list(_unknown(model, parameters))
    _check_schema(model, parameters)
    _check_urls(model, parameters)
    given = Given(model, parameters)
    warnings += filter(None, [rule(given) for rule in _rules_for(model.id)])
    _check_mentions(model, parameters)
    return warnings


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
        if model.schema is None and media_parameters.given(model, parameters, "video", ("main", "reference")):
            return
        raise InvalidRequest(f"{model.id} needs a prompt or shots (multi_prompt).")


def _unknown(model: Model, parameters: Mapping[str, Any]) -> Iterator[str]:
    for name in parameters if model.schema is not None else ():
        if name not in model.parameters:
            nearest = difflib.get_close_matches(name, model.parameters, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            yield f"{model.id} has no known parameter {name!r}; it is sent as it is.{hint}"


def _check_schema(model: Model, parameters: Mapping[str, Any]) -> None:
    if model.schema is None:
        return
    from fastjsonschema import JsonSchemaValueException

    try:
        try:
            model.validate(dict(parameters))
        except JsonSchemaValueException:
            model.validate(replace(parameters, lambda medium: _PLACEHOLDER))
    except JsonSchemaValueException as error:
        raise InvalidRequest(schema.explain(error, model.id)) from None


def _check_urls(model: Model, parameters: Mapping[str, Any]) -> None:
    """Refuse text in a media parameter that is not a URL, most often a path without a file."""
    for parameter, value in media_parameters.values(model, parameters):
        name, kind = parameter.name, parameter.kind
        if isinstance(value, str) and not is_url(value):
            raise InvalidRequest(f"{name} {schema.shown(value)} is neither a URL nor the path of a file here.")
        if isinstance(value, Media) and value.kind != kind and parameter.role != "elements":
            raise InvalidRequest(f"{name} of {model.id} takes {kind} media, not {value.kind}: {value.label}.")


def _check_mentions(model: Model, parameters: Mapping[str, Any]) -> None:
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
                roles: tuple[media_parameters.Role, ...] = ("main", "reference", "keyframes", "special")
                count, what = media_parameters.given(model, parameters, kind, roles), media_parameters.NOUNS[kind]
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
"""A rule returns a warning or None, and raises InvalidRequest if the request breaks it."""


@lru_cache(maxsize=512)
def _rules_for(model_id: str) -> tuple[Rule, ...]:
    return tuple(rule for pattern, rule in RULES if fnmatchcase(model_id, pattern))


def refuse(when: Callable[[Given], bool], message: str) -> Rule:
    """Refuse requests for which ``when`` holds; ``{}`` in the message is the model's id."""

    def rule(given: Given) -> None:
        if when(given):
            raise InvalidRequest(message.format(given.model.id))

    return rule


def needs(name: str, other: str) -> Rule:
    """``name`` may be given only with ``other``."""
    message = f"{name} needs {other} for {{}}: give both, or neither."
    return refuse(lambda given: given.has(name) and not given.has(other), message)


def excludes(some: Sequence[str], others: Sequence[str]) -> Rule:
    """None of ``some`` may be given with any of ``others``."""

    def rule(given: Given) -> None:
        first = next((name for name in some if given.has(name)), None)
        second = next((name for name in others if given.has(name)), None)
        if first and second:
            raise InvalidRequest(f"{first} and {second} exclude each other for {given.model.id}: give one of them.")

    return rule


def at_most(limit: int, what: str, *names: str) -> Rule:
    """The named parameters hold at most ``limit`` values together."""

    def rule(given: Given) -> None:
        count = given.count(*names)
        if count > limit:
            raise InvalidRequest(f"{given.model.id} takes at most {limit} {what}; {count} were given.")

    return rule


def at_most_characters(limit: int, name: str, certain: bool = True) -> Rule:
    """A text of at most ``limit`` characters; only a warning if the documentation leaves it open."""

    def rule(given: Given) -> str | None:
        text = given.parameters.get(name)
        if not isinstance(text, str) or len(text) <= limit:
            return None
        fault = f"{name} is {len(text)} characters long; {given.model.id} takes at most {limit}."
        if certain:
            raise InvalidRequest(fault)
        return fault

    return rule


def at_most_megabytes(limit: int, name: str) -> Rule:
    """Local files in this parameter of at most ``limit`` MB each; the size of a file at a URL is not known."""

    def rule(given: Given) -> None:
        value = given.parameters.get(name)
        for item in value if isinstance(value, list) else [value]:
            size = (item.size if isinstance(item, Media) else None) or 0
            if size > limit * 1_000_000:
                raise InvalidRequest(
                    f"{name} is a file of {size / 1e6:.1f} MB; {given.model.id} takes at most {limit} MB."
                )

    return rule


def only_with(name: str, values: Sequence[Any], other: str, others: Sequence[Any]) -> Rule:
    """``name`` may be one of ``values`` only if ``other`` is one of ``others``; defaults count."""

    def rule(given: Given) -> None:
        value, held = given.effective(name), given.effective(other)
        if value in values and held not in others:
            origin = "" if name in given.parameters else " (its default)"
            raise InvalidRequest(
                f"{given.model.id} makes {name} {schema.shown_choice(value)}{origin} only with {other} "
                f"{schema.either([schema.shown_choice(entry) for entry in others])}, not {schema.shown_choice(held)}."
            )

    return rule


def shot_total(low: int, high: int) -> Rule:
    """The shots last ``low`` to ``high`` seconds together."""

    def rule(given: Given) -> str | None:
        shots = given.parameters.get("multi_prompt")
        if not isinstance(shots, list):
            return None
        total = shots_seconds(shots)
        if not low <= total <= high:
            raise InvalidRequest(
                f"The shots (multi_prompt) last {total:g} s in all; {given.model.id} takes {low} to {high} s."
            )
        return "duration is ignored: the lengths of the shots are used." if "duration" in given.parameters else None

    return rule


def images_with_elements(limit: int, limit_with_video: int | None = None) -> Rule:
    """Reference images and elements together number at most ``limit``, or ``limit_with_video`` beside a video."""

    def rule(given: Given) -> str | None:
        with_video = limit_with_video is not None and given.has("input_video")
        most = limit_with_video if with_video and limit_with_video is not None else limit
        count = given.count("input_image", "elements")
        if count > most:
            beside = " beside a video" if with_video else ""
            raise InvalidRequest(
                f"{given.model.id} takes at most {most} images and elements in all{beside}; {count} were given."
            )
        elements = [entry for entry in given.parameters.get("elements") or () if isinstance(entry, Mapping)]
        views = sum(len(entry.get("reference_image_urls") or ()) for entry in elements)
        if limit_with_video is None and count + views > most:
            # "At most 4 images in all" leaves open whether an element counts as one or by its images.
            return f"{given.model.id} takes {most} images in all; with all views of the elements, these are {count + views}."
        return None

    return rule


def _long_clips(given: Given) -> None:
    duration, fps, resolution = (given.effective(name) for name in ("duration", "fps", "resolution"))
    if isinstance(duration, (int, float)) and duration > 10 and (fps, resolution) != (25, "1080p"):
        raise InvalidRequest(
            f"{given.model.id} makes more than 10 s only at fps 25 and resolution 1080p, not {fps} and {resolution}."
        )


def _high_dynamic_range(given: Given) -> None:
    resolution = given.effective("resolution")
    if given.parameters.get("hdr") is True and resolution not in {"720p", "1080p"}:
        raise InvalidRequest(f"{given.model.id} makes hdr only with resolution 720p or 1080p, not {resolution}.")


def _one_more_than_a_multiple_of_four(given: Given) -> str | None:
    frames = given.parameters.get("num_frames")
    if not isinstance(frames, int) or (frames - 1) % 4 == 0:
        return None
    near = (frames - 1) // 4 * 4 + 1
    return f"num_frames {frames} should be one more than a multiple of 4 for {given.model.id}, such as {near}."


def _starts_from_an_image(given: Given) -> str | None:
    """Warn if a model that animates images is given none: some schemas allow it, and it is rarely intended."""
    images = ("input_image", "input_images", "start_image_url", "first_frame_image", "reference_image_url")
    if any(map(given.has, images)):
        return None
    return f"{given.model.id} starts from an image, and none is given: give one with --image."


_REFERENCES = ["input_images", "input_videos", "input_audios"]

RULES: tuple[tuple[str, Rule], ...] = (
    ("*-image-to-video", _starts_from_an_image),
    ("kling-video-o3-*", needs("tail_image_url", "start_image_url")),
    ("kling-video-o3-pro-reference-to-video", shot_total(3, 15)),
    ("kling-video-o3-pro-reference-to-video", images_with_elements(4)),
    ("kling-video-o3-omni", images_with_elements(7, limit_with_video=4)),
    (
        "kling-video-o3-omni",
        refuse(
            lambda given: given.has("input_video") and given.parameters.get("generate_audio") is True,
            "{} makes no sound when a video is given: leave generate_audio off.",
        ),
    ),
    ("kling-video-v3-pro-motion-control", at_most(1, "element", "elements")),
    (
        "kling-video-v3-pro-motion-control",
        refuse(
            lambda given: given.has("elements") and given.effective("character_orientation") != "video",
            "{} takes an element only with character_orientation video.",
        ),
    ),
    ("bytedance-seedance-2-0-*reference-to-video", at_most(9, "images", "input_images", "input_face_images")),
    ("bytedance-seedance-2-0-*reference-to-video", at_most(3, "videos", "input_videos", "input_face_videos")),
    ("bytedance-seedance-2-0-*reference-to-video", at_most(3, "audio files", "input_audios")),
    (
        "bytedance-seedance-2-0-*reference-to-video",
        at_most(15, "references in all", *_REFERENCES, "input_face_images", "input_face_videos"),
    ),
    ("bytedance-seedance-2-5-reference-to-video", at_most(30, "images", "input_images", "input_face_images")),
    ("bytedance-seedance-2-5-reference-to-video", at_most(10, "videos", "input_videos", "input_face_videos")),
    ("bytedance-seedance-2-5-reference-to-video", at_most(10, "audio files", "input_audios")),
    ("flux-3-video", excludes(["input_images", "input_image"], ["input_video"])),
    ("flux-3-video", at_most(10, "keyframes", "input_images")),
    ("google-veo-3-1*", only_with("resolution", ["1080p", "4k"], "duration", [8])),
    ("happyhorse-*-r2v", at_most(9, "reference images", "reference_images")),
    ("happyhorse-*-r2v", at_most_megabytes(10, "reference_images")),
    ("happyhorse-*-video-edit", at_most(5, "reference images", "reference_images")),
    ("happyhorse-*-video-edit", at_most_characters(2500, "prompt")),
    ("happyhorse-*-video-edit", at_most_megabytes(100, "input_video")),
    ("ltx-2-3-fast-*", _long_clips),
    (
        "ltx-2-3-pro-audio-to-video",
        refuse(
            lambda given: not given.has("input_image") and not given.has("prompt"),
            "{} needs a prompt when it is given no image (input_image).",
        ),
    ),
    ("ltx-2-3-quality-reference-video-to-video", needs("skip_control_preprocess", "control_video_url")),
    ("ltx-2-3-quality-reference-video-to-video", needs("preserve_original_video", "skip_control_preprocess")),
    (
        "luma-ray-v3-2-*",
        refuse(
            lambda given: given.parameters.get("loop") is True and given.effective("duration") == "10s",
            "{} makes no loop of 10s: use duration 5s, or leave loop off.",
        ),
    ),
    ("luma-ray-v3-2-video-to-video", excludes(["edit_strength"], ["auto_controls"])),
    ("luma-ray-v3-2-video-to-video", needs("exr_export", "hdr")),
    ("luma-ray-v3-2-video-to-video", _high_dynamic_range),
    ("minimax-h3", excludes(["input_image", "tail_image_url"], _REFERENCES)),
    ("minimax-h3", at_most(9, "images", "input_images")),
    ("minimax-h3", at_most(3, "videos", "input_videos")),
    ("minimax-h3", at_most(3, "audio files", "input_audios")),
    ("wan-ai-wan2-2-t2v-a14b-diffusers", _one_more_than_a_multiple_of_four),
    ("wan-v2-7-edit-video", at_most_megabytes(100, "input_video")),
    ("wan-v2-7-image-to-video", excludes(["input_image"], ["input_video"])),
    ("wan-v2-7-image-to-video", at_most_characters(5000, "prompt")),
    ("wan-v2-7-image-to-video", at_most_characters(500, "negative_prompt")),
    ("wan-v2-7-reference-to-video", at_most(5, "images and videos", "reference_images", "reference_videos")),
    ("wan-v2-7-text-to-video", at_most_characters(500, "prompt", certain=False)),
    ("wan-v3-0-video", at_most_characters(5000, "prompt")),
)
"""A shell-style pattern of model ids, and a rule that their documentation states."""
