"""Video files without decoding: whether a file is a video, whether it is whole, and the metadata in it."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from oxenvideo.errors import InvalidRequest

HEAD = 16
"""Bytes from the beginning of a file that ``is_video`` needs."""

_ISO_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"styp"})
_OTHERS = (b"\x1a\x45\xdf\xa3", b"RIFF", b"OggS", b"GIF8")  # Matroska and WebM, AVI, Ogg, GIF
_RECORD = "----:com.oxenvideo:request"  # an iTunes-style free-form atom


def is_video(head: bytes) -> bool:
    """Whether a file with these first bytes is a video container (MP4 and relatives, Matroska, WebM, AVI, Ogg, GIF)."""
    return _is_iso(head) or head.startswith(_OTHERS)


def missing(file: IO[bytes]) -> str | None:
    """What an MP4 file lacks to be whole; None if it lacks nothing or is of another kind.

    The boxes at the top level (ISO/IEC 14496-12, 4.2) must fill the file exactly, and a movie box must be among them.
    Only this shows that a transfer without an announced length was cut off. The position in the file is kept.
    """
    here = file.tell()
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return _missing_box(file, size) if _is_iso(file.read(HEAD)) else None
    finally:
        file.seek(here)


def _is_iso(head: bytes) -> bool:
    return head[4:8] in _ISO_BOXES


def _missing_box(file: IO[bytes], size: int) -> str | None:
    at, has_movie = 0, False
    while at < size:
        file.seek(at)
        header = file.read(16)
        length, kind, smallest = int.from_bytes(header[:4]), header[4:8], 8
        if length == 1:  # the length is in the eight bytes that follow
            length, smallest = int.from_bytes(header[8:16]), 16
        elif length == 0:  # to the end of the file
            length = size - at
        if len(header) < smallest or length < smallest or at + length > size:
            return f"it ends within its {kind.decode('latin-1')!r} box" if len(kind) == 4 else "it ends within a header"
        has_movie |= kind == b"moov"
        at += length
    return None if has_movie else "it has no movie header"


def write_metadata(path: Path, record: Mapping[str, Any], *, title: str, comment: str) -> None:
    """Write a title and a comment for players, and a JSON record for ``read_metadata``, into an MP4 file.

    Raises ValueError for a file that cannot hold them; the file stays as it was. Raises OSError where the disk fails; the
    file may be damaged then.
    """
    from mutagen import MutagenError
    from mutagen.mp4 import MP4, Atoms, MP4FreeForm

    try:
        tags = MP4(path)
        with path.open("rb") as file:
            if any(atom.name == b"moof" for atom in Atoms(file).atoms):
                # Each fragment may say where its data lie in the file, and mutagen corrects the first one only.
                raise ValueError(f"{path.name} consists of fragments, which metadata would move.")
        tags["\xa9nam"], tags["\xa9cmt"], tags["\xa9too"] = [title], [comment], ["oxenvideo"]
        tags[_RECORD] = [MP4FreeForm(json.dumps(record).encode())]
        tags.save()
    except (MutagenError, KeyError, IndexError, struct.error) as error:
        if isinstance(error.__context__, OSError):  # mutagen has put its own in place of it
            raise error.__context__ from None
        raise ValueError(f"{path.name} cannot hold metadata: {error}") from None


def read_metadata(path: Path) -> dict[str, Any]:
    """The record that ``write_metadata`` wrote into a file; InvalidRequest if there is none."""
    from mutagen import MutagenError
    from mutagen.mp4 import MP4

    if not path.is_file():
        raise InvalidRequest(f"There is no file {path}.")
    try:
        record = json.loads(bytes(MP4(path)[_RECORD][0]))
    except (MutagenError, OSError, LookupError, TypeError, ValueError, RecursionError, struct.error):
        record = None
    if not isinstance(record, dict):
        raise InvalidRequest(f"{path} does not say how it was made: it is not an MP4 that oxenvideo saved.")
    return record
