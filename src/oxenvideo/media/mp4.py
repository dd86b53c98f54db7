"""Whether bytes are a video, and a file a whole one: the containers' own marks, without decoding."""

from __future__ import annotations

import os
from typing import IO

HEAD = 16  # bytes that tell what a file is

_ISO_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"styp"})
_OTHERS = (b"\x1a\x45\xdf\xa3", b"RIFF", b"OggS", b"GIF8")  # Matroska and WebM, AVI, Ogg, GIF


def is_video(head: bytes) -> bool:
    """Whether a file that begins so is a video container (ISO BMFF such as MP4, Matroska, WebM, AVI, Ogg, GIF)."""
    return _is_iso(head) or head.startswith(_OTHERS)


def missing(file: IO[bytes]) -> str | None:
    """What an ISO BMFF file lacks to be whole, None where nothing does or where its kind does not tell.

    The boxes at the top level (ISO/IEC 14496-12, 4.2) must fill the file exactly, and a movie box must be among them. A
    transfer without an announced length cannot be told from a cut one otherwise. The position in the file is kept.
    """
    here = file.tell()
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return _walk(file, size) if _is_iso(file.read(HEAD)) else None
    finally:
        file.seek(here)


def _is_iso(head: bytes) -> bool:
    return head[4:8] in _ISO_BOXES


def _walk(file: IO[bytes], size: int) -> str | None:
    at = 0
    seen = set()
    while at < size:
        file.seek(at)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4]), header[4:8]
        smallest = 8
        if length == 1:  # the length is in the eight bytes that follow
            length, smallest = int.from_bytes(header[8:16]), 16
        elif length == 0:  # to the end of the file
            length = size - at
        if len(header) < smallest or length < smallest or at + length > size:
            return (
                f"it ends within its {kind.decode('latin-1')!r} part" if len(kind) == 4 else "it ends within a header"
            )
        seen.add(kind)
        at += length
    return None if b"moov" in seen else "it has no movie header"
