"""A real, small MP4 to serve as a result."""

from __future__ import annotations

import functools
import io


@functools.cache
def small_video(shade: int = 0) -> bytes:
    """An H.264 MP4 of 64 by 32 pixels and one second, at 24 frames a second; made once for each shade."""
    import av
    import numpy as np

    width, height = 64, 32  # not 16:9, which a page takes a video for that it knows nothing of
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        for number in range(24):
            picture = np.full((height, width, 3), shade, np.uint8)
            picture[:, : 1 + number * (width - 1) // 24, 0] = 220
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
