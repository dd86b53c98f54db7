"""Writing the MP4: H.264 in yuv420p, AAC if there is sound, and the index at the start of the file."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

SAMPLE_RATE = 44100
_AUDIO_FRAME = 1024
_BT709, _LIMITED = 1, 1  # the numbers of H.264

# Speed comes first. CABAC and B-frames make the files a fifth smaller and cost little.
OPTIONS = {"preset": "ultrafast", "crf": "21", "x264-params": "cabac=1:bframes=2:b-adapt=0"}

Frame = NDArray[np.uint8]
Sound = NDArray[np.float32]


def write(
    path: Path, frames: Iterable[Frame], *, width: int, height: int, fps: Fraction, sound: Sound | None, comment: str
) -> None:
    """Write frames (planes of yuv420p stacked, `height * 3 / 2` rows) and sound (2 rows of samples, -1 to 1)."""
    container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
    with container:
        container.metadata["comment"] = comment
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.thread_count = 1
        # Without this players guess the colours, and not all guess the same.
        context = video.codec_context
        context.color_primaries, context.color_trc, context.colorspace = _BT709, _BT709, _BT709
        context.color_range = _LIMITED
        video.options = dict(OPTIONS)
        audio = None
        if sound is not None:
            audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        clock = Fraction(0)
        written = 0
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="yuv420p")
            container.mux(video.encode(picture))
            clock += 1 / fps
            if audio is not None and sound is not None:
                written = _write_sound(container, audio, sound, written, clock)
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))


def _write_sound(
    container: av.container.OutputContainer, stream: AudioStream, sound: Sound, written: int, until: Fraction
) -> int:
    """Write the sound up to this time, so that frames and sound are interleaved in the file."""
    end = min(int(until * SAMPLE_RATE), sound.shape[1])
    while written < end:
        block = np.ascontiguousarray(sound[:, written : min(written + _AUDIO_FRAME, end)])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = written
        frame.time_base = Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
        written += block.shape[1]
    return written
