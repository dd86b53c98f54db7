"""What can befall the download of a result: cuts, lies about length and ranges, expiry, redirects, slowness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlencode

from .behaviours import PAGE, Behaviour, reply
from .exchange import CHUNK, Exchange, Reply, Request


def short_body(keep: float = 0.5) -> Behaviour:
    """Announce all, send the first part, close in order."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        await exchange.send_head(whole)
        await exchange.send_body(whole.body[: int(len(whole.body) * keep)])
        exchange.close()

    return Behaviour("short_body", run, acts=True)


def reset_midway(keep: float = 0.5) -> Behaviour:
    """Announce all, send the first part, reset."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        await exchange.send_head(whole)
        await exchange.send_body(whole.body[: int(len(whole.body) * keep)])
        await asyncio.sleep(0.01)  # let the first part arrive before the reset may overtake it
        exchange.reset()

    return Behaviour("reset_midway", run, acts=True)


def stall_midway(keep: float = 0.5) -> Behaviour:
    """Announce all, send the first part, then nothing more while the connection stands."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        await exchange.send_head(whole)
        await exchange.send_body(whole.body[: int(len(whole.body) * keep)])
        await exchange.until_left()

    return Behaviour("stall_midway", run, acts=True)


def slow_download(pause: float = 0.005, chunk: int = 512) -> Behaviour:
    """A pause, in seconds, after each chunk."""

    async def run(exchange: Exchange) -> None:
        await exchange.send(await exchange.act(), pause=pause, chunk=chunk)

    return Behaviour("slow_download", run, acts=True)


def pause_midway(goes_on: Callable[[], bool], keep: float = 0.5) -> Behaviour:
    """Announce all, send the first part, and the rest once ``goes_on()`` is true."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        first = int(len(whole.body) * keep)
        await exchange.send_head(whole)
        await exchange.send_body(whole.body[:first])
        while not goes_on():
            await asyncio.sleep(0.005)
        await exchange.send_body(whole.body[first:])

    return Behaviour("pause_midway", run, acts=True)


def ignore_range() -> Behaviour:
    """200 and the whole file, whatever range was asked for."""

    async def run(exchange: Exchange) -> None:
        exchange.request.headers.pop("range", None)
        await exchange.send(await exchange.act())

    return Behaviour("ignore_range", run, acts=True)


def range_not_satisfiable() -> Behaviour:
    """416 to any request."""

    async def run(exchange: Exchange) -> None:
        total = len(exchange.job.content)
        await exchange.send(Reply(416, b"", "text/plain", {"Content-Range": f"bytes */{total}"}))

    return Behaviour("range_not_satisfiable", run)


def wrong_range(shift: int = 7) -> Behaviour:
    """206, but of a range that starts so many bytes earlier than was asked for, and says so."""

    async def run(exchange: Exchange) -> None:
        asked = exchange.request.headers.get("range")
        if asked is not None:
            start = max(0, int(asked.removeprefix("bytes=").split("-")[0]) - shift)
            exchange.request.headers["range"] = f"bytes={start}-"
        await exchange.send(await exchange.act())

    return Behaviour("wrong_range", run, acts=True)


def changed_file(content: bytes, *, heed_if_range: bool = True) -> Behaviour:
    """From now on the file is another one, with another ETag; `heed_if_range=False`: ranges of it are sent anyway."""

    async def run(exchange: Exchange) -> None:
        exchange.job.content = content
        if not heed_if_range:
            exchange.request.headers.pop("if-range", None)
        await exchange.send(await exchange.act())

    return Behaviour("changed_file", run, acts=True)


def expired(code: int = 403) -> Behaviour:
    """This link, and every older one, answers so from now on; the next reading of the generation renews it."""

    async def run(exchange: Exchange) -> None:
        exchange.job.expired_serial, exchange.job.expired_status = exchange.job.serial, code
        await exchange.send(await exchange.act())

    return Behaviour(f"expired_{code}", run, acts=True)


def html_instead_of_video(content_type: str = "video/mp4") -> Behaviour:
    """200 and a page, by default under the video's content type."""
    return reply(Reply(200, PAGE, content_type), "html_instead_of_video")


def empty_file() -> Behaviour:
    return reply(Reply(200, b"", "video/mp4"), "empty_file")


def chunked() -> Behaviour:
    """The whole file in HTTP chunks, its length unsaid."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        whole.headers["Transfer-Encoding"] = "chunked"
        await exchange.send_head(whole, no_length=True)
        await exchange.send_chunked(whole.body)

    return Behaviour("chunked", run, acts=True)


def until_close(keep: float = 1.0) -> Behaviour:
    """No length and no chunks: the end of the connection is the end of the file, or of the part that is sent."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        whole.headers["Connection"] = "close"
        await exchange.send_head(whole, no_length=True)
        await exchange.send_body(whole.body[: int(len(whole.body) * keep)])
        exchange.close()

    return Behaviour("until_close", run, acts=True)


def huge_length(length: int = 1 << 44) -> Behaviour:
    """Announce so many bytes, send the file, then nothing more while the connection stands."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        await exchange.send_head(whole, length=length)
        await exchange.send_body(whole.body)
        await exchange.until_left()

    return Behaviour("huge_length", run, acts=True)


def endless_file() -> Behaviour:
    """The file, and then zeros without end, the length unsaid."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        await exchange.send_head(replace(whole, headers={"Connection": "close"}), no_length=True)
        await exchange.send_body(whole.body)
        zeros = bytes(CHUNK)
        while True:
            await exchange.send_body(zeros)

    return Behaviour("endless_file", run, acts=True)


def evil_file_name(name: str = "../../../escape.mp4") -> Behaviour:
    """The file, under a name that leads out of the directory."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        whole.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        await exchange.send(whole)

    return Behaviour("evil_file_name", run, acts=True)


def redirect_hops(hops: int, code: int = 302) -> Behaviour:
    """So many redirects on this server, then the file."""

    async def run(exchange: Exchange) -> None:
        await exchange.send(onward(exchange.request, code, hops=str(hops - 1)))

    return Behaviour("redirect_hops", run)


def redirect_loop(code: int = 302) -> Behaviour:
    """Redirects without end on this server."""

    async def run(exchange: Exchange) -> None:
        await exchange.send(onward(exchange.request, code, hops="endless"))

    return Behaviour("redirect_loop", run)


def redirect_elsewhere(origin: str, code: int = 302) -> Behaviour:
    """A redirect to the same path at another origin, which then serves the file."""

    async def run(exchange: Exchange) -> None:
        answer = onward(exchange.request, code)
        answer.headers["Location"] = origin + answer.headers["Location"]
        await exchange.send(answer)

    return Behaviour("redirect_elsewhere", run)


def onward(request: Request, code: int = 302, **query: str) -> Reply:
    """A redirect to the request's own path, with these changes of its query."""
    location = f"{request.path}?{urlencode(request.query | query)}"
    return Reply(code, b"", "text/plain", {"Location": location})
