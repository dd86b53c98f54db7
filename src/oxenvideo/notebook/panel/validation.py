"""What is wrong with a draft, and where: every fault stands beside the field that it is about. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from oxenvideo.catalog import validation
from oxenvideo.errors import InvalidRequest
from oxenvideo.notebook.panel.form_state import Draft, media_slots
from oxenvideo.notebook.panel.labels import label_of
from oxenvideo.request.request import VideoRequest

GENERAL = ""
"""Stands in for a parameter's name where a fault is about the request as a whole."""


@dataclass(frozen=True)
class Verdict:
    """The request as it stands, what is wrong with it by parameter, and what is worth saying though it may be sent.

    ``only_missing`` holds where nothing that was given is wrong, but something is still to be given.
    """

    request: VideoRequest
    faults: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    only_missing: bool = False

    @property
    def first(self) -> str | None:
        """The fault to name where only one can be, or None where the request may be sent."""
        return next(iter(self.faults.values()), None)


def judge(draft: Draft) -> Verdict:
    """Check a draft by the model's schema and the documented rules."""
    request = draft.request
    faults = _missing(draft, request) | draft.unreadable
    if faults:
        return Verdict(request, faults, only_missing=not draft.unreadable)
    try:
        return Verdict(request, {}, tuple(validation.check(draft.model, request.parameters, request.count)))
    except InvalidRequest as error:
        return Verdict(request, {_place(str(error), draft): str(error)})


def _missing(draft: Draft, request: VideoRequest) -> dict[str, str]:
    """What is needed and not there. Said here, so that an empty form is judged without compiling a schema."""
    found: dict[str, str] = {}
    given = request.parameters
    if draft.in_shots and not draft.shots:
        found["multi_prompt"] = "Add the first shot."
    for number, shot in enumerate(draft.shots if draft.in_shots else (), start=1):
        if not str(shot.get("prompt", "")).strip():
            found.setdefault("multi_prompt", f"Shot {number} is empty: write what it shows, or remove it.")
    slots = {slot.name: slot for slot in media_slots(draft.model)}
    wanted = [name for name in draft.model.required if name not in given]
    if "prompt" not in given and "multi_prompt" in draft.model.parameters and not draft.in_shots:
        wanted.insert(0, "prompt")
    for name in wanted:
        if name == "prompt" and not draft.in_shots:
            found[name] = "Write what the video should show."
        elif name in slots:
            article = {"image": "An image", "video": "A video", "audio": "A sound"}[slots[name].kind]
            found[name] = f"{article} is needed here."
        elif name not in ("prompt", "multi_prompt"):
            found[name] = f"{label_of(name)} is needed."
    return found


def _place(message: str, draft: Draft) -> str:
    """The parameter that a message is about: the one that it names first."""
    names = [*draft.model.parameters, *draft.extra, "prompt", "multi_prompt", "count"]
    places = [
        (match.start(), -len(name), name)
        for name in dict.fromkeys(names)
        if (match := re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", message))
    ]
    if not places and re.match(r"Shot \d+|The (list of )?shots", message):
        return "multi_prompt"
    return min(places)[2] if places else GENERAL
