"""How a video is kept in a notebook: inside it, or linked beside it, with a small poster either way."""

from __future__ import annotations

import base64
import hashlib
import io
import mimetypes
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import quote

from oxenvideo.errors import InvalidRequest
from oxenvideo.media.frames import frame_at

if TYPE_CHECKING:
    from PIL.Image import Image

How = Literal["auto", "inline", "file", "url"]
HOWS: tuple[str, ...] = get_args(How)

#: Bytes up to which ``auto`` puts the video into the notebook. Inside, a file takes 4/3 of its size.
INLINE_LIMIT = 8 * 1024 * 1024
_POSTER = 24 * 1024  # bytes of a poster
_MARKUP = 2048  # bytes of the card around video and poster


def check(how: str) -> How:
    """The way of embedding that a text names; InvalidRequest for another."""
    match how:
        case "auto" | "inline" | "file" | "url":
            return how
    raise InvalidRequest(f"--embed {how!r} is not allowed: use {', '.join(HOWS)}.")


@dataclass(frozen=True)
class Embedded:
    """What a card needs to show a file: the address for ``src``, a poster as a data URI, the file's SHA-256.

    ``size`` is the picture's width and height in pixels, where it could be read.
    """

    src: str
    poster: str | None
    sha256: str
    inline: bool
    kind: str
    size: tuple[int, int] | None = None

    def player(self, label: str, style: str) -> str:
        """The element that shows it: ``label`` is its accessible name, ``style`` its inline style."""
        # Megabytes of base64 hold nothing to escape, and escaping them would hold up the kernel.
        src = self.src if self.inline else escape(self.src, quote=True)
        name = escape(label, quote=True)
        if self.kind.startswith("image/"):
            return f'<img src="{src}" alt="{name}" style="{style}">'
        poster = f' poster="{escape(self.poster, quote=True)}"' if self.poster else ""
        return (
            f'<video src="{src}" controls loop preload="metadata" playsinline{poster} aria-label="{name}" '
            f'style="{style}"></video>'
        )


def embed(
    path: Path,
    how: How,
    *,
    url: str | None = None,
    base: Path | None = None,
    limit: int = INLINE_LIMIT,
    widest: int = 640,
) -> Embedded:
    """Embed a video file; ``base`` is the directory of the notebook, ``url`` where the service keeps the file,
    ``limit`` the bytes up to which ``auto`` puts it inside, ``widest`` the pixels of a poster.

    Raises OSError if the file is gone.
    """
    inside = how == "inline" or (how == "auto" and path.stat().st_size <= limit)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
    first = _first_picture(path)
    size = first.size if first is not None else None
    poster = _poster(first, _room(path) if inside else _POSTER, widest) if first is not None else None
    if how == "url" and url is not None:
        return Embedded(url, poster, sha256, False, kind, size)
    if inside:
        src = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        return Embedded(src, poster, sha256, True, kind, size)
    return Embedded(relative_link(path, base or Path.cwd()), poster, sha256, False, kind, size)


def _first_picture(path: Path) -> Image | None:
    try:
        return frame_at(path, 0.0)
    except Exception:  # a poster is an ornament: without PyAV, or for an odd file, there is none
        return None


def _room(path: Path) -> int:
    """Bytes for a poster beside a video that is inside: all together stay below 1.4 times the file."""
    return min(_POSTER, int(path.stat().st_size * 0.0495) - _MARKUP)


def _poster(picture: Image, most: int, widest: int) -> str | None:
    """The picture as a data URI of at most ``most`` bytes before its encoding; None where that is too little."""
    for width, quality in ((640, 75), (480, 75), (480, 55), (320, 60), (320, 35), (200, 30)):
        if width > widest:
            continue
        small = picture.convert("RGB")
        small.thumbnail((width, width))
        out = io.BytesIO()
        small.save(out, "WEBP", quality=quality)
        if out.tell() <= most:
            return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
    return None


def relative_link(path: Path, base: Path) -> str:
    """The file's address as seen from the notebook, quoted for HTML and URLs."""
    try:
        return quote(os.path.relpath(path, base).replace(os.sep, "/"))
    except ValueError:  # another drive
        return path.as_uri()
