"""Faults of the result: its link, its transfer, its content."""

from __future__ import annotations

from typing import Any

import faulty as f
from faults.fault import End, Fault, always, both, scripted
from faulty import Behaviour, FaultyService

FILE = "GET /files/{file}"
ONE = "GET /api/ai/queue/{id}"

DOWNLOADS = "The download"
RESUMED = "A download that broke off and is gone on with"

AGAIN = "tried again; delivered"
SEEN = "seen by its first bytes, and tried again; delivered"
GONE_ON = "gone on with where it stopped; delivered"
LATER = "one clear error, nothing left on disk; resume fetches it once that is over"


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


OF_DOWNLOADS = (
    _download("connection reset before the request was read", f.reset_before_reading()),
    _download("no answer in time", f.never_answer()),
    _download("429", f.rate_limited()),
    _download("500", f.server_error()),
    _download("503, `Retry-After: 1`", f.unavailable(1), "tried again after that second; delivered"),
    _download("fewer bytes than announced", f.short_body(), GONE_ON),
    _download("connection reset in the middle", f.reset_midway(), GONE_ON),
    _download("stalled in the middle", f.stall_midway(), GONE_ON),
    _download("slow", f.slow_download(), "delivered"),
    _download("416", f.range_not_satisfiable(), "begun anew; delivered"),
    _download("the link has expired (403)", f.expired(), "renewed by reading the generation; delivered"),
    _download("the link has expired (404)", f.expired(404), "renewed by reading the generation; delivered"),
    _download("the link has expired (410)", f.expired(410), "renewed by reading the generation; delivered"),
    Fault(
        DOWNLOADS, "the link has expired, and reading the generation fails twice", "both tried again; delivered",
        both(scripted(FILE, f.expired()), scripted(ONE, f.server_error(), f.reset())),
    ),
    _download("a page under the video's content type", f.html_instead_of_video(), SEEN),
    _download("a page", f.html_instead_of_video("text/html"), SEEN),
    _download("an empty file", f.empty_file()),
    _download("HTTP chunks", f.chunked(), "delivered"),
    _download("no length", f.until_close(), "delivered"),
    _download("no length, and only half of the file", f.until_close(0.5), "seen by the MP4's own structure; delivered"),
    _download("a file name that leads out of the directory", f.evil_file_name(), "not used; delivered"),
    _download("three redirects", f.redirect_hops(3), "followed without the key; delivered"),
    Fault(DOWNLOADS, "all connections dropped", GONE_ON, scripted(FILE, f.slow_download(0.02)), _drop_once),
    Fault(
        DOWNLOADS, "the same end told by stream and list, ten times", "fetched once",
        always("GET /api/events", f.repeat_events(10)), jobs=3,
    ),
    _for_good("a page for good", f.html_instead_of_video(), "an HTML page"),
    _for_good("an endless redirect", f.redirect_loop(), "more than 5 times"),
    _for_good("a redirect to a file of this machine", f.redirect("file:///etc/hostname"), "only http and https"),
    _for_good("a redirect to FTP", f.redirect("ftp://127.0.0.1/video.mp4"), "only http and https"),
    _for_good("16 TB announced", f.huge_length(), "more than the"),
    _for_good("500 for good", f.server_error(), "HTTP 500"),
    _for_good("expired for good", f.expired(), "has expired"),
    _for_good("403 for good, not by age", f.status(403, "Forbidden"), "HTTP 403"),
    _for_good("each time half of what is missing", f.until_close(0.5), "bytes came"),
    _for_good("half a file for good, and no ranges", _half_a_file(), "not whole"),
)  # fmt: skip


def _as_long_as(content: bytes, length: int) -> bytes:
    """A video made longer by a box that means nothing (ISO/IEC 14496-12, 8.1.2)."""
    return content + (length - len(content)).to_bytes(4) + b"free" + bytes(length - len(content) - 8)


# Of one length, so that only the ETag tells one from the other.
_LENGTH = 16_000
_FILE = _as_long_as(f.small_video(), _LENGTH)
_OTHER_FILE = _as_long_as(f.small_video(1.0, 64, 99), _LENGTH)
_SAME_LENGTH = {"video": _FILE}

OF_RESUMED = (
    _after_a_cut("the range is ignored (200)", f.ignore_range(), "begun anew with that answer; delivered"),
    _after_a_cut("416", f.range_not_satisfiable(), "begun anew; delivered"),
    _after_a_cut("a range that starts elsewhere", f.wrong_range(), "not mixed in: begun anew; delivered"),
    _after_a_cut("cut again", f.short_body(), GONE_ON),
    _after_a_cut("reset again", f.reset_midway(), GONE_ON),
    _after_a_cut("the link has expired meanwhile", f.expired(), "renewed, and gone on with; delivered"),
    _after_a_cut(
        "the file has changed", f.changed_file(_OTHER_FILE), "seen by its ETag: begun anew; delivered",
        service=_SAME_LENGTH,
    ),
    _after_a_cut(
        "the file has changed, and the range of the new one is sent all the same",
        f.changed_file(_OTHER_FILE, heed_if_range=False), "seen by its ETag: begun anew; delivered",
        service=_SAME_LENGTH,
    ),
)  # fmt: skip
