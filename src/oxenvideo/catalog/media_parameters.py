"""Which parameter of a model takes which picture, clip or sound, found from its schema by rule."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from oxenvideo.catalog.catalog import Catalog, Model
from oxenvideo.errors import InvalidRequest
from oxenvideo.media.media import Kind, Media, is_url

Role = Literal["main", "reference", "start", "end", "keyframes", "elements", "special"]

_WORDS: dict[str, Kind] = {
    "image": "image",
    "images": "image",
    "video": "video",
    "videos": "video",
    "audio": "audio",
    "audios": "audio",
    "frame": "image",
    "mask": "image",
}
_URL_WORDS = {"url", "urls", "uri", "uris"}
NOUNS: dict[Kind, str] = {"image": "image", "video": "video", "audio": "audio file"}


@dataclass(frozen=True)
class MediaParameter:
    """A parameter that takes media.

    ``role`` is what its name promises: ``start`` and ``end`` are frames of the result, ``keyframes`` both and those
    between, ``reference`` guides, ``main`` is the plain input, and ``special`` (a control clip, real faces) is only
    ever filled by its own name. ``many`` takes a list, and ``alone`` a URL outside of one. ``key`` is the property that
    holds the URL where the items are objects; ``placeable`` is false where that key is not known.
    """

    name: str
    kind: Kind
    role: Role
    many: bool
    alone: bool
    key: str | None = None
    placeable: bool = True


GENERIC = (
    MediaParameter("input_image", "image", "main", many=True, alone=True),
    MediaParameter("start_image_url", "image", "start", many=False, alone=True),
    MediaParameter("tail_image_url", "image", "end", many=False, alone=True),
    MediaParameter("input_video", "video", "main", many=False, alone=True),
    MediaParameter("input_videos", "video", "reference", many=True, alone=False),
    MediaParameter("input_audios", "audio", "main", many=True, alone=False),
    MediaParameter("elements", "image", "elements", many=True, alone=False),
)
"""The documented names, for a model whose schema nobody knows."""


def for_model(model: Model) -> tuple[MediaParameter, ...]:
    """The parameters of the model that take media, in the schema's order."""
    if model.schema is None:
        return GENERIC
    found = (_slot(name, spec) for name, spec in model.parameters.items())
    return tuple(slot for slot in found if slot is not None)


def by_name(model: Model, name: str) -> MediaParameter | None:
    """The slot with this name: by the schema, or, for a parameter it does not know, by the name alone."""
    if name in model.parameters:
        return _slot(name, model.parameters[name])
    generic = next((slot for slot in GENERIC if slot.name == name), None)
    return generic or _slot(name, {})


def place(
    model: Model,
    *,
    images: Sequence[Any] = (),
    start_image: Any = None,
    end_image: Any = None,
    videos: Sequence[Any] = (),
    audios: Sequence[Any] = (),
    elements: Sequence[Any] = (),
    catalog: Catalog | None = None,
) -> dict[str, Any]:
    """The parameters that carry these media to the model: its own names, each with a leaf or a list of leaves.

    A leaf is a URL, or a Media for everything else. An element is one picture (its front), a list of pictures (the
    front, then other views) or a mapping as the API takes it. Raises InvalidRequest where the model has no slot for
    one, or too few; ``catalog`` is where models that would take it are looked up for the message.
    """
    filling = _Filling(model, catalog)
    if start_image is not None:
        filling.frame("start", leaf(start_image, "image"))
    filling.pool("image", [leaf(image, "image") for image in images])
    if end_image is not None:
        filling.frame("end", leaf(end_image, "image"))
    filling.pool("video", [leaf(video, "video") for video in videos])
    filling.pool("audio", [leaf(audio, "audio") for audio in audios])
    if elements:
        filling.elements([_element(element) for element in elements])
    return filling.parameters


def coerce(model: Model, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with media given under their own names made leaves; URLs and all other values stay as they are.

    Text becomes a Media where it names a file that exists. Raises InvalidRequest for an object that is no medium.
    """
    return {name: _coerced(by_name(model, name), value) for name, value in parameters.items()}


def leaf(value: Any, kind: Kind) -> str | Media:
    """A URL as text, anything else as a Media of this kind; raises InvalidRequest where it is neither."""
    media = Media.from_value(value, kind)
    return media if media.url is None else media.url


def given(model: Model, parameters: Mapping[str, Any], kind: Kind, roles: Sequence[Role]) -> int:
    """How many media of this kind the parameters hold in slots of these roles."""
    return sum(1 for slot, _ in values(model, parameters) if slot.kind == kind and slot.role in roles)


def values(model: Model, parameters: Mapping[str, Any]) -> Iterator[tuple[MediaParameter, Any]]:
    """Each single value given in a slot, elements' pictures included, with its slot."""
    for name, value in parameters.items():
        slot = by_name(model, name)
        if slot is not None:
            yield from ((slot, item) for item in _leaves(value))


class _Filling:
    """The parameters of one request while media are put into a model's slots."""

    def __init__(self, model: Model, catalog: Catalog | None) -> None:
        self.model = model
        self.catalog = catalog
        self.parameters: dict[str, Any] = {}

    @cached_property
    def slots(self) -> list[MediaParameter]:
        """Those of the model that anything can be put into."""
        return [slot for slot in for_model(self.model) if slot.role != "special"]

    def frame(self, role: Literal["start", "end"], picture: str | Media) -> None:
        """Put the first or the last frame into its slot."""
        own = self._find("image", role)
        keyframes = self._find("image", "keyframes")
        plain = next((slot for slot in self._all("image", "main") if not slot.many), None)
        if own is not None:
            self._set(own, [picture])
        elif keyframes is not None:
            self._set(keyframes, [*self._so_far(keyframes), picture])
        elif role == "start" and plain is not None:
            self._set(plain, [picture])
        else:
            what = "a start image" if role == "start" else "an end image"
            raise self._refusal(what, "image", lambda model: _has_frame(model, role))

    def pool(self, kind: Kind, leaves: list[str | Media]) -> None:
        """Put media that are no frame into the slots that are left, a required single slot first."""
        if not leaves:
            return
        rest = list(leaves)
        required = self.model.required
        # Frames claim their own slots; a start slot takes a plain picture only where nothing else would.
        targets = self._all(kind, "main", "keyframes") + self._all(kind, "reference")
        targets = [slot for slot in targets if slot.many or slot.name not in self.parameters]
        singles = [slot for slot in targets if not slot.many]
        lists = [slot for slot in targets if slot.many]
        if kind == "image" and not targets:
            singles = [slot for slot in self._all(kind, "start") if slot.name not in self.parameters]
        # One medium alone goes to the plain slot where the list is only for references.
        plainly = not lists or (len(leaves) == 1 and lists[0].role == "reference")
        for slot in singles:
            if rest and (slot.name in required or plainly):
                self._set(slot, [rest.pop(0)])
        if rest and lists:
            slot = lists[0]
            self._set(slot, [*self._so_far(slot), *rest])
            rest = []
        if rest:
            noun = NOUNS[kind] if len(leaves) == 1 else f"{len(leaves)} {NOUNS[kind]}s"
            what = f"{'an' if noun[0] == 'i' else 'a'} {noun}" if len(leaves) == 1 else noun
            raise self._refusal(what, kind, lambda model: _has_room(model, kind, len(leaves)))

    def elements(self, elements: list[dict[str, Any]]) -> None:
        """Put the elements into the parameter of that name."""
        slot = self._find("image", "elements")
        if slot is None:
            raise self._refusal("elements", "image", lambda model: any(s.role == "elements" for s in for_model(model)))
        self.parameters[slot.name] = elements

    def _all(self, kind: Kind, *roles: Role) -> list[MediaParameter]:
        return [slot for slot in self.slots if slot.kind == kind and slot.role in roles and slot.placeable]

    def _find(self, kind: Kind, role: Role) -> MediaParameter | None:
        return next(iter(self._all(kind, role)), None)

    def _so_far(self, slot: MediaParameter) -> list[Any]:
        value = self.parameters.get(slot.name, [])
        return value if isinstance(value, list) else [value]

    def _set(self, slot: MediaParameter, leaves: list[Any]) -> None:
        wrapped = [{slot.key: item} if slot.key and not isinstance(item, dict) else item for item in leaves]
        self.parameters[slot.name] = wrapped[0] if slot.alone and len(wrapped) == 1 else wrapped

    def _refusal(self, what: str, kind: Kind, would_take: Any) -> InvalidRequest:
        own = [slot for slot in for_model(self.model) if slot.kind == kind]
        names = ", ".join(f"{slot.name}{' (several)' if slot.many else ''}" for slot in own)
        takes = f"its {NOUNS[kind]} parameters are {names}" if own else f"it has no {NOUNS[kind]} parameter"
        if not own and kind in self.model.inputs:
            takes = (
                f"it does take one, but the schema known here names no {NOUNS[kind]} parameter: give it by its own name"
            )
        if any(not slot.placeable for slot in own):
            takes += ", given by name as the model's own objects"
        catalog = self.catalog or Catalog()
        others = [model.id for model in catalog.values() if model.id != self.model.id and would_take(model)]
        others.sort(key=lambda model_id: -_shared_words(model_id, self.model.id))
        hint = f" Models that take it: {', '.join(others[:3])}." if others else ""
        return InvalidRequest(f"{self.model.id} does not take {what}: {takes}.{hint}")


def _has_frame(model: Model, role: Literal["start", "end"]) -> bool:
    roles = {slot.role for slot in for_model(model) if slot.kind == "image"}
    return bool(roles & {role, "keyframes"}) or (role == "start" and _has_room(model, "image", 1))


def _has_room(model: Model, kind: Kind, count: int) -> bool:
    roles = {"main", "reference", "keyframes"}
    fitting = [slot for slot in for_model(model) if slot.kind == kind and slot.placeable and slot.role in roles]
    return any(slot.many for slot in fitting) or len(fitting) >= count


def _shared_words(one: str, other: str) -> int:
    """How many words two ids have in common from their beginning: relatives share most."""
    pairs = zip(one.split("-"), other.split("-"), strict=False)
    return next((index for index, (left, right) in enumerate(pairs) if left != right), len(one))


def _slot(name: str, spec: Mapping[str, Any]) -> MediaParameter | None:
    """The slot that a parameter is, by the words of its name and the type in its schema; None where it is none."""
    words = name.split("_")
    if name == "elements":
        return MediaParameter(name, "image", "elements", many=True, alone=False)
    kind = next((_WORDS[word] for word in words if word in _WORDS), None)
    shapes = _shapes(spec)
    # The last word says what the value is: image_url and input_image are media, audio_setting and image_strength not.
    if kind is None or words[-1] not in _WORDS.keys() | _URL_WORDS or not shapes or "enum" in spec:
        return None
    plural = words[-1].endswith("s")
    many, alone = ("array" in shapes, "string" in shapes) if len(shapes) == 1 or not plural else (True, False)
    items = spec.get("items") if isinstance(spec.get("items"), Mapping) else None
    objects = items is not None and items.get("type") == "object"
    key = _url_key(items) if objects and items is not None else None
    return MediaParameter(
        name, kind, _role(words, spec, many), many, alone, key, placeable=not objects or key is not None
    )


def _shapes(spec: Mapping[str, Any]) -> set[str]:
    """Those of the types "string" and "array" that the value may have; both where the schema does not say."""
    branches = [spec, *(branch for word in ("anyOf", "oneOf") for branch in spec.get(word, ()))]
    types = [branch.get("type") for branch in branches if isinstance(branch, Mapping)]
    named = {name for entry in types for name in (entry if isinstance(entry, list) else [entry]) if name}
    return named & {"string", "array"} if named else {"string", "array"}


def _role(words: Sequence[str], spec: Mapping[str, Any], many: bool) -> Role:
    if {"control", "face", "mask"} & set(words):
        return "special"
    if {"start", "first"} & set(words):
        return "start"
    if {"end", "tail", "last"} & set(words):
        return "end"
    if {"reference", "references", "ref"} & set(words):
        return "reference"
    if many and "keyframes" in str(spec.get("description", "")).lower():
        return "keyframes"
    return "main"


def _url_key(items: Mapping[str, Any]) -> str | None:
    """The property of an object that holds the medium's URL."""
    properties = items.get("properties")
    if not isinstance(properties, Mapping):
        return None
    first = [
        name for name in properties if _URL_WORDS & set(name.split("_")) or _slot(name, properties[name]) is not None
    ]
    return first[0] if first else None


def _element(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {name: _element_value(item) for name, item in value.items()}
    views = list(value) if isinstance(value, (list, tuple)) else [value]
    if not views:
        raise InvalidRequest("An element needs at least its front picture.")
    front, *others = (leaf(view, "image") for view in views)
    return {"frontal_image_url": front} | ({"reference_image_urls": others} if others else {})


def _element_value(value: Any) -> Any:
    return [leaf(item, "image") for item in value] if isinstance(value, (list, tuple)) else leaf(value, "image")


def _coerced(slot: MediaParameter | None, value: Any) -> Any:
    if slot is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_coerced(slot, item) for item in value]
    if isinstance(value, Mapping):
        return {key: _coerced(_slot(key, {}), item) for key, item in value.items()}
    if isinstance(value, str):
        return value if is_url(value) or not os.path.isfile(os.path.expanduser(value)) else leaf(value, slot.kind)
    if value is None or isinstance(value, (bool, int, float)):
        return value  # wrong here, and the schema's check says so better
    return leaf(value, slot.kind)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if _slot(name, {}) is not None:
                yield from _leaves(item)
    else:
        yield value
