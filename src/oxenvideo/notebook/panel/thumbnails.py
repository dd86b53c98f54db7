"""Small pictures of what goes in and what came out: thumbnails of inputs, posters of videos."""

from __future__ import annotations

import base64
import io
import logging
from functools import lru_cache
from pathlib import Path

from oxenvideo.media import frames
from oxenvideo.media.media import Media
from oxenvideo.notebook.panel.form_state import Leaf, media_in

log = logging.getLogger("oxenvideo")

_WIDTH = 160  # pixels of a thumbnail
_AS_IT_IS = 64 * 1024  # bytes up to which a picture is its own thumbnail where Pillow is missing
_POSTER_WIDTH = 320
_POSTER_MOST = 14 * 1024


@lru_cache(maxsize=1024)
def poster(path: Path) -> bytes | None:
    """The first picture of a video as a small JPEG, or None where it cannot be read here."""
    return frames.poster(path, width=_POSTER_WIDTH, most=_POSTER_MOST)


def thumbnail(leaf: Leaf) -> str:
    """An address of a small picture of a medium; empty where there is none to be had."""
    first = next(media_in(leaf), None)
    try:
        if isinstance(first, str):
            return first if first.lower().startswith(("https://", "http://", "data:image/")) else ""
        return _thumbnail(first) if first is not None else ""
    except Exception:  # an ornament: what is wrong with the medium, the check says
        log.debug("no thumbnail", exc_info=True)
        return ""


def _thumbnail(medium: Media) -> str:
    if medium.key is not None:
        path = medium.generation.path if medium.generation is not None else None
        return _uri(_small(frames.last_frame(path)), "image/jpeg") if path is not None else ""
    if medium.kind == "video" and medium.path is not None:
        return _uri(poster(medium.path) or b"", "image/jpeg")
    if medium.kind != "image":
        return ""
    content = medium.read()
    try:
        import PIL.Image
    except ImportError:
        return _uri(content if len(content) <= _AS_IT_IS else b"", medium.mime or "image/png")
    with PIL.Image.open(io.BytesIO(content)) as picture:
        return _uri(_small(picture), "image/jpeg")


def _small(picture: object) -> bytes:
    copy = picture.convert("RGB")  # type: ignore[attr-defined]
    copy.thumbnail((_WIDTH, _WIDTH))
    out = io.BytesIO()
    copy.save(out, "JPEG", quality=70)
    return out.getvalue()


def _uri(content: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}" if content else ""
