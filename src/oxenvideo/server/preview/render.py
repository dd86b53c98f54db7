"""Rendering a preview: read the inputs, plan, draw each frame, encode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image, ImageOps

from oxenvideo.server import fetch
from oxenvideo.server.preview import decode, encode
from oxenvideo.server.preview.background import Background
from oxenvideo.server.preview.decode import Clip
from oxenvideo.server.preview.overlay import Overlay
from oxenvideo.server.preview.picture import Picture
from oxenvideo.server.preview.plan import Facts, Media, Plan, Request
from oxenvideo.server.renderer import InputRules, Job, Rendered

_FADE = 0.35  # seconds in which the overlay fades beside a given first or last frame, which are shown without it


class LocalPreview:
    """A renderer whose videos are drawn on this machine: quick, free, and marked as previews."""

    def render(self, job: Job, path: Path) -> Rendered:
        """Write the preview of this job to ``path``."""
        request = Request(job)
        given = Inputs(request.media(), job.inputs)
        plan = request.plan(given.facts)
        encode.write(
            path,
            (picture.buffer for picture in pictures(plan, given)),
            width=plan.width,
            height=plan.height,
            fps=plan.fps,
            sound=_track(plan, given),
            comment=f"A local preview drawn by oxenvideo, not made by {plan.model}.",
        )
        return Rendered(plan.seconds, plan.generate_audio, plan.tier)


class Inputs:
    """The decoded inputs of a job."""

    def __init__(self, media: Media, rules: InputRules) -> None:
        def image(uri: str) -> Image.Image:
            return decode.image(fetch.fetch(uri, rules), fetch.shown(uri))

        self.first = image(media.first) if media.first else None
        self.last = image(media.last) if media.last else None
        self.between = [image(uri) for uri in media.between]
        self.references = [image(uri) for uri in media.references]
        self.clip = Clip(fetch.fetch(media.video, rules), fetch.shown(media.video)) if media.video else None
        self.sound = decode.sound(fetch.fetch(media.sound, rules), fetch.shown(media.sound)) if media.sound else None

    @property
    def facts(self) -> Facts:
        """What the plan depends on."""
        return Facts(
            picture=self.clip.size if self.clip else self.first.size if self.first else None,
            seconds=self.clip.seconds if self.clip else None,
            fps=self.clip.fps if self.clip else None,
            sound_seconds=self.sound.shape[1] / encode.SAMPLE_RATE if self.sound is not None else None,
        )


def pictures(plan: Plan, given: Inputs) -> Iterator[Picture]:
    """Draw every frame. Each picture is valid until the next one is asked for."""
    if given.clip is not None:
        yield from _clip(plan, given, given.clip)
        return
    for number in range(len(plan.shots)):
        yield from _shot(plan, given, number)


def _track(plan: Plan, given: Inputs) -> encode.Sound | None:
    sound = given.sound
    if sound is None and given.clip is not None and plan.keep_audio:
        sound = given.clip.sound()
    if sound is not None:
        return encode.fitted(sound, plan.seconds)
    return encode.tone(plan.seconds, plan.seed) if plan.generate_audio else None


def _clip(plan: Plan, given: Inputs, clip: Clip) -> Iterator[Picture]:
    """Draw the given clip with the overlay."""
    overlay = Overlay(plan, 0, given.references, on_images=True)
    lead = max(0.0, plan.seconds - clip.seconds) if plan.extend == "start" else 0.0
    for number, picture in enumerate(clip.pictures(plan.width, plan.height, plan.fps, plan.frames, lead=lead)):
        overlay.draw(picture, number)
        yield picture


def _shot(plan: Plan, given: Inputs, shot: int) -> Iterator[Picture]:
    """Draw a shot from its keyframes: given images, and the background (None) where no image was given."""
    stills: list[Image.Image | None] = []
    if shot == 0 and given.first is not None:
        stills += [given.first, *given.between]
    if shot == len(plan.shots) - 1 and given.last is not None:
        stills = [*(stills or [None]), given.last]
    stills = stills or [None]
    size = plan.width, plan.height
    keyframes = [Background(plan.seed, shot, *size).draw if still is None else _still(still, size) for still in stills]
    overlay = Overlay(plan, shot, given.references, on_images=stills != [None])
    picture, other = Picture.blank(*size), Picture.blank(*size)
    frames = plan.shots[shot].frames
    start = sum(earlier.frames for earlier in plan.shots[:shot])
    for number in range(frames):
        place = number / max(1, frames - 1) * (len(keyframes) - 1)
        index = min(int(place), len(keyframes) - 1)
        # Each keyframe is alone for a fifth of the distance on either side of its moment.
        blend = min(1.0, max(0.0, (place - index - 0.2) / 0.6))
        seconds = float((start + number) / plan.fps)
        keyframes[index](picture, seconds)
        if blend > 0:
            keyframes[index + 1](other, seconds)
            picture.mix(other, blend)
        edges = [edge for edge, still in ((number, stills[0]), (frames - 1 - number, stills[-1])) if still is not None]
        visible = min(1.0, *(float(edge / plan.fps) / _FADE for edge in edges), 1.0)
        if visible == 1:
            overlay.draw(picture, start + number)
        elif visible > 0:
            other.copy_from(picture)
            overlay.draw(other, start + number)
            picture.mix(other, visible)
        yield picture


def _still(image: Image.Image, size: tuple[int, int]) -> Callable[[Picture, float], None]:
    still = Picture.from_image(ImageOps.fit(image, size, Image.Resampling.LANCZOS))
    return lambda picture, seconds: picture.copy_from(still)
