"""Turn the service's answers into typed values, and its errors into exceptions."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from oxenvideo import errors

_CREDITS = re.compile(r"\b(credits?|billing|payment)\b", re.IGNORECASE)
_MESSAGE_LIMIT = 500  # characters of the service's own message that are shown


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one of the user's own engines has come; ``preview`` is a small picture as a data URI. None if unknown."""

    engine: str | None = None
    step: int | None = None
    total: int | None = None
    preview: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Observation:
    """What the service says about one generation, in an event or in an answer; times are unix seconds.

    ``authoritative`` is true for answers (list, get): they may correct an event, and an event never corrects them.
    ``cost`` is in US dollars, and ``fields`` is the row as the service sent it. ``progress`` is None unless the embedded
    server makes the video on an engine of the user; ``notice`` is why such an engine does not start.
    """

    generation_id: str
    status: str
    authoritative: bool = True
    result_url: str | None = None
    error_message: str | None = None
    enqueued_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    cost: Decimal | None = None
    progress: Progress | None = None
    notice: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Accepted:
    """One generation that the service enqueued: its id and its first status."""

    generation_id: str
    status: str


@dataclass(frozen=True)
class Rendered:
    """The synchronous endpoint's answer: URLs of the videos, or the videos in base64."""

    model: str
    created: int | None
    urls: tuple[str, ...] = ()
    b64_json: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class HistoryPage:
    """One page of the account's generations; ``total_cost`` is in US dollars, over all pages."""

    generations: tuple[Observation, ...]
    page_number: int
    page_size: int
    total_pages: int
    total_entries: int
    total_cost: Decimal | None


@dataclass(frozen=True)
class User:
    """The owner of an API key."""

    name: str
    email: str | None = None


def encode(body: Mapping[str, Any]) -> bytes:
    """The JSON of a request's body; InvalidRequest for what JSON or UTF-8 cannot hold."""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
        raise errors.InvalidRequest(f"The request cannot be written as JSON: {error}.") from None


def decode(content: bytes, status_code: int, *, what: str) -> dict[str, Any]:
    """The JSON object in an answer; UnexpectedAnswer says what it holds instead."""
    try:
        payload = json.loads(content)
        found = f"a JSON {type(payload).__name__}, not an object"
    except (ValueError, RecursionError):
        payload, found = None, f"{_kind(content)}, not JSON"
    if not isinstance(payload, dict):
        message = f"The service answered {what} with {found} (HTTP {status_code})."
        raise errors.UnexpectedAnswer(message, status_code=status_code)
    return payload


def _kind(content: bytes) -> str:
    head = content[:512].lstrip().lower()
    if not head:
        return "an empty body"
    if head.startswith((b"<!doctype html", b"<html")) or b"<html" in head:
        return "an HTML page"
    return "broken JSON" if head[:1] in (b"{", b"[") else "text"


def error_from(status_code: int, content: bytes, retry_after: float | None = None) -> errors.ServiceError:
    """The exception for an answer with an error status, in either of the documented forms or in none."""
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError):
        payload = None
    type_, message = _error_words(payload) if isinstance(payload, dict) else (None, None)
    return _error(message or f"{_kind(content)} instead of a JSON error", type_, status_code, status_code, retry_after)


def _error(
    said: str, type_: str | None, status_code: int, shown: int, retry_after: float | None = None
) -> errors.ServiceError:
    """The exception for what the service said; ``shown`` is the status that it sent."""
    advice = ""
    is_refusal = 400 <= status_code < 500
    kind: type[errors.ServiceError] = errors.BadRequest if is_refusal else errors.UnexpectedAnswer
    if status_code == 402 or (is_refusal and _CREDITS.search(said)):
        kind, advice = errors.InsufficientCredits, " Add credits to the Oxen.ai account, then run the cell again."
    elif status_code == 429 or (is_refusal and "rate limit exceeded" in said.lower()):
        kind = errors.RateLimited  # not for a 5xx, which may pass on a provider's rate limit after the service acted
    elif status_code in (401, 403) or type_ == "unauthenticated":
        kind, advice = errors.AuthenticationFailed, " Check the API key: OXEN_API_KEY or `oxen config --auth`."
    elif status_code == 404:
        kind = errors.NotFound
    elif status_code >= 500 or status_code == 408:
        kind = errors.ServiceUnavailable
    return kind(f"{said} (HTTP {shown}){advice}", status_code=shown, type=type_, retry_after=retry_after)


def _error_words(payload: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The service's type of error and its message, or None for each."""
    error, type_ = payload.get("error"), None
    if isinstance(error, dict):
        type_ = error.get("type")
        words = error.get("message") or error.get("detail") or error.get("title") or type_
    else:
        words = error if isinstance(error, str) else payload.get("message") or payload.get("status_message")
    text = " ".join(str(words or "").split())
    message = text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"
    return (str(type_) if type_ else None), message or None


def accepted(payload: Mapping[str, Any]) -> list[Accepted]:
    """The ids in the queue's answer to an enqueue.

    An answer with an error and no generations refuses the request: BadRequest, or the class that its message calls for.
    """
    rows = payload.get("generations")
    try:
        found = {_text(row["generation_id"]): str(row.get("status", "queued")) for row in rows or ()}
    except (KeyError, TypeError, AttributeError, ValueError):
        found = {}
    if not rows and payload.get("error") is not None:
        type_, message = _error_words(payload)
        raise _error(message or "an error without a message", type_, 400, 200)
    if not found:
        raise errors.UnexpectedAnswer("The service took the request and named no generation_id.", status_code=200)
    return [Accepted(generation_id, status) for generation_id, status in found.items()]


def observation(row: Mapping[str, Any]) -> Observation:
    """One generation from a row of a list, a get or the history; UnexpectedAnswer if it has no id or status."""
    try:
        return Observation(
            generation_id=_text(row["generation_id"]),
            status=_text(row["status"]),
            result_url=_text_or_none(row.get("result_url")),
            error_message=_message(row.get("error_message")),
            enqueued_at=_number(row.get("enqueued_at")),
            started_at=_number(row.get("started_at")),
            completed_at=_number(row.get("completed_at")),
            cost=_decimal(row.get("cost")),
            **_on_engine(row.get("engine")),
            fields=row,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise errors.UnexpectedAnswer("The service described a generation without generation_id or status.") from None


def observations(payload: Mapping[str, Any], *, what: str) -> list[Observation]:
    """The generations of a list; UnexpectedAnswer if there is no list, because an empty one means something else.

    A row that cannot be read is skipped, so that one damaged row does not hide all the others.
    """
    rows = payload.get("generations")
    if not isinstance(rows, list):
        raise errors.UnexpectedAnswer(f"The service answered {what} without a list of generations.")
    read = []
    for row in rows:
        with contextlib.suppress(errors.UnexpectedAnswer):
            read.append(observation(row))
    if rows and not read:
        raise errors.UnexpectedAnswer(f"The service answered {what} with rows that are not generations.")
    return read


def _on_engine(said: object) -> dict[str, Any]:
    if not isinstance(said, dict):
        return {}
    step, total = said.get("step"), said.get("total")
    if not (isinstance(step, int) and isinstance(total, int) and 0 <= step <= total and total > 0):
        step = total = None
    preview = _text_or_none(said.get("preview"))
    safe = preview if preview and preview.startswith("data:image/jpeg;base64,") else None
    progress = Progress(_text_or_none(said.get("name")), step, total, safe)
    return {"progress": progress, "notice": _text_or_none(said.get("notice"))}


def event(name: str, data: str) -> Observation | None:
    """The observation in an event; None for an event of another kind or one that cannot be read."""
    if name not in ("media_generation_completed", "media_generation_progress"):
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        body = json.loads(data)
        error = body.get("error")
        return Observation(
            generation_id=_text(body["generation_id"]),
            status=_text(body["status"]),
            authoritative=False,
            result_url=_text_or_none(body.get("url")),
            error_message=_message(error if error is not None else body.get("error_message")),
            **_on_engine(body.get("engine")),
        )
    return None


def rendered(payload: Mapping[str, Any]) -> Rendered:
    """The synchronous endpoint's answer, also with the ``video_url`` of an older documentation page."""
    rows = payload.get("videos")
    videos = (
        [row for row in rows if isinstance(row, dict)]
        if isinstance(rows, list)
        else [{"url": payload.get("video_url")}]
    )
    urls = tuple(str(video["url"]) for video in videos if video.get("url"))
    encoded = tuple(str(video["b64_json"]) for video in videos if video.get("b64_json"))
    if not urls and not encoded:
        raise errors.UnexpectedAnswer("The service answered without a video.", status_code=200)
    return Rendered(str(payload.get("model", "")), payload.get("created"), urls, encoded)


def history_page(payload: Mapping[str, Any]) -> HistoryPage:
    """One page of the history."""
    rows = observations(payload, what="the history")
    return HistoryPage(
        generations=tuple(rows),
        page_number=_positive(payload.get("page_number"), 1),
        page_size=_positive(payload.get("page_size"), len(rows) or 1),
        total_pages=_positive(payload.get("total_pages"), 1),
        total_entries=_positive(payload.get("total_entries"), len(rows)),
        total_cost=_decimal(payload.get("total_cost")),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(value)
    return value


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _positive(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and value > 0 else otherwise


def _message(value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, dict):
        value = value.get("message") or value.get("title") or json.dumps(value)
    return str(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with contextlib.suppress(OverflowError):
        return float(value) if math.isfinite(value) else None
    return None


def _decimal(value: object) -> Decimal | None:
    with contextlib.suppress(InvalidOperation):
        number = Decimal(str(value))
        return number if number.is_finite() else None
    return None
