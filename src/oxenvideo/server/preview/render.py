"""One job's way to its video: read the inputs, plan, draw each frame, encode."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from oxenvideo.server import fetch
from oxenvideo.server.preview import decode, encode, palette, sound
from oxenvideo.server.preview.caption import Captions
from oxenvideo.server.preview.decode import Clip
from oxenvideo.server.preview.plan import Facts, Media, Plan, Request, Shot
from oxenvideo.server.preview.planes import Picture, Sprite
from oxenvideo.server.preview.scenery import Scene, Wanderers
from oxenvideo.server.renderer import InputRules, Job, Rendered

_FADE = 0.35  # seconds in which what is laid over a given first or last frame comes and goes
_ZOOM = 0.1  # how much a still grows over the whole of a shot


@dataclass(frozen=True)
class Inputs:
    """The inputs, read."""

    first: Image.Image | None
    last: Image.Image | None
    between: tuple[Image.Image, ...]
    references: tuple[Image.Image, ...]
    clip: Clip | None
    sound: encode.Sound | None

    @classmethod
    def read(cls, media: Media, rules: InputRules) -> Inputs:
        """Fetch and decode everything a request refers to."""

        def image(uri: str) -> Image.Image:
            return decode.image(fetch.fetch(uri, rules), fetch.shown(uri))

        return cls(
            first=image(media.first) if media.first else None,
            last=image(media.last) if media.last else None,
            between=tuple(image(uri) for uri in media.between),
            references=tuple(image(uri) for uri in media.references),
            clip=Clip(fetch.fetch(media.video, rules), fetch.shown(media.video)) if media.video else None,
            sound=decode.sound(fetch.fetch(media.sound, rules), fetch.shown(media.sound)) if media.sound else None,
        )

    @property
    def facts(self) -> Facts:
        """What the plan must know of them."""
        return Facts(
            picture=self.clip.size if self.clip else self.first.size if self.first else None,
            seconds=self.clip.seconds if self.clip else None,
            fps=self.clip.fps if self.clip else None,
            sound_seconds=self.sound.shape[1] / encode.SAMPLE_RATE if self.sound is not None else None,
        )


def render(job: Job, path: Path) -> Rendered:
    """Write the preview of a job."""
    request = Request(job)
    given = Inputs.read(request.media(), job.inputs)
    plan = request.plan(given.facts)
    track = _track(plan, given)
    encode.write(
        path,
        (picture.buffer for picture in pictures(plan, given)),
        width=plan.width,
        height=plan.height,
        fps=plan.fps,
        sound=track,
        comment=f"A local preview drawn by oxenvideo; {plan.model} has not made it.",
    )
    return Rendered(plan.seconds, plan.generate_audio, plan.tier)


def pictures(plan: Plan, given: Inputs) -> Iterator[Picture]:
    """Draw every frame; each is good until the next is asked for."""
    if given.clip is not None:
        yield from _edited(plan, given, given.clip)
        return
    theme = None
    for number, shot in enumerate(plan.shots):
        chance = Random(f"{plan.seed} {number} {shot.prompt}")  # noqa: S311  # to be the same again is the point
        theme = palette.theme(shot.prompt, chance, unlike=theme)
        stills = _stills(plan, given, number)
        yield from _shot(plan, shot, given.references, theme, stills, chance)


def _track(plan: Plan, given: Inputs) -> encode.Sound | None:
    if given.sound is not None:
        return sound.fitted(given.sound, plan.seconds)
    kept = given.clip.sound() if given.clip is not None and plan.keep_audio else None
    if kept is not None:
        return sound.fitted(kept, plan.seconds)
    return sound.tune(plan.seconds, plan.seed) if plan.generate_audio else None


class _Backdrop(Protocol):
    def draw(self, picture: Picture, seconds: float, share: float) -> None: ...


class _Still:
    """A given image, whole at its own moment (a share of the shot), a little nearer the further from it."""

    def __init__(self, image: Image.Image, plan: Plan, moment: float) -> None:
        whole = Picture.of(decode.covering(image, plan.width, plan.height))
        self._planes = [Image.fromarray(plane.copy()) for plane in (whole.y, whole.u, whole.v)]
        self._moment = moment
        self._drawn = whole
        self._step = 0

    def draw(self, picture: Picture, seconds: float, share: float) -> None:
        # A step moves the edge by a pixel; less would cost the enlarging and not be seen.
        step = round(_ZOOM * abs(share - self._moment) * self._drawn.size[0] / 2)
        if step != self._step:
            self._step = step
            self._enlarge(self._drawn, 2 * step / self._drawn.size[0])
        picture.copy_from(self._drawn)

    def _enlarge(self, picture: Picture, by: float) -> None:
        for target, plane in zip((picture.y, picture.u, picture.v), self._planes, strict=True):
            width, height = plane.size
            x, y = width * (1 - 1 / (1 + by)) / 2, height * (1 - 1 / (1 + by)) / 2
            target[...] = np.asarray(plane.resize(plane.size, Image.Resampling.BILINEAR, (x, y, width - x, height - y)))


def _stills(plan: Plan, given: Inputs, number: int) -> list[Image.Image | None]:
    """Return the keyframes of a shot, None for a stretch of its own scenery; the whole film has first and last."""
    stills: list[Image.Image | None] = []
    if number == 0 and given.first is not None:
        stills += [given.first, *given.between]
    if number == len(plan.shots) - 1 and given.last is not None:
        stills = [*(stills or [None]), given.last]
    return stills or [None]


def _shot(
    plan: Plan,
    shot: Shot,
    references: Sequence[Image.Image],
    theme: palette.Theme,
    stills: Sequence[Image.Image | None],
    chance: Random,
) -> Iterator[Picture]:
    size = plan.width, plan.height
    moments = [index / max(1, len(stills) - 1) for index in range(len(stills))]
    backdrops: list[_Backdrop] = [
        Scene(shot.prompt, theme, *size, chance) if still is None else _Still(still, plan, moment)
        for still, moment in zip(stills, moments, strict=True)
    ]
    over = _Over(plan, shot.prompt, references, theme, chance, figure=stills[0] is not None)
    picture, other = Picture.blank(*size), Picture.blank(*size)
    for number in range(shot.frames):
        seconds = float(number / plan.fps)
        share = number / max(1, shot.frames - 1)
        left = float((shot.frames - 1 - number) / plan.fps)
        _draw_between(backdrops, picture, other, seconds, share)
        shown = min(1.0, *(edge / _FADE for edge, still in ((seconds, stills[0]), (left, stills[-1])) if still), 1.0)
        if shown == 1:
            over.draw(picture, seconds, share)
        elif shown > 0:
            other.copy_from(picture)
            over.draw(other, seconds, share)
            picture.mix(other, shown)
        yield picture


def _draw_between(
    backdrops: Sequence[_Backdrop], picture: Picture, other: Picture, seconds: float, share: float
) -> None:
    """Draw the backdrop of this moment, or two of them on the way from one to the next."""
    place = share * (len(backdrops) - 1)
    index = min(int(place), len(backdrops) - 1)
    # Each keeps the picture to itself for a fifth of the way on either side of its moment.
    blend = min(1.0, max(0.0, (place - index - 0.2) / 0.6))
    if blend < 1:
        backdrops[index].draw(picture, seconds, share)
    if blend > 0:
        target = picture if blend == 1 else other
        backdrops[index + 1].draw(target, seconds, share)
        if blend < 1:
            picture.mix(other, blend)


def _edited(plan: Plan, given: Inputs, clip: Clip) -> Iterator[Picture]:
    """Draw the given clip, in the prompt's colour and with its figure where there is a prompt."""
    shot = plan.shots[0]
    chance = Random(f"{plan.seed} {shot.prompt}")  # noqa: S311  # to be the same again is the point
    theme = palette.theme(shot.prompt, chance)
    edits = bool(shot.prompt) and not plan.upscale
    over = _Over(plan, shot.prompt, given.references, theme, chance, figure=edits)
    lead = max(0.0, plan.seconds - clip.seconds) if plan.extend == "start" else 0.0
    picture = Picture.blank(plan.width, plan.height)
    source = clip.pictures(plan.width, plan.height, plan.fps, plan.frames, lead=lead)
    for number, original in enumerate(source):
        picture.copy_from(original)
        if edits:
            picture.tinge(theme.accent)
        over.draw(picture, float(number / plan.fps), number / max(1, plan.frames - 1))
        yield picture


class _Over:
    """What is laid over a frame: the figure where the scene has none of its own, the references, the words."""

    def __init__(
        self,
        plan: Plan,
        prompt: str,
        references: Sequence[Image.Image],
        theme: palette.Theme,
        chance: Random,
        *,
        figure: bool,
    ) -> None:
        self._size = plan.width, plan.height
        self._wanderers = Wanderers(prompt, theme, *self._size, chance, many=False) if figure else None
        self._references = [Sprite.of(image) for image in _prints(references, *self._size)]
        details = f"{plan.model}  ·  {plan.seconds:g} s  ·  {plan.width}x{plan.height}  ·  not made by the model"
        self._captions = Captions(prompt, details, *self._size)

    def draw(self, picture: Picture, seconds: float, share: float) -> None:
        if self._wanderers is not None:
            self._wanderers.draw(picture, seconds, share)
        right = self._size[0]
        for number, print_ in enumerate(self._references):
            right -= round(print_.size[0] * 1.12)
            sway = math.sin(seconds * 1.7 + number) * 0.012
            print_.paste(picture, right, (0.13 + sway) * min(self._size))
        self._captions.draw(picture)


def _prints(images: Sequence[Image.Image], width: int, height: int) -> Iterator[Image.Image]:
    """Make prints with a white edge, small enough to stand beside each other."""
    side = min(0.26 * min(width, height), 0.62 * width / max(1, len(images)))
    for image in images:
        inner = max(2, round(side))
        small = ImageOps.contain(image, (inner, inner), Image.Resampling.LANCZOS)
        yield ImageOps.expand(small, max(1, round(side * 0.045)), (250, 248, 244)).convert("RGBA")
