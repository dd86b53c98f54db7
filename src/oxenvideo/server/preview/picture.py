"""Frames in the encoder's pixel format (planes of yuv420p, BT.709 limited range), and drawing images on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.uint8]
Wide = NDArray[np.uint16]

# Without this matrix and range players guess, and not all guess the same.
_TO_YUV = np.array(
    [[0.18259, 0.61423, 0.06201], [-0.10064, -0.33857, 0.43922], [0.43922, -0.39894, -0.04027]], np.float32
)
_OFFSET = np.array([16.0, 128.0, 128.0], np.float32)


@dataclass(frozen=True)
class Picture:
    """One frame: the buffer that the encoder reads, and its three planes as views of it."""

    buffer: Plane
    y: Plane
    u: Plane
    v: Plane

    @classmethod
    def blank(cls, width: int, height: int) -> Picture:
        """Return a picture of even width and height with undefined content."""
        buffer = np.empty((height * 3 // 2, width), np.uint8)
        flat, luma, chroma = buffer.reshape(-1), width * height, width * height // 4
        half = (height // 2, width // 2)
        return cls(
            buffer, buffer[:height], flat[luma : luma + chroma].reshape(half), flat[luma + chroma :].reshape(half)
        )

    @classmethod
    def from_image(cls, image: Image.Image) -> Picture:
        """Convert an RGB image of even width and height."""
        picture = cls.blank(*image.size)
        picture.y[:], picture.u[:], picture.v[:] = _planes(np.asarray(image.convert("RGB")))
        return picture

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.y.shape[1], self.y.shape[0]

    def copy_from(self, other: Picture) -> None:
        """Take the content of a picture of the same size."""
        np.copyto(self.buffer, other.buffer)

    def mix(self, other: Picture, share: float) -> None:
        """Blend with a picture of the same size: 0 keeps this picture, 1 gives the other."""
        mixed = Image.blend(Image.fromarray(self.buffer), Image.fromarray(other.buffer), share)
        np.copyto(self.buffer, np.asarray(mixed))


@dataclass(frozen=True)
class Sprite:
    """An image with transparency, prepared for pasting: planes multiplied by opacity (0 to 256), and 256 - opacity."""

    y: Wide
    u: Wide
    v: Wide
    through: Wide
    through_half: Wide

    @classmethod
    def from_image(cls, image: Image.Image) -> Sprite:
        """Convert an RGBA image; an odd side is made even."""
        width, height = image.size
        canvas = Image.new("RGBA", (width + width % 2, height + height % 2))
        canvas.paste(image.convert("RGBA"), (0, 0))
        pixels = np.asarray(canvas)
        y, u, v = _planes(pixels[..., :3])
        alpha = pixels[..., 3].astype(np.uint16)
        opacity = alpha + (alpha >> 7)
        half = _halve(opacity.astype(np.float32)).astype(np.uint16)
        wide_y, wide_u, wide_v = (plane.astype(np.uint16) for plane in (y, u, v))
        return cls(wide_y * opacity, wide_u * half, wide_v * half, 256 - opacity, 256 - half)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.y.shape[1], self.y.shape[0]

    def paste(self, target: Picture, x: float, y: float, *, width: int | None = None) -> None:
        """Draw the sprite, or its leftmost ``width`` pixels, with its upper left corner here; clip at the edges."""
        left, top = round(x) // 2 * 2, round(y) // 2 * 2
        across = self.size[0] if width is None else min(width // 2 * 2, self.size[0])
        half = across // 2
        _blend(target.y, self.y[:, :across], self.through[:, :across], left, top)
        _blend(target.u, self.u[:, :half], self.through_half[:, :half], left // 2, top // 2)
        _blend(target.v, self.v[:, :half], self.through_half[:, :half], left // 2, top // 2)


def to_yuv(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert RGB values (0 to 255, last axis) to luma and the two chroma values."""
    yuv: NDArray[np.float32] = rgb @ _TO_YUV.T + _OFFSET
    return yuv


def _planes(rgb: NDArray[np.uint8]) -> tuple[Plane, Plane, Plane]:
    yuv = to_yuv(rgb.astype(np.float32))
    y = np.rint(yuv[..., 0]).astype(np.uint8)
    u, v = (np.rint(_halve(yuv[..., channel])).astype(np.uint8) for channel in (1, 2))
    return y, u, v


def _halve(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    halved: NDArray[np.float32] = plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]
    halved *= np.float32(0.25)
    return halved


def _blend(target: Plane, weighted: Wide, through: Wide, left: int, top: int) -> None:
    height, width = target.shape
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + weighted.shape[1], width), min(top + weighted.shape[0], height)
    if x0 < x1 and y0 < y1:
        inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        place = target[y0:y1, x0:x1]
        mixed = place * through[inside]
        mixed += weighted[inside]
        mixed >>= 8
        np.copyto(place, mixed, casting="unsafe")
