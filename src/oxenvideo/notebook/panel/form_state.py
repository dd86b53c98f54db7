"""What the form holds, and the request that this makes: pure, without any widget."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from oxenvideo.catalog import media_parameters, schema
from oxenvideo.catalog.catalog import Model
from oxenvideo.catalog.media_parameters import MediaParameter, Role
from oxenvideo.media.media import Kind, Media
from oxenvideo.request.request import VideoRequest

Leaf = str | Media | dict[str, Any]
"""One medium in a slot: a URL, a Media, or the model's own object that holds some."""

NOTHING: Any = object()
"""Stands for a parameter that was not given, as null is a value."""

_TARGETS = ("target_namespace", "target_repo", "target_directory", "response_format")
# Which other slots a medium may move to when the model changes, by what its old slot promised, best first.
_ALIKE: Mapping[Role, tuple[Role, ...]] = {
    "main": ("main", "start", "keyframes", "reference"),
    "start": ("start", "main", "keyframes"),
    "end": ("end",),
    "keyframes": ("keyframes", "start", "main"),
    "reference": ("reference", "main"),
    "elements": ("elements",),
    "special": (),
}
_COMMON = ("duration", "seconds", "aspect_ratio", "resolution", "target_resolution", "mode", "generate_audio")


@dataclass
class Draft:
    """A request in the making.

    ``given`` are the parameters that were given, ``media`` the leaves by slot, ``extra`` parameters that the model's
    schema does not have. ``dormant`` keeps what the present model has no use for, in case the next one has.
    ``unreadable`` says, by parameter, why a text that stands in the form is no value.
    """

    model: Model
    given: dict[str, Any] = field(default_factory=dict)
    media: dict[str, list[Leaf]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    shots: list[dict[str, Any]] = field(default_factory=list)
    in_shots: bool = False
    count: int = 1
    targets: dict[str, str] = field(default_factory=dict)
    dormant: dict[str, Any] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    _listed: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, request: VideoRequest, model: Model) -> Draft:
        """The draft whose request is this one; ``model`` is the request's."""
        draft = cls(model, count=request.count)
        draft.targets = {name: value for name in _TARGETS if (value := getattr(request, name)) is not None}
        own = {slot.name: slot for slot in media_slots(model)}
        for name, value in request.parameters.items():
            if name == "multi_prompt" and takes_shots(model) and _are_shots(value):
                draft.shots, draft.in_shots = [dict(shot) for shot in value], True
            elif name in own and _are_leaves(value):
                draft.media[name] = list(value) if isinstance(value, list) else [value]
                draft._listed |= {name} if isinstance(value, list) else set()
            elif name in model.parameters or name == "prompt":
                draft.given[name] = value
            else:
                draft.extra[name] = value
        return draft

    @property
    def request(self) -> VideoRequest:
        """What would be sent now; not checked, and not complete where something is missing."""
        parameters: dict[str, Any] = {}
        if self.in_shots:
            parameters["multi_prompt"] = [dict(shot) for shot in self.shots]
        elif "prompt" in self.given:
            parameters["prompt"] = self.given["prompt"]
        own = {slot.name: slot for slot in media_slots(self.model)}
        for name in [*self.model.parameters, *own]:
            if name in own and (leaves := self.leaves(own[name])):
                parameters[name] = _wrapped(own[name], leaves, listed=name in self._listed)
            elif name in self.given and name not in ("prompt", "multi_prompt"):
                parameters[name] = self.given[name]
        return VideoRequest(self.model.id, parameters | self.extra, self.count, **self.targets)

    def give(self, name: str, value: Any) -> None:
        """Set a parameter; NOTHING takes it back."""
        self.unreadable.pop(name, None)
        self.given.pop(name, None)
        if value is not NOTHING:
            self.given[name] = value

    def leaves(self, slot: MediaParameter) -> list[Leaf]:
        """The media in a slot; those beyond the one that it takes wait for a model that takes more."""
        kept = self.media.get(slot.name, [])
        return kept if slot.many else kept[:1]

    def add(self, slot: MediaParameter, leaf: Leaf) -> None:
        """Put a medium into a slot: after the others, or in place of the one."""
        self.media[slot.name] = [*self.media.get(slot.name, []), leaf] if slot.many else [leaf]

    def remove(self, slot: MediaParameter, index: int) -> None:
        """Take a medium out of a slot."""
        self.media[slot.name] = [leaf for i, leaf in enumerate(self.media.get(slot.name, [])) if i != index]

    def change_model(self, model: Model) -> None:
        """Go on with another model, keeping what applies there too."""
        before, self.model = self.model, model
        waiting = {**self.dormant, **self.extra, **self.given}
        self.given, self.extra, self.dormant = {}, {}, {}
        self.unreadable, self._listed = {}, set()
        self.in_shots = self.in_shots and takes_shots(model)
        for name, value in waiting.items():
            fits = value if name == "prompt" and takes_prompt(model) else NOTHING
            if name in model.parameters and name != "prompt":
                fits = fitting(model.parameters[name], value)
            (self.dormant if fits is NOTHING else self.given)[name] = value if fits is NOTHING else fits
        self._move_media(before, model)

    def _move_media(self, before: Model, model: Model) -> None:
        own = {slot.name: slot for slot in media_slots(model)}
        for name, leaves in list(self.media.items()):
            old = media_parameters.by_name(before, name)
            if old is None or not leaves or (name in own and own[name].kind == old.kind):
                continue
            free = [slot for slot in own.values() if slot.kind == old.kind and not self.media.get(slot.name)]
            ranked = sorted(
                (_ALIKE[old.role].index(s.role), i) for i, s in enumerate(free) if s.role in _ALIKE[old.role]
            )
            if ranked:
                self.media[free[ranked[0][1]].name] = self.media.pop(name)


def media_slots(model: Model) -> list[MediaParameter]:
    """The slots that media can be put into here; the required ones first, the special ones last."""
    found = [slot for slot in media_parameters.for_model(model) if slot.placeable]
    return sorted(found, key=lambda slot: (slot.role == "special", slot.name not in model.required))


def takes_prompt(model: Model) -> bool:
    """Whether there is a prompt to write."""
    return model.schema is None or "prompt" in model.parameters


def takes_shots(model: Model) -> bool:
    """Whether the prompt may be given as shots."""
    return model.schema is None or "multi_prompt" in model.parameters


def fields(model: Model) -> tuple[list[str], list[str]]:
    """The parameters that get a field of their own: the common and the needed ones, and the rest."""
    taken = {slot.name for slot in media_slots(model)} | {"prompt", "multi_prompt"}
    names = [name for name in model.parameters if name not in taken]
    first = [name for name in _COMMON if name in names] + [n for n in model.required if n in names and n not in _COMMON]
    return first, [name for name in names if name not in first]


def slot_for(model: Model, kind: Kind) -> MediaParameter | None:
    """Where a picture to begin with goes, or a clip to work on."""
    order: tuple[Role, ...] = ("start", "keyframes", "main", "reference") if kind == "image" else ("main", "reference")
    found = [slot for slot in media_slots(model) if slot.kind == kind and slot.role in order]
    return min(found, key=lambda slot: order.index(slot.role), default=None)


def fitting(spec: Mapping[str, Any], value: Any) -> Any:
    """The value as this parameter takes it, or NOTHING: 5, "5" and "5s" are one duration, 1080p and 1080P one size."""
    if schema.accepts(spec, value):
        return value
    for choice in spec.get("enum", ()):
        if _bare(choice) == _bare(value):
            return choice
    if isinstance(value, str) and "enum" not in spec and _bare(value).isdigit() and "integer" in schema.types(spec):
        number = int(_bare(value))
        return number if schema.accepts(spec, number) else NOTHING
    return NOTHING


def _bare(value: Any) -> str:
    text = schema.shown_choice(value).lower()
    return text[:-1] if re.fullmatch(r"\d+(\.\d+)?s", text) else text


def _wrapped(slot: MediaParameter, leaves: list[Leaf], *, listed: bool) -> Any:
    """The leaves as the parameter takes them: alone, in a list, or as objects that hold them."""
    key = "frontal_image_url" if slot.role == "elements" else slot.key
    values = [{key: leaf} if key and not isinstance(leaf, dict) else leaf for leaf in leaves]
    return values[0] if slot.alone and len(values) == 1 and not listed else values


def _are_shots(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(shot, Mapping) for shot in value)


def _are_leaves(value: Any) -> bool:
    return all(isinstance(leaf, str | Media | dict) for leaf in (value if isinstance(value, list) else [value]))


def media_in(leaf: Leaf) -> Iterator[str | Media]:
    """The URLs and media that a leaf consists of."""
    if isinstance(leaf, dict):
        for value in leaf.values():
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, str | Media):
                    yield inner
    else:
        yield leaf
