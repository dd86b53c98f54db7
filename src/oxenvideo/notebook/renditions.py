"""Copies of videos for front ends that cannot show the files themselves: made in a thread, and cached by content."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from oxenvideo.errors import OxenVideoError
from oxenvideo.media import transcode

log = logging.getLogger("oxenvideo")

_KEPT = 100  # files in the cache


class Renditions:
    """The copies that one card needs. One daemon thread makes them, one after the other, and calls ``ready()`` for each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.ready: Callable[[], object] = lambda: None
        self._made: dict[str, Path | OxenVideoError | None] = {}  # by file name; None while it is made
        self._waiting: list[tuple[Path, Path, int | None]] = []
        self._lock = threading.Lock()

    @property
    def made(self) -> int:
        """How many are ready or cannot be made."""
        return sum(made is not None for made in self._made.values())

    @property
    def pending(self) -> bool:
        """Whether one is being made."""
        return self.made < len(self._made)

    def get(self, source: Path, sha256: str, limit: int | None) -> Path | OxenVideoError | None:
        """A copy of at most ``limit`` bytes, or with MP3 sound if that is None; None as long as it is being made."""
        target = self._directory / f"{sha256}-{'mp3' if limit is None else limit}.mp4"
        if target.exists():
            return target
        with self._lock:
            if target.name not in self._made:
                self._made[target.name] = None
                self._waiting.append((source, target, limit))
                if len(self._waiting) == 1:
                    threading.Thread(target=self._run, name="oxenvideo-rendition", daemon=True).start()
        return self._made[target.name]

    def _run(self) -> None:
        while self._waiting:
            source, target, limit = self._waiting[0]
            try:
                _make(source, target, limit)
                self._made[target.name] = target
            except OxenVideoError as error:
                self._made[target.name] = error
            except Exception as error:
                log.exception("No copy of %s could be made for this front end.", source)
                self._made[target.name] = OxenVideoError(f"No copy of {source.name} could be made: {error}")
            self.ready()
            with self._lock:
                self._waiting.pop(0)


def _make(source: Path, target: Path, limit: int | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{uuid.uuid4().hex}.part")
    try:
        if limit is None:
            transcode.with_mp3(source, partial)
        else:
            transcode.smaller(source, partial, limit)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    with suppress(OSError):  # another kernel may do the same
        for old in sorted(target.parent.glob("*.mp4"), key=lambda file: file.stat().st_mtime)[:-_KEPT]:
            old.unlink(missing_ok=True)
