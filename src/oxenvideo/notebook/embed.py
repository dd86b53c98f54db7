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

from oxenvideo.environment import INLINE_LIMIT, FrontEnd
from oxenvideo.errors import OxenVideoError
from oxenvideo.media.frames import duration_of, frame_at, small_picture
from oxenvideo.media.transcode import sound_of
from oxenvideo.notebook.renditions import Renditions

_POSTER = 24 * 1024  # bytes of a poster
_MARKUP = 2048  # bytes of the card around video and poster


@dataclass(frozen=True)
class Embedded:
    """A video as a card shows it: the address for ``src``, a poster as a data URI, the file's SHA-256.

    Without ``src`` there is only the poster. ``inline`` means that ``src`` holds the file. ``size`` is width and height in
    pixels, ``seconds`` the length; both are None if unknown. ``note`` is a sentence for the card.
    """

    src: str
    poster: str | None = None
    sha256: str = ""
    inline: bool = False
    size: tuple[int, int] | None = None
    seconds: float | None = None
    note: str = ""

    def player(self, label: str, style: str, handlers: str = "") -> str:
        """The ``<video>`` element: ``label`` is its accessible name, ``style`` its inline style."""
        if not self.src:
            poster = escape(self.poster or "", quote=True)
            return f'<img src="{poster}" alt="{escape(label, quote=True)}" style="{style}">' if poster else ""
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
    front_end: FrontEnd | None = None,
    renditions: Renditions | None = None,
) -> Embedded:
    """Embed a file ``inline``, as a linked ``file``, by the service's ``url``, or ``auto``: inline up to ``limit`` bytes.

    Where the front end cannot show the file itself, one of ``renditions`` takes its place. ``base`` is the notebook's
    directory, ``widest`` the width of the poster in pixels. Raises OSError if the file cannot be read.
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
    shown, note = path, ""
    if front_end is not None and how == "auto" and not inline and not front_end.links:
        copy = renditions.get(path, sha256, limit) if renditions is not None else None
        if not isinstance(copy, Path):
            why = f"{copy}" if copy is not None else "A smaller copy is being made."
            note = f"The video is too large to be stored here; it is in {path}. {why}"
            return Embedded("", poster, sha256, size=size, seconds=seconds, note=note)
        shown, inline, note = copy, True, f"This is a smaller copy. The original is in {path}."
    elif inline and front_end is not None and not front_end.aac and renditions is not None:
        try:
            copy = renditions.get(path, sha256, None) if sound_of(path) == "aac" else path
            shown = copy if isinstance(copy, Path) else path
        except OxenVideoError:
            note = "Sound that this front end can play needs: pip install 'oxenvideo[local]'"
    if not inline:
        return Embedded(relative_link(path, base or Path.cwd()), poster, sha256, size=size, seconds=seconds)
    kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
    src = f"data:{kind};base64,{base64.b64encode(shown.read_bytes()).decode()}"
    return Embedded(src, poster, sha256, inline=True, size=size, seconds=seconds, note=note)


def relative_link(path: Path, base: Path) -> str:
    """The file's address relative to the notebook, quoted for HTML and URLs."""
    try:
        return quote(os.path.relpath(path, base).replace(os.sep, "/"))
    except ValueError:  # another drive
        return path.as_uri()
