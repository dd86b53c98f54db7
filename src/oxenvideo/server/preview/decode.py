"""Reading the images, videos and sounds of a request from untrusted bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image, ImageOps, UnidentifiedImageError

from oxenvideo.server.preview.encode import SAMPLE_RATE, Frame, Sound
from oxenvideo.server.preview.picture import Picture
from oxenvideo.server.renderer import RenderError

MAX_PIXELS = 64_000_000
MAX_SOUND_SECONDS = 120

# FFmpeg must not guess the format: some of its formats are playlists that open other files and addresses. So the
# container is chosen by the first bytes (offset, signatures, name).
_CONTAINERS = (
    (4, (b"ftyp", b"moov", b"mdat", b"wide", b"free"), "mov"),
    (0, (b"\x1aE\xdf\xa3",), "matroska"),
    (8, (b"AVI ",), "avi"),
    (8, (b"WAVE",), "wav"),
    (0, (b"GIF8",), "gif"),
    (0, (b"OggS",), "ogg"),
    (0, (b"fLaC",), "flac"),
    (0, (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"), "mp3"),
    (0, (b"\xff\xf1", b"\xff\xf9"), "aac"),
)


def image(content: bytes, name: str) -> Image.Image:
    """Decode an image as RGB, rotated as its EXIF data says; raise RenderError if it cannot be read."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise RenderError(f"Input {name} has {opened.width} x {opened.height} pixels, which is too many.")
            turned = ImageOps.exif_transpose(opened)
            if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
                clear = turned.convert("RGBA")
                return Image.alpha_composite(Image.new("RGBA", clear.size, (255, 255, 255)), clear).convert("RGB")
            return turned.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise RenderError(f"Input {name} is not an image that can be read (PNG, JPEG, WebP, GIF, BMP).") from None


def covering(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale an image to cover a frame of this size, cropped equally on two sides."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


class Clip:
    """A video of the request; lengths in seconds. Raises RenderError if it cannot be read."""

    def __init__(self, content: bytes, name: str) -> None:
        self._content = content
        self._name = name
        with self._open() as container:
            stream = container.streams.video[0]
            self.size = stream.codec_context.width, stream.codec_context.height
            if not 0 < self.size[0] * self.size[1] <= MAX_PIXELS:
                raise RenderError(f"Input {name} has frames of {self.size[0]} x {self.size[1]} pixels.")
            rate = stream.average_rate or stream.base_rate
            self.fps = rate if rate is not None and 1 <= rate <= 120 else Fraction(24)
            length = stream.duration * stream.time_base if stream.duration and stream.time_base else None
            known = length or Fraction(container.duration or 0, av.time_base)
            self.seconds = float(known) if known else self._counted_seconds()
            self.has_sound = bool(container.streams.audio)

    def pictures(self, width: int, height: int, fps: Fraction, frames: int, *, lead: float = 0.0) -> Iterator[Picture]:
        """Yield this many frames of this size. The first one is held for ``lead`` seconds, the last one to the end."""
        scale = max(width / self.size[0], height / self.size[1])
        wide, high = (
            max(side, round(own * scale / 2) * 2) for side, own in zip((width, height), self.size, strict=True)
        )
        decoded = self._decoded(wide, high)
        shown, following = next(decoded, None), next(decoded, None)
        if shown is None:
            raise RenderError(f"Input {self._name} has no frame that can be decoded.")
        picture = Picture.blank(width, height)
        _crop(shown[1], wide, high, picture)
        for number in range(frames):
            time = float(number / fps) - lead
            while following is not None and following[0] <= time + 1e-6:
                _crop(following[1], wide, high, picture)
                following = next(decoded, None)
            yield picture

    def sound(self) -> Sound | None:
        """Return the sound of the clip, or None if it has none."""
        return sound(self._content, self._name) if self.has_sound else None

    def _open(self) -> av.container.InputContainer:
        container = open_media(self._content, self._name)
        if not container.streams.video:
            container.close()
            raise RenderError(f"Input {self._name} has no video in it.")
        return container

    def _decoded(self, width: int, height: int) -> Iterator[tuple[float, Frame]]:
        first = None
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            try:
                for frame in container.decode(stream):
                    time = frame.time or 0.0
                    first = time if first is None else first
                    resized = frame.reformat(
                        width, height, "yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                    )
                    yield time - first, resized.to_ndarray().astype(np.uint8, copy=False)
            except av.FFmpegError:
                return  # the frames before the damage are shown

    def _counted_seconds(self) -> float:
        """Find the length of a clip whose file does not say it by decoding all of it."""
        with self._open() as container:
            try:
                last = max((frame.time or 0.0 for frame in container.decode(video=0)), default=0.0)
            except av.FFmpegError:
                last = 0.0
        return last + float(1 / self.fps)


def sound(content: bytes, name: str) -> Sound:
    """Decode a sound as two rows of samples; raise RenderError if it cannot be read."""
    blocks, samples = [], 0
    with open_media(content, name) as container:
        if not container.streams.audio:
            raise RenderError(f"Input {name} has no sound in it.")
        resampler = av.AudioResampler("fltp", "stereo", SAMPLE_RATE)
        try:
            for frame in container.decode(container.streams.audio[0]):
                for resampled in resampler.resample(frame):
                    blocks.append(resampled.to_ndarray().astype(np.float32))
                    samples += blocks[-1].shape[1]
                if samples > MAX_SOUND_SECONDS * SAMPLE_RATE:
                    break
        except av.FFmpegError:
            if not blocks:
                raise RenderError(f"Input {name} is not a sound that can be decoded.") from None
    return np.concatenate(blocks, axis=1) if blocks else np.zeros((2, 1), np.float32)


def open_media(content: bytes, name: str) -> av.container.InputContainer:
    """Open a video or sound in one of the known container formats; raise RenderError if it is none."""
    for start, marks, form in _CONTAINERS:
        if any(content[start : start + len(mark)] == mark for mark in marks):
            try:
                return av.open(io.BytesIO(content), "r", format=form)
            except (av.FFmpegError, ValueError):
                raise RenderError(f"Input {name} cannot be read as {form}.") from None
    raise RenderError(f"Input {name} is not a video or sound that can be read (MP4, MOV, WebM, AVI, GIF, WAV, MP3).")


def _crop(frame: Frame, wide: int, high: int, into: Picture) -> None:
    """Copy the middle of a decoded frame into a picture."""
    width, height = into.size
    flat, luma, chroma = frame.reshape(-1), wide * high, wide * high // 4
    half = (high // 2, wide // 2)
    x, y = (wide - width) // 4 * 2, (high - height) // 4 * 2
    into.y[...] = frame[y : y + height, x : x + width]
    across, down = np.s_[x // 2 : (x + width) // 2], np.s_[y // 2 : (y + height) // 2]
    into.u[...] = flat[luma : luma + chroma].reshape(half)[down, across]
    into.v[...] = flat[luma + chroma :].reshape(half)[down, across]
