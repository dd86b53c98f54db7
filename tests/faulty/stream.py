"""The event stream and what can befall it: drops, silence, repetition, disorder, noise."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .behaviours import Behaviour
from .exchange import Exchange, Reply, Subscription

Data = dict[str, Any]
Encode = Callable[[Data], bytes]

HEAD = Reply(200, b"", "text/event-stream; charset=utf-8", {"Cache-Control": "no-cache", "Connection": "close"})


def event(data: Data | str, kind: str | None = "media_generation_completed") -> bytes:
    """One event as it stands on the wire."""
    text = data if isinstance(data, str) else json.dumps(data)
    head = "" if kind is None else f"event: {kind}\n"
    return f"{head}data: {text}\n\n".encode()


@dataclass(frozen=True)
class Course:
    """How one connection of the stream goes. The default is the documented one."""

    encode: Encode = event
    greeting: bytes = b""  # sent right after the head
    keep_alives: bool = True
    end_after: int | None = None  # events; then `end`
    end: str = "reset"  # or "close", or "silence"
    pause: float = 0.0  # seconds after each byte
    gather: int = 1  # events held until there are this many, then sent last first


async def follow(exchange: Exchange, subscription: Subscription, course: Course) -> None:
    """Speak the stream until the course ends it or the client leaves."""
    exchange.closed = True
    await exchange.send_head(HEAD, no_length=True)
    speaker = asyncio.ensure_future(_speak(exchange, subscription, course))
    leaving = asyncio.ensure_future(exchange.until_left())
    try:
        done, _ = await asyncio.wait({speaker, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if speaker in done:
            speaker.result()
    finally:
        for task in (speaker, leaving):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await task


async def _speak(exchange: Exchange, subscription: Subscription, course: Course) -> None:
    await _write(exchange, course.greeting, course.pause)
    patience = subscription.keep_alive if course.keep_alives else None
    sent = 0
    held: list[Data] = []
    while course.end_after is None or sent < course.end_after:
        try:
            held.append(await asyncio.wait_for(subscription.events.get(), patience))
        except TimeoutError:
            await _write(exchange, b": keep-alive\n\n", course.pause)
            continue
        if len(held) < course.gather:
            continue
        for data in reversed(held):
            await _write(exchange, course.encode(data), course.pause)
        sent += len(held)
        held.clear()
    await asyncio.sleep(0.01)  # let the last event arrive before the end may overtake it
    if course.end == "reset":
        exchange.reset()
    elif course.end == "close":
        exchange.close()
    else:
        await asyncio.Event().wait()


async def _write(exchange: Exchange, data: bytes, pause: float) -> None:
    if not pause:
        exchange.writer.write(data)
        await exchange.writer.drain()
        return
    for byte in data:
        exchange.writer.write(bytes((byte,)))
        await exchange.writer.drain()
        await asyncio.sleep(pause)


def stream(course: Course, name: str = "stream") -> Behaviour:
    """A behaviour for the route of events."""

    async def run(exchange: Exchange) -> None:
        refusal = await exchange.act()  # opens the subscription
        if refusal.status != 200:
            await exchange.send(refusal)
            return
        await follow(exchange, exchange.subscription, course)

    return Behaviour(name, run, acts=True)


def drop_stream(after: int = 0) -> Behaviour:
    """Reset after so many events."""
    return stream(Course(end_after=after), "drop_stream")


def end_stream(after: int = 0) -> Behaviour:
    """End in order after so many events."""
    return stream(Course(end_after=after, end="close"), "end_stream")


def half_open(after: int = 0) -> Behaviour:
    """After so many events nothing more, no keep-alive either, while the connection stands."""
    return stream(Course(end_after=after, end="silence"), "half_open")


def silent_stream() -> Behaviour:
    """The head, and then neither events nor keep-alives."""
    return stream(Course(end_after=0, end="silence"), "silent_stream")


def no_keep_alives() -> Behaviour:
    """Events come, the comments between them do not."""
    return stream(Course(keep_alives=False), "no_keep_alives")


def dribble(pause: float = 0.001) -> Behaviour:
    """One byte at a time, with a pause after each."""
    return stream(Course(pause=pause), "dribble")


def repeat_events(times: int = 2) -> Behaviour:
    return stream(Course(encode=lambda data: event(data) * times), "repeat_events")


def out_of_order(gather: int = 2) -> Behaviour:
    """Hold so many events back and send the last first."""
    return stream(Course(gather=gather), "out_of_order")


def foreign_events() -> Behaviour:
    """Events of other types before each, some naming the same generation."""

    def encode(data: Data) -> bytes:
        lure = {"generation_id": data["generation_id"], "status": "failed", "error": "not for you"}
        return (
            event({"repo": "cats", "branch": "main"}, "commit_pushed")
            + event(lure, "fine_tune_completed")
            + event(lure, None)
            + b"id: 7\nretry: 86400000\n\n"
            + event(data)
            + event({"generation_id": "00000000-0000-0000-0000-000000000000", "status": "succeeded", "url": "x"})
        )

    return stream(Course(encode=encode), "foreign_events")


def malformed_events() -> Behaviour:
    """Before each event others of the same type that make no sense."""
    nonsense = ["{", "", "null", "[1, 2]", '"text"', "{}", '{"generation_id": 5}', '{"status": "succeeded"}']

    def encode(data: Data) -> bytes:
        unheard = json.dumps(data | {"status": "sublimated"})
        return b"".join(event(text) for text in [*nonsense, unheard]) + event(data)

    return stream(Course(encode=encode), "malformed_events")


def only_malformed_events() -> Behaviour:
    """Each event with its JSON cut in half."""
    return stream(Course(encode=lambda data: event(json.dumps(data)[:30])), "only_malformed_events")


def invalid_utf8() -> Behaviour:
    """Bytes that are no UTF-8 in a comment and in an event's data, before each proper event."""
    noise = b": \xff\xfe\xfa\n\nevent: media_generation_completed\ndata: \xc3\x28\n\n"
    return stream(Course(encode=lambda data: noise + event(data)), "invalid_utf8")


def huge_comments(size: int = 1 << 20) -> Behaviour:
    """A comment of so many bytes before each event."""
    comment = b": " + b"x" * size + b"\n\n"
    return stream(Course(encode=lambda data: comment + event(data)), "huge_comments")


def endless_line(size: int = 1 << 26) -> Behaviour:
    """A line of so many bytes in place of each event, without an end."""
    return stream(Course(encode=lambda data: b"data: " + b"x" * size), "endless_line")


def other_line_ends(end: str = "\r\n") -> Behaviour:
    """Lines ended by CR LF or by CR alone, a byte order mark in front, the data split over two lines."""

    def encode(data: Data) -> bytes:
        text = json.dumps(data, indent=1).replace("\n", "\ndata: ")
        return f"event: media_generation_completed\ndata: {text}\n\n".replace("\n", end).encode()

    return stream(Course(encode=encode, greeting=b"\xef\xbb\xbf"), "other_line_ends")


def links_missing() -> Behaviour:
    """Events of success that carry no link."""

    def encode(data: Data) -> bytes:
        return event({name: value for name, value in data.items() if name != "url"})

    return stream(Course(encode=encode), "links_missing")
