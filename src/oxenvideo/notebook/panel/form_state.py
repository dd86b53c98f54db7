"""What the form holds, the request that this makes, and what is wrong with it. No widgets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from oxenvideo.catalog import media_parameters, schema, validation
from oxenvideo.catalog.catalog import Model
from oxenvideo.catalog.media_parameters import MediaParameter as MediaParameter
from oxenvideo.catalog.media_parameters import Role
from oxenvideo.errors import InvalidRequest
from oxenvideo.media.media import Kind, Media
from oxenvideo.notebook.panel.labels import label_of
from oxenvideo.request.request import VideoRequest

Leaf = str | Media | dict[str, Any]
"""One medium of a media parameter: a URL, a Media, or the model's own object that contains some."""

NOTHING: Any = object()
"""Stands for a parameter that was not given. None cannot: null is a value."""

GENERAL = ""
"""Stands in for a parameter's name where a problem concerns the request as a whole."""

_TARGETS = ("target_namespace", "target_repo", "target_directory", "response_format")
# The roles that a medium may get when the model changes, by its role in the previous model, best first.
_SIMILAR: Mapping[Role, tuple[Role, ...]] = {
    "main": ("main", "start", "keyframes", "reference"),
    "start": ("start", "main", "keyframes"),
    "end": ("end",),
    "keyframes": ("keyframes", "start", "main"),
    "reference": ("reference", "main"),
    "elements": ("elements",),
    "special": (),
}
_COMMON = ("duration", "seconds", "aspect_ratio", "resolution", "target_resolution", "mode", "generate_audio")
_NOUNS = {"image": "An image", "video": "A video", "audio": "A sound"}


@dataclass
class FormState:
    """The values in the form.

    ``given`` are the parameters that have a value, ``media`` the leaves by media parameter, ``extra`` parameters that
    the model's schema does not list. ``unused`` keeps values that the present model has no parameter for, in case the
    next one does. ``unreadable`` says, by parameter, why the text in its field is not a value.
    """

    model: Model
    given: dict[str, Any] = field(default_factory=dict)
    media: dict[str, list[Leaf]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    shots: list[dict[str, Any]] = field(default_factory=list)
    in_shots: bool = False
    count: int = 1
    targets: dict[str, str] = field(default_factory=dict)
    unused: dict[str, Any] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    _listed: set[str] = field(default_factory=set)

    @classmethod
    def from_request(cls, request: VideoRequest, model: Model) -> FormState:
        """The state whose request is this one; ``model`` is the request's."""
        state = cls(model, count=request.count)
        state.targets = {name: value for name in _TARGETS if (value := getattr(request, name)) is not None}
        media = {parameter.name for parameter in media_parameters_of(model)}
        for name, value in request.parameters.items():
            if name == "multi_prompt" and takes_shots(model) and _are_shots(value):
                state.shots, state.in_shots = [dict(shot) for shot in value], True
            elif name in media and _are_leaves(value):
                state.media[name] = list(value) if isinstance(value, list) else [value]
                state._listed |= {name} if isinstance(value, list) else set()
            elif name in model.parameters or name == "prompt":
                state.given[name] = value
            else:
                state.extra[name] = value
        return state

    @property
    def request(self) -> VideoRequest:
        """What would be sent now; not checked, and incomplete if something is missing."""
        parameters: dict[str, Any] = {}
        if self.in_shots:
            parameters["multi_prompt"] = [dict(shot) for shot in self.shots]
        elif "prompt" in self.given:
            parameters["prompt"] = self.given["prompt"]
        media = {parameter.name: parameter for parameter in media_parameters_of(self.model)}
        for name in dict.fromkeys([*self.model.parameters, *media]):
            if name in media and (leaves := self.leaves(media[name])):
                parameters[name] = _wrapped(media[name], leaves, listed=name in self._listed)
            elif name in self.given and name not in ("prompt", "multi_prompt"):
                parameters[name] = self.given[name]
        return VideoRequest(self.model.id, parameters | self.extra, self.count, **self.targets)

    def give(self, name: str, value: Any) -> None:
        """Set a parameter; NOTHING removes it."""
        self.unreadable.pop(name, None)
        self.given.pop(name, None)
        if value is not NOTHING:
            self.given[name] = value

    def leaves(self, parameter: MediaParameter) -> list[Leaf]:
        """The media of a parameter; those beyond the one that it takes are kept for a model that takes more."""
        kept = self.media.get(parameter.name, [])
        return kept if parameter.many else kept[:1]

    def add(self, parameter: MediaParameter, leaf: Leaf) -> None:
        """Give a parameter a medium: after the others, or in place of the only one."""
        before = self.media.get(parameter.name, []) if parameter.many else []
        self.media[parameter.name] = [*before, leaf]

    def remove(self, parameter: MediaParameter, index: int) -> None:
        """Remove a medium from a parameter."""
        self.media[parameter.name] = [leaf for i, leaf in enumerate(self.leaves(parameter)) if i != index]

    def change_model(self, model: Model) -> None:
        """Change the model and keep every value that the new one takes."""
        before, self.model = self.model, model
        values = {**self.unused, **self.extra, **self.given}
        self.given, self.extra, self.unused = {}, {}, {}
        self.unreadable, self._listed = {}, set()
        self.in_shots = self.in_shots and takes_shots(model)
        for name, value in values.items():
            fits = value if name == "prompt" and takes_prompt(model) else NOTHING
            if name in model.parameters and name != "prompt":
                fits = fitting(model.parameters[name], value)
            (self.unused if fits is NOTHING else self.given)[name] = value if fits is NOTHING else fits
        self._move_media(before, model)

    def _move_media(self, before: Model, model: Model) -> None:
        present = {parameter.name: parameter for parameter in media_parameters_of(model)}
        for name, leaves in list(self.media.items()):
            old = media_parameters.by_name(before, name)
            if old is None or not leaves or (name in present and present[name].kind == old.kind):
                continue
            similar = _SIMILAR[old.role]
            free = [
                p for p in present.values() if p.kind == old.kind and p.role in similar and not self.media.get(p.name)
            ]
            if free:
                best = min(free, key=lambda parameter: similar.index(parameter.role))
                self.media[best.name] = self.media.pop(name)


# Models


def media_parameters_of(model: Model) -> list[MediaParameter]:
    """The parameters that take media here; the required ones first, the special ones last."""
    found = [parameter for parameter in media_parameters.for_model(model) if parameter.placeable]
    return sorted(found, key=lambda parameter: (parameter.role == "special", parameter.name not in model.required))


def takes_prompt(model: Model) -> bool:
    """Whether the model has a prompt."""
    return model.schema is None or "prompt" in model.parameters


def takes_shots(model: Model) -> bool:
    """Whether the prompt may be given as shots."""
    return model.schema is None or "multi_prompt" in model.parameters


def field_names(model: Model) -> tuple[list[str], list[str]]:
    """The parameters that get a field: the common and required ones, and the others."""
    taken = {parameter.name for parameter in media_parameters_of(model)} | {"prompt", "multi_prompt"}
    names = [name for name in model.parameters if name not in taken]
    first = [name for name in _COMMON if name in names] + [n for n in model.required if n in names and n not in _COMMON]
    return first, [name for name in names if name not in first]


def parameter_for(model: Model, kind: Kind) -> MediaParameter | None:
    """The media parameter that takes a first frame, or a video to work on; None if the model has none."""
    order: tuple[Role, ...] = ("start", "keyframes", "main", "reference") if kind == "image" else ("main", "reference")
    found = [p for p in media_parameters_of(model) if p.kind == kind and p.role in order]
    return min(found, key=lambda parameter: order.index(parameter.role), default=None)


def fitting(spec: Mapping[str, Any], value: Any) -> Any:
    """The value as this parameter spells it, or NOTHING: 5, "5" and "5s" are one duration, 1080p and 1080P one size."""
    if schema.accepts(spec, value):
        return value
    for choice in spec.get("enum", ()):
        if _plain(choice) == _plain(value):
            return choice
    if isinstance(value, str) and "enum" not in spec and _plain(value).isdigit() and "integer" in schema.types(spec):
        number = int(_plain(value))
        return number if schema.accepts(spec, number) else NOTHING
    return NOTHING


def _plain(value: Any) -> str:
    text = schema.shown_choice(value).lower()
    return text[:-1] if re.fullmatch(r"\d+(\.\d+)?s", text) else text


def _wrapped(parameter: MediaParameter, leaves: list[Leaf], *, listed: bool) -> Any:
    """The leaves as the parameter takes them: alone, in a list, or as objects that contain them."""
    key = "frontal_image_url" if parameter.role == "elements" else parameter.key
    values = [{key: leaf} if key and not isinstance(leaf, dict) else leaf for leaf in leaves]
    return values[0] if parameter.alone and len(values) == 1 and not listed else values


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


# Validation


@dataclass(frozen=True)
class ValidationResult:
    """The request, the problems that prevent sending it by parameter, and warnings that do not.

    ``missing`` are the parameters whose problem is that they are not given yet.
    """

    request: VideoRequest
    problems: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    missing: frozenset[str] = frozenset()

    @property
    def first(self) -> str | None:
        """The problem to name where there is room for one, or None if the request can be sent."""
        return next(iter(self.problems.values()), None)


def validate(state: FormState) -> ValidationResult:
    """Check the form by the model's schema and the documented rules."""
    request = state.request
    missing = _missing(state, request)
    if missing or state.unreadable:
        return ValidationResult(request, missing | state.unreadable, missing=frozenset(missing) - set(state.unreadable))
    try:
        warnings = validation.check(state.model, request.parameters, request.count)
    except InvalidRequest as error:
        return ValidationResult(request, {_parameter_in(str(error), state): str(error)})
    return ValidationResult(request, {}, tuple(warnings))


def _missing(state: FormState, request: VideoRequest) -> dict[str, str]:
    """What is required and not given. Found here, so that an empty form compiles no schema."""
    found: dict[str, str] = {}
    given = request.parameters
    if state.in_shots and not state.shots:
        found["multi_prompt"] = "Add the first shot."
    for number, shot in enumerate(state.shots if state.in_shots else (), start=1):
        if not str(shot.get("prompt", "")).strip():
            found.setdefault("multi_prompt", f"Shot {number} is empty: describe it or remove it.")
    media = {parameter.name: parameter for parameter in media_parameters_of(state.model)}
    wanted = [name for name in state.model.required if name not in given]
    if "prompt" not in given and "multi_prompt" in state.model.parameters and not state.in_shots:
        wanted.insert(0, "prompt")
    for name in wanted:
        if name == "prompt" and not state.in_shots:
            found[name] = "Describe the video."
        elif name in media:
            found[name] = f"{_NOUNS[media[name].kind]} is required."
        elif name not in ("prompt", "multi_prompt"):
            found[name] = f"{label_of(name)} is required."
    return found


def _parameter_in(message: str, state: FormState) -> str:
    """The parameter that a message is about: the first that it names."""
    names = [*state.model.parameters, *state.extra, "prompt", "multi_prompt", "count"]
    places = [
        (match.start(), -len(name), name)
        for name in dict.fromkeys(names)
        if (match := re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", message))
    ]
    if not places and re.match(r"Shot \d+|The (list of )?shots", message):
        return "multi_prompt"
    return min(places)[2] if places else GENERAL
