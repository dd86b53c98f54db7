"""Pictures as the encoder takes them: the planes of yuv420p, and pasting into them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.uint8]
Wide = NDArray[np.uint16]

# BT.709, limited range: what players take a picture of this size for.
_TO_YUV = np.array(
    [[0.18259, 0.61423, 0.06201], [-0.10064, -0.33857, 0.43922], [0.43922, -0.39894, -0.04027]], np.float32
)
_OFFSET = np.array([16.0, 128.0, 128.0], np.float32)

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Picture:
    """A whole frame: the buffer the encoder reads, its three planes as views of it, and room to calculate in."""

    buffer: Plane
    y: Plane
    u: Plane
    v: Plane
    scratch: Wide  # fresh memory for each of many pastes would cost more than the pasting

    @classmethod
    def blank(cls, width: int, height: int) -> Picture:
        """Make a picture of even width and height, its content undefined."""
        buffer = np.empty((height * 3 // 2, width), np.uint8)
        flat, luma, chroma = buffer.reshape(-1), width * height, width * height // 4
        half = (height // 2, width // 2)
        return cls(
            buffer,
            buffer[:height],
            flat[luma : luma + chroma].reshape(half),
            flat[luma + chroma :].reshape(half),
            np.empty(luma, np.uint16),
        )

    @classmethod
    def of(cls, image: Image.Image) -> Picture:
        """Convert an RGB image of even width and height."""
        picture = cls.blank(*image.size)
        picture.y[:], picture.u[:], picture.v[:] = _planes(np.asarray(image.convert("RGB")))
        return picture

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.y.shape[1], self.y.shape[0]

    def copy_from(self, other: Picture, rows: int | None = None) -> None:
        """Take the content of a picture of the same size, its upper ``rows`` (even) where they are given."""
        if rows is None:
            np.copyto(self.buffer, other.buffer)
            return
        np.copyto(self.y[:rows], other.y[:rows])
        np.copyto(self.u[: rows // 2], other.u[: rows // 2])
        np.copyto(self.v[: rows // 2], other.v[: rows // 2])

    def mix(self, other: Picture, share: float) -> None:
        """Go ``share`` of the way (0 to 1) to a picture of the same size."""
        mixed = Image.blend(Image.fromarray(self.buffer), Image.fromarray(other.buffer), share)
        np.copyto(self.buffer, np.asarray(mixed))

    def tinge(self, colour: Colour) -> None:
        """Draw all colours a third of the way to this one; light and dark stay."""
        _, u, v = colour_planes(colour)
        for plane, aim in ((self.u, u), (self.v, v)):
            plane[...] = (plane * np.uint16(171) + np.uint16(aim * 85)) >> 8


@dataclass(frozen=True)
class Sprite:
    """A picture with transparency, ready to be pasted: planes weighted by opacity (0 to 256), and what shows through."""

    y: Wide
    u: Wide
    v: Wide
    through: Wide
    through_half: Wide

    @classmethod
    def of(cls, image: Image.Image) -> Sprite:
        """Convert an RGBA image; an odd side is made even."""
        width, height = image.size
        canvas = Image.new("RGBA", (width + width % 2, height + height % 2))
        canvas.paste(image.convert("RGBA"), (0, 0))
        pixels = np.asarray(canvas)
        y, u, v = _planes(pixels[..., :3])
        alpha = pixels[..., 3].astype(np.uint16)
        opacity = alpha + (alpha >> 7)
        half = _halve(opacity.astype(np.float32)).astype(np.uint16)
        through, through_half = 256 - opacity, 256 - half
        return cls(_weighted(y, opacity), _weighted(u, half), _weighted(v, half), through, through_half)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.y.shape[1], self.y.shape[0]

    def paste(self, target: Picture, x: float, y: float) -> None:
        """Lay it over the target with its corner at this place, cut at the edges."""
        left, top = round(x), round(y)
        _blend(target.y, self.y, self.through, left, top, target.scratch)
        _blend(target.u, self.u, self.through_half, left // 2, top // 2, target.scratch)
        _blend(target.v, self.v, self.through_half, left // 2, top // 2, target.scratch)


@dataclass(frozen=True)
class Strip:
    """An opaque band that repeats from left to right and fills the frame from its outline down to the bottom edge.

    It is as wide as the frame twice over; ``ragged`` is how many of its rows have holes, from the top.
    """

    y: Plane
    u: Plane
    v: Plane
    mask: NDArray[np.bool_]
    mask_half: NDArray[np.bool_]
    ragged: int

    @classmethod
    def of(cls, colours: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Strip:
        """Make one from a period of RGB rows (even sides) and where it is solid."""
        y, u, v = (np.tile(plane, (1, 2)) for plane in _planes(colours))
        solid: NDArray[np.bool_] = np.all(mask, axis=1)
        ragged = int(np.argmax(solid)) if solid.any() else len(solid)
        half = _halve(mask.astype(np.float32)) >= 0.5
        return cls(y, u, v, np.tile(mask, (1, 2)), np.tile(half, (1, 2)), ragged + ragged % 2)

    def paste(self, target: Picture, shift: float, top: int, bottom: int) -> None:
        """Lay it over the target from row ``top`` to ``bottom`` (even), ``shift`` pixels on its way to the left."""
        width, height = target.size
        offset = round(shift) % width
        rows = min(self.y.shape[0], min(bottom, height) - top)
        cut = min(self.ragged, rows)
        _cover(target.y[top:], self.y[:rows, offset : offset + width], self.mask[:cut, offset : offset + width])
        half, across = offset // 2, width // 2
        mask = self.mask_half[: cut // 2, half : half + across]
        _cover(target.u[top // 2 :], self.u[: rows // 2, half : half + across], mask)
        _cover(target.v[top // 2 :], self.v[: rows // 2, half : half + across], mask)


def colour_planes(colour: Colour) -> tuple[int, int, int]:
    """Return luma and the two chromas of a colour."""
    y, u, v = np.rint(_TO_YUV @ np.array(colour, np.float32) + _OFFSET).astype(int)
    return int(y), int(u), int(v)


def _planes(rgb: NDArray[np.uint8]) -> tuple[Plane, Plane, Plane]:
    yuv = rgb.astype(np.float32) @ _TO_YUV.T + _OFFSET
    y = np.rint(yuv[..., 0]).astype(np.uint8)
    u, v = (np.rint(_halve(yuv[..., channel])).astype(np.uint8) for channel in (1, 2))
    return y, u, v


def _weighted(plane: Plane, opacity: Wide) -> Wide:
    weighted: Wide = plane.astype(np.uint16) * opacity
    return weighted


def _halve(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    summed: NDArray[np.float32] = plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]
    summed *= np.float32(0.25)
    return summed


def _blend(target: Plane, weighted: Wide, through: Wide, left: int, top: int, scratch: Wide) -> None:
    height, width = target.shape
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + weighted.shape[1], width), min(top + weighted.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    place = target[y0:y1, x0:x1]
    mixed = scratch[: place.size].reshape(place.shape)
    np.multiply(place, through[inside], out=mixed)
    mixed += weighted[inside]
    mixed >>= 8
    np.copyto(place, mixed, casting="unsafe")


def _cover(target: Plane, source: Plane, mask: NDArray[np.bool_]) -> None:
    cut = mask.shape[0]
    np.copyto(target[:cut], source[:cut], where=mask)
    target[cut : source.shape[0]] = source[cut:]
