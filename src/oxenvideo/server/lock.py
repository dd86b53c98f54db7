"""Which servers on a data directory are alive: each holds a lock on a file of its own."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


class Presence:
    """This server's claim to be alive, given up by the system however the process ends.

    Several servers may share a data directory: each works on what it took in itself, and takes over what a dead one
    left.
    """

    def __init__(self, data_dir: Path) -> None:
        self.id = uuid.uuid4().hex
        self._dir = data_dir / "servers"
        self._dir.mkdir(parents=True, exist_ok=True)
        self._path = self._dir / f"{self.id}.lock"
        self._file = self._path.open("wb")
        os.set_inheritable(self._file.fileno(), False)
        if not _try_lock(self._file):
            raise RuntimeError(f"{self._path} could not be locked.")

    def is_alive(self, owner: str) -> bool:
        """Say whether the server of this id still runs; the file a dead one left is removed."""
        if owner == self.id:
            return True
        path = self._dir / f"{owner}.lock"
        try:
            with path.open("r+b") as file:
                if not _try_lock(file):
                    return True
        except OSError:
            return False
        with contextlib.suppress(OSError):
            path.unlink()
        return False

    def leave(self) -> None:
        """Give up the claim."""
        self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
