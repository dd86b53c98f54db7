"""A scene behind and around the figure: sky, light, land that passes, and small things that drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from oxenvideo.server.preview.figures import Place, figure
from oxenvideo.server.preview.palette import Theme, mix
from oxenvideo.server.preview.planes import Colour, Picture, Sprite, Strip

Rgb = NDArray[np.uint8]

# Where the farthest and the nearest land begins, in heights of the frame from the top.
_REACH = {"sea": (0.5, 0.82), "hills": (0.44, 0.68), "city": (0.36, 0.5), "space": (0.7, 0.8)}


@dataclass(frozen=True)
class _Land:
    strip: Strip
    speed: float  # pixels a second
    top: int
    bob: float  # pixels up and down


@dataclass(frozen=True)
class _Drift:
    """A small thing that goes round: it leaves on one side and comes back on the other."""

    sprite: Sprite
    start: Place
    speed: Place  # frames' widths and heights a second
    sway: float


class Wanderers:
    """The figure and the drifting things, which may also be laid over a picture."""

    def __init__(self, prompt: str, theme: Theme, width: int, height: int, chance: Random, *, many: bool) -> None:
        self._size = width, height
        unit = min(width, height)
        shape = figure(prompt, theme, _even(unit * 0.3))
        self._figure = Sprite.of(shape.image)
        self._path = shape.path
        self._phase = chance.uniform(0, math.tau)
        sizes = [_even(unit * share) for share in (0.014, 0.022, 0.032)]
        bits = [Sprite.of(_glow(size, mix(theme.light, theme.accent, 0.3))) for size in sizes]
        falling = chance.choice((-0.05, 0.045, 0.03))
        self._drifts = [
            _Drift(
                bits[i % len(bits)],
                (chance.random(), chance.random()),
                (chance.uniform(-0.015, 0.02), falling * chance.uniform(0.6, 1.6)),
                chance.uniform(0, math.tau),
            )
            for i in range(16 if many else 10)
        ]

    def draw(self, picture: Picture, seconds: float, share: float) -> None:
        """Lay them over the picture at a time and share (0 to 1) of the scene."""
        width, height = self._size
        for drift in self._drifts:
            x = (drift.start[0] + drift.speed[0] * seconds + 0.012 * math.sin(seconds + drift.sway)) % 1.1 - 0.05
            y = (drift.start[1] + drift.speed[1] * seconds) % 1.1 - 0.05
            drift.sprite.paste(picture, x * width, y * height)
        x, y = self._path(share, self._phase)
        across, down = self._figure.size
        self._figure.paste(picture, x * width - across / 2, y * height - down / 2)


class Scene:
    """A scene drawn from nothing but the prompt and chance."""

    def __init__(self, prompt: str, theme: Theme, width: int, height: int, chance: Random) -> None:
        self._backdrop = Picture.of(_sky(theme, width, height, chance))
        self._lands = _lands(theme, width, height, chance)
        self._clouds = _clouds(theme, width, height, chance)
        self._width, self._height = width, height
        self._wanderers = Wanderers(prompt, theme, width, height, chance, many=True)

    def draw(self, picture: Picture, seconds: float, share: float) -> None:
        """Draw the scene at a time (seconds) and share (0 to 1) of its length."""
        lifts = [2 * round(land.bob * math.sin(seconds * 1.3 + land.speed) / 2) for land in self._lands]
        tops = [land.top + lift for land, lift in zip(self._lands, lifts, strict=True)]
        # Nothing is drawn where the next land covers it whole: that would be most of the work.
        solid = [top + land.strip.ragged for land, top in zip(self._lands, tops, strict=True)]
        picture.copy_from(self._backdrop, rows=solid[0])
        for cloud in self._clouds:
            across = cloud.sprite.size[0] / self._width
            x = (cloud.start[0] + cloud.speed[0] * seconds) % (1 + across) - across
            cloud.sprite.paste(picture, x * self._width, cloud.start[1] * self._height)
        for land, top, bottom in zip(self._lands, tops, [*solid[1:], self._height], strict=True):
            land.strip.paste(picture, land.speed * seconds, top, bottom)
        self._wanderers.draw(picture, seconds, share)


def _even(pixels: float) -> int:
    return max(2, round(pixels / 2) * 2)


def _sky(theme: Theme, width: int, height: int, chance: Random) -> Image.Image:
    stops = np.array(theme.sky, np.float32)
    heights = np.linspace(0, 1, height, dtype=np.float32)
    rows = np.stack([np.interp(heights, (0, 0.45, 0.8), stops[:, channel]) for channel in range(3)], axis=1)
    # The light is drawn small and enlarged: it has no edges to lose.
    small = (max(2, width // 8), max(2, height // 8))
    x, y = np.meshgrid(np.linspace(0, width / height, small[0]), np.linspace(0, 1, small[1]))
    sun_x, sun_y = chance.uniform(0.2, 0.8) * width / height, chance.uniform(0.18, 0.45)
    distance = np.hypot(x - sun_x, y - sun_y)
    glow = np.exp(-((distance / 0.32) ** 2)) * 0.55
    share = Image.fromarray((glow * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    sky = Image.fromarray(np.broadcast_to(rows[:, None, :], (height, width, 3)).astype(np.uint8))
    sky.paste(theme.light, mask=share)
    if theme.kind == "space":
        sky = _nebula(sky, theme, chance)
    if theme.hour == "night":
        _stars(sky, chance)
    radius = 0.055 * height
    disc = _disc(_even(2 * radius), theme.light)
    sky.paste(disc, (round(sun_x * height - radius), round(sun_y * height - radius)), disc)
    return sky


def _nebula(sky: Image.Image, theme: Theme, chance: Random) -> Image.Image:
    width, height = sky.size
    haze = Image.new("RGB", (width // 8, height // 8))
    pen = ImageDraw.Draw(haze)
    for colour in (theme.accent, theme.second, (110, 80, 190)):
        for _ in range(3):
            x, y, r = chance.random() * width / 8, chance.random() * height / 8, chance.uniform(0.1, 0.3) * height / 8
            pen.ellipse((x - 2 * r, y - r, x + 2 * r, y + r), fill=mix(colour, (0, 0, 0), 0.55))
    haze = haze.filter(ImageFilter.GaussianBlur(height / 90)).resize((width, height), Image.Resampling.BICUBIC)
    return Image.blend(sky, haze, 0.5)


def _stars(sky: Image.Image, chance: Random) -> None:
    pen = ImageDraw.Draw(sky)
    width, height = sky.size
    for _ in range(140):
        x, y = chance.random() * width, chance.random() ** 1.4 * height * 0.8
        r = chance.choice((0.7, 0.9, 1.4)) * height / 720
        shade = chance.randint(150, 255)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(shade, shade, min(255, shade + 20)))


def _disc(size: int, colour: Colour) -> Image.Image:
    large = Image.new("RGBA", (size * 3, size * 3))
    ImageDraw.Draw(large).ellipse((0, 0, size * 3 - 1, size * 3 - 1), fill=(*colour, 235))
    return large.resize((size, size), Image.Resampling.LANCZOS)


def _glow(size: int, colour: Colour) -> Image.Image:
    axis = np.linspace(-1, 1, size)
    near = np.clip(1 - np.hypot(axis[:, None], axis[None, :]), 0, 1)
    pixels = np.empty((size, size, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[..., 3] = (255 * near**0.8).astype(np.uint8)
    return Image.fromarray(pixels)


def _clouds(theme: Theme, width: int, height: int, chance: Random) -> list[_Drift]:
    if theme.kind == "space":
        return []
    colour = mix(theme.sky[2], (255, 255, 255), 0.2 if theme.hour == "night" else 0.6)
    clouds = []
    for _ in range(3):
        across = _even(chance.uniform(0.2, 0.32) * width)
        down = _even(across * 0.34)
        soft = Image.new("L", (across, down))
        pen = ImageDraw.Draw(soft)
        for puff in range(7):
            x, r = across * (0.2 + 0.1 * puff), down * chance.uniform(0.2, 0.32)
            y = down * chance.uniform(0.45, 0.6)
            pen.ellipse((x - 1.5 * r, y - r, x + 1.5 * r, y + r), fill=190)
        soft = soft.filter(ImageFilter.GaussianBlur(down / 14))
        image = Image.new("RGBA", (across, down), colour)
        image.putalpha(soft)
        where = (chance.random() * 1.3, chance.uniform(0.04, 0.36))
        clouds.append(_Drift(Sprite.of(image), where, (chance.uniform(0.008, 0.024), 0.0), 0.0))
    return clouds


def _lands(theme: Theme, width: int, height: int, chance: Random) -> list[_Land]:
    lands = []
    layers = {"sea": 5, "hills": 4, "city": 3, "space": 2}[theme.kind]
    for layer in range(layers):
        depth = (layer + 1) / layers
        colour = mix(theme.far, theme.near, (layer / max(1, layers - 1)) ** 0.9)
        horizon, nearest = _REACH[theme.kind]
        top = _even(height * (horizon + (nearest - horizon) * layer / max(1, layers - 1)))
        rows = height - top
        colours = _shaded(colour, theme, width, rows + rows % 2)
        outline = _outline(theme.kind, width, rows, depth, chance)
        mask = np.arange(rows + rows % 2)[:, None] >= outline[None, :]
        if theme.kind == "city":
            _windows(colours, outline, theme, depth, chance)
        speed = width * 0.05 * depth**1.5 * (-1 if theme.kind == "sea" and layer % 2 else 1)
        bob = height * 0.006 * depth if theme.kind == "sea" else 0.0
        lands.append(_Land(Strip.of(colours, mask), speed, top, bob))
    return lands


def _shaded(colour: Colour, theme: Theme, width: int, rows: int) -> Rgb:
    """Return rows of the colour that take on the light towards their top."""
    lit = np.array(mix(colour, theme.light, 0.16), np.float32)
    deep = np.array(mix(colour, (0, 0, 0), 0.2), np.float32)
    down = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    return np.repeat((lit + (deep - lit) * down)[:, None, :], width, axis=1).astype(np.uint8)


def _outline(kind: str, width: int, rows: int, depth: float, chance: Random) -> NDArray[np.int64]:
    """Return where each column begins to be solid; the last column meets the first."""
    turn = np.linspace(0, math.tau, width, endpoint=False)
    if kind == "city":
        edges = np.zeros(width)
        x = 0
        while x < width:
            wide = round(width * chance.uniform(0.03, 0.075))
            edges[x : x + wide] = chance.uniform(0.02, 0.5) * rows
            x += wide
        return edges.astype(np.int64) // 2 * 2
    swell = {
        "sea": ((9, 0.02), (4, 0.018)),
        "hills": ((2, 0.13), (5, 0.05), (11, 0.012)),
        "space": ((3, 0.1), (7, 0.05)),
    }
    height = np.zeros(width)
    for waves, share in swell[kind]:
        height += share * (1.2 - 0.5 * depth) * (1 + np.sin(waves * turn + chance.uniform(0, math.tau)))
    return (height * rows).astype(np.int64)


def _windows(colours: Rgb, outline: NDArray[np.int64], theme: Theme, depth: float, chance: Random) -> None:
    rows, width = colours.shape[:2]
    step = max(6, round(rows * 0.045))
    lit = np.array(mix(theme.light, (255, 200, 90), 0.6), np.float32)
    for x in range(step, width - step, step):
        for y in range(int(outline[x]) + step, rows - step, round(step * 1.5)):
            if outline[x] == outline[x + step // 2] and chance.random() < 0.4:
                pane = colours[y : y + step * 3 // 4, x : x + step // 2]
                pane[...] = (pane + (lit - pane) * (0.25 + 0.6 * depth * chance.random())).astype(np.uint8)
