"""A video file in a notebook: stored inside or linked, with a small poster."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from oxenvideo.media.frames import duration_of, frame_at, small_picture

INLINE_LIMIT = 8 * 1024 * 1024
"""Bytes up to which ``auto`` stores a video inside the notebook, where it takes 4/3 of its size."""
_POSTER = 24 * 1024  # bytes of a poster
_MARKUP = 2048  # bytes of the card around video and poster


@dataclass(frozen=True)
class Embedded:
    """A video as a card shows it: the address for ``src``, a poster as a data URI, the file's SHA-256.

    ``inline`` means that ``src`` holds the file. ``size`` is width and height in pixels, ``seconds`` the length; both are
    None if unknown.
    """

    src: str
    poster: str | None = None
    sha256: str = ""
    inline: bool = False
    size: tuple[int, int] | None = None
    seconds: float | None = None

    def player(self, label: str, style: str, handlers: str = "") -> str:
        """The ``<video>`` element: ``label`` is its accessible name, ``style`` its inline style."""
        # Base64 has nothing to escape, and escaping megabytes of it would block the kernel.
        src = self.src if self.inline else escape(self.src, quote=True)
        poster = f' poster="{escape(self.poster, quote=True)}"' if self.poster else ""
        return (
            f'<video src="{src}" controls loop preload="metadata" playsinline{poster}{handlers} '
            f'aria-label="{escape(label, quote=True)}" style="{style}"></video>'
        )


def embed(
    path: Path,
    how: str,
    *,
    url: str | None = None,
    base: Path | None = None,
    limit: int = INLINE_LIMIT,
    widest: int = 640,
) -> Embedded:
    """Embed a file ``inline``, as a linked ``file``, by the service's ``url``, or ``auto``: inline up to ``limit`` bytes.

    ``base`` is the notebook's directory, ``widest`` the width of the poster in pixels. Raises OSError if the file
    cannot be read.
    """
    inline = how == "inline" or (how == "auto" and path.stat().st_size <= limit)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    poster, size, seconds = None, None, None
    try:
        seconds = duration_of(path)
        picture = frame_at(path, 0.0)
        size = picture.size
        # Inside the notebook, video and poster together stay below 1.4 times the file.
        room = min(_POSTER, int(path.stat().st_size * 0.0495) - _MARKUP) if inline else _POSTER
        content = small_picture(picture, "WEBP", widest, room)
        poster = f"data:image/webp;base64,{base64.b64encode(content).decode()}" if content else None
    except Exception:  # noqa: S110 - a poster is optional: there is none without PyAV, or for a file it cannot read
        pass
    if how == "url" and url is not None:
        return Embedded(url, poster, sha256, size=size, seconds=seconds)
    if not inline:
        return Embedded(relative_link(path, base or Path.cwd()), poster, sha256, size=size, seconds=seconds)
    kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
    src = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return Embedded(src, poster, sha256, inline=True, size=size, seconds=seconds)


def relative_link(path: Path, base: Path) -> str:
    """The file's address relative to the notebook, quoted for HTML and URLs."""
    try:
        return quote(os.path.relpath(path, base).replace(os.sep, "/"))
    except ValueError:  # another drive
        return path.as_uri()
