"""The disk that kernels share: SQLite connections that fail, kill and are observed, and directories that are full."""

from __future__ import annotations

import builtins
import errno
import io
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from .kernel import Kernel

_READS = ("SELECT", "PRAGMA")
# Nothing here survives the process, and no other process reads it.
_PRAGMAS = {
    "PRAGMA journal_mode=WAL": "PRAGMA journal_mode=MEMORY",
    "PRAGMA synchronous=FULL": "PRAGMA synchronous=OFF",
}
_ENDS = ("COMMIT", "ROLLBACK", "END")


class KernelKilled(BaseException):
    """Raised wherever a dead kernel still tries to act; no handler of the package may stop it."""


class Disk:
    """What does not work at the moment. ``full`` holds directories, ``journal`` is SQLite's message, or None."""

    def __init__(self) -> None:
        self.full: set[str] = set()
        self.journal: str | None = None
        self.opening: Kernel | None = None  # whose journal is being opened

    def check(self, path: object) -> None:
        """Refuse to create a file in a full directory."""
        if self.full and isinstance(path, (str, os.PathLike)):
            text = os.fspath(path)
            if isinstance(text, str) and any(text.startswith(directory) for directory in self.full):
                raise OSError(errno.ENOSPC, "No space left on device", text)


class Connection(sqlite3.Connection):
    """A kernel's connection to the journal."""

    kernel: Kernel | None = None

    def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:  # type: ignore[override]
        return self._run(super().execute, sql, given)

    def executemany(self, sql: str, *given: Any) -> sqlite3.Cursor:  # type: ignore[override]
        return self._run(super().executemany, sql, given)

    def _run(self, run: Callable[..., sqlite3.Cursor], sql: str, given: tuple[Any, ...]) -> sqlite3.Cursor:
        kernel = self.kernel
        word = sql.lstrip()[:8].upper()
        if kernel is None or word.startswith(_READS):
            if kernel is not None:
                kernel.check()
            return run(_PRAGMAS.get(sql, sql), *given)
        kernel.check()
        if not self.in_transaction:
            kernel.before_write()  # others may act here, and this kernel may end here
        elif not word.startswith(_ENDS):
            kernel.amid_write()
        if kernel.life.disk.journal is not None and not word.startswith("ROLLBACK"):
            raise sqlite3.OperationalError(kernel.life.disk.journal)
        cursor = run(sql, *given)
        if not self.in_transaction:
            kernel.written()
        return cursor

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows as plain tuples, whatever the journal made of them."""
        cursor = self.cursor()
        cursor.row_factory = None
        return cursor.execute(sql).fetchall()

    def die(self) -> None:
        """What the operating system does with the connection of a killed process."""
        with suppress(sqlite3.ProgrammingError):  # it was closed already
            if self.in_transaction:
                super().execute("ROLLBACK")
            super().close()


async def _send(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
    """What httpx does where there is no authentication flow, no redirect and no cookie, in a fifth of the time."""
    response = await client._transport.handle_async_request(request)
    response.request = request
    return response


@contextmanager
def installed(disk: Disk, uuid4: Callable[[], uuid.UUID]) -> Iterator[None]:
    """Put the simulation's disk in place of the machine's, for as long as the block lasts."""
    real = sqlite3.connect, os.open, builtins.open, os.link, uuid.uuid4

    def connect(path: Any, *given: Any, **options: Any) -> sqlite3.Connection:
        if disk.opening is None:
            return real[0](path, *given, **options)
        connection = real[0](path, *given, **(options | {"factory": Connection}))
        connection.kernel = disk.opening
        disk.opening.connections.append(connection)
        return connection

    def open_descriptor(path: Any, flags: int, *given: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            disk.check(path)
        return real[1](path, flags, *given, **options)

    def open_file(file: Any, mode: str = "r", *given: Any, **options: Any) -> Any:
        if mode[0] != "r":
            disk.check(file)
        return real[2](file, mode, *given, **options)

    def link(source: Any, target: Any, **options: Any) -> None:
        disk.check(target)
        real[3](source, target, **options)

    sqlite3.connect, os.open, os.link, uuid.uuid4 = connect, open_descriptor, link, uuid4  # type: ignore[assignment]
    builtins.open = io.open = open_file  # type: ignore[assignment]
    httpx.AsyncClient.send = _send  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        sqlite3.connect, os.open, os.link, uuid.uuid4 = real[0], real[1], real[3], real[4]
        builtins.open = io.open = real[2]
