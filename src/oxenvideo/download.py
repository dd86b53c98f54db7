"""Bringing a result here: streamed, checked, resumed, and in place only when it is whole."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO

import httpx

from oxenvideo.client import Client
from oxenvideo.errors import ConnectionFailed, DownloadFailed, OutcomeUnknown, OxenVideoError, ServiceError
from oxenvideo.retry import Backoff

Renew = Callable[[], Awaitable[str]]
Progress = Callable[[int, int | None], None]

_EXPIRED = (401, 403, 404, 410)
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_VIDEO_LIMIT = 64 * 1024**3  # bytes; a longer answer is no video of minutes


class _Restart(Exception):
    """What is on disk does not belong to what the server now sends: begin anew."""


class _Expired(Exception):
    """The presigned URL no longer opens."""


class _Broken(Exception):
    """The transfer broke off; what came is kept."""


async def fetch(
    client: Client,
    url: str,
    destination: Path,
    *,
    renew: Renew,
    progress: Progress = lambda received, expected: None,
    attempts: int = 8,
    backoff: Backoff = Backoff(most=15.0),  # noqa: B008 - immutable
    finish: Callable[[Path], None] = lambda path: None,
) -> Path:
    """Download ``url`` and return where it lies: ``destination``, or beside it where that name is taken.

    A broken transfer goes on where it stopped (Range, guarded by the ETag). An expired URL is replaced by ``renew()``.
    ``finish`` works on the whole temporary file before it gets its name. ``attempts`` counts failures without progress.
    Raises DownloadFailed; a full disk is named as such and leaves nothing half-written under the final name.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial, file = _open_partial(destination)
    except OSError as error:
        raise _disk_error(error, destination) from None
    with file:
        transfer = _Transfer(client, file, progress)
        failures = renewals = 0
        why = ""
        while True:
            before = file.tell()
            try:
                await transfer.run(url)
                break
            except _Expired as expired:
                renewals += 1
                why = f"the result URL expired ({expired})"
                if renewals > 3:
                    raise DownloadFailed(f"Download failed: {why}, and so did its renewals.") from None
                with contextlib.suppress(ConnectionFailed, OutcomeUnknown, ServiceError):
                    url = await renew()
                    continue
                failures += 1
            except (_Restart, _Broken, ConnectionFailed, OutcomeUnknown) as error:
                why = str(error)
                moved = file.tell() > before
                failures = 1 if moved else failures + 1
            except OSError as error:
                raise _disk_error(error, destination) from None
            if failures >= attempts:
                raise DownloadFailed(f"Download failed {failures} times: {why}. Try again with .download().")
            await asyncio.sleep(backoff.delay(failures, retry_after=transfer.retry_after))
        try:
            file.flush()
            finish(partial)
            return _put_in_place(partial, destination)
        except OSError as error:
            raise _disk_error(error, destination) from None


class _Transfer:
    """One file being filled, over any number of requests."""

    def __init__(self, client: Client, file: IO[bytes], progress: Progress) -> None:
        self._client = client
        self._file = file
        self._progress = progress
        self._etag: str | None = None
        self.retry_after: float | None = None

    async def run(self, url: str) -> None:
        """Transfer what is missing; returns when the file is whole and a video."""
        have = self._file.seek(0, os.SEEK_END)
        if have and self._etag is None:
            have = self._file.truncate(0)  # left by another attempt, and nothing says it is the same file
            self._file.seek(0)
        headers = {"Range": f"bytes={have}-", "If-Range": self._etag} if have and self._etag else {}
        async with self._client.open_result(url, headers=headers) as response:
            expected = self._begin(response, have)
            received = self._file.tell()
            self._progress(received, expected)
            async for chunk in _chunks(response):
                if received == 0:
                    _check_video(chunk, response.headers.get("content-type", ""))
                self._file.write(chunk)
                received += len(chunk)
                if received > (expected or _VIDEO_LIMIT):
                    self._forget()
                    raise _Restart("more came than was announced")
                self._progress(received, expected)
        if received == 0:
            raise _Broken("the file is empty")
        if expected is not None and received < expected:
            raise _Broken(f"only {received} of {expected} bytes came")

    def _begin(self, response: httpx.Response, have: int) -> int | None:
        """Read the status line and headers; returns the length of the whole file, where it is known."""
        status = response.status_code
        self.retry_after = None
        if status in _EXPIRED:
            raise _Expired(f"HTTP {status}")
        if status == 416:
            self._forget()
            raise _Restart("the server refused to go on where the transfer stopped")
        if status in _BUSY:
            value = response.headers.get("retry-after", "")
            self.retry_after = float(value) if value.isdigit() else None
            raise _Broken(f"HTTP {status}")
        if status not in (200, 206):
            raise DownloadFailed(f"Download failed: the result URL answered HTTP {status}.")
        length = response.headers.get("content-length")
        size = int(length) if length and length.isdigit() else None
        if status == 206:
            start, total = _content_range(response.headers.get("content-range", ""))
            if start != have:
                self._forget()
                raise _Restart("the server went on at another place than asked")
            return total if total is not None else (have + size if size is not None else None)
        if have:  # a whole file in answer to a Range: begin anew
            self._file.seek(0)
            self._file.truncate(0)
        etag = response.headers.get("etag")
        self._etag = etag if etag and not etag.startswith("W/") else response.headers.get("last-modified")
        return size

    def _forget(self) -> None:
        self._etag = None
        self._file.seek(0)
        self._file.truncate(0)


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except httpx.TimeoutException:
        raise _Broken("the server stopped sending") from None
    except (httpx.TransportError, httpx.StreamError) as error:
        raise _Broken(f"the connection broke ({str(error) or type(error).__name__})") from None


def _content_range(value: str) -> tuple[int | None, int | None]:
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not start.isdigit():
        return None, None
    return int(start), int(total) if total.isdigit() else None


def _check_video(head: bytes, content_type: str) -> None:
    """Raise DownloadFailed unless the first bytes are those of a video container (ISO BMFF, Matroska/WebM, AVI, OGG)."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"styp"):
        return
    if head[:4] in (b"\x1a\x45\xdf\xa3", b"RIFF", b"OggS", b"GIF8"):
        return
    what = "an HTML page" if b"<html" in head[:1024].lower() or b"<!doctype" in head[:64].lower() else "no video"
    raise DownloadFailed(f"Download failed: the result URL gave {what} ({content_type or 'no content type'}).")


def is_video(head: bytes) -> bool:
    """Whether bytes begin like a video file."""
    try:
        _check_video(head, "")
    except DownloadFailed:
        return False
    return True


def store(content: bytes, destination: Path, *, finish: Callable[[Path], None] = lambda path: None) -> Path:
    """Put a video that came in an answer's body in place, with the same care as a download."""
    _check_video(content[:1024], "b64_json")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial, file = _open_partial(destination)
        with file:
            file.truncate(0)
            file.write(content)
            file.flush()
            finish(partial)
            return _put_in_place(partial, destination)
    except OSError as error:
        raise _disk_error(error, destination) from None


def _open_partial(destination: Path) -> tuple[Path, IO[bytes]]:
    """The temporary file beside the destination, locked: a second download of the same takes a name of its own."""
    for n in range(100):
        partial = destination.with_name(f".{destination.name}{f'.{n}' if n else ''}.part")
        file = os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        # The lock's holder may have renamed the file between our open and our lock: then it is no longer a partial one.
        if _lock(file) and partial.exists() and os.path.samestat(os.fstat(file.fileno()), partial.stat()):
            return partial, file
        file.close()
    raise OSError(errno.EBUSY, "too many downloads of the same file")


def _lock(file: IO[bytes]) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _put_in_place(partial: Path, destination: Path) -> Path:
    """Give the whole file its name; a name that is taken is never overwritten."""
    for n in range(1, 10_000):
        final = destination if n == 1 else destination.with_name(f"{destination.stem}-{n}{destination.suffix}")
        try:
            os.link(partial, final)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise
            if final.exists():
                continue
            shutil.move(partial, final)  # a file system without hard links
            return final
        partial.unlink()
        return final
    raise OSError(errno.EEXIST, "too many files of this name")


def _disk_error(error: OSError, destination: Path) -> OxenVideoError:
    if error.errno in _FULL:
        return DownloadFailed(
            f"The disk is full: {destination} was not written. Free some space, then call .download() "
            "or run %oxenvideo resume; the video waits at the service."
        )
    return DownloadFailed(f"Cannot write {destination}: {error.strerror or error}. The video waits at the service.")
