"""What a route may do with a request: the proper answer, or one of the ways a service goes wrong."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any

from .exchange import Exchange, Reply, json_reply

Run = Callable[[Exchange], Awaitable[None]]

PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>Sorry!</h1></body></html>"


@dataclass(frozen=True)
class Behaviour:
    """One way to treat one request. `acts`: what was asked is done, whatever the client is told."""

    name: str
    run: Run
    acts: bool = False
    reads_body: bool = True
    at_accept: bool = False


def error(status: int, message: str, *, kind: str | None = None, **headers: str) -> Reply:
    """An error in the typed envelope where `kind` is given, else in the plain one."""
    if kind is None:
        return json_reply({"error": {"message": message}}, status, **headers)
    envelope = {"error": {"type": kind, "title": message}, "status": "error", "status_message": kind}
    return json_reply(envelope, status, **headers)


def not_found_reply() -> Reply:
    return error(404, "The requested resource could not be found", kind="resource_not_found")


# --- proper, or late ------------------------------------------------------------------------------------------------


def ok() -> Behaviour:
    """The proper answer."""

    async def run(exchange: Exchange) -> None:
        await exchange.send(await exchange.act())

    return Behaviour("ok", run, acts=True)


def answer_after(seconds: float) -> Behaviour:
    """Act at once, answer properly but late."""

    async def run(exchange: Exchange) -> None:
        reply = await exchange.act()
        await asyncio.sleep(seconds)
        await exchange.send(reply)

    return Behaviour("answer_after", run, acts=True)


def act_after(seconds: float) -> Behaviour:
    """Act and answer late: the client that gave up meanwhile has a job that appears after it asked."""

    async def run(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await exchange.send(await exchange.act())

    return Behaviour("act_after", run, acts=True)


def once(holds: Callable[[], object], what: Behaviour) -> Behaviour:
    """Wait until ``holds()``, then do as ``what``; an answer alone is held back by ``act_then(once(holds, ok()))``."""

    async def run(exchange: Exchange) -> None:
        while not holds():
            await asyncio.sleep(0.005)
        await what.run(exchange)

    return Behaviour(f"once_{what.name}", run, acts=what.acts)


def ok_then_close() -> Behaviour:
    """The proper answer, and then the connection is closed although it was said to be kept."""

    async def run(exchange: Exchange) -> None:
        await exchange.send(await exchange.act())
        exchange.close()

    return Behaviour("ok_then_close", run, acts=True)


# --- no answer ------------------------------------------------------------------------------------------------------


def reset_at_accept() -> Behaviour:
    """For the route "connection": reset as soon as it is accepted, before a byte is read."""

    async def run(exchange: Exchange) -> None:
        exchange.reset()

    return Behaviour("reset_at_accept", run, at_accept=True)


def reset_before_reading() -> Behaviour:
    """Reset once the head has come, without reading the body or acting."""

    async def run(exchange: Exchange) -> None:
        exchange.reset()

    return Behaviour("reset_before_reading", run, reads_body=False)


def reset() -> Behaviour:
    """Read the whole request, then reset without acting."""

    async def run(exchange: Exchange) -> None:
        exchange.reset()

    return Behaviour("reset", run)


def close() -> Behaviour:
    """Read the whole request, then close in order without an answer and without acting."""

    async def run(exchange: Exchange) -> None:
        exchange.close()

    return Behaviour("close", run)


def never_answer() -> Behaviour:
    """Read the whole request and say nothing, without acting."""

    async def run(exchange: Exchange) -> None:
        await exchange.until_left()

    return Behaviour("never_answer", run)


# --- refusals -------------------------------------------------------------------------------------------------------


def reply(answer: Reply | Callable[[], Reply], name: str = "reply") -> Behaviour:
    """This answer, without acting."""

    async def run(exchange: Exchange) -> None:
        await exchange.send(answer() if callable(answer) else answer)

    return Behaviour(name, run)


def status(code: int, message: str = "Something went wrong", *, kind: str | None = None) -> Behaviour:
    """An error of this status, without acting; in the typed envelope where `kind` is given."""
    return reply(error(code, message, kind=kind), f"status_{code}")


def bad_request(message: str = "num_generations must be an integer between 1 and 4") -> Behaviour:
    return reply(error(400, message, kind="invalid_params"), "bad_request")


def unauthorized() -> Behaviour:
    return reply(error(401, "You must be signed in", kind="unauthenticated"), "unauthorized")


def out_of_credits() -> Behaviour:
    return reply(error(402, "Insufficient credits. Please add credits to your account."), "out_of_credits")


def not_found() -> Behaviour:
    return reply(not_found_reply, "not_found")


def rate_limited(retry_after: float | None = None) -> Behaviour:
    """429; with Retry-After in seconds where they are given."""
    headers = {} if retry_after is None else {"Retry_After": f"{retry_after:g}"}
    return reply(error(429, "Rate limit exceeded", **headers), "rate_limited")


def rate_limited_until(seconds: float) -> Behaviour:
    """429 with Retry-After as an HTTP date this many seconds from the request, rounded up to a whole one."""

    def answer() -> Reply:
        until = formatdate(int(time.time() + seconds) + 1, usegmt=True)
        return error(429, "Rate limit exceeded", Retry_After=until)

    return reply(answer, "rate_limited_until")


def server_error() -> Behaviour:
    return reply(error(500, "Internal server error", kind="unknown_error"), "server_error")


def bad_gateway() -> Behaviour:
    """502 with the page of a proxy."""
    return html_page(502)


def unavailable(retry_after: float | None = None) -> Behaviour:
    headers = {} if retry_after is None else {"Retry_After": f"{retry_after:g}"}
    return reply(error(503, "Service unavailable", **headers), "unavailable")


# --- answers that are not what they should be -----------------------------------------------------------------------


def html_page(code: int = 200) -> Behaviour:
    """A page where JSON, a stream or a video is wanted, without acting."""
    return reply(Reply(code, PAGE, "text/html; charset=utf-8"), f"html_page_{code}")


def empty_body(code: int = 200) -> Behaviour:
    return reply(Reply(code, b""), f"empty_body_{code}")


def not_json(body: bytes = b"\xff\xfe{not json") -> Behaviour:
    return reply(Reply(200, body), "not_json")


def truncated_json(keep: float = 0.5) -> Behaviour:
    """Act, then send the first part of the answer as if it were whole."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        await exchange.send(replace(whole, body=whole.body[: int(len(whole.body) * keep)]))

    return Behaviour("truncated_json", run, acts=True)


def wrong_length(by: int = 10) -> Behaviour:
    """Act, then announce `by` bytes more than are sent, and close; with a negative number, fewer."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        await exchange.send_head(whole, length=len(whole.body) + by)
        await exchange.send_body(whole.body)
        exchange.close()

    return Behaviour("wrong_length", run, acts=True)


def altered(change: Callable[[Any], Any]) -> Behaviour:
    """Act, then send the answer's JSON as `change` returns it: fields missing, of other types, unheard of."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        await exchange.send(replace(whole, body=json.dumps(change(json.loads(whole.body))).encode()))

    return Behaviour("altered", run, acts=True)


def redirect(location: str, code: int = 302) -> Behaviour:
    return reply(Reply(code, b"", headers={"Location": location}), "redirect")


# --- done, and not told ---------------------------------------------------------------------------------------------


def act_then(what: Behaviour) -> Behaviour:
    """Do what was asked, then treat the client as `what` does: the outcome it cannot know."""

    async def run(exchange: Exchange) -> None:
        await exchange.act()
        await what.run(exchange)

    return Behaviour(f"act_then_{what.name}", run, acts=True)


def act_then_reset() -> Behaviour:
    return act_then(reset())


def act_then_close() -> Behaviour:
    return act_then(close())


def act_then_never_answer() -> Behaviour:
    return act_then(never_answer())


def act_then_status(code: int) -> Behaviour:
    return act_then(status(code))


def act_then_html(code: int = 502) -> Behaviour:
    return act_then(html_page(code))


def act_then_empty() -> Behaviour:
    return act_then(empty_body())


def act_then_half_the_answer() -> Behaviour:
    """Act, send half of the answer under its true length, then reset."""

    async def run(exchange: Exchange) -> None:
        whole = await exchange.act()
        await exchange.send_head(whole)
        await exchange.send_body(whole.body[: len(whole.body) // 2])
        await asyncio.sleep(0.01)  # let the half arrive before the reset may overtake it
        exchange.reset()

    return Behaviour("act_then_half_the_answer", run, acts=True)
