"""A finished video that can be looked at, wherever it is known from, and its file on the way to the browser."""

from __future__ import annotations

import mimetypes
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.jobs.generation import Generation
from oxenvideo.notebook.panel.labels import details_of
from oxenvideo.notebook.panel.serialize import shown_path
from oxenvideo.request.request import VideoRequest

_CHUNK = 1024 * 1024  # bytes in one message: others get through between two


@dataclass(frozen=True)
class Clip:
    """A video file with the request that made it; ``generation`` where it is one of this kernel."""

    key: str
    path: Path
    request: VideoRequest
    generation: Generation | None = None

    @property
    def described(self) -> dict[str, Any]:
        """What the browser shows beside it."""
        name = self.generation.name if self.generation is not None else None
        return {
            "key": self.key,
            "title": name or "",
            "prompt": self.request.prompt,
            "model": self.request.model,
            "details": details_of(self.request),
            "file": shown_path(self.path),
            "name": self.path.name,
        }


def pieces(clip: Clip) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """The messages that bring a clip's file to the browser. Reads as it goes."""
    kind = mimetypes.guess_type(clip.path.name)[0] or "video/mp4"
    try:
        size = clip.path.stat().st_size
        with clip.path.open("rb") as file:
            at = 0
            while (part := file.read(_CHUNK)) or at == 0:
                at += len(part)
                yield {"is": "part", "key": clip.key, "type": kind, "at": at, "size": size}, [part]
                if at >= size:
                    return
    except OSError as error:
        yield {"is": "gone", "key": clip.key, "why": f"{shown_path(clip.path)}: {error.strerror or error}"}, []


def save_copy(clip: Clip, to: str) -> Path:
    """Copy a clip's file to a path that a person named; an existing file is not overwritten."""
    if not to.strip():
        raise InvalidRequest("Name the file to save it as.")
    target = Path(to.strip()).expanduser()
    if to.strip().endswith(("/", "\\")) or target.is_dir():
        target = target / clip.path.name
    if not target.suffix:
        target = target.with_suffix(clip.path.suffix)
    if target.exists():
        raise InvalidRequest(f"{target} exists already: choose another name.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip.path, target)
    except OSError as error:
        raise OxenVideoError(f"{target} cannot be written: {error.strerror or error}.") from None
    return target


def send_all(post: Callable[[Callable[[], object]], object], send: Callable[..., object], clip: Clip) -> None:
    """Post a clip's messages one after another, each when the one before is out."""
    messages = pieces(clip)

    def step() -> None:
        message = next(messages, None)
        if message is not None:
            send(message[0], buffers=message[1])
            post(step)

    post(step)
