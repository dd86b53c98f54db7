"""The media type of a file by its first bytes."""

from __future__ import annotations

SNIFF_BYTES = 64
"""Bytes from the beginning of a file that ``sniff`` needs."""

_SIGNATURES: dict[bytes, str] = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    **dict.fromkeys((b"GIF87a", b"GIF89a"), "image/gif"),
    b"BM": "image/bmp",
    **dict.fromkeys((b"II*\x00", b"MM\x00*"), "image/tiff"),
    b"\x1aE\xdf\xa3": "video/webm",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
    **dict.fromkeys((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"), "audio/mpeg"),
    **dict.fromkeys((b"\xff\xf1", b"\xff\xf9"), "audio/aac"),
}
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_ISO_BRANDS = {
    b"qt  ": "video/quicktime",
    **dict.fromkeys((b"M4A ", b"M4B "), "audio/mp4"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"mif1"), "image/heic"),
}
_EXTENSIONS = {
    "image/jpeg": "jpg",
    "video/quicktime": "mov",
    "video/x-msvideo": "avi",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
}


def sniff(head: bytes) -> str | None:
    """The media type of a file with these first bytes, or None if it is unknown."""
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _ISO_BRANDS.get(head[8:12], "video/mp4")
    return next((mime for signature, mime in _SIGNATURES.items() if head.startswith(signature)), None)


def extension(mime: str | None) -> str:
    """The usual file name extension for a media type that ``sniff`` returned."""
    return _EXTENSIONS.get(mime, mime.partition("/")[2]) if mime else "bin"
