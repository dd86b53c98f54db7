"""Small MP4 files with a known colour and a known tone, and what is in a file."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 44_100  # samples of sound per second


def clip(
    path: Path,
    colour: tuple[int, int, int] = (200, 30, 30),
    *,
    seconds: float = 1.0,
    size: tuple[int, int] = (160, 90),
    tone: float | None = 440.0,
    noise: bool = False,
    fps: int = 24,
) -> Path:
    """Write an MP4 of one colour, or of noise, which does not compress; ``tone`` in hertz is AAC, None is silent."""
    random = np.random.default_rng(1)
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "10"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio: Any = None if tone is None else out.add_stream("aac", rate=RATE, layout="stereo")
        for _ in range(round(seconds * fps)):
            picture = np.full((size[1], size[0], 3), colour, dtype=np.uint8)
            if noise:
                picture = random.integers(0, 255, picture.shape, dtype=np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
        if tone is not None:
            times = np.arange(round(seconds * RATE)) / RATE
            wave = (0.4 * np.sin(2 * np.pi * tone * times)).astype(np.float32)
            for at in range(0, len(wave), 1024):
                frame = av.AudioFrame.from_ndarray(np.stack([wave[at : at + 1024]] * 2), format="fltp", layout="stereo")
                frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
                out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path


def codecs(source: Path | bytes) -> list[str]:
    """The codecs of a file's streams."""
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
        return [stream.codec_context.name for stream in container.streams]


def pictures(source: Path | bytes) -> list[tuple[float, Any]]:
    """The decoded pictures with their times in seconds."""
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
        return [(float(frame.time or 0), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def loudest_tone(path: Path, begin: float, end: float) -> float:
    """The strongest frequency (hertz) between two times; 0 if there is silence."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].codec_context.sample_rate
        parts = [(frame.time or 0.0, frame.to_ndarray()[0]) for frame in container.decode(audio=0)]
    sound = np.concatenate([part for at, part in parts if begin <= at < end])
    if np.abs(sound).max() < 0.01:
        return 0.0
    return float(np.argmax(np.abs(np.fft.rfft(sound))) * rate / len(sound))
