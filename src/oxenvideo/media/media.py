"""Media: a picture, clip or sound that stands in a request where the API wants a URL."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import mimetypes
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from oxenvideo.errors import InvalidRequest
from oxenvideo.media import encode

Kind = Literal["image", "video", "audio"]
Part = Literal["last_frame", "video"]

DEFAULT_INLINE_LIMIT = 12 * 1024 * 1024
"""Bytes of a file up to which it travels as a data URI: as far as image data URIs are known to work."""

_URL = re.compile(r"(?:https?://|data:)", re.IGNORECASE)
_DATA_URI = re.compile(r"data:(?:[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+(?:=[\w.+-]+)?)*,", re.IGNORECASE)
_SPACE = re.compile(r"\s")
_ARTICLE = {"image": "an image", "video": "a video", "audio": "a sound"}


def is_url(text: str) -> bool:
    """Whether the service takes this text as the address of a medium: http, https or a data URI."""
    return _URL.match(text.lstrip()) is not None


@dataclass(frozen=True)
class Media:
    """One medium, anywhere in a request's parameters; exactly one of its sources is set.

    ``url`` passes through, ``path`` is a local file (absolute), ``content`` the bytes themselves, and ``key`` another
    Generation, of which ``part`` is taken once it is done; ``generation`` is that object where it is at hand.
    """

    kind: Kind
    url: str | None = None
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    key: str | None = None
    part: Part | None = None
    generation: Any = field(default=None, compare=False, repr=False)
    recorded_sha256: str | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_value(cls, value: Any, kind: Kind) -> Media:
        """The medium that ``value`` is: a URL, a path, bytes, a PIL image, an array, a figure, or a Generation.

        An array is H×W×3 or 4 for an image and T×H×W×3 or 4 for a video, uint8 or floats from 0 to 1. Raises
        InvalidRequest for a path without a file, and for what is none of these or not of this kind.
        """
        if isinstance(value, Media):
            return value
        if isinstance(value, str) and is_url(value):
            return cls(kind, url=value.strip())
        if isinstance(value, (str, os.PathLike)):
            return cls(kind, path=_existing(os.fspath(value), kind))
        if isinstance(value, (bytes, bytearray, memoryview)):
            content = bytes(value)
            _require_kind(encode.sniff(content[: encode.SNIFF_BYTES]), kind, f"These {len(content)} bytes")
            return cls(kind, content=content)
        if hasattr(value, "key") and hasattr(value, "wait"):
            if kind == "audio":
                raise InvalidRequest("A Generation can be an image (its last frame) or a video, not a sound.")
            return cls(kind, key=value.key, part="last_frame" if kind == "image" else "video", generation=value)
        encoded = None if kind == "audio" else encode.encode(value, kind)
        if encoded is None:
            raise InvalidRequest(
                f"A {type(value).__name__} cannot be {_ARTICLE[kind]}: give a URL, a path, bytes, a PIL image, a NumPy "
                "array, a matplotlib figure or a Generation."
            )
        _require_kind(encode.sniff(encoded[: encode.SNIFF_BYTES]), kind, f"A {type(value).__name__}")
        return cls(kind, content=encoded)

    @property
    def size(self) -> int | None:
        """Bytes of the file, or None for a URL and a Generation."""
        if self.content is not None:
            return len(self.content)
        return None if self.path is None else self._stat().st_size

    @cached_property
    def mime(self) -> str | None:
        """The media type, such as ``image/png``, or None where only the service can tell."""
        if self.content is not None:
            return encode.sniff(self.content[: encode.SNIFF_BYTES])
        if self.path is not None:
            return _mime_of_file(self.path)
        if self.url is not None and self.url[:5].lower() == "data:":
            return self.url[5:].partition(",")[0].partition(";")[0] or None
        return None

    @cached_property
    def sha256(self) -> str | None:
        """The hexadecimal SHA-256 of the bytes, or None for a URL and a Generation."""
        if self.content is not None:
            return hashlib.sha256(self.content).hexdigest()
        if self.path is None:
            return None
        stat = self._stat()
        return _hash_of_file(self.path, stat.st_size, stat.st_mtime_ns)

    def read(self) -> bytes:
        """The bytes; InvalidRequest where the file is gone or is not the one that was recorded."""
        if self.content is not None:
            return self.content
        if self.path is None:
            raise InvalidRequest(f"{self.label} has no bytes here.")
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise _unreadable(self.path, error) from None
        if self.recorded_sha256 not in {None, hashlib.sha256(content).hexdigest()}:
            raise InvalidRequest(f"{self.path} has changed since the request was made: make the request again.")
        return content

    def data_uri(self) -> str:
        """The address to send: the URL itself, or the bytes as a data URI. A Generation has none until it is done."""
        if self.url is not None:
            return self.url
        if self.key is not None:
            raise InvalidRequest(f"{self.label} exists only once that generation is done.")
        return f"data:{self.mime};base64,{base64.b64encode(self.read()).decode('ascii')}"

    def store(self, directory: Path) -> Media:
        """This medium as it must be kept: bytes in a file of ``directory`` named by their hash, a file with its hash.

        From then on ``read`` refuses a file that has changed. A URL, a Generation and a very large file stay themselves.
        """
        if self.content is None:
            small = self.path is not None and (self.size or 0) <= DEFAULT_INLINE_LIMIT
            return replace_fields(self, recorded_sha256=self.sha256) if small and not self.recorded_sha256 else self
        path = directory.absolute() / f"{self.sha256}.{encode.EXTENSIONS.get(self.mime or '', 'bin')}"
        if not path.exists():
            directory.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            draft.write_bytes(self.content)
            os.replace(draft, path)
        return Media(self.kind, path=path, recorded_sha256=self.sha256)

    @property
    def label(self) -> str:
        """A few words for a person: no bytes, no id."""
        if self.url is not None:
            return shortened(self.url)
        if self.key is not None:
            part = "last frame" if self.part == "last_frame" else "video"
            name = getattr(self.generation, "name", None)
            return f"the {part} of {name}" if name else f"the {part} of another generation"
        name = "" if self.path is None else f", {self.path.name}"
        try:
            return f"data:{self.mime};base64,… ({_size_text(self.size or 0)}{name})"
        except InvalidRequest:  # it was there when the request was made
            return f"data:…{name} (no longer there)"

    def to_json(self) -> dict[str, Any]:
        """The form for a journal, ``{"$media": {...}}``.

        A file is its path with its hash (left out above the inline limit, where hashing takes noticeably long); bytes
        are a data URI, so ``store`` them first where that matters.
        """
        entry: dict[str, Any] = {"kind": self.kind}
        if self.path is not None:
            entry["path"] = str(self.path)
            with contextlib.suppress(InvalidRequest):  # the file may be gone once it has been sent
                if self.recorded_sha256 or (self.size or 0) <= DEFAULT_INLINE_LIMIT:
                    entry["sha256"] = self.recorded_sha256 or self.sha256
        elif self.key is not None:
            entry |= {"generation": self.key, "part": self.part}
        elif self.url is not None:
            entry["url"] = self.url
        else:
            entry["data"] = self.data_uri()
        return {"$media": entry}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Media:
        """The medium that ``to_json`` wrote; nothing is read from disk. Raises InvalidRequest where it is none."""
        entry = value.get("$media")
        kind: Any = entry.get("kind") if isinstance(entry, Mapping) else None
        if not isinstance(entry, Mapping) or kind not in get_args(Kind):
            raise InvalidRequest("A medium in the journal is damaged: it has no kind.")
        match entry:
            case {"path": str(path)}:
                return cls(kind, path=Path(path), recorded_sha256=entry.get("sha256"))
            case {"generation": str(key), "part": ("last_frame" | "video") as part}:
                return cls(kind, key=key, part=part)
            case {"url": str(url)}:
                return cls(kind, url=url)
            case {"data": str(data)}:
                return cls(kind, content=base64.b64decode(data.partition(",")[2]))
        raise InvalidRequest("A medium in the journal is damaged: it names no source.")

    def _stat(self) -> os.stat_result:
        assert self.path is not None  # noqa: S101 - callers checked
        try:
            return self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from None


def walk(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Media]]:
    """Every medium in a tree of mappings and lists, with the keys and indices that lead to it."""
    if isinstance(tree, Media):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from walk(value, (*path, key))
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from walk(value, (*path, index))


def replace(tree: Any, change: Callable[[Media], Any]) -> Any:
    """The tree as plain dictionaries and lists, each medium in it replaced by ``change(medium)``."""
    if isinstance(tree, Media):
        return change(tree)
    if isinstance(tree, Mapping):
        return {key: replace(value, change) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [replace(value, change) for value in tree]
    return tree


def shortened(url: str) -> str:
    """A URL as a person wants to see it: the payload of a data URI gives way to its size. Any other text stays."""
    header = _DATA_URI.match(url)
    payload = url[header.end() :] if header else ""
    if header is None or len(payload) <= 64 or _SPACE.search(payload):  # a prompt may begin with "data:" as well
        return url
    size = len(payload) * 3 // 4 if header[0].lower().endswith(";base64,") else len(payload)
    return f"{header[0]}… ({_size_text(size)})"


def _size_text(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:.0f} KB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def _existing(text: str | bytes, kind: Kind) -> Path:
    path = Path(os.fsdecode(text).removeprefix("file://")).expanduser()
    if not os.path.isfile(path):  # unlike Path.is_file, false also for a text too long to be a path
        problem = "is a directory" if os.path.isdir(path) else "does not exist"
        name = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}…"
        raise InvalidRequest(f"{name!r} {problem}: give {_ARTICLE[kind]} as a URL or as the path of a file.")
    _require_kind(_mime_of_file(path), kind, str(path))
    return path.absolute()


@lru_cache(maxsize=64)
def _hash_of_file(path: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file in this very state: many requests may hold the same one."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _mime_of_file(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            head = stream.read(encode.SNIFF_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from None
    if not head:
        raise InvalidRequest(f"{path} is empty.")
    return encode.sniff(head) or mimetypes.guess_type(path.name)[0]


def _require_kind(mime: str | None, kind: Kind, what: str) -> None:
    """Refuse what is surely no medium of this kind: it would cost a submit to learn that from the service."""
    if mime is None:
        raise InvalidRequest(f"{what}: not {_ARTICLE[kind]} in any format known here.")
    family = mime.partition("/")[0]
    # A GIF may be a clip, and a video container may hold only sound.
    fits = family == kind or (kind == "video" and mime == "image/gif") or (kind == "audio" and family == "video")
    if not fits:
        raise InvalidRequest(f"{what}: {mime}, which is not {_ARTICLE[kind]}.")


def _unreadable(path: Path, error: OSError) -> InvalidRequest:
    return InvalidRequest(f"{path} cannot be read: {error.strerror or error}.")
