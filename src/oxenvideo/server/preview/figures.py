"""The figure in the middle of a scene: what the prompt names, drawn small, and how it moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from oxenvideo.server.preview.palette import Theme, mix, words
from oxenvideo.server.preview.planes import Colour

_SMOOTH = 3  # drawn this much larger, then reduced
Box = tuple[float, float, float, float]
Place = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """A figure: its picture, and where its middle is at ``share`` of the scene (0 to 1), in widths and heights."""

    image: Image.Image
    path: Callable[[float, float], Place]


class _Pen:
    """Draws in a square of side 100."""

    def __init__(self, size: int) -> None:
        self.image = Image.new("RGBA", (size * _SMOOTH, size * _SMOOTH))
        self._draw = ImageDraw.Draw(self.image)
        self._unit = size * _SMOOTH / 100

    def ellipse(self, box: Box, fill: Colour) -> None:
        self._draw.ellipse([v * self._unit for v in box], fill=(*fill, 255))

    def halo(self, colour: Colour, alpha: int) -> None:
        """Fill the square with light that fades from the middle."""
        axis = np.linspace(-1, 1, self.image.width)
        near = np.clip(1 - np.hypot(axis[:, None], axis[None, :]), 0, 1)
        self.image.paste(colour, (0, 0, *self.image.size))
        self.image.putalpha(Image.fromarray((near**1.5 * alpha).astype(np.uint8)))

    def shape(self, points: list[Place], fill: Colour) -> None:
        self._draw.polygon([(x * self._unit, y * self._unit) for x, y in points], fill=(*fill, 255))

    def line(self, points: list[Place], fill: Colour, width: float) -> None:
        scaled = [(x * self._unit, y * self._unit) for x, y in points]
        self._draw.line(scaled, fill=(*fill, 255), width=max(1, round(width * self._unit)), joint="curve")

    def slab(self, box: Box, radius: float, fill: Colour) -> None:
        self._draw.rounded_rectangle([v * self._unit for v in box], radius * self._unit, fill=(*fill, 255))


def figure(prompt: str, theme: Theme, size: int) -> Figure:
    """Draw the first thing in the prompt that there is a figure for, ``size`` pixels across; lights otherwise."""
    said = words(prompt)
    for word in said:
        for names, draw, path in _FIGURES:
            if word in names or word.removesuffix("s") in names:
                return _made(draw, path, theme, size)
    return _made(_orb, _hover, theme, size)


def _made(
    draw: Callable[[_Pen, Colour, Colour], None], path: Callable[[float, float], Place], theme: Theme, size: int
) -> Figure:
    pen = _Pen(size)
    draw(pen, theme.accent, theme.second)
    return Figure(pen.image.resize((size, size), Image.Resampling.LANCZOS), path)


def _light(colour: Colour) -> Colour:
    return mix(colour, (255, 255, 255), 0.45)


def _dark(colour: Colour) -> Colour:
    return mix(colour, (20, 16, 30), 0.45)


def _balloon(pen: _Pen, main: Colour, second: Colour) -> None:
    pen.line([(50, 74), (48, 82), (52, 90), (50, 99)], (240, 240, 240), 0.8)
    pen.shape([(46, 76), (54, 76), (50, 70)], _dark(main))
    pen.ellipse((22, 4, 78, 73), mix(main, (20, 16, 30), 0.16))
    pen.ellipse((24, 5, 74, 68), main)
    pen.ellipse((31, 12, 49, 36), mix(main, (255, 255, 255), 0.25))
    pen.ellipse((35, 16, 43, 26), mix(main, (255, 255, 255), 0.75))


def _bird(pen: _Pen, main: Colour, second: Colour) -> None:
    pen.shape([(4, 44), (30, 50), (12, 58)], _dark(main))
    pen.ellipse((20, 40, 76, 64), main)
    pen.ellipse((64, 32, 86, 54), main)
    pen.shape([(85, 40), (97, 44), (85, 48)], (246, 176, 60))
    pen.shape([(34, 48), (60, 46), (40, 12), (24, 6)], _light(main))
    pen.ellipse((74, 38, 79, 43), (30, 30, 40))


def _fish(pen: _Pen, main: Colour, second: Colour) -> None:
    pen.shape([(4, 30), (30, 50), (4, 70), (12, 50)], second)
    pen.shape([(44, 30), (64, 14), (68, 34)], second)
    pen.ellipse((20, 26, 94, 74), main)
    for left in (40, 54):
        pen.line([(left, 30), (left - 4, 50), (left, 70)], _light(main), 4)
    pen.ellipse((76, 40, 86, 50), (255, 255, 255))
    pen.ellipse((79, 42, 85, 48), (30, 30, 40))


def _boat(pen: _Pen, main: Colour, second: Colour) -> None:
    pen.line([(48, 8), (48, 74)], (96, 70, 50), 2)
    pen.shape([(51, 10), (51, 66), (88, 66)], (248, 244, 236))
    pen.shape([(45, 20), (45, 66), (18, 66)], main)
    pen.shape([(10, 72), (90, 72), (76, 92), (24, 92)], _dark(second))
    pen.shape([(10, 72), (90, 72), (87, 77), (13, 77)], (240, 236, 226))


def _rocket(pen: _Pen, main: Colour, second: Colour) -> None:
    pen.shape([(40, 76), (60, 76), (50, 99)], (255, 196, 70))
    pen.shape([(44, 76), (56, 76), (50, 90)], (255, 240, 180))
    pen.shape([(34, 54), (18, 80), (36, 74)], main)
    pen.shape([(66, 54), (82, 80), (64, 74)], main)
    pen.ellipse((34, 4, 66, 92), (238, 240, 246))
    pen.slab((38, 70, 62, 80), 3, _dark(main))
    pen.shape([(39, 22), (61, 22), (50, 2)], main)
    pen.ellipse((41, 32, 59, 50), _dark(second))
    pen.ellipse((44, 35, 56, 47), (150, 210, 240))


def _heart(pen: _Pen, main: Colour, second: Colour) -> None:
    pen.ellipse((12, 16, 54, 58), main)
    pen.ellipse((46, 16, 88, 58), main)
    pen.shape([(15.5, 48), (84.5, 48), (50, 92)], main)
    pen.ellipse((22, 24, 36, 36), _light(main))


def _car(pen: _Pen, main: Colour, second: Colour) -> None:
    pen.shape([(24, 52), (34, 34), (66, 34), (80, 52)], _dark(main))
    pen.shape([(30, 51), (37, 38), (49, 38), (49, 51)], (180, 220, 240))
    pen.shape([(53, 38), (64, 38), (73, 51), (53, 51)], (180, 220, 240))
    pen.slab((6, 50, 95, 72), 8, main)
    pen.ellipse((88, 54, 95, 61), (255, 244, 190))
    for left in (18, 64):
        pen.ellipse((left, 62, left + 20, 82), (34, 34, 42))
        pen.ellipse((left + 6, 68, left + 14, 76), (200, 204, 210))


def _ox(pen: _Pen, main: Colour, second: Colour) -> None:
    coat, hoof = (132, 92, 64), (60, 44, 38)
    for left in (20, 32, 56, 66):
        pen.slab((left, 58, left + 8, 90), 3, _dark(coat))
        pen.slab((left, 84, left + 8, 91), 2, hoof)
    pen.line([(14, 42), (6, 56), (8, 66)], _dark(coat), 2)
    pen.ellipse((12, 30, 78, 70), coat)
    pen.ellipse((52, 22, 80, 60), coat)
    pen.line([(72, 34), (64, 22), (70, 12)], (240, 232, 214), 4)
    pen.line([(88, 34), (96, 22), (92, 12)], (240, 232, 214), 4)
    pen.slab((66, 30, 94, 62), 10, mix(coat, (255, 255, 255), 0.12))
    pen.slab((70, 50, 94, 65), 7, mix(coat, (255, 236, 220), 0.6))
    for left in (73, 86):
        pen.ellipse((left, 38, left + 5, 43), (30, 24, 24))
        pen.ellipse((left + 1, 55, left + 4, 58), hoof)
    pen.slab((40, 30, 54, 56), 4, main)


def _butterfly(pen: _Pen, main: Colour, second: Colour) -> None:
    for side in (-1, 1):
        near, far = sorted((50 + side * 2, 50 + side * 44))
        pen.ellipse((near, 10, far, 54), main)
        near, far = sorted((50 + side * 2, 50 + side * 34))
        pen.ellipse((near, 46, far, 84), second)
        near, far = sorted((50 + side * 16, 50 + side * 34))
        pen.ellipse((near, 22, far, 42), _light(main))
        pen.line([(50, 22), (50 + side * 14, 4)], (40, 34, 40), 1.5)
    pen.slab((47, 18, 53, 82), 3, (40, 34, 40))


def _orb(pen: _Pen, main: Colour, second: Colour) -> None:
    pen.halo(main, 230)
    pen.ellipse((34, 34, 66, 66), _light(main))
    pen.ellipse((38, 38, 54, 54), mix(main, (255, 255, 255), 0.85))


def _rise(share: float, phase: float) -> Place:
    return 0.5 + 0.16 * math.sin(share * 5 + phase), 0.86 - 0.66 * share


def _fly(share: float, phase: float) -> Place:
    return -0.1 + 1.2 * share, 0.36 + 0.1 * math.sin(share * 9 + phase)


def _swim(share: float, phase: float) -> Place:
    return -0.1 + 1.2 * share, 0.72 + 0.07 * math.sin(share * 10 + phase)


def _sail(share: float, phase: float) -> Place:
    return 0.08 + 0.8 * share, 0.55 + 0.012 * math.sin(share * 22 + phase)


def _launch(share: float, phase: float) -> Place:
    return 0.5 + 0.03 * math.sin(share * 8 + phase), 0.84 - 0.9 * share**1.6


def _walk(share: float, phase: float) -> Place:
    return 0.1 + 0.76 * share, 0.73 - 0.012 * abs(math.sin(share * 40))


def _drive(share: float, phase: float) -> Place:
    return -0.1 + 1.2 * share, 0.78 + 0.003 * math.sin(share * 70)


def _hover(share: float, phase: float) -> Place:
    return 0.5 + 0.24 * math.sin(share * 4.4 + phase), 0.42 + 0.13 * math.sin(share * 6.6 + 2 * phase)


_FIGURES: tuple[tuple[frozenset[str], Callable[[_Pen, Colour, Colour], None], Callable[[float, float], Place]], ...] = (
    (frozenset({"balloon", "kite", "zeppelin", "airship"}), _balloon, _rise),
    (frozenset({"bird", "eagle", "gull", "seagull", "owl", "crane", "dove", "parrot", "plane", "dragon"}), _bird, _fly),
    (frozenset({"fish", "whale", "shark", "dolphin", "goldfish", "koi", "turtle"}), _fish, _swim),
    (frozenset({"boat", "ship", "sail", "sailboat", "yacht", "sailing", "canoe"}), _boat, _sail),
    (frozenset({"rocket", "spaceship", "astronaut", "shuttle", "spacecraft"}), _rocket, _launch),
    (frozenset({"heart", "love", "valentine"}), _heart, _hover),
    (frozenset({"car", "taxi", "bus", "truck", "van", "drive", "driving"}), _car, _drive),
    (frozenset({"ox", "oxen", "cow", "bull", "buffalo", "horse", "cat", "dog", "animal", "fox", "bear"}), _ox, _walk),
    (frozenset({"butterfly", "moth", "flower", "bee", "dragonfly"}), _butterfly, _hover),
)
