"""A request's parameters against the model's schema and the documented rules, before anything is paid for."""

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
    warnings += _documented(model, parameters)
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
    from fastjsonschema import JsonSchemaValueException

    try:
        try:
            model.validate(dict(parameters))
        except JsonSchemaValueException:
            model.validate(replace(parameters, lambda medium: _PLACEHOLDER))
    except JsonSchemaValueException as error:
        raise InvalidRequest(schema.explain(error, model.id)) from None


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


# Documented rules across parameters that no schema holds


@dataclass(frozen=True)
class Given:
    """The parameters of one request beside the model they are for."""

    model: Model
    parameters: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """Whether the parameter was given and says something: not false, empty or null; 0 is a value."""
        value = self.parameters.get(name)
        return bool(value) or (value == 0 and value is not False)

    def on(self, name: str) -> bool:
        """Whether a switch was turned on by the request itself."""
        return self.parameters.get(name) is True

    def effective(self, name: str) -> Any:
        """The value that will hold: the one given, or the schema's default."""
        return self.parameters.get(name, self.model.default(name))

    def count(self, *names: str) -> int:
        """How many values the named parameters hold in all."""
        values = [self.parameters.get(name) for name in names]
        return sum(len(value) if isinstance(value, (list, tuple)) else value is not None for value in values)


Rule = Callable[[Given], Iterator[str]]
"""A rule yields warnings, and raises InvalidRequest where the request breaks it."""


def _documented(model: Model, parameters: Mapping[str, Any]) -> Iterator[str]:
    """The warnings of the documented rules for this model; raises InvalidRequest for the first that is broken."""
    given = Given(model, parameters)
    for rule in _rules_for(model.id):
        yield from rule(given)


@lru_cache(maxsize=512)
def _rules_for(model_id: str) -> tuple[Rule, ...]:
    return tuple(rule for pattern, rule in RULES if fnmatchcase(model_id, pattern))


def needs(name: str, other: str) -> Rule:
    """``name`` may be given only with ``other``."""

    def rule(given: Given) -> Iterator[str]:
        if given.has(name) and not given.has(other):
            raise InvalidRequest(f"{name} needs {other} for {given.model.id}: give both, or neither.")
        yield from ()

    return rule


def excludes(some: Sequence[str], others: Sequence[str]) -> Rule:
    """None of ``some`` may be given with any of ``others``."""

    def rule(given: Given) -> Iterator[str]:
        first = next((name for name in some if given.has(name)), None)
        second = next((name for name in others if given.has(name)), None)
        if first and second:
            raise InvalidRequest(f"{first} and {second} exclude each other for {given.model.id}: give one of them.")
        yield from ()

    return rule


def at_most(limit: int, what: str, *names: str) -> Rule:
    """The named parameters hold at most ``limit`` values in all."""

    def rule(given: Given) -> Iterator[str]:
        count = given.count(*names)
        if count > limit:
            raise InvalidRequest(f"{given.model.id} takes at most {limit} {what}; {count} were given.")
        yield from ()

    return rule


def at_most_characters(limit: int, name: str, sure: bool = True) -> Rule:
    """A text of at most ``limit`` characters; a warning where the documentation is not sure of it."""

    def rule(given: Given) -> Iterator[str]:
        text = given.parameters.get(name)
        if isinstance(text, str) and len(text) > limit:
            fault = f"{name} is {len(text)} characters long; {given.model.id} takes at most {limit}."
            if sure:
                raise InvalidRequest(fault)
            yield fault

    return rule


def at_most_bytes(megabytes: int, name: str) -> Rule:
    """Local files in this parameter of at most so many MB; what lies behind a URL is not known here."""

    def rule(given: Given) -> Iterator[str]:
        value = given.parameters.get(name)
        for item in value if isinstance(value, list) else [value]:
            size = item.size if isinstance(item, Media) else None
            if size is not None and size > megabytes * 1_000_000:
                raise InvalidRequest(
                    f"{name} is a file of {size / 1e6:.1f} MB; {given.model.id} takes at most {megabytes} MB."
                )
        yield from ()

    return rule


def only_with(name: str, values: Sequence[Any], other: str, others: Sequence[Any]) -> Rule:
    """``name`` may be one of ``values`` only while ``other`` is one of ``others``, defaults counted."""

    def rule(given: Given) -> Iterator[str]:
        value, held = given.effective(name), given.effective(other)
        if value in values and held not in others:
            origin = "" if name in given.parameters else " (its default)"
            raise InvalidRequest(
                f"{given.model.id} makes {name} {schema.shown_choice(value)}{origin} only with {other} "
                f"{schema.either([schema.shown_choice(entry) for entry in others])}, not {schema.shown_choice(held)}."
            )
        yield from ()

    return rule


def shot_total(low: int, high: int) -> Rule:
    """The shots last ``low`` to ``high`` seconds in all."""

    def rule(given: Given) -> Iterator[str]:
        listed = given.parameters.get("multi_prompt")
        if isinstance(listed, list):
            total = shots_seconds(listed)
            if not low <= total <= high:
                raise InvalidRequest(
                    f"The shots (multi_prompt) last {total:g} s in all; {given.model.id} takes {low} to {high} s."
                )
            if "duration" in given.parameters:
                yield "duration is for a single prompt: the length of each shot counts instead."

    return rule


def images_with_elements(limit: int, limit_with_video: int | None = None) -> Rule:
    """Reference images and elements together number at most ``limit``, or ``limit_with_video`` beside a video."""

    def rule(given: Given) -> Iterator[str]:
        with_video = limit_with_video is not None and given.has("input_video")
        most = limit_with_video if with_video and limit_with_video is not None else limit
        count = given.count("input_image", "elements")
        if count > most:
            beside = " beside a video" if with_video else ""
            raise InvalidRequest(
                f"{given.model.id} takes at most {most} images and elements in all{beside}; {count} were given."
            )
        views = sum(_views(entry) for entry in given.parameters.get("elements") or ())
        if limit_with_video is None and count + views > most:
            # "At most 4 images in all" leaves open whether an element counts once or by its pictures.
            yield (
                f"{given.model.id} is documented for {most} images in all; with every view of the elements these are "
                f"{count + views}."
            )

    return rule


def _views(element: Any) -> int:
    views = element.get("reference_image_urls") if isinstance(element, Mapping) else None
    return len(views) if isinstance(views, list) else 0


def _sound_off_with_video(given: Given) -> Iterator[str]:
    if given.has("input_video") and given.on("generate_audio"):
        raise InvalidRequest(f"{given.model.id} makes no sound when a video is given: leave generate_audio off.")
    yield from ()


def _element_follows_the_video(given: Given) -> Iterator[str]:
    if given.has("elements") and given.effective("character_orientation") != "video":
        raise InvalidRequest(f"{given.model.id} takes an element only with character_orientation video.")
    yield from ()


def _long_clips(given: Given) -> Iterator[str]:
    duration, fps, resolution = (given.effective(name) for name in ("duration", "fps", "resolution"))
    if isinstance(duration, (int, float)) and duration > 10 and (fps, resolution) != (25, "1080p"):
        raise InvalidRequest(
            f"{given.model.id} makes more than 10 s only at fps 25 and resolution 1080p, not {fps} and {resolution}."
        )
    yield from ()


def _prompt_or_image(given: Given) -> Iterator[str]:
    if not given.has("input_image") and not given.has("prompt"):
        raise InvalidRequest(f"{given.model.id} needs a prompt when it is given no image (input_image).")
    yield from ()


def _no_loop_of_ten_seconds(given: Given) -> Iterator[str]:
    if given.on("loop") and given.effective("duration") == "10s":
        raise InvalidRequest(f"{given.model.id} makes no loop of 10s: use duration 5s, or leave loop off.")
    yield from ()


def _high_dynamic_range(given: Given) -> Iterator[str]:
    if given.on("hdr") and given.effective("resolution") not in {"720p", "1080p"}:
        raise InvalidRequest(
            f"{given.model.id} makes hdr only with resolution 720p or 1080p, not {given.effective('resolution')}."
        )
    yield from ()


def _frames_of_four(given: Given) -> Iterator[str]:
    frames = given.parameters.get("num_frames")
    if isinstance(frames, int) and (frames - 1) % 4:
        near = (frames - 1) // 4 * 4 + 1
        yield f"num_frames {frames} should be one more than a multiple of 4 for {given.model.id}, such as {near}."


_REFERENCES = ["input_images", "input_videos", "input_audios"]


def _starts_from_a_picture(given: Given) -> Iterator[str]:
    """A model that makes videos of pictures, asked without one: the schema of some allows it, and it is rarely meant."""
    pictures = ("input_image", "input_images", "start_image_url", "first_frame_image", "reference_image_url")
    if not any(given.has(name) for name in pictures):
        yield f"{given.model.id} starts from a picture, and none is given: --image gives one."


RULES: tuple[tuple[str, Rule], ...] = (
    ("*-image-to-video", _starts_from_a_picture),
    ("kling-video-o3-*", needs("tail_image_url", "start_image_url")),
    ("kling-video-o3-pro-reference-to-video", shot_total(3, 15)),
    ("kling-video-o3-pro-reference-to-video", images_with_elements(4)),
    ("kling-video-o3-omni", images_with_elements(7, limit_with_video=4)),
    ("kling-video-o3-omni", _sound_off_with_video),
    ("kling-video-v3-pro-motion-control", at_most(1, "element", "elements")),
    ("kling-video-v3-pro-motion-control", _element_follows_the_video),
    ("bytedance-seedance-2-0-*reference-to-video", at_most(9, "images", "input_images", "input_face_images")),
    ("bytedance-seedance-2-0-*reference-to-video", at_most(3, "videos", "input_videos", "input_face_videos")),
    ("bytedance-seedance-2-0-*reference-to-video", at_most(3, "sounds", "input_audios")),
    (
        "bytedance-seedance-2-0-*reference-to-video",
        at_most(15, "references in all", *_REFERENCES, "input_face_images", "input_face_videos"),
    ),
    ("bytedance-seedance-2-5-reference-to-video", at_most(30, "images", "input_images", "input_face_images")),
    ("bytedance-seedance-2-5-reference-to-video", at_most(10, "videos", "input_videos", "input_face_videos")),
    ("bytedance-seedance-2-5-reference-to-video", at_most(10, "sounds", "input_audios")),
    ("flux-3-video", excludes(["input_images", "input_image"], ["input_video"])),
    ("flux-3-video", at_most(10, "keyframes", "input_images")),
    ("google-veo-3-1*", only_with("resolution", ["1080p", "4k"], "duration", [8])),
    ("happyhorse-*-r2v", at_most(9, "reference images", "reference_images")),
    ("happyhorse-*-r2v", at_most_bytes(10, "reference_images")),
    ("happyhorse-*-video-edit", at_most(5, "reference images", "reference_images")),
    ("happyhorse-*-video-edit", at_most_characters(2500, "prompt")),
    ("happyhorse-*-video-edit", at_most_bytes(100, "input_video")),
    ("ltx-2-3-fast-*", _long_clips),
    ("ltx-2-3-pro-audio-to-video", _prompt_or_image),
    ("ltx-2-3-quality-reference-video-to-video", needs("skip_control_preprocess", "control_video_url")),
    ("ltx-2-3-quality-reference-video-to-video", needs("preserve_original_video", "skip_control_preprocess")),
    ("luma-ray-v3-2-*", _no_loop_of_ten_seconds),
    ("luma-ray-v3-2-video-to-video", excludes(["edit_strength"], ["auto_controls"])),
    ("luma-ray-v3-2-video-to-video", needs("exr_export", "hdr")),
    ("luma-ray-v3-2-video-to-video", _high_dynamic_range),
    ("minimax-h3", excludes(["input_image", "tail_image_url"], _REFERENCES)),
    ("minimax-h3", at_most(9, "images", "input_images")),
    ("minimax-h3", at_most(3, "videos", "input_videos")),
    ("minimax-h3", at_most(3, "sounds", "input_audios")),
    ("wan-ai-wan2-2-t2v-a14b-diffusers", _frames_of_four),
    ("wan-v2-7-edit-video", at_most_bytes(100, "input_video")),
    ("wan-v2-7-image-to-video", excludes(["input_image"], ["input_video"])),
    ("wan-v2-7-image-to-video", at_most_characters(5000, "prompt")),
    ("wan-v2-7-image-to-video", at_most_characters(500, "negative_prompt")),
    ("wan-v2-7-reference-to-video", at_most(5, "images and videos", "reference_images", "reference_videos")),
    ("wan-v2-7-text-to-video", at_most_characters(500, "prompt", sure=False)),
    ("wan-v3-0-video", at_most_characters(5000, "prompt")),
)
"""Where a model's documentation states a rule, one row here holds it; patterns are shell-style."""
