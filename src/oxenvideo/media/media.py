"""Media: an image, video or audio input that a request holds in place of a URL."""

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
from oxenvideo.media.sniff import SNIFF_BYTES, extension, sniff

Kind = Literal["image", "video", "audio"]
Part = Literal["last_frame", "video"]

DEFAULT_INLINE_LIMIT = 12 * 1024 * 1024
"""Bytes up to which a file is sent as a data URI: the largest for which image data URIs are known to work."""

_URL = re.compile(r"(?:https?://|data:)", re.IGNORECASE)
_DATA_URI = re.compile(r"data:(?:[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+(?:=[\w.+-]+)?)*,", re.IGNORECASE)
_SPACE = re.compile(r"\s")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ARTICLE = {"image": "an image", "video": "a video", "audio": "an audio file"}
_UNVERIFIED = "unverified"
"""As a recorded hash: the path comes from somebody else, and no hash says which file is meant."""


def is_url(text: str) -> bool:
    """Whether the service accepts this text as the URL of a media input: http, https or a data URI."""
    return _URL.match(text.lstrip()) is not None


@dataclass(frozen=True)
class Media:
    """One image, video or audio input, anywhere in a request's parameters. Exactly one of its sources is set.

    ``url`` is sent as it is, ``path`` is a local file (absolute), ``content`` the bytes of a file, and ``key`` another
    Generation, whose ``part`` is sent once it has succeeded; ``generation`` is that object if it is in memory. With
    ``recorded_sha256`` only a file with this hash is used.
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
        """Media from a URL, a path, bytes, a PIL image, a NumPy array, a matplotlib figure, or a Generation.

        An array is H×W×3 or 4 for an image and T×H×W×3 or 4 for a video, uint8 or floats from 0 to 1. Raises
        InvalidRequest for a path without a file, for any other object, and for a file of another kind.
        """
        if isinstance(value, Media):
            return value
        if isinstance(value, str) and is_url(value):
            return cls(kind, url=value.strip())
        if isinstance(value, (str, os.PathLike)):
            return cls(kind, path=_existing(os.fspath(value), kind))
        if isinstance(value, (bytes, bytearray, memoryview)):
            content = bytes(value)
            _require_kind(sniff(content[:SNIFF_BYTES]), kind, f"These {len(content)} bytes")
            return cls(kind, content=content)
        if hasattr(value, "key") and hasattr(value, "wait"):
            if kind == "audio":
                raise InvalidRequest("A Generation can be an image (its last frame) or a video, not an audio file.")
            return cls(kind, key=value.key, part="last_frame" if kind == "image" else "video", generation=value)
        from oxenvideo.media.encode import encode

        encoded = None if kind == "audio" else encode(value, kind)
        if encoded is None:
            ways = "a URL, a path, bytes, a PIL image, a NumPy array, a matplotlib figure or a Generation"
            raise InvalidRequest(f"A {type(value).__name__} cannot be {_ARTICLE[kind]}: give {ways}.")
        _require_kind(sniff(encoded[:SNIFF_BYTES]), kind, f"A {type(value).__name__}")
        return cls(kind, content=encoded)

    @property
    def size(self) -> int | None:
        """The size of the file in bytes, or None for a URL and a Generation."""
        if self.content is not None:
            return len(self.content)
        return None if self.path is None else self._stat().st_size

    @cached_property
    def mime(self) -> str | None:
        """The media type, such as ``image/png``, or None if only the service can tell it."""
        if self.content is not None:
            return sniff(self.content[:SNIFF_BYTES])
        if self.path is not None:
            return _mime_of_file(self.path)
        if self.url is not None and self.url[:5].lower() == "data:":
            return self.url[5:].partition(",")[0].partition(";")[0] or None
        return None

    @cached_property
    def sha256(self) -> str | None:
        """The hexadecimal SHA-256 of the bytes, or None for a URL and a Generation; raises InvalidRequest as ``read``."""
        if self.content is not None:
            return hashlib.sha256(self.content).hexdigest()
        if self.path is None:
            return None
        stat = self._stat()
        return self._verified(_hash_of_file(self.path, stat.st_size, stat.st_mtime_ns))

    def read(self) -> bytes:
        """The bytes; InvalidRequest if the file is gone or is not the one that was recorded."""
        if self.content is not None:
            return self.content
        if self.path is None:
            raise InvalidRequest(f"{self.label} has no bytes on this machine.")
        with _reading(self.path):
            content = self.path.read_bytes()
        self._verified(hashlib.sha256(content).hexdigest())
        return content

    def _verified(self, sha256: str) -> str:
        if self.recorded_sha256 in {None, sha256}:
            return sha256
        unverified = self.recorded_sha256 == _UNVERIFIED
        why = "named by a video's metadata only" if unverified else "not the file that the request was made with"
        raise InvalidRequest(f"{self.path} is {why}: give {_ARTICLE[self.kind]} again.")

    def data_uri(self) -> str:
        """The URL to send: the given one, or the bytes as a data URI. Raises InvalidRequest for a Generation."""
        if self.url is not None:
            return self.url
        if self.key is not None:
            raise InvalidRequest(f"{self.label} exists only once that generation has succeeded.")
        return f"data:{self.mime};base64,{base64.b64encode(self.read()).decode('ascii')}"

    def store(self, directory: Path) -> Media:
        """This input in a form that outlives the process: bytes in a file of ``directory``, and a file with its hash.

        A stored file is named by its hash, and only its owner may read it. A URL, a Generation and a very large file are
        returned as they are.
        """
        if self.content is None:
            small = self.path is not None and (self.size or 0) <= DEFAULT_INLINE_LIMIT
            return replace_fields(self, recorded_sha256=self.sha256) if small and not self.recorded_sha256 else self
        path = directory.absolute() / f"{self.sha256}.{extension(self.mime)}"
        if not path.exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)  # an earlier version left it to the umask
            draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(self.content)
            os.replace(draft, path)
        return Media(self.kind, path=path, recorded_sha256=self.sha256)

    @property
    def label(self) -> str:
        """A short description, without bytes or ids."""
        if self.url is not None:
            return shortened(self.url)
        if self.key is not None:
            part = "last frame" if self.part == "last_frame" else "video"
            name = getattr(self.generation, "name", None)
            return f"the {part} of {name}" if name else f"the {part} of another generation"
        name = "" if self.path is None else f", {self.path.name}"
        try:
            return f"data:{self.mime};base64,… ({_size_text(self.size or 0)}{name})"
        except InvalidRequest:  # the file was there when the request was made
            return f"data:…{name} (no longer there)"

    def to_json(self) -> dict[str, Any]:
        """The form for the journal, ``{"$media": {...}}``.

        A file is written as its path and its hash (without the hash above the inline limit, because hashing takes
        long), and bytes as a data URI, so ``store`` them first to keep the journal small.
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
    def from_json(cls, value: Mapping[str, Any], *, trusted: bool = True) -> Media:
        """The input that ``to_json`` wrote, without reading a file; InvalidRequest if it is damaged.

        With ``trusted=False`` a path without a recorded hash is never read: ``read`` and ``sha256`` raise
        InvalidRequest. Otherwise a path in somebody else's file would send any local file to the service.
        """
        entry = value.get("$media")
        kind: Any = entry.get("kind") if isinstance(entry, Mapping) else None
        if not isinstance(entry, Mapping) or kind not in get_args(Kind):
            raise InvalidRequest("A media input in this request is damaged: it has no kind.")
        match entry:
            case {"path": str(path)} if "\0" not in path:
                recorded = entry.get("sha256")
                known = isinstance(recorded, str) and _SHA256.fullmatch(recorded)
                return cls(kind, path=Path(path), recorded_sha256=recorded if trusted or known else _UNVERIFIED)
            case {"generation": str(key), "part": ("last_frame" | "video") as part}:
                return cls(kind, key=key, part=part)
            case {"url": str(url)}:
                return cls(kind, url=url)
            case {"data": str(data)}:
                return cls(kind, content=base64.b64decode(data.partition(",")[2]))
        raise InvalidRequest("A media input in this request is damaged: it names no source.")

    def _stat(self) -> os.stat_result:
        assert self.path is not None  # noqa: S101 - callers checked
        with _reading(self.path):
            return self.path.stat()


def walk(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Media]]:
    """Every Media in a tree of mappings and lists, with the keys and indices that lead to it."""
    if isinstance(tree, Media):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from walk(value, (*path, key))
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from walk(value, (*path, index))


def map_leaves(tree: Any, change: Callable[[Any], Any]) -> Any:
    """The tree as plain dictionaries and lists, each value in it replaced by ``change(value)``."""
    if isinstance(tree, Mapping):
        return {key: map_leaves(value, change) for key, value in tree.items()}
    return [map_leaves(value, change) for value in tree] if isinstance(tree, (list, tuple)) else change(tree)


def replace(tree: Any, change: Callable[[Media], Any]) -> Any:
    """The tree as plain dictionaries and lists, each Media in it replaced by ``change(media)``."""
    return map_leaves(tree, lambda leaf: change(leaf) if isinstance(leaf, Media) else leaf)


def shortened(url: str) -> str:
    """A text for display: the payload of a data URI is replaced by its size, and any other text stays."""
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
    if not os.path.isfile(path):  # unlike Path.is_file, this is also False for text too long to be a path
        problem = "is a directory" if os.path.isdir(path) else "does not exist"
        name = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}…"
        raise InvalidRequest(f"{name!r} {problem}: give {_ARTICLE[kind]} as a URL or as the path of a file.")
    _require_kind(_mime_of_file(path), kind, str(path))
    return path.absolute()


@lru_cache(maxsize=64)
def _hash_of_file(path: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file with this size and time of change, cached because many requests may hold the same file."""
    with _reading(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _mime_of_file(path: Path) -> str | None:
    with _reading(path), path.open("rb") as stream:
        head = stream.read(SNIFF_BYTES)
    if not head:
        raise InvalidRequest(f"{path} is empty.")
    return sniff(head) or mimetypes.guess_type(path.name)[0]


def _require_kind(mime: str | None, kind: Kind, what: str) -> None:
    """Refuse a file that is certainly of another kind, before a submit is spent on it."""
    if mime is None:
        raise InvalidRequest(f"{what}: not {_ARTICLE[kind]} in a known format.")
    family = mime.partition("/")[0]
    # A GIF may be a video, and a video container may hold only audio.
    fits = family == kind or (kind == "video" and mime == "image/gif") or (kind == "audio" and family == "video")
    if not fits:
        raise InvalidRequest(f"{what}: {mime}, which is not {_ARTICLE[kind]}.")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror or error}.") from None
