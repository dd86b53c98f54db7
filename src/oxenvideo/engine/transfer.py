"""Downloads one file: streamed, checked, resumed, and given its name only when it is complete."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO

import httpx

from oxenvideo.client.client import Client, retry_after
from oxenvideo.client.retry import PASSING, Backoff
from oxenvideo.errors import DownloadFailed, OxenVideoError
from oxenvideo.media import mp4

Renew = Callable[[], Awaitable[str]]
Progress = Callable[[int, int | None], None]

_EXPIRED = (400, 401, 403, 404, 410)  # what object stores answer for a URL, or a token in it, that has expired
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PROGRESS_EVERY = 0.5  # seconds between two calls of ``progress``
_RENEWALS = 3  # times in a row that a URL is renewed without a byte being received
_PATIENCE = 10  # this many times more failures are accepted if each attempt makes some progress
_NOT_A_VIDEO = 3  # times in a row that something other than a video is retried


class _Broken(Exception):
    """The transfer failed for now. What was received is kept if the transfer can continue from there."""


class _Expired(_Broken):
    """The presigned URL no longer opens."""


class _NotAVideo(_Broken):
    """The URL gave something other than a video."""


async def fetch(
    client: Client,
    url: str,
    destination: Path,
    *,
    renew: Renew,
    progress: Progress = lambda received, expected: None,
    attempts: int = 8,
    backoff: Backoff = Backoff(most=15.0),  # noqa: B008 - immutable
    most: int,
    finish: Callable[[Path], None] = lambda path: None,
) -> Path:
    """Download ``url`` and return its path: ``destination``, or a name beside it if that one is taken.

    A broken transfer continues where it stopped (Range with a strong validator, RFC 9110 section 13.1.5). An expired URL
    is replaced by ``renew()``, and so is one that fails repeatedly. ``attempts`` counts failures without progress,
    ``most`` is a size in bytes. A thread receives the bytes and calls ``progress``. A thread also calls ``finish`` with
    the complete temporary file before the file gets its name. A failure leaves no file behind: a later call starts again.

    Raises DownloadFailed, whose message says so if the disk is full.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _partial_file(destination) as (partial, file):
            transfer = _Transfer(client, file, progress, most)

            def receive(url: str) -> None:
                transfer.run(url)
                _complete(partial, file, finish)

            await _persist(transfer, receive, url, renew, attempts, backoff)
            return put_in_place(partial, destination)
    except OSError as error:
        raise DownloadFailed(f"{_disk_error(error, destination)} The video waits at the service.") from None


async def _persist(
    transfer: _Transfer, receive: Callable[[str], None], url: str, renew: Renew, attempts: int, backoff: Backoff
) -> None:
    failures = renewals = strange = altogether = 0
    while True:
        before = transfer.received
        try:
            await asyncio.to_thread(receive, url)
            return
        except asyncio.CancelledError:
            transfer.stop()
            raise
        except (_Broken, *PASSING) as error:
            why = str(error).rstrip(".")
            if transfer.received > before:
                failures = renewals = strange = 0
            failures, altogether = failures + 1, altogether + 1
            renewals += isinstance(error, _Expired)
            strange += isinstance(error, _NotAVideo)
            enough = failures >= attempts or altogether >= attempts * _PATIENCE
            if enough or renewals > _RENEWALS or strange >= _NOT_A_VIDEO:
                times = "" if altogether == 1 else f" {altogether} times"
                raise DownloadFailed(f"Download failed{times}: {why}. Try again with .download().") from None
            expired = isinstance(error, _Expired)
        fresh = url
        if expired or failures >= 2:
            # The URL may have expired, or name a server that has moved.
            with contextlib.suppress(*PASSING, *(() if expired else (OxenVideoError,))):
                fresh = await renew()
        if not (expired and fresh != url):
            await asyncio.sleep(backoff.delay(failures, retry_after=transfer.retry_after))
        url = fresh


class _Transfer:
    """One file that is received over any number of requests. ``run`` blocks, so call it on a thread."""

    def __init__(self, client: Client, file: IO[bytes], progress: Progress, most: int) -> None:
        self.received = 0
        self.retry_after: float | None = None
        self._client = client
        self._file = file
        self._progress = progress
        self._told = time.monotonic()
        self._most = most
        self._validator: str | None = None  # a strong one of the file that is on disk in part
        self._total: int | None = None
        self._stopped = False
        self._start_anew()  # a process that ended may have left something under this name

    def stop(self) -> None:
        """Make ``run`` stop at the next chunk."""
        self._stopped = True

    def run(self, url: str) -> None:
        """Receive what is missing; returns when the file is complete and a video."""
        if self._validator is None:
            self._start_anew()
        have = self.received
        headers = {"Range": f"bytes={have}-", "If-Range": self._validator} if have and self._validator else {}
        with self._client.open_result(url, headers=headers) as response:
            expected = self._begin(response, have)
            self._tell(expected)
            checked = self.received >= mp4.HEAD
            for chunk in _chunks(response):
                if self._stopped:
                    raise _Broken("it was stopped")
                self._file.write(chunk)
                self.received += len(chunk)
                if self.received > (self._most if expected is None else expected):
                    self._start_anew()
                    raise _Broken(
                        "the server sent more than it announced" if expected is not None else _too_large(self._most)
                    )
                if not checked and self.received >= mp4.HEAD:
                    self._check_head(response)
                    checked = True
                self._tell(expected)
        self._check_whole(response, expected, checked)

    def _tell(self, expected: int | None) -> None:
        if (now := time.monotonic()) - self._told >= _PROGRESS_EVERY:
            self._told = now
            self._progress(self.received, expected)

    def _begin(self, response: httpx.Response, have: int) -> int | None:
        """Read the status line and headers; returns the length of the whole file, where it is known."""
        status = response.status_code
        self.retry_after = None
        if status in _BUSY:
            self.retry_after = retry_after(response)
            raise _Broken(f"HTTP {status}")
        if status == 416:
            self._start_anew()
            raise _Broken("the server refused to continue where the transfer stopped")
        if status in _EXPIRED:
            raise _Expired(f"the result URL has expired (HTTP {status})")
        if status not in (200, 206):
            raise DownloadFailed(f"Download failed: the result URL answered HTTP {status}.")
        expected = self._whole_length(response, have)
        if expected is not None and expected > self._most:
            raise DownloadFailed(f"Download failed: {expected} bytes were announced, {_too_large(self._most)}.")
        if status == 200:
            if have:  # the whole file in answer to a Range
                self._start_anew()
            self._validator, self._total = _validator(response), expected
        return expected

    def _whole_length(self, response: httpx.Response, have: int) -> int | None:
        length = response.headers.get("content-length", "")
        size = int(length) if length.isdecimal() else None
        if response.status_code == 200:
            return size
        start, total = _content_range(response.headers.get("content-range", ""))
        now = _validator(response)
        other = (now is not None and now != self._validator) or (
            None not in (total, self._total) and total != self._total
        )
        if start != have or not have or other:
            self._start_anew()
            raise _Broken("the server continued at another position or with another file")
        return total if total is not None else (have + size if size is not None else None)

    def _check_head(self, response: httpx.Response) -> None:
        self._file.seek(0)
        head = self._file.read(1024)
        self._file.seek(0, os.SEEK_END)
        if not mp4.is_video(head):
            self._start_anew()
            what = "an HTML page" if b"<html" in head.lower() or b"<!doctype" in head[:64].lower() else "no video"
            kind = response.headers.get("content-type") or "no content type"
            raise _NotAVideo(f"the result URL gave {what} ({kind[:80]})")

    def _check_whole(self, response: httpx.Response, expected: int | None, checked: bool) -> None:
        if self.received == 0:
            raise _Broken("the file is empty")
        if expected is not None and self.received < expected:
            raise _Broken(f"only {self.received} of {expected} bytes came")
        if not checked:  # it is shorter than what the check needs
            self._check_head(response)
        if (lack := mp4.missing(self._file)) is not None:
            if expected is not None:
                self._start_anew()  # what was announced is here, and it is not a whole video
            raise _Broken(f"the video is not whole: {lack}")

    def _start_anew(self) -> None:
        self._validator = self._total = None
        self.received = 0
        self._file.seek(0)
        self._file.truncate(0)


def _chunks(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_raw()
    except httpx.TimeoutException:
        raise _Broken("the server stopped sending") from None
    except (httpx.TransportError, httpx.StreamError) as error:
        raise _Broken(f"the connection broke ({str(error) or type(error).__name__})") from None


def _too_large(most: int) -> str:
    return f"more than the {most / 1e9:.3g} GB that a video may have"


def _validator(response: httpx.Response) -> str | None:
    """What tells this file from a later one under the same URL, where that is certain (RFC 9110, section 8.8)."""
    etag: str | None = response.headers.get("etag")
    if etag is not None:
        return None if etag.startswith("W/") else etag
    modified: str | None = response.headers.get("last-modified")
    try:  # a date is a strong validator only where the file was not changed in the second in which it was sent
        age = parsedate_to_datetime(response.headers["date"]) - parsedate_to_datetime(modified or "")
    except (KeyError, TypeError, ValueError):
        return None
    return modified if age.total_seconds() >= 1 else None


def _content_range(value: str) -> tuple[int | None, int | None]:
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not start.isdecimal():
        return None, None
    return int(start), int(total) if total.isdecimal() else None


def store(content: bytes, destination: Path, *, finish: Callable[[Path], None] = lambda path: None) -> Path:
    """Put a video that came in an answer's body in place, with the same care as a download."""
    if not mp4.is_video(content[: mp4.HEAD]):
        raise DownloadFailed("The answer holds no video.")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _partial_file(destination) as (partial, file):
            file.write(content)
            _complete(partial, file, finish)
            return put_in_place(partial, destination)
    except OSError as error:
        raise DownloadFailed(_disk_error(error, destination)) from None


def _complete(partial: Path, file: IO[bytes], finish: Callable[[Path], None]) -> None:
    """Finish a file whose content is here, and flush it: a name must not outlast its content in a power cut."""
    file.flush()
    finish(partial)
    os.fsync(file.fileno())


@contextlib.contextmanager
def _partial_file(destination: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A temporary file beside the destination, gone at the end: removed while its lock is held, so it is still ours."""
    partial, file = _open_partial(destination)
    with file:
        try:
            yield partial, file
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def remove_partial(destination: Path) -> None:
    """Remove the temporary file that a process left beside the destination when it ended."""
    with contextlib.suppress(OSError), _partial_file(destination):
        pass


def _open_partial(destination: Path) -> tuple[Path, IO[bytes]]:
    """The temporary file beside the destination, locked: a second download of the same takes a name of its own."""
    for n in range(100):
        partial = destination.with_name(f".{destination.name}{f'.{n}' if n else ''}.part")
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        file = os.fdopen(os.open(partial, flags, 0o644), "r+b")
        # The lock's holder may have renamed the file between our open and our lock: then it is no longer a partial one.
        if _lock(file) and partial.exists() and os.path.samestat(os.fstat(file.fileno()), partial.stat()):
            if os.fstat(file.fileno()).st_size == 0:
                return partial, file
            # A process that ended left it, perhaps as a second name of its finished video: it is not written to.
            with contextlib.suppress(OSError):
                partial.unlink()
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


def put_in_place(partial: Path, destination: Path) -> Path:
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
    raise OSError(errno.EEXIST, "too many files of this name")


def _disk_error(error: OSError, destination: Path) -> str:
    if error.errno in _FULL:
        return (
            f"The disk is full: {destination} was not written. Free some space, then call .download() or run "
            "%oxenvideo resume."
        )
    return f"Cannot write {destination}: {error.strerror or error}."
