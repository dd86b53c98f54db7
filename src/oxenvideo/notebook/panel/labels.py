"""The words and numbers that the panel shows for parameters, media, prices and times. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oxenvideo.catalog import pricing
from oxenvideo.catalog.catalog import Model
from oxenvideo.catalog.pricing import Estimate, dollars
from oxenvideo.catalog.schema import shown_choice
from oxenvideo.media.media import Media, replace, shortened
from oxenvideo.request.request import VideoRequest

LENGTHS = ("duration", "seconds")
"""The parameters that are a video's length in seconds."""

_VALUE_CHARACTERS = 48  # of one parameter's value
_NOUNS = {"image": "an image", "video": "a video", "audio": "a sound"}
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
    "negative_prompt": "Negative prompt",
    "multi_prompt": "Shots",
    "cfg_scale": "Guidance",
    "fps": "Frames per second",
    "target_fps": "Frames per second",
    "frames_per_second": "Frames per second",
    "num_frames": "Frames",
}


def label_of(name: str) -> str:
    """A parameter's name in words: ``aspect_ratio`` is "Aspect ratio"."""
    words = re.sub(r"_(url|urls|uri)$", "", name).replace("_", " ").strip()
    return _LABELS.get(name) or words[:1].upper() + words[1:] or name


def hint_of(name: str, spec: Mapping[str, Any]) -> str:
    """What a parameter does, with its name in the API, for a tooltip."""
    description = str(spec.get("description", "")).strip()
    return f"{name}: {description}" if description else name


def choice_words(name: str, choice: Any) -> str:
    """One of a parameter's values in words: seconds with their unit, a duration of -1 as "auto"."""
    if name in LENGTHS and choice == -1:
        return "auto"
    if name in LENGTHS and str(choice).isdigit():
        return f"{choice} s"
    if isinstance(choice, bool):
        return "on" if choice else "off"
    return shown_choice(choice)


def details_of(request: VideoRequest, media_names: Mapping[str, str]) -> dict[str, str]:
    """Each parameter besides model and prompt by its name, short: ``{"duration": "Duration 5 s"}``."""
    shown = {}
    for name, value in request.parameters.items():
        if name not in ("prompt", "multi_prompt"):
            plain = replace(value, lambda medium: media_label(medium, media_names))
            listed = isinstance(plain, list) and all(isinstance(item, str) for item in plain)
            text = ", ".join(map(shortened, plain)) if listed else choice_words(name, plain)
            shown[name] = f"{label_of(name)} {cut(shortened(text), _VALUE_CHARACTERS)}"
    if isinstance(request.parameters.get("multi_prompt"), list):
        shown["multi_prompt"] = f"{len(request.parameters['multi_prompt'])} shots"
    return shown


def media_label(medium: str | Media, names: Mapping[str, str]) -> str:
    """A medium in few words. ``names`` are given names by the path of the file; a file's hash is never shown."""
    if isinstance(medium, str):
        return shortened(medium)
    if medium.key is not None:
        name = getattr(medium.generation, "name", None) or "another video"
        return f"last frame of {name}" if medium.part == "last_frame" else name
    if medium.path is None:
        return medium.label
    is_hash = re.fullmatch(r"[0-9a-f]{64}", medium.path.stem)
    return names.get(str(medium.path)) or (_NOUNS[medium.kind] if is_hash else medium.path.name)


def cut(text: str, most: int) -> str:
    """The text, cut to at most this many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def rate_of(model: Model) -> str:
    """What a second of the model's video costs with its defaults, such as ``$0.07/s``; empty if it is not known."""
    found = pricing.estimate(model, {"duration": 1})
    return f"{dollars(found.per_second)}/s" if found is not None else ""


def provider_of(model: Model) -> str:
    """Who makes the model."""
    developer = model.raw.get("developer")
    name = developer.get("name") if isinstance(developer, Mapping) else None
    return str(name or (model.display_name or model.id).replace("-", " ").split()[0])


def price_of(estimate: Estimate | None, *, local: bool) -> tuple[str, str]:
    """A price as two texts: the sum, and how it is calculated or what is not known."""
    if local:
        return "Free", "on this computer" + (f" · at Oxen {estimate.text}" if estimate else "")
    if estimate is None:
        return "Price unknown", "the service reports it afterwards"
    how, _, _ = estimate.text.rpartition(" = ")
    return dollars(estimate.total), f"{how}; {estimate.note}" if estimate.note else how


def shown_path(path: Path | None) -> str:
    """A file's path, relative to the notebook if it is below its directory; empty for None."""
    if path is None:
        return ""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
