"""Faults of the result: its link, its transfer, its content."""

from __future__ import annotations

from typing import Any

import faulty as f
from conftest import GIVES_UP_SOON
from faults.fault import End, Fault, always, both, scripted
from faulty import Behaviour, FaultyService

FILE = "GET /files/{file}"
ONE = "GET /api/ai/queue/{id}"

DOWNLOADS = "Downloads"
RESUMED = "Interrupted downloads that are resumed"

AGAIN = "tried again; delivered"
SEEN = "recognised by its first bytes and tried again; delivered"
GONE_ON = "resumed where it stopped; delivered"
LATER = "fails with a clear error and leaves no file; `resume` fetches it after the fault is over"


def _download(does: str, behaviour: Behaviour, then: str = AGAIN, **more: Any) -> Fault:
    return Fault(DOWNLOADS, does, then, scripted(FILE, behaviour), **more)


def _for_good(does: str, behaviour: Behaviour, says: str, **more: Any) -> Fault:
    return Fault(DOWNLOADS, does, LATER, always(FILE, behaviour), end=End.FETCHED_LATER, says=says, **more)


def _after_a_cut(does: str, behaviour: Behaviour, then: str, **more: Any) -> Fault:
    return Fault(RESUMED, does, then, scripted(FILE, f.short_body(0.1), behaviour), **more)


def _drop_once(service: FaultyService) -> None:
    service.wait_until(lambda: service.counts[FILE])
    service.drop_connections()


def _half_a_file() -> Behaviour:
    """Half of the file, no length, no ETag."""

    async def run(exchange: Any) -> None:
        content = exchange.job.content
        await exchange.send_head(f.Reply(200, b"", "video/mp4", {"Connection": "close"}), no_length=True)
        await exchange.send_body(content[: len(content) // 2])
        exchange.close()

    return Behaviour("half_a_file", run)


_IMPATIENT = {"timeout": GIVES_UP_SOON}

OF_DOWNLOADS = (
    _download("connection reset before the request was read", f.reset_before_reading()),
    _download("no answer in time", f.never_answer(), session=_IMPATIENT),
    _download("429", f.rate_limited()),
    _download("500", f.server_error()),
    _download("503, `Retry-After: 1`", f.unavailable(1), "tried again after one second; delivered"),
    _download("fewer bytes than the Content-Length", f.short_body(), GONE_ON),
    _download("connection reset in the middle", f.reset_midway(), GONE_ON),
    _download("no more bytes from the middle on", f.stall_midway(), GONE_ON, session=_IMPATIENT),
    _download("a slow download", f.slow_download(), "delivered"),
    _download("416", f.range_not_satisfiable(), "started over; delivered"),
    _download("the URL has expired (403)", f.expired(), "a new URL is read; delivered"),
    _download("the URL has expired (404)", f.expired(404), "a new URL is read; delivered"),
    _download("the URL has expired (410)", f.expired(410), "a new URL is read; delivered"),
    Fault(
        DOWNLOADS, "the URL has expired, and reading a new one fails twice", "both are tried again; delivered",
        both(scripted(FILE, f.expired()), scripted(ONE, f.server_error(), f.reset())),
    ),
    _download("an HTML page with the content type of a video", f.html_instead_of_video(), SEEN),
    _download("an HTML page", f.html_instead_of_video("text/html"), SEEN),
    _download("an empty file", f.empty_file()),
    _download("chunked transfer encoding", f.chunked(), "delivered"),
    _download("no Content-Length", f.until_close(), "delivered"),
    _download("no Content-Length, and half of the file", f.until_close(0.5), "recognised by the structure of the MP4; delivered"),
    _download("a file name that points outside the directory", f.evil_file_name(), "ignored; delivered"),
    _download("three redirects", f.redirect_hops(3), "followed without sending the key; delivered"),
    Fault(DOWNLOADS, "all connections are dropped", GONE_ON, scripted(FILE, f.slow_download(0.02)), _drop_once),
    Fault(
        DOWNLOADS, "stream and list report the same result ten times", "downloaded once",
        always("GET /api/events", f.repeat_events(10)), jobs=3,
    ),
    _for_good("always an HTML page", f.html_instead_of_video(), "an HTML page"),
    _for_good("an endless redirect", f.redirect_loop(), "more than 5 times"),
    _for_good("a redirect to a local file", f.redirect("file:///etc/hostname"), "only http and https"),
    _for_good("a redirect to FTP", f.redirect("ftp://127.0.0.1/video.mp4"), "only http and https"),
    _for_good("a Content-Length of 16 TB", f.huge_length(), "more than the"),
    _for_good("always 500", f.server_error(), "HTTP 500"),
    _for_good("a URL that has always expired", f.expired(), "has expired"),
    _for_good("always 403, for another reason than age", f.status(403, "Forbidden"), "HTTP 403"),
    _for_good("each time half of the missing bytes", f.until_close(0.5), "bytes came"),
    _for_good("always half a file, and no ranges", _half_a_file(), "not whole"),
)  # fmt: skip


def _as_long_as(content: bytes, length: int) -> bytes:
    """A video made longer by a box that means nothing (ISO/IEC 14496-12, 8.1.2)."""
    return content + (length - len(content)).to_bytes(4) + b"free" + bytes(length - len(content) - 8)


# Of one length, so that only the ETag tells one from the other.
_LENGTH = 16_000
_FILE = _as_long_as(f.small_video(), _LENGTH)
_OTHER_FILE = _as_long_as(f.small_video(shade=99), _LENGTH)
_SAME_LENGTH = {"video": _FILE}

OF_RESUMED = (
    _after_a_cut("the range is ignored (200)", f.ignore_range(), "started over with that answer; delivered"),
    _after_a_cut("416", f.range_not_satisfiable(), "started over; delivered"),
    _after_a_cut("a range that starts elsewhere", f.wrong_range(), "discarded and started over; delivered"),
    _after_a_cut("interrupted again", f.short_body(), GONE_ON),
    _after_a_cut("connection reset again", f.reset_midway(), GONE_ON),
    _after_a_cut("the URL has expired meanwhile", f.expired(), "a new URL is read and the download resumed; delivered"),
    _after_a_cut(
        "the file has changed", f.changed_file(_OTHER_FILE), "recognised by its ETag and started over; delivered",
        service=_SAME_LENGTH,
    ),
    _after_a_cut(
        "the file has changed, and the server sends a range of the new one",
        f.changed_file(_OTHER_FILE, heed_if_range=False), "recognised by its ETag and started over; delivered",
        service=_SAME_LENGTH,
    ),
)  # fmt: skip
