"""VideoRequest: one order for videos, as the API takes it, as the journal keeps it, and as a person writes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from oxenvideo.catalog import media_parameters, schema, validation
from oxenvideo.catalog.catalog import Catalog, Model
from oxenvideo.errors import InvalidRequest
from oxenvideo.media import media
from oxenvideo.media.media import Media
from oxenvideo.request import shots

REQUEST_LIMIT = 4
"""Videos that one POST may ask for, by the API's documentation (its OpenAPI description says 12; 4 is sure)."""

_TARGETS = ("target_namespace", "target_repo", "target_directory")


@dataclass(frozen=True)
class VideoRequest:
    """What to make: a model and its parameters, with ``count`` videos wanted.

    ``parameters`` holds JSON values and Media, ``prompt`` or ``multi_prompt`` among them, and only what was given: the
    service's own defaults are not repeated. The ``target_`` fields name an Oxen repository that is to keep the result;
    ``response_format`` belongs to the synchronous endpoint. Raises InvalidRequest for a value that is no JSON.
    """

    model: str
    parameters: Mapping[str, Any] = field(hash=False)
    count: int = 1
    target_namespace: str | None = None
    target_repo: str | None = None
    target_directory: str | None = None
    response_format: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", {name: _json_value(v, name) for name, v in self.parameters.items()})

    @property
    def prompt(self) -> str:
        """The prompt; shots as one text, a line each; empty for a model that takes none."""
        prompt = self.parameters.get("prompt")
        if isinstance(prompt, str):
            return prompt
        listed = self.parameters.get("multi_prompt")
        if not isinstance(listed, list):
            return ""
        return "\n".join(str(shot.get("prompt", "")) for shot in listed if isinstance(shot, Mapping))

    def body(self, count: int | None = None, resolve: Callable[[Media], str] = Media.data_uri) -> dict[str, Any]:
        """The JSON for ``POST /api/ai/queue``: the model, the parameters in their order, how many, where to.

        ``resolve`` gives each Media its address: by default a data URI, which raises InvalidRequest for a Generation
        that is not done. ``count`` asks for another number of videos than the request does.
        """
        return self._assembled(count, resolve)

    def preview(self, count: int | None = None) -> dict[str, Any]:
        """The body for a person to read: media and data URIs by type and size, a Generation by name. Not to be sent."""
        return {name: _short(value) for name, value in self._assembled(count, lambda medium: medium.label).items()}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> VideoRequest:
        """The request that has this body; raises InvalidRequest where it names no model."""
        rest = dict(body)
        model, count = rest.pop("model", None), rest.pop("num_generations", 1)
        if not isinstance(model, str) or not model:
            raise InvalidRequest("The request names no model.")
        fields = {name: rest.pop(name) for name in (*_TARGETS, "response_format") if rest.get(name) is not None}
        return cls(model, rest, count, **fields)

    def to_json(self) -> dict[str, Any]:
        """The request for the journal, media included; ``from_json`` reads it back without loss."""
        data: dict[str, Any] = {"model": self.model, "parameters": media.replace(self.parameters, Media.to_json)}
        if self.count != 1:
            data["count"] = self.count
        named = {name: getattr(self, name) for name in (*_TARGETS, "response_format")}
        return data | {name: value for name, value in named.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> VideoRequest:
        """The request that ``to_json`` wrote."""
        fields = {name: data[name] for name in ("count", *_TARGETS, "response_format") if name in data}
        return cls(data["model"], _restored(data["parameters"]), **fields)

    def with_(self, **changes: Any) -> VideoRequest:
        """This request with other fields or parameters.

        None drops a parameter; a prompt takes the place of shots, and shots that of a prompt.
        """
        fields = {name: changes.pop(name) for name in list(changes) if name in self.__dataclass_fields__}
        parameters = dict(fields.pop("parameters", self.parameters))
        if changes.get("prompt") is not None:
            parameters.pop("multi_prompt", None)
        if changes.get("multi_prompt") is not None:
            parameters.pop("prompt", None)
        parameters |= changes
        kept = {name: value for name, value in parameters.items() if value is not None or name not in changes}
        return replace(self, parameters=kept, **fields)

    def split(self, limit: int = REQUEST_LIMIT) -> list[VideoRequest]:
        """Requests of at most ``limit`` videos each that together ask for as many."""
        full, rest = divmod(self.count, limit)
        return [replace(self, count=count) for count in [limit] * full + ([rest] if rest else [])]

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The keys of the generations whose results go into this request."""
        found = (medium.key for _, medium in media.walk(self.parameters) if medium.key is not None)
        return tuple(dict.fromkeys(found))

    def stored(self, directory: Path) -> VideoRequest:
        """This request with media that are only bytes put into files of ``directory``, named by their hash."""
        if next(media.walk(self.parameters), None) is None:
            return self
        return replace(self, parameters=media.replace(self.parameters, lambda medium: medium.store(directory)))

    def as_cell(self, name: str | None = None) -> str:
        """A ``%%oxenvideo`` cell that makes this request again, its Generation in the variable ``name``."""
        from oxenvideo.request import as_code

        return as_code.cell(self, name)

    def as_python(self) -> str:
        """A call of ``oxenvideo.submit`` that makes this request again."""
        from oxenvideo.request import as_code

        return as_code.python(self)

    def __repr__(self) -> str:
        words = [repr(_cut(self.prompt, 60)), f"model={self.model!r}"]
        for key, value in self.preview(count=1).items():
            if key not in {"model", "prompt", "multi_prompt"}:
                words.append(f"{key}={_cut(repr(value), 60)}")
        if self.count != 1:
            words.append(f"count={self.count}")
        return f"VideoRequest({', '.join(words)})"

    def _assembled(self, count: int | None, change: Callable[[Media], Any]) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, **media.replace(self.parameters, change)}
        number = self.count if count is None else count
        if number > 1:
            body["num_generations"] = number
        named = {name: getattr(self, name) for name in (*_TARGETS, "response_format")}
        return body | {name: value for name, value in named.items() if value is not None}


class Built(NamedTuple):
    """A request that passed the checks, and what is worth saying about it."""

    request: VideoRequest
    warnings: tuple[str, ...] = ()


def build(
    prompt: str | None = None,
    *,
    model: str,
    catalog: Catalog | None = None,
    count: int = 1,
    image: Any = None,
    images: Sequence[Any] = (),
    start_image: Any = None,
    end_image: Any = None,
    video: Any = None,
    videos: Sequence[Any] = (),
    audio_ref: Any = None,
    elements: Sequence[Any] = (),
    shots: Sequence[Any] | None = None,
    repo: str | None = None,
    namespace: str | None = None,
    response_format: str | None = None,
    check: bool = True,
    **parameters: Any,
) -> Built:
    """The request for these wishes, media in the model's own slots, checked against the catalogue.

    Media may be a URL, a path, bytes, a PIL image, a NumPy array, a matplotlib figure or a Generation; ``image``,
    ``video`` and ``audio_ref`` also take a list of them. ``elements`` are pictures, or lists of a front and other
    views; ``shots`` are texts, ``(text, seconds)`` pairs or dictionaries; ``repo`` is "namespace/name[/directory]".
    Every other keyword is a parameter of the model. One that is None counts as not given, and so does a blank prompt.

    Raises UnknownModel and InvalidRequest. ``check=False`` sends what was given as it is, and without a catalogue only
    the API's own rules are checked.
    """
    known = _model(model, catalog, check)
    given = {name: value for name, value in parameters.items() if value is not None}
    fields = _fields(given, count, repo, namespace, response_format)
    validation.check_count(fields["count"])
    if prompt is not None and prompt.strip():
        given["prompt"] = prompt
    if shots is not None:
        given["multi_prompt"] = _shots_of(shots)
    given = media_parameters.coerce(known, given)
    placed = media_parameters.place(
        known,
        images=[*_listed(image), *images],
        start_image=start_image,
        end_image=end_image,
        videos=[*_listed(video), *videos],
        audios=_listed(audio_ref),
        elements=elements,
        catalog=catalog,
    )
    twice = sorted(placed.keys() & given.keys())
    if twice:
        raise InvalidRequest(f"{twice[0]} is given twice: by its own name, and by the medium that belongs in it.")
    request = VideoRequest(known.id, _ordered(known, given | placed), **fields)
    return Built(request, tuple(validation.check(known, request.parameters, request.count)) if check else ())


def coerce_text(model: Model | None, name: str, text: str) -> Any:
    """The value that an option's text stands for, by the model's schema: ``"5"`` is 5 for a whole number.

    A parameter that is not known takes JSON where the text is JSON, and else the text. Raises InvalidRequest where the
    text is not of the parameter's type.
    """
    return schema.from_text(model.parameters.get(name, {}) if model is not None else {}, name, text)


def _model(model: str, catalog: Catalog | None, check: bool) -> Model:
    if catalog is None or not check:
        return (catalog or Catalog()).get(model, Model(model))
    return catalog.get(model)


def _fields(
    given: dict[str, Any], count: int, repo: str | None, namespace: str | None, response_format: str | None
) -> dict[str, Any]:
    """The fields of the request that are no parameters of the model; those given under the API's names count too."""
    fields = {name: given.pop(name) for name in _TARGETS if name in given}
    if namespace is not None:
        fields["target_namespace"] = namespace
    if repo is not None:
        parts = [part for part in repo.strip("/").split("/") if part]
        if len(parts) < 2:
            raise InvalidRequest(f"repo {repo!r} names no repository: use namespace/name or namespace/name/directory.")
        fields |= {"target_namespace": parts[0], "target_repo": parts[1]}
        if len(parts) > 2:
            fields["target_directory"] = "/".join(parts[2:])
    if response_format not in {None, "url", "b64_json"}:
        raise InvalidRequest(f"response_format {response_format!r} is not allowed: use url or b64_json.")
    return fields | {"count": given.pop("num_generations", count), "response_format": response_format}


def _shots_of(values: Sequence[Any]) -> list[shots.Shot]:
    return shots.of(values)


def _ordered(model: Model, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in the schema's order, the prompt or the shots first, unknown ones last as they were given."""
    order = ["prompt", "multi_prompt", *model.parameters]
    known = {name: parameters[name] for name in order if name in parameters}
    return known | {name: value for name, value in parameters.items() if name not in known}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _json_value(value: Any, name: str) -> Any:
    """The value as JSON has it, media left alone; a NumPy number becomes a number, a tuple a list."""
    if value is None or isinstance(value, (str, bool, Media)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_json_value(item, name) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _json_value(item, name) for key, item in value.items()}
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return _json_value(value.item(), name)
    if isinstance(value, float):
        raise InvalidRequest(f"{name} {value} is not a number that can be sent.")
    kind = type(value).__name__
    raise InvalidRequest(f"{name} is a {kind}, which cannot be sent: use text, numbers, lists or objects.")


def _restored(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        if set(tree) == {"$media"}:
            return Media.from_json(tree)
        return {key: _restored(value) for key, value in tree.items()}
    return [_restored(value) for value in tree] if isinstance(tree, list) else tree


def _short(tree: Any) -> Any:
    if isinstance(tree, str):
        return media.shortened(tree)
    if isinstance(tree, dict):
        return {key: _short(value) for key, value in tree.items()}
    return [_short(value) for value in tree] if isinstance(tree, list) else tree


def _cut(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
