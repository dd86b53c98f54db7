"""Which servers on a data directory are alive: each holds a lock on a file of its own."""

from __future__ import annotations

import contextlib
import sys
import uuid
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


class Presence:
    """A lock that shows that this server is alive. The system releases it when the process ends, however it ends."""

    def __init__(self, data_dir: Path) -> None:
        self.id = uuid.uuid4().hex
        self._dir = data_dir / "servers"
        self._dir.mkdir(parents=True, exist_ok=True)
        self._path = self._dir / f"{self.id}.lock"
        self._file = self._path.open("wb")
        _lock(self._file)

    def is_alive(self, owner: str) -> bool:
        """Return whether the server of this id is running; remove the file of one that is not."""
        if owner == self.id:
            return True
        path = self._dir / f"{owner}.lock"
        try:
            file = path.open("r+b")
        except OSError:
            return False
        with file:
            try:
                _lock(file)
            except OSError:
                return True
        with contextlib.suppress(OSError):
            path.unlink()
        return False

    def leave(self) -> None:
        """Release the lock."""
        self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
