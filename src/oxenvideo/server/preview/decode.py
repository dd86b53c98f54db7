"""Reading the images, videos and sounds of a request from untrusted bytes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
import av.filter
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from oxenvideo.server.preview.encode import SAMPLE_RATE, Sound
from oxenvideo.server.preview.picture import Picture
from oxenvideo.server.renderer import RenderError

MAX_PIXELS = 64_000_000
MAX_SOUND_SECONDS = 120
_COVERING = "force_original_aspect_ratio=increase:force_divisible_by=2:out_color_matrix=bt709:out_range=limited"

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
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            filters = (
                ("setpts", "PTS-STARTPTS"),
                ("fps", str(fps)),
                ("scale", f"{width}:{height}:{_COVERING}"),
                ("crop", f"{width}:{height}"),
                ("format", "yuv420p"),
                ("tpad", f"start_mode=clone:start_duration={lead}:stop_mode=clone:stop=-1"),
                ("buffersink", None),
            )
            graph = av.filter.Graph()
            graph.link_nodes(graph.add_buffer(template=stream), *(graph.add(*each) for each in filters)).configure()
            decoded = self._decoded(container)
            for _ in range(frames):
                yield Picture(self._pulled(graph, decoded).to_ndarray().astype(np.uint8, copy=False))

    def sound(self) -> Sound | None:
        """Return the sound of the clip, or None if it has none."""
        return sound(self._content, self._name) if self.has_sound else None

    def _open(self) -> av.container.InputContainer:
        container = open_media(self._content, self._name)
        if not container.streams.video:
            container.close()
            raise RenderError(f"Input {self._name} has no video in it.")
        return container

    def _decoded(self, container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
        with contextlib.suppress(av.FFmpegError):  # the frames before the damage are shown
            yield from container.decode(video=0)

    def _pulled(self, graph: av.filter.Graph, decoded: Iterator[av.VideoFrame]) -> av.VideoFrame:
        """Return the next frame of a graph that is fed from ``decoded``."""
        while True:
            try:
                return cast(av.VideoFrame, graph.pull())
            except av.BlockingIOError:
                graph.push(next(decoded, None))
            except av.EOFError:
                raise RenderError(f"Input {self._name} has no frame that can be decoded.") from None

    def _counted_seconds(self) -> float:
        """Find the length of a clip whose file does not say it by decoding all of it."""
        with self._open() as container:
            return max((frame.time or 0.0 for frame in self._decoded(container)), default=0.0) + float(1 / self.fps)


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
