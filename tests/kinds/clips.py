"""Clips read back from their files, and pictures to put into requests."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

RED, GREEN, BLUE, MAGENTA, ORANGE = (200, 30, 30), (30, 160, 60), (30, 60, 200), (230, 0, 230), (250, 130, 0)


@dataclass(frozen=True)
class Clip:
    """A video as a player sees it: every frame, and the sound's length in seconds where there is one."""

    frames: list[Pixels]
    fps: Fraction
    sound: float | None
    metadata: dict[str, str]

    @property
    def seconds(self) -> float:
        return float(len(self.frames) / self.fps)

    @property
    def size(self) -> tuple[int, int]:
        height, width, _ = self.frames[0].shape
        return width, height


def read(path: Path | bytes) -> Clip:
    """Decode a whole file."""
    source: Any = io.BytesIO(path) if isinstance(path, bytes) else str(path)
    with av.open(source) as container:
        video = container.streams.video[0]
        fps = video.average_rate
        assert fps is not None
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video)]
        metadata = dict(container.metadata)
    return Clip(frames, Fraction(fps), _sound_seconds(source), metadata)


def _sound_seconds(source: Any) -> float | None:
    if isinstance(source, io.BytesIO):
        source.seek(0)
    with av.open(source) as container:
        if not container.streams.audio:
            return None
        frames = list(container.decode(container.streams.audio[0]))
        loud = max(float(np.abs(frame.to_ndarray()).max()) for frame in frames)
        assert loud > 0.001, "the sound track is silent"
        return sum(frame.samples for frame in frames) / frames[0].sample_rate


def halves(left: tuple[int, int, int], right: tuple[int, int, int], size: tuple[int, int] = (160, 160)) -> Image.Image:
    """A picture of two colours, which no other picture here is."""
    picture = Image.new("RGB", size, left)
    picture.paste(right, (size[0] // 2, 0, *size))
    return picture


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def moving_bar(seconds: float = 1.0, fps: int = 12, size: int = 128, *, tone: bool = False) -> bytes:
    """An MP4 of a white bar that goes from left to right on blue, with a tone where asked."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=44100, layout="mono") if tone else None
        count = round(seconds * fps)
        for number in range(count):
            container.mux(video.encode(av.VideoFrame.from_ndarray(bar_frame(number / count, size), format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            wave = np.sin(np.arange(round(seconds * 44100)) * 2 * np.pi * 440 / 44100).astype(np.float32)[None] * 0.5
            for start in range(0, wave.shape[1], 1024):
                sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 1024]), "fltp", "mono")
                sound.sample_rate, sound.pts, sound.time_base = 44100, start, Fraction(1, 44100)
                container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
    return out.getvalue()


def bar_frame(share: float, size: int = 128) -> Pixels:
    """One frame of the moving bar."""
    picture = np.empty((size, size, 3), np.uint8)
    picture[:] = BLUE
    left = round(share * size * 0.8)
    picture[:, left : left + size // 5] = 255
    return picture


def bar_place(frame: Pixels) -> float:
    """Where the bar is in a frame, as a share of its width: the brightest column of its lower half."""
    light = frame[frame.shape[0] // 2 :].astype(float).sum(axis=(0, 2))
    wide = max(1, frame.shape[1] // 5)
    sums = np.convolve(light, np.ones(wide), "valid")
    return float(sums.argmax()) / frame.shape[1]


def difference(frame: Pixels, picture: Image.Image | Pixels) -> float:
    """The mean difference (0 to 255) of a frame from a picture that is scaled to cover it."""
    from PIL import ImageOps

    wanted = picture
    if isinstance(wanted, Image.Image) or wanted.shape != frame.shape:
        image = wanted if isinstance(wanted, Image.Image) else Image.fromarray(wanted)
        height, width, _ = frame.shape
        wanted = np.asarray(ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.LANCZOS))
    return float(np.abs(frame.astype(np.int16) - wanted.astype(np.int16)).mean())


def share_of(frame: Pixels, colour: tuple[int, int, int], within: int = 60) -> float:
    """Which share of a frame's pixels has about this colour."""
    return float((np.abs(frame.astype(np.int16) - np.array(colour, np.int16)).max(axis=2) < within).mean())
