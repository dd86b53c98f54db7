"""Writing the MP4: H.264 in yuv420p, AAC if there is sound, and the index at the start of the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 44100
_BT709, _LIMITED = 1, 1  # the numbers of H.264
_LOUDNESS = 0.12
_FADE = 0.4  # seconds in which the tone swells and fades

# Speed comes first. CABAC and B-frames make the files a fifth smaller and cost little.
OPTIONS = {"preset": "ultrafast", "crf": "21", "x264-params": "cabac=1:bframes=2:b-adapt=0"}

Frame = NDArray[np.uint8]
Sound = NDArray[np.float32]


def write(
    path: Path,
    frames: Iterable[Frame],
    *,
    width: int,
    height: int,
    fps: Fraction,
    sound: Sound | None,
    comment: str,
    options: Mapping[str, str] = OPTIONS,
) -> None:
    """Write frames (planes of yuv420p stacked, `height * 3 / 2` rows) and sound (2 rows of samples, -1 to 1)."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = comment
        video = container.add_stream("libx264", rate=fps, options=dict(options))
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.thread_count = 1
        # Without this players guess the colours, and not all guess the same.
        context = video.codec_context
        context.color_primaries, context.color_trc, context.colorspace = _BT709, _BT709, _BT709
        context.color_range = _LIMITED
        audio = None if sound is None else container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        written = 0
        for number, frame in enumerate(frames, 1):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="yuv420p")))
            if audio is not None and sound is not None:
                # The sound follows the frames, so that both are interleaved in the file.
                block = np.ascontiguousarray(sound[:, written : int(number / fps * SAMPLE_RATE)])
                samples = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
                samples.sample_rate, samples.pts, samples.time_base = SAMPLE_RATE, written, Fraction(1, SAMPLE_RATE)
                container.mux(audio.encode(samples))
                written += block.shape[1]
        for stream in (video, audio):
            if stream is not None:
                container.mux(stream.encode(None))


def tone(seconds: float, seed: int) -> Sound:
    """Return a fifth on a note that the seed decides, swelling slowly: two rows of samples."""
    time = np.arange(max(1, round(seconds * SAMPLE_RATE)), dtype=np.float32) / SAMPLE_RATE
    pitch = 147.0 * 2 ** (seed % 12 / 12)
    wave = np.sin(2 * np.pi * pitch * time) + 0.6 * np.sin(3 * np.pi * pitch * time)
    swell = 0.8 + 0.2 * np.sin(2 * np.pi * 0.25 * time)
    edges = np.clip(np.minimum(time, seconds - time) / _FADE, 0, 1)
    mono = (_LOUDNESS * wave * swell * edges).astype(np.float32)
    return np.stack([mono, mono])


def fitted(sound: Sound, seconds: float) -> Sound:
    """Cut a sound to a length, or fill it up with silence."""
    length = max(1, round(seconds * SAMPLE_RATE))
    return np.pad(sound[:, :length], ((0, 0), (0, max(0, length - sound.shape[1]))))
