"""The background of a preview: a soft colour field that moves slowly, derived from a seed."""

from __future__ import annotations

import math
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oxenvideo.server.preview.picture import Picture, Plane, to_yuv

Float = NDArray[np.float32]

_GOLDEN_ANGLE = 137.5  # degrees; successive hues at this distance never come close to each other
_MARGIN = 0.35  # how much larger than the frame a layer is, and so how far it can move
_PERIODS = (13.0, 18.0)  # seconds in which the two layers complete their paths
_GRID = 8  # pixels of the frame to one cell of the grid that the colours are computed on


class Background:
    """The sum of two layers of blurred colour, each of which moves along an ellipse of its own.

    The seed decides between a dark and a light field; ``number`` (of a shot) changes the hues, not the lightness.
    """

    def __init__(self, seed: int, number: int, width: int, height: int) -> None:
        chance = Random(f"{seed} {number}")  # noqa: S311  # the same seed must give the same video
        self.is_dark = is_dark(seed)
        hue = seed % 360 + _GOLDEN_ANGLE * number
        self._size = width, height
        self._room = [round(_MARGIN * side / 2) * 2 for side in self._size]
        size = width + self._room[0], height + self._room[1]
        self._layers = [_layer(chance, hue, self.is_dark, *size) for _ in _PERIODS]
        self._phases = [chance.uniform(0, math.tau) for _ in _PERIODS]

    def draw(self, picture: Picture, seconds: float) -> None:
        """Draw the field as it is at this time."""
        width, height = self._size
        views = []
        for planes, phase, period in zip(self._layers, self._phases, _PERIODS, strict=True):
            angle = phase + math.tau * seconds / period
            x, y = (round(room / 4 * (1 + f(angle))) for room, f in zip(self._room, (math.cos, math.sin), strict=True))
            starts = zip(planes, (2, 1, 1), strict=True)  # x and y are in pixels of the two chroma planes
            views.append(
                [plane[n * y : n * y + n * height // 2, n * x : n * x + n * width // 2] for plane, n in starts]
            )
        for target, one, other in zip(picture.planes, *views, strict=True):
            np.add(one, other, out=target)


def is_dark(seed: int) -> bool:
    """Return whether the field of this seed is dark, so that text on it has to be light."""
    return (seed >> 16) % 5 < 3


def _layer(chance: Random, hue: float, dark: bool, width: int, height: int) -> list[Plane]:
    """Return the planes of one layer at half their value, so that two layers add up to a picture."""
    yuv = to_yuv(_blobs(chance, hue, dark, max(4, width // _GRID), max(4, height // _GRID)))
    planes = []
    for channel, size in enumerate(((width, height), (width // 2, height // 2), (width // 2, height // 2))):
        smooth = np.asarray(Image.fromarray(yuv[..., channel] / 2).resize(size, Image.Resampling.BILINEAR))
        # Without noise a gradient this soft shows its 8-bit steps as bands.
        noise = np.tile(_NOISE, (size[1] // 128 + 1, size[0] // 128 + 1))[: size[1], : size[0]]
        planes.append(np.add(smooth, noise, dtype=np.float32).astype(np.uint8))
    return planes


_NOISE: Float = np.random.default_rng(1).random((128, 128), np.float32)


def _blobs(chance: Random, hue: float, dark: bool, columns: int, rows: int) -> Float:
    """Blend a few coloured spots on a small grid; return RGB values from 0 to 255."""
    aspect = columns / rows
    x, y = np.meshgrid(np.linspace(0, aspect, columns, dtype=np.float32), np.linspace(0, 1, rows, dtype=np.float32))
    lightness, chroma = ((0.24, 0.58), (0.1, 0.19)) if dark else ((0.8, 0.96), (0.05, 0.13))
    total = np.zeros((rows, columns, 3), np.float32)
    weights = np.zeros((rows, columns, 1), np.float32)
    for spread in (0, 25, -30, 50, -55, 90):
        angle = (hue + spread + chance.uniform(-12, 12)) % 360
        if dark:  # without the hues in which dark colours are olive
            angle = 125 + angle * 295 / 360
        angle = math.radians(angle)
        colour = chance.uniform(*lightness), chance.uniform(*chroma)
        lab = np.array([colour[0], colour[1] * math.cos(angle), colour[1] * math.sin(angle)], np.float32)
        radius = chance.uniform(0.28, 0.5) * max(1.0, aspect) ** 0.5
        distance = np.hypot(x - chance.uniform(0, aspect), y - chance.uniform(0, 1))
        weight = np.exp(-((distance / radius) ** 2))[..., None] + np.float32(0.02)
        total += weight * lab
        weights += weight
    return _oklab_to_rgb(total / weights)


def _oklab_to_rgb(lab: Float) -> Float:
    """Convert OKLab, in which equal steps look equally large, to sRGB values from 0 to 255."""
    cones = lab @ np.array([[1, 1, 1], [0.39634, -0.10556, -0.08948], [0.21580, -0.06385, -1.29149]], np.float32)
    linear = np.clip(
        cones**3
        @ np.array([[4.07674, -1.26844, -0.0042], [-3.30771, 2.60976, -0.70342], [0.23097, -0.34132, 1.70761]]),
        0,
        1,
    )
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rgb: Float = (encoded * 255).astype(np.float32)
    return rgb
