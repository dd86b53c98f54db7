"""What a preview is to show, from the parameters of a job and its model's schema: media, size, rate, shots."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from oxenvideo.server.renderer import Job, RenderError

DEFAULT_SECONDS = 5.0
DEFAULT_FPS = Fraction(24)
MAX_SECONDS = 120.0
MAX_SIDE = 4096
MIN_SIDE = 16

# Pixels of the shorter side. The other tiers are numbers (`720p`).
_TIERS = {"2k": 1440, "4k": 2160, "standard": 720, "high": 1080}
_NAMED_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
_NAMED_SHAPES = {"landscape": "16:9", "portrait": "9:16"}

_FIRST = ("start_image_url", "first_frame_image")
_LAST = ("tail_image_url", "last_frame_image", "end_image_url")
_REFERENCES = ("input_face_images", "reference_images", "reference_image_urls", "reference_image_url")
_VIDEOS = ("input_video", "video_url", "input_face_videos", "input_videos", "reference_videos")
_SOUNDS = ("input_audio", "audio_url", "input_audios")
_NOT_SHOWN = frozenset({"prompt", "duration", "width", "height", *_FIRST, *_LAST, *_REFERENCES, *_VIDEOS, *_SOUNDS,
                        "input_image", "input_images"})  # fmt: skip
_RATES = ("fps", "frames_per_second", "target_fps", "output_fps")
_KEEP_SOUND = ("keep_audio", "keep_original_sound")


@dataclass(frozen=True)
class Media:
    """The URIs of the inputs by role."""

    first: str | None
    last: str | None
    between: tuple[str, ...]
    references: tuple[str, ...]
    video: str | None
    sound: str | None


@dataclass(frozen=True)
class Facts:
    """Facts about the inputs: size of the first image or the clip in pixels, lengths in seconds, frames a second."""

    picture: tuple[int, int] | None = None
    seconds: float | None = None
    fps: Fraction | None = None
    sound_seconds: float | None = None


@dataclass(frozen=True)
class Shot:
    """A part of the video with its own prompt."""

    prompt: str
    frames: int


@dataclass(frozen=True)
class Plan:
    """The video to make. ``parameters`` are shown below the prompt; ``seed`` decides the colours."""

    width: int
    height: int
    fps: Fraction
    shots: tuple[Shot, ...]
    seed: int
    model: str
    parameters: tuple[str, ...]
    tier: str | None
    generate_audio: bool
    keep_audio: bool
    extend: str | None

    @property
    def frames(self) -> int:
        """Number of frames of all shots."""
        return sum(shot.frames for shot in self.shots)

    @property
    def seconds(self) -> float:
        """Length of all shots."""
        return float(self.frames / self.fps)


class Request:
    """The parameters of a job, with the defaults of its model's schema."""

    def __init__(self, job: Job) -> None:
        self.model = str(job.model["id"])
        self.given: Mapping[str, Any] = {name: value for name, value in job.parameters.items() if value is not None}
        schema = job.model.get("request_schema") or {}
        self.properties: Mapping[str, Any] = schema.get("properties") or {}
        self.variation = job.variation

    def value(self, *names: str) -> Any:
        """Return the first of these parameters that was given, else the first default in the schema, else None."""
        for name in names:
            if name in self.given:
                return self.given[name]
        for name in names:
            if (default := (self.properties.get(name) or {}).get("default")) is not None:
                return default
        return None

    def media(self) -> Media:
        """Sort the inputs by role.

        `input_image` is the first frame if it is a single image, and references if it is a list. The images of
        flux-3-video are keyframes in order. If there is a video, all images are references.
        """

        def uris(*names: str) -> list[str]:
            return _uris(self.given.get(name) for name in names)

        videos, first, last = uris(*_VIDEOS), uris(*_FIRST), uris(*_LAST)
        between: list[str] = []
        single, several = uris("input_image"), uris("input_images")
        if isinstance(self.given.get("input_image"), str) and not first and not videos:
            first, single = single, []
        if self.model == "flux-3-video" and several:
            first, between, last, several = several[:1], several[1:-1], several[1:][-1:] or last, []
        return Media(
            first=next(iter(first), None),
            last=next(iter(last), None),
            between=tuple(between),
            references=(*single, *uris(*_REFERENCES), *several, *uris("elements")),
            video=next(iter(videos), None),
            sound=next(iter(uris(*_SOUNDS)), None),
        )

    def plan(self, facts: Facts) -> Plan:
        """Plan the video; raise RenderError if a parameter is impossible."""
        fps = self._fps(facts)
        width, height = self._size(facts)
        tier = self.value("resolution", "target_resolution")
        shots = self._shots(facts, fps)
        seconds = float(sum(shot.frames for shot in shots) / fps)
        return Plan(
            width=width,
            height=height,
            fps=fps,
            shots=shots,
            seed=self._seed(),
            model=self.model,
            parameters=self._parameters(f"{seconds:.4g} s", f"{width}x{height}", f"{float(fps):.4g} fps"),
            tier=str(tier).lower() if tier is not None else None,
            generate_audio=bool(self.value("generate_audio")),
            keep_audio=self._keeps_sound(),
            extend=str(self.value("mode")) if "context" in self.properties else None,
        )

    def _parameters(self, *known: str) -> tuple[str, ...]:
        """Describe the video: the model, what is known of it, and every short parameter that was sent."""
        sent = [
            f"{name.replace('_', ' ')} {str(value).lower() if isinstance(value, bool) else value}"
            for name, value in self.given.items()
            if name not in _NOT_SHOWN and isinstance(value, str | int | float) and len(str(value)) <= 24
        ]
        return (self.model, *known, *sent)

    def _seed(self) -> int:
        """Return a number that depends on model, prompts, seed and variation, and not on the addresses of inputs."""
        names = ("prompt", "multi_prompt", "negative_prompt", "seed")
        basis = [self.model, {name: self.given[name] for name in names if name in self.given}, self.variation]
        return int.from_bytes(hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).digest()[:8])

    def _keeps_sound(self) -> bool:
        if self.value("audio_setting") == "origin":
            return True
        kept = self.value(*_KEEP_SOUND)
        edits_sound = {*_KEEP_SOUND, "audio_setting", "generate_audio"} & set(self.properties)
        return bool(kept) if kept is not None else not edits_sound

    def _fps(self, facts: Facts) -> Fraction:
        asked = self.value(*_RATES)
        if asked is None:
            return facts.fps or DEFAULT_FPS
        rate: Fraction = Fraction(_number("fps", asked)).limit_denominator(1001)
        if not 1 <= rate <= 120:
            raise RenderError(f"fps: Input should be between 1 and 120, not {asked}")
        # 23.976, 29.97 and 59.94 stand for 24000/1001, 30000/1001 and 60000/1001.
        ntsc = Fraction(round(rate) * 1000, 1001)
        return ntsc if rate.denominator != 1 and abs(ntsc - rate) < Fraction(1, 100) else rate

    def _shots(self, facts: Facts, fps: Fraction) -> tuple[Shot, ...]:
        given = self.given.get("multi_prompt")
        shots: list[Mapping[str, Any]] = []
        if isinstance(given, list):
            shots = [shot for shot in given if isinstance(shot, dict)]
        lengths = [_number("duration", shot.get("duration") or DEFAULT_SECONDS) for shot in shots]
        if not shots:
            shots, lengths = [self.given], [self._seconds(facts, fps)]
        if min(lengths) <= 0 or sum(lengths) > MAX_SECONDS:
            limits = f"more than 0 and at most {MAX_SECONDS:g} s"
            raise RenderError(f"duration: Input should be {limits}, not {sum(lengths):g}")
        return tuple(
            Shot(str(shot.get("prompt") or ""), max(1, round(length * fps)))
            for shot, length in zip(shots, lengths, strict=True)
        )

    def _seconds(self, facts: Facts, fps: Fraction) -> float:
        """Return the length: as sent, else that of the clip or the sound, else the model's default."""
        count = self.given.get("num_frames") if "duration" in self.given else self.value("num_frames")
        if count is not None and not (facts.sound_seconds is not None and self.value("match_audio_length")):
            return float(max(1, int(_number("num_frames", count))) / fps)
        asked = self._asked_seconds(self.given.get("duration", self.given.get("seconds")))
        default = self._asked_seconds(self.value("duration", "seconds"))
        if facts.seconds is not None:
            if "context" in self.properties:  # an extension: these seconds are added
                return facts.seconds + (asked or default or DEFAULT_SECONDS)
            if "start_time" in self.properties or asked is None:  # there it is the length of the replaced part
                return min(facts.seconds, MAX_SECONDS)
        if asked is None and facts.sound_seconds is not None and default is None:
            return min(facts.sound_seconds, MAX_SECONDS)
        return asked or default or DEFAULT_SECONDS

    def _asked_seconds(self, value: Any) -> float | None:
        """Read a length; None if the model is to choose (`auto`, -1, 0)."""
        if value is None or value == "auto":
            return None
        seconds = _number("duration", value.removesuffix("s") if isinstance(value, str) else value)
        return seconds if seconds > 0 else None

    def _size(self, facts: Facts) -> tuple[int, int]:
        width, height = self.value("width"), self.value("height")
        if width is not None or height is not None:
            ratio = float(self._shape(facts))
            high = _number("height", height) if height is not None else _number("width", width) / ratio
            wide = _number("width", width) if width is not None else high * ratio
            return _side("width", wide), _side("height", high)
        tier = str(self.value("resolution", "target_resolution") or "auto").lower()
        if tier in _NAMED_SIZES:
            return _NAMED_SIZES[tier]
        shape = self._shape(facts)
        short = _TIERS.get(tier) or (int(tier[:-1]) if re.fullmatch(r"\d{3,4}p", tier) else None)
        if short is None:
            known = facts.picture if facts.seconds is not None else None
            short = min(min(known), 1080) if known else 720
        long = float(short * max(shape, 1 / shape))
        width, height = (long, short) if shape >= 1 else (short, long)
        return _side("width", width), _side("height", height)

    def _shape(self, facts: Facts) -> Fraction:
        """Return width over height: as sent or as the schema says, else that of the input, else 16:9."""
        asked = str(self.value("aspect_ratio") or "auto")
        widest, size = Fraction(5), facts.picture or (16, 9)
        if match := re.fullmatch(r"(\d{1,4}):(\d{1,4})", _NAMED_SHAPES.get(asked, asked)):
            size = int(match[1]), int(match[2])
            if not (size[0] <= widest * size[1] and size[1] <= widest * size[0] and all(size)):
                raise RenderError(f"aspect_ratio: Input should be between 1:5 and 5:1, not {asked!r}")
        return min(max(Fraction(*size), 1 / widest), widest)


def _uris(values: Iterable[Any]) -> list[str]:
    """Return every string in nested lists, in order; of the strings in objects only those that look like URIs."""
    found: list[str] = []
    for value in values:
        if isinstance(value, str) and value:
            found.append(value)
        elif isinstance(value, list):
            found += _uris(value)
        elif isinstance(value, dict):
            found += [uri for uri in _uris(value.values()) if ":" in uri]
    return found


def _number(name: str, value: Any) -> float:
    number = math.nan
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        number = float(value)
    if not math.isfinite(number):
        raise RenderError(f"{name}: Input should be a valid number, not {str(value)[:40]!r}")
    return number


def _side(name: str, pixels: float) -> int:
    if not pixels <= MAX_SIDE:
        raise RenderError(f"{name}: Input should be at most {MAX_SIDE} pixels, not {pixels:g}")
    return max(MIN_SIDE, round(pixels / 2) * 2)
