"""Which parameters of a model take media, found by rule from its schema, and placing media in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from oxenvideo.catalog import schema
from oxenvideo.catalog.catalog import Catalog, Model
from oxenvideo.errors import InvalidRequest
from oxenvideo.media.media import Kind, Media, is_url

Role = Literal["main", "reference", "start", "end", "keyframes", "elements", "special"]

NOUNS: dict[Kind, str] = {"image": "image", "video": "video", "audio": "audio file"}
"""What a medium of each kind is called in messages."""

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("image", "images", "frame", "mask"), "image"),
    **dict.fromkeys(("video", "videos"), "video"),
    **dict.fromkeys(("audio", "audios"), "audio"),
}
_URL_WORDS = {"url", "urls", "uri", "uris"}


@dataclass(frozen=True)
class MediaParameter:
    """A parameter that takes media.

    ``role`` follows from the name: ``start`` and ``end`` are frames of the result, ``keyframes`` are these and frames
    between, ``reference`` guides the model, ``main`` is the ordinary input, and ``special`` (a control video, real
    faces) is used only by its own name. ``many`` means that it takes a list, ``alone`` that it takes a single URL.
    ``key`` is the property for the URL if the items are objects; ``placeable`` is false if that property is not known.
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
"""The documented media parameters, for a model without a known schema."""


def for_model(model: Model) -> tuple[MediaParameter, ...]:
    """The media parameters of the model, in the schema's order."""
    if model.schema is None:
        return GENERIC
    return tuple(filter(None, (_media_parameter(name, spec) for name, spec in model.parameters.items())))


def by_name(model: Model, name: str) -> MediaParameter | None:
    """The media parameter with this name: by the schema, or by the name alone if the schema does not have it."""
    if name in model.parameters:
        return _media_parameter(name, model.parameters[name])
    generic = next((parameter for parameter in GENERIC if parameter.name == name), None)
    return generic or _media_parameter(name, {})


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
    """The model's own parameters that hold these media, each as a URL or a Media, or a list of them.

    An element is one image (its front), a list of images (the front, then other views) or a mapping as the API takes
    it. Raises InvalidRequest if the model has no parameter for one of them, or too few; the message names models of
    ``catalog`` that take it.
    """
    placing = _Placing(model, catalog)
    placing.frame("start", start_image)
    placing.add("image", images)
    placing.frame("end", end_image)
    placing.add("video", videos)
    placing.add("audio", audios)
    placing.elements(elements)
    return placing.parameters


def coerce(model: Model, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the values of media parameters made Media; URLs and all other values stay as they are.

    Text becomes a Media if it is the path of a file. Raises InvalidRequest for an object that is not media.
    """
    return {name: _coerced(by_name(model, name), value) for name, value in parameters.items()}


def url_or_media(value: Any, kind: Kind) -> str | Media:
    """A URL as text, anything else as a Media of this kind; InvalidRequest if it is neither."""
    media = Media.from_value(value, kind)
    return media if media.url is None else media.url


def values(model: Model, parameters: Mapping[str, Any]) -> Iterator[tuple[MediaParameter, Any]]:
    """Each single value in a media parameter, with its parameter; the images of elements are values too."""
    for name, value in parameters.items():
        parameter = by_name(model, name)
        if parameter is not None:
            yield from ((parameter, item) for item in _single_values(value))


class _Placing:
    """The parameters of one request while media are placed in them."""

    def __init__(self, model: Model, catalog: Catalog | None) -> None:
        self.model = model
        self.catalog = catalog
        self.parameters: dict[str, Any] = {}

    def frame(self, role: Literal["start", "end"], image: Any) -> None:
        """Place the first or the last frame, or nothing if it is None."""
        if image is None:
            return
        own, keyframes = self._all("image", role), self._all("image", "keyframes")
        single = [p for p in self._all("image", "main") if role == "start" and not p.many]
        target = next(iter(own + keyframes + single), None)
        if target is None:
            what = "a start image" if role == "start" else "an end image"
            raise self._refusal(what, "image", lambda model: _has_frame(model, role))
        self._add(target, [url_or_media(image, "image")])

    def add(self, kind: Kind, given: Sequence[Any]) -> None:
        """Place media other than frames: first in required single parameters, then in a list."""
        media = [url_or_media(value, kind) for value in given]
        targets = self._all(kind, "main", "keyframes") + self._all(kind, "reference")
        if kind == "image" and not any(self._is_free(target) for target in targets):
            targets = self._all(kind, "start")  # only if nothing else takes an ordinary image
        singles = [target for target in targets if not target.many and self._is_free(target)]
        lists = [target for target in targets if target.many]
        # A single input goes to the single parameter if the list is only for references.
        prefer_single = not lists or (len(media) == 1 and lists[0].role == "reference")
        rest = media[:]
        for target in singles:
            if rest and (target.name in self.model.required or prefer_single):
                self._add(target, [rest.pop(0)])
        if rest and lists:
            self._add(lists[0], rest)
        elif rest:
            one = "a video" if kind == "video" else f"an {NOUNS[kind]}"
            what = one if len(media) == 1 else f"{len(media)} {NOUNS[kind]}s"
            raise self._refusal(what, kind, lambda model: _has_room(model, kind, len(media)))

    def elements(self, given: Sequence[Any]) -> None:
        """Place the elements in the parameter of that name."""
        targets = self._all("image", "elements")
        if given and not targets:
            raise self._refusal("elements", "image", lambda model: any(p.role == "elements" for p in for_model(model)))
        if given:
            self.parameters[targets[0].name] = [_element(element) for element in given]

    def _all(self, kind: Kind, *roles: Role) -> list[MediaParameter]:
        return [p for p in for_model(self.model) if p.kind == kind and p.role in roles and p.placeable]

    def _is_free(self, parameter: MediaParameter) -> bool:
        return parameter.many or parameter.name not in self.parameters

    def _add(self, parameter: MediaParameter, media: Sequence[Any]) -> None:
        present = self.parameters.get(parameter.name, [])
        wrapped = [{parameter.key: item} if parameter.key else item for item in media]
        held = [*(present if isinstance(present, list) else [present]), *wrapped]
        self.parameters[parameter.name] = held[0] if parameter.alone and len(held) == 1 else held

    def _refusal(self, what: str, kind: Kind, takes_it: Callable[[Model], bool]) -> InvalidRequest:
        own = [parameter for parameter in for_model(self.model) if parameter.kind == kind]
        names = ", ".join(f"{parameter.name}{' (several)' if parameter.many else ''}" for parameter in own)
        reason = f"its {NOUNS[kind]} parameters are {names}" if own else f"it has no {NOUNS[kind]} parameter"
        if not own and kind in self.model.inputs:
            reason = f"it takes one, but its known schema has no {NOUNS[kind]} parameter: give it by its own name"
        if any(not parameter.placeable for parameter in own):
            reason += ", given by name as the model's own objects"
        models = (self.catalog or Catalog()).values()
        others = [model.id for model in models if model.id != self.model.id and takes_it(model)]
        others.sort(key=lambda model_id: -_shared_words(model_id, self.model.id))
        hint = f" Models that take it: {', '.join(others[:3])}." if others else ""
        return InvalidRequest(f"{self.model.id} does not take {what}: {reason}.{hint}")


def _has_frame(model: Model, role: Literal["start", "end"]) -> bool:
    roles = {parameter.role for parameter in for_model(model) if parameter.kind == "image"}
    return bool(roles & {role, "keyframes"}) or (role == "start" and _has_room(model, "image", 1))


def _has_room(model: Model, kind: Kind, count: int) -> bool:
    roles = {"main", "reference", "keyframes"}
    fitting = [p for p in for_model(model) if p.kind == kind and p.placeable and p.role in roles]
    return any(parameter.many for parameter in fitting) or len(fitting) >= count


def _shared_words(one: str, other: str) -> int:
    """How many words two ids share from their beginning; related models share most."""
    pairs = zip(one.split("-"), other.split("-"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _media_parameter(name: str, spec: Mapping[str, Any]) -> MediaParameter | None:
    """The media parameter with this name and schema; None if it does not take media."""
    if name == "elements":
        return MediaParameter(name, "image", "elements", many=True, alone=False)
    words = name.split("_")
    kind = next((_KINDS[word] for word in words if word in _KINDS), None)
    # The last word says what the value is: image_url and input_image are media, audio_setting and image_strength not.
    if kind is None or words[-1] not in _KINDS.keys() | _URL_WORDS or "enum" in spec:
        return None
    types = {"string", "array"} & set(schema.types(spec) or ("string", "array"))
    if not types:
        return None
    plural = words[-1].endswith("s")
    many, alone = ("array" in types, "string" in types) if len(types) == 1 or not plural else (True, False)
    items = spec.get("items")
    objects = isinstance(items, Mapping) and items.get("type") == "object"
    key = _url_key(items) if isinstance(items, Mapping) and objects else None
    return MediaParameter(name, kind, _role(words, spec, many), many, alone, key, not objects or key is not None)


def _role(words: Sequence[str], spec: Mapping[str, Any], many: bool) -> Role:
    roles: dict[Role, set[str]] = {
        "special": {"control", "face", "mask"},
        "start": {"start", "first"},
        "end": {"end", "tail", "last"},
        "reference": {"reference", "references", "ref"},
    }
    named = next((role for role, names in roles.items() if names & set(words)), None)
    keyframes = many and "keyframes" in str(spec.get("description", "")).lower()
    return named or ("keyframes" if keyframes else "main")


def _url_key(items: Mapping[str, Any]) -> str | None:
    """The property of an object that holds the URL."""
    properties = items.get("properties")
    for name, spec in properties.items() if isinstance(properties, Mapping) else ():
        if _URL_WORDS & set(name.split("_")) or _media_parameter(name, spec) is not None:
            return str(name)
    return None


def _element(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {
            name: _images(item) if isinstance(item, (list, tuple)) else _images([item])[0]
            for name, item in value.items()
        }
    views = list(value) if isinstance(value, (list, tuple)) else [value]
    if not views:
        raise InvalidRequest("An element needs at least its front image.")
    front, *others = _images(views)
    return {"frontal_image_url": front} | ({"reference_image_urls": others} if others else {})


def _images(values: Sequence[Any]) -> list[str | Media]:
    return [url_or_media(value, "image") for value in values]


def _coerced(parameter: MediaParameter | None, value: Any) -> Any:
    if parameter is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_coerced(parameter, item) for item in value]
    if isinstance(value, Mapping):
        return {key: _coerced(_media_parameter(key, {}), item) for key, item in value.items()}
    if isinstance(value, str) and (is_url(value) or not os.path.isfile(os.path.expanduser(value))):
        return value
    if value is None or isinstance(value, (bool, int, float)):
        return value  # never media; the check against the schema has a better message
    return url_or_media(value, parameter.kind)


def _single_values(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _single_values(item)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if _media_parameter(name, {}) is not None:
                yield from _single_values(item)
    else:
        yield value
