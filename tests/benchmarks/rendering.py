"""Rendering a local preview of 1280x720, beside PyAV's bare encoding of the same frames."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
from numpy.typing import NDArray

from oxenvideo.media import transcode
from oxenvideo.server.preview import encode
from oxenvideo.server.preview.render import LocalPreview
from oxenvideo.server.renderer import Job

from .rows import Row, at_least, figure

SECONDS = 5
REPEATS = 3
MODEL = {"id": "kling-video-v2-6-pro-text-to-video"}
PROMPT = "A red balloon floating upward through blue sky"
Frame = NDArray[np.uint8]


def rows() -> Iterable[Row]:
    job = Job("benchmark", MODEL, {"prompt": PROMPT, "duration": SECONDS, "aspect_ratio": "16:9"})
    preview = LocalPreview()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        frames, fps = _frames(preview, job, path)
        yield from _copies(preview, Path(folder))
        times = [(_timed(preview.render, job, path), _timed(_bare, frames, fps, path)) for _ in range(REPEATS)]
    rendering, bare = (min(column) for column in zip(*times, strict=True))
    size = f"{frames[0].shape[1]}x{frames[0].shape[0] * 2 // 3}"
    note = f"{SECONDS} s of {size}, {len(frames)} frames, one thread, best of {REPEATS}"
    yield at_least("rendering, speed over bare encoding", bare / rendering, 0.7, "times", note)
    yield figure("rendering, over real time", SECONDS / rendering, "times")


def _copies(preview: LocalPreview, folder: Path) -> Iterable[Row]:
    """The copies for front ends that cannot show the file, made from a film with sound."""
    film, copy = folder / "sound.mp4", folder / "copy.mp4"
    preview.render(Job("benchmark", MODEL, {"prompt": PROMPT, "duration": SECONDS, "generate_audio": True}), film)
    limit = film.stat().st_size // 2
    mp3 = min(_timed(transcode.with_mp3, film, copy) for _ in range(REPEATS))
    small = min(_timed(transcode.smaller, film, copy, limit) for _ in range(REPEATS))
    yield figure("a copy with MP3 sound, over real time", SECONDS / mp3, "times", f"{SECONDS} s of video, {mp3:.2f} s")
    yield figure(
        "a copy of half the size, over real time", SECONDS / small, "times", f"{SECONDS} s of video, {small:.2f} s"
    )


def _frames(preview: LocalPreview, job: Job, path: Path) -> tuple[list[Frame], Fraction]:
    """The frames of the film as they are handed to the encoder."""
    kept: list[Frame] = []
    rates: list[Fraction] = []

    def keep(path: Path, frames: Iterable[Frame], *, fps: Fraction, **rest: Any) -> None:
        kept.extend(frame.copy() for frame in frames)
        rates.append(fps)

    with mock.patch.object(encode, "write", keep):
        preview.render(job, path)
    return kept, rates[0]


def _bare(frames: list[Frame], fps: Fraction, path: Path) -> None:
    """PyAV and nothing else, with the coder set as the renderer sets it."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=fps, options=dict(encode.OPTIONS))
        video.width, video.height, video.pix_fmt = frames[0].shape[1], frames[0].shape[0] * 2 // 3, "yuv420p"
        video.thread_count = 1
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="yuv420p")))
        container.mux(video.encode(None))


def _timed(work: Any, *arguments: Any) -> float:
    begun = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begun
