"""A finished video's file: its pieces for the browser, its poster, and a copy under another name."""

from __future__ import annotations

import io
import mimetypes
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.jobs.generation import Generation
from oxenvideo.media import frames
from oxenvideo.notebook.panel.labels import shown_path
from oxenvideo.request.request import VideoRequest

_PIECE = 1024 * 1024  # bytes in one message: other messages pass between two
_POSTER_WIDTH = 320  # pixels
_POSTER_BYTES = 14 * 1024


@dataclass(frozen=True)
class FinishedVideo:
    """A video file with the request that made it; ``generation`` if it is one of this kernel."""

    key: str
    path: Path
    request: VideoRequest
    generation: Generation | None = None

    @property
    def name(self) -> str:
        """What it is called: its name in the notebook, else its file's."""
        return (self.generation.name if self.generation is not None else None) or self.path.stem


def pieces(video: FinishedVideo) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """The messages that bring a video's file to the browser. Reads one piece at a time."""
    kind = mimetypes.guess_type(video.path.name)[0] or "video/mp4"
    try:
        size = video.path.stat().st_size
        with video.path.open("rb") as file:
            at = 0
            while (piece := file.read(_PIECE)) or at == 0:
                at += len(piece)
                yield {"is": "piece", "key": video.key, "type": kind, "at": at, "size": size}, [piece]
                if at >= size:
                    return
    except OSError as error:
        yield {"is": "missing", "key": video.key, "why": f"{shown_path(video.path)}: {error.strerror or error}"}, []


@lru_cache(maxsize=1024)
def poster(path: Path) -> bytes | None:
    """The first frame of a video as a small JPEG, or None if it cannot be read."""
    return frames.poster(path, width=_POSTER_WIDTH, most=_POSTER_BYTES)


def shape(path: Path) -> tuple[int, int] | None:
    """The width and height of a video's poster, whose shape is the video's; None without a poster."""
    content = poster(path)
    if content is None:
        return None
    import PIL.Image

    return PIL.Image.open(io.BytesIO(content)).size


def save_copy(video: FinishedVideo, to: str) -> Path:
    """Copy a video's file to the path in ``to``, and return the copy's path. Raises InvalidRequest if that file exists."""
    if not to.strip():
        raise InvalidRequest("Enter the name of the new file.")
    target = Path(to.strip()).expanduser()
    if to.strip().endswith(("/", "\\")) or target.is_dir():
        target = target / video.path.name
    if not target.suffix:
        target = target.with_suffix(video.path.suffix)
    if target.exists():
        raise InvalidRequest(f"{target} exists already: choose another name.")
    from oxenvideo.engine import transfer  # it imports the HTTP client

    # A full disk must not leave part of a video under the name of the copy.
    partial = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(video.path, partial)
            return transfer.put_in_place(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OxenVideoError(f"{target} cannot be written: {error.strerror or error}.") from None
