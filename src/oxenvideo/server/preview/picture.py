"""Frames in the encoder's pixel format (planes of yuv420p, BT.709 limited range), and drawing images on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.uint8]

# Without this matrix and range players guess, and not all guess the same.
_TO_YUV = np.array(
    [[0.18259, 0.61423, 0.06201], [-0.10064, -0.33857, 0.43922], [0.43922, -0.39894, -0.04027]], np.float32
)
_OFFSET = np.array([16.0, 128.0, 128.0], np.float32)


class Picture:
    """One frame of even width and height: the buffer that the encoder reads, and views of its planes (y, u, v)."""

    def __init__(self, buffer: Plane) -> None:
        self.buffer = buffer
        height, width = buffer.shape[0] * 2 // 3, buffer.shape[1]
        self.planes = (buffer[:height], *buffer[height:].reshape(2, height // 2, width // 2))

    @classmethod
    def blank(cls, width: int, height: int) -> Picture:
        """Return a picture with undefined content."""
        return cls(np.empty((height * 3 // 2, width), np.uint8))

    @classmethod
    def from_image(cls, image: Image.Image) -> Picture:
        """Convert an RGB image."""
        picture = cls.blank(*image.size)
        for plane, values in zip(picture.planes, _planes(np.asarray(image)), strict=True):
            plane[:] = values
        return picture

    def copy_from(self, other: Picture) -> None:
        """Take the content of a picture of the same size."""
        np.copyto(self.buffer, other.buffer)

    def mix(self, other: Picture, share: float) -> None:
        """Blend with a picture of the same size: 0 keeps this picture, 1 gives the other."""
        mixed = Image.blend(Image.fromarray(self.buffer), Image.fromarray(other.buffer), share)
        np.copyto(self.buffer, np.asarray(mixed))


class Sprite:
    """An RGBA image prepared for pasting: each plane multiplied by opacity (0 to 256), and 256 - opacity."""

    def __init__(self, image: Image.Image) -> None:
        self.width, height = image.size
        canvas = Image.new("RGBA", (self.width + self.width % 2, height + height % 2))
        canvas.paste(image, (0, 0))
        pixels = np.asarray(canvas)
        alpha = pixels[..., 3].astype(np.uint16)
        opacity = alpha + (alpha >> 7)
        half = _halve(opacity.astype(np.float32)).astype(np.uint16)
        shares = zip(_planes(pixels[..., :3]), (opacity, half, half), strict=True)
        self._planes = [(plane * share, 256 - share) for plane, share in shares]

    def paste(self, target: Picture, x: int, y: int, *, width: int | None = None) -> None:
        """Draw the sprite, or its leftmost ``width`` pixels, with its upper left corner here; clip at the edges."""
        across = self.width + 1 if width is None else width
        for step, plane, (weighted, through) in zip((1, 2, 2), target.planes, self._planes, strict=True):
            left, top = x // 2 * 2 // step, y // 2 * 2 // step
            skipped = max(0, -top)
            place = plane[top + skipped : top + weighted.shape[0], left : left + across // 2 * 2 // step]
            inside = np.s_[skipped : skipped + place.shape[0], : place.shape[1]]
            mixed = place * through[inside]
            mixed += weighted[inside]
            mixed >>= 8
            np.copyto(place, mixed, casting="unsafe")


def to_yuv(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert RGB values (0 to 255, last axis) to luma and the two chroma values."""
    yuv: NDArray[np.float32] = rgb @ _TO_YUV.T + _OFFSET
    return yuv


def _planes(rgb: Plane) -> tuple[Plane, Plane, Plane]:
    yuv = to_yuv(rgb.astype(np.float32))
    y, u, v = (np.rint(plane).astype(np.uint8) for plane in (yuv[..., 0], _halve(yuv[..., 1]), _halve(yuv[..., 2])))
    return y, u, v


def _halve(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    halved: NDArray[np.float32] = plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]
    return halved * np.float32(0.25)
