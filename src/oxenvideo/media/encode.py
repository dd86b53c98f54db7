"""Encode images and videos that are Python objects as the bytes of a file."""

from __future__ import annotations

import io
import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

from oxenvideo.errors import ConfigurationError, InvalidRequest

_PNG_MODES = {"1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"}  # of PIL images


def encode(value: Any, kind: str) -> bytes | None:
    """PNG bytes of a PIL image, NumPy array or matplotlib figure, MP4 bytes of a stack of frames; None for the rest.

    This imports none of those libraries: an object of theirs exists only if its library is loaded already.
    """
    if _is(value, "PIL.Image", "Image"):
        image = value if value.mode in _PNG_MODES else value.convert("RGB")
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", compress_level=1)
        return buffer.getvalue()
    if _is(value, "matplotlib.figure", "Figure"):
        buffer = io.BytesIO()
        value.savefig(buffer, format="png")
        return buffer.getvalue()
    if _is(value, "numpy", "ndarray"):
        return mp4(value) if kind == "video" else png(value)
    return None


def _is(value: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def png(array: Any) -> bytes:
    """PNG bytes of an H×W, H×W×1, H×W×3 or H×W×4 array of uint8, bool, or floats from 0 to 1."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in {1, 3, 4} or 0 in array.shape:
        shapes = "(height, width), (height, width, 3) or (height, width, 4)"
        raise InvalidRequest(f"A NumPy array of shape {array.shape} is not an image: use {shapes}.")
    pixels = _as_bytes(array)
    height, width, channels = pixels.shape
    # Filter 2 (up): each row as its difference from the one above, which deflates far better than raw rows.
    rows = pixels.reshape(height, width * channels)
    filtered = rows.copy()
    filtered[1:] -= rows[:-1]
    scanlines = b"".join(b"\x02" + row.tobytes() for row in filtered)
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(scanlines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def mp4(frames: Any, fps: int = 24) -> bytes:
    """H.264 MP4 bytes of T×H×W×3 or T×H×W×4 frames at ``fps`` frames a second.

    An odd last row or column is cut off, because 4:2:0 video needs even sizes. Raises ConfigurationError without PyAV
    and InvalidRequest for another array.
    """
    if frames.ndim != 4 or frames.shape[3] not in {3, 4} or frames.shape[0] == 0 or min(frames.shape[1:3]) < 2:
        shape = "(frames, height, width, 3), at least 2×2 pixels"
        raise InvalidRequest(f"A NumPy array of shape {frames.shape} is not a video: use {shape}.")
    try:
        import av
    except ImportError:
        advice = "pip install 'oxenvideo[local]', or give a file or a URL."
        raise ConfigurationError(f"A video from a NumPy array needs PyAV: {advice}") from None
    pixels = _as_bytes(frames)
    height, width = pixels.shape[1] // 2 * 2, pixels.shape[2] // 2 * 2
    # +faststart rewrites the file when it is closed, which a memory buffer cannot do.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.mp4"
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for frame in pixels[:, :height, :width, :3]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.copy(order="C"), format="rgb24")))
            container.mux(stream.encode())
        return path.read_bytes()


def _as_bytes(array: Any) -> Any:
    """The pixels as uint8, from uint8, bool or floats from 0 to 1."""
    kind = array.dtype.kind
    if array.dtype == "uint8":
        return array
    if kind == "b":
        return array.astype("uint8") * 255
    if kind != "f":
        raise InvalidRequest(f"A NumPy array of {array.dtype} is not an image: use uint8, or floats from 0 to 1.")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0.0 and high <= 1.0):  # also false for NaN
        held = f"this array goes from {low:g} to {high:g}."
        raise InvalidRequest(f"An image of floats must hold values from 0 to 1; {held}")
    return (array * 255.0 + 0.5).astype("uint8")
