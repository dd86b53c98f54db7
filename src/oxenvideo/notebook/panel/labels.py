"""What parameters, prices and times are called in the panel. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from oxenvideo.catalog import pricing
from oxenvideo.catalog.catalog import Model
from oxenvideo.catalog.pricing import Estimate, dollars
from oxenvideo.catalog.schema import shown_choice
from oxenvideo.media.media import Media, replace, shortened
from oxenvideo.request.request import VideoRequest

LENGTHS = ("duration", "seconds")
"""The parameters that are a video's length in seconds."""

_DETAIL = 48  # characters of one parameter's value

_LABELS = {
    "generate_audio": "With sound",
    "input_image": "Image",
    "input_images": "Images",
    "input_video": "Video",
    "input_videos": "Videos",
    "input_audio": "Sound",
    "input_audios": "Sounds",
    "video_url": "Video",
    "audio_url": "Sound",
    "start_image_url": "First frame",
    "first_frame_image": "First frame",
    "tail_image_url": "Last frame",
    "end_image_url": "Last frame",
    "last_frame_image": "Last frame",
    "negative_prompt": "Leave out",
    "multi_prompt": "Shots",
    "cfg_scale": "Guidance",
    "fps": "Frames a second",
    "target_fps": "Frames a second",
    "frames_per_second": "Frames a second",
    "num_frames": "Frames",
}


def label_of(name: str) -> str:
    """A parameter's name for people: ``aspect_ratio`` is "Aspect ratio"."""
    words = re.sub(r"_(url|urls|uri)$", "", name).replace("_", " ").strip()
    return _LABELS.get(name) or words[:1].upper() + words[1:] or name


def hint_of(name: str, spec: Mapping[str, Any]) -> str:
    """What a parameter does, with its real name, for a tooltip."""
    said = str(spec.get("description", "")).strip()
    return f"{name}: {said}" if said else name


def choice_words(name: str, choice: Any) -> str:
    """One of a parameter's values for people: seconds with their unit, and -1 as what it means for a length."""
    if name in LENGTHS and choice == -1:
        return "auto"
    if name in LENGTHS and str(choice).isdigit():
        return f"{choice} s"
    if isinstance(choice, bool):
        return "on" if choice else "off"
    return shown_choice(choice)


def details_of(request: VideoRequest) -> str:
    """The parameters besides model and prompt, short: "Duration 5 s · Image harbour.png"."""
    shown = []
    for name, value in request.parameters.items():
        if name not in ("prompt", "multi_prompt"):
            plain = replace(value, _medium)
            listed = isinstance(plain, list) and all(isinstance(item, str) for item in plain)
            text = ", ".join(map(shortened, plain)) if listed else choice_words(name, plain)
            shown.append(f"{label_of(name)} {cut(shortened(text), _DETAIL)}")
    if isinstance(request.parameters.get("multi_prompt"), list):
        shown.append(f"{len(request.parameters['multi_prompt'])} shots")
    return " · ".join(shown)


def _medium(medium: Media) -> str:
    """A medium in few words; a file that was stored under its hash has no name to tell."""
    if medium.path is None:
        return medium.label
    return "given" if re.fullmatch(r"[0-9a-f]{64}", medium.path.stem) else medium.path.name


def cut(text: str, most: int) -> str:
    """Text of at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def class_of(name: str) -> str:
    """The CSS class by which a parameter's field is found."""
    return "oxv-f-" + (re.sub(r"[^\w-]", "-", name) or "general")


def rate_of(model: Model) -> str:
    """What a second of the model's video costs with its defaults, such as ``$0.07/s``; empty where it is not known."""
    found = pricing.estimate(model, {"duration": 1})
    return f"{dollars(found.per_second)}/s" if found is not None else ""


def price_of(estimate: Estimate | None, *, local: bool) -> tuple[str, str]:
    """A price as two texts: the sum, and how it comes about or what it leaves open."""
    if local:
        return "Free", "on this computer" + (f" · at Oxen {estimate.text}" if estimate else "")
    if estimate is None:
        return "Price not known", "the service tells it afterwards"
    how, _, _ = estimate.text.rpartition(" = ")
    return dollars(estimate.total), f"{how}; {estimate.note}" if estimate.note else how
