"""Read a cell's body as one prompt or as shots, and write shots as such a body."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from oxenvideo.errors import InvalidRequest

Shot = dict[str, Any]
"""One shot of ``multi_prompt``: ``prompt``, and ``duration`` in whole seconds if it was given."""

_SEPARATOR = re.compile(r"^[ \t]*---[ \t]*\r?$", re.MULTILINE)
_DURATION = re.compile(r"\[\s*(\d+(?:[.,]\d+)?)\s*s?\s*\]\s*", re.IGNORECASE)


def parse(body: str) -> str | list[Shot]:
    """The prompt, or a list of shots if lines of only ``---`` separate sections.

    A section may begin with its length in seconds: ``[5s]``, ``[5 s]`` or ``[5]``. Raises InvalidRequest for an empty
    section and for a length that is not a whole number of seconds from 1.
    """
    sections = _SEPARATOR.split(body)
    if len(sections) == 1:
        return body.strip()
    return [_shot(section.strip(), number, len(sections)) for number, section in enumerate(sections, start=1)]


def _shot(text: str, number: int, total: int) -> Shot:
    length = _DURATION.match(text)
    prompt = text[length.end() :] if length else text
    if not prompt:
        advice = "write one between the --- lines, or remove a --- line."
        raise InvalidRequest(f"Shot {number} of {total} has no prompt: {advice}")
    if length is None:
        return {"prompt": prompt}
    if not length[1].isdigit() or int(length[1]) == 0:
        raise InvalidRequest(f"Shot {number} lasts [{length[1]}s]: use whole seconds from 1, such as [5s].")
    return {"prompt": prompt, "duration": int(length[1])}


def says_prompt(text: str) -> bool:
    """Whether ``parse`` reads this text as one prompt, unchanged."""
    return _SEPARATOR.search(text) is None and text == text.strip()


def from_values(values: Sequence[Any]) -> list[Shot]:
    """Shots from Python values: each a text, a ``(text, seconds)`` pair, or a mapping as the API takes it."""
    shots: list[Shot] = []
    for number, value in enumerate(values, start=1):
        match value:
            case str():
                shots.append({"prompt": value})
            case Mapping():
                shots.append(dict(value))
            case (str(prompt), int(seconds)):
                shots.append({"prompt": prompt, "duration": seconds})
            case _:
                forms = "a text, a (text, seconds) pair or a dictionary"
                raise InvalidRequest(f"Shot {number} is a {type(value).__name__}: give {forms}.")
    return shots


def render(shots: Sequence[Mapping[str, Any]]) -> str | None:
    """The text that ``parse`` reads as these shots, or None if there is no such text."""
    sections = []
    for shot in shots:
        seconds = shot.get("duration")
        sections.append(f"[{seconds}s] {shot.get('prompt')}" if seconds is not None else str(shot.get("prompt")))
    text = "\n---\n".join(sections)
    with contextlib.suppress(InvalidRequest):
        return text if parse(text) == [dict(shot) for shot in shots] else None
    return None
