"""Read frames from a video file with PyAV (the ``local`` extra)."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from oxenvideo.errors import ConfigurationError, InvalidRequest

if TYPE_CHECKING:
    from PIL.Image import Image


def _av() -> Any:
    try:
        import av
        import PIL.Image  # noqa: F401 - what frames are given as
    except ImportError:
        raise ConfigurationError("Reading videos needs: pip install 'oxenvideo[local]'") from None
    return av


def check_available() -> None:
    """ConfigurationError names the extra if PyAV is not installed."""
    _av()


def duration_of(source: Path | IO[bytes]) -> float:
    """The length of a video or audio file in seconds; InvalidRequest for any other file."""
    with opened(source) as container:
        return _seconds(container)


@contextmanager
def opened(source: Path | IO[bytes]) -> Iterator[Any]:
    """An open container; InvalidRequest names a file that cannot be opened or decoded."""
    av = _av()
    name = source.name if isinstance(source, Path) else "The content"
    try:
        with av.open(os.fspath(source) if isinstance(source, Path) else source) as container:
            yield container
    except (av.FFmpegError, OSError, IndexError) as error:
        why = getattr(error, "strerror", None) or "it holds no frames"
        raise InvalidRequest(f"{name} cannot be read as a video: {why}.") from None


def _seconds(container: Any) -> float:
    stream = (container.streams.video or container.streams.audio)[0]
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1_000_000


def frame_at(path: Path, t: float) -> Image:
    """The frame shown at ``t`` seconds; a negative ``t`` counts from the end. InvalidRequest outside of the video."""
    with opened(path) as container:
        length = _seconds(container)
        at = t + length if t < 0 else t
        if not 0 <= at <= length:
            raise InvalidRequest(f"There is no frame at {t:g} s: {path.name} lasts {length:g} s.")
        return _frame(container, at)


def last_frame(path: Path) -> Image:
    """The last frame."""
    with opened(path) as container:
        return _frame(container, None)


def _frame(container: Any, at: float | None) -> Image:
    """The last frame that begins at or before ``at`` seconds, or the very last one."""
    stream = container.streams.video[0]
    start = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
    wanted = start + (_seconds(container) if at is None else at)
    container.seek(int(max(0.0, wanted - 0.001) / stream.time_base), stream=stream, backward=True)
    chosen = None
    for frame in container.decode(stream):
        if chosen is not None and at is not None and frame.time > wanted + 1e-6:
            break
        chosen = frame
    if chosen is None:
        raise InvalidRequest("The video has no frames.")
    image: Image = chosen.to_image()
    return image


def poster(path: Path, *, width: int, most: int) -> bytes | None:
    """The first frame as a JPEG of at most ``most`` bytes and ``width`` pixels, or None if it cannot be read."""
    try:
        return small_picture(frame_at(path, 0.0), "JPEG", width, most)
    except Exception:  # a poster is optional: without PyAV, or for an unusual file, there is none
        return None


def small_picture(image: Image, format: str, widest: int, most: int) -> bytes | None:
    """The image in a file of at most ``most`` bytes and ``widest`` pixels; None if that is too little for it."""
    sizes = ((640, 75), (480, 75), (480, 55), (320, 60), (320, 35), (200, 30))
    for width, quality in [size for size in sizes if size[0] <= widest]:
        small = image.convert("RGB")
        small.thumbnail((width, width))
        out = io.BytesIO()
        small.save(out, format, quality=quality)
        if out.tell() <= most:
            return out.getvalue()
    return None
