"""Where a video lies here, what it is called, and the request that its file carries inside."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oxenvideo.errors import InvalidRequest

if TYPE_CHECKING:
    from oxenvideo.generation import Generation
    from oxenvideo.request import VideoRequest

log = logging.getLogger("oxenvideo")

_FIELDS = ("name", "model", "seed", "index", "id")
_KEY = "----:com.oxenvideo:request"  # iTunes-style free-form atom
_UNSAFE = re.compile(r"[^\w.\-]+")
_MOST = 120  # characters of one part of a name
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_pattern(pattern: str) -> None:
    """InvalidRequest for a ``--save`` pattern with an unknown field, or one that is no relative or absolute path."""
    unknown = sorted(set(re.findall(r"{(.*?)}", pattern)) - set(_FIELDS))
    if unknown:
        raise InvalidRequest(
            f"--save has no field {{{unknown[0]}}}: use {', '.join('{' + name + '}' for name in _FIELDS)}."
        )
    if not pattern.strip() or pattern.endswith(("..", "\0")) or "\0" in pattern:
        raise InvalidRequest(f"--save {pattern!r} names no file.")


def destination(generation: Generation, pattern: str | None, directory: Path) -> Path:
    """The path for a generation's file, always inside the directory that it was given.

    A pattern's fixed leading folders are the person's choice; what its fields bring in is made harmless, so that no
    name, model or seed can lead out of there. Without an ending, or with another, ``.mp4`` is added.
    """
    values = {
        "name": generation.name or generation.request.model,
        "model": generation.request.model,
        "seed": generation.request.parameters.get("seed", "noseed"),
        "index": generation.index if generation.index is not None else 0,
        "id": (generation.id or generation.key)[:8],
    }
    text = pattern or "{name}-{id}"
    if text.endswith(("/", "\\")):
        text += "{name}-{id}"
    parts = [_filled(part, values) for part in Path(text).parts]
    path = Path(*parts).expanduser() if pattern and text.startswith(("/", "~")) else Path(directory, *parts)
    if path.suffix.lower() not in (".mp4", ".webm", ".mov"):
        path = path.with_name(path.name + ".mp4")
    return path.absolute()


def _filled(part: str, values: dict[str, Any]) -> str:
    if "{" not in part:
        return part if part != ".." else "_"
    filled = re.sub(r"{(\w+)}", lambda match: safe_name(str(values.get(match[1], ""))), part)
    return filled if filled.strip(".") else "_"


def safe_name(text: str) -> str:
    """Text as one part of a path: no separators, no control characters, not hidden, not reserved, not long."""
    name = _UNSAFE.sub("-", text).strip("-. ")[:_MOST]
    return f"_{name}" if not name or _RESERVED.fullmatch(name) else name


def stamp(path: Path, generation: Generation) -> None:
    """Write prompt, model, parameters and generation id into an MP4's own metadata.

    A file that cannot carry it stays as it is: the video matters more than its label.
    """
    from mutagen import MutagenError
    from mutagen.mp4 import MP4, MP4FreeForm

    request = generation.request
    record = {"generation_id": generation.id, "request": request.to_json()}
    try:
        tags = MP4(path)
        tags["\xa9nam"] = [(request.prompt or request.model)[:200]]
        tags["\xa9cmt"] = [
            json.dumps({"model": request.model, "prompt": request.prompt, "generation_id": generation.id})
        ]
        tags["\xa9too"] = ["oxenvideo"]
        tags[_KEY] = [MP4FreeForm(json.dumps(record).encode())]
        tags.save()
    except (MutagenError, ValueError, KeyError, IndexError) as error:
        log.info("%s carries no metadata: %s", path.name, error)


def recall(path: str | Path) -> VideoRequest:
    """The request that made a file, as its metadata tells; InvalidRequest where it tells none."""
    from mutagen import MutagenError
    from mutagen.mp4 import MP4

    from oxenvideo.request import VideoRequest

    try:
        record = json.loads(bytes(MP4(path)[_KEY][0]))
        return VideoRequest.from_json(record["request"])
    except FileNotFoundError:
        raise InvalidRequest(f"There is no file {path}.") from None
    except (MutagenError, KeyError, IndexError, TypeError, ValueError):
        raise InvalidRequest(f"{path} does not say how it was made: it is not an MP4 that oxenvideo saved.") from None
