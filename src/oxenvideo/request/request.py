"""VideoRequest: one order for videos, as the API takes it, as the journal keeps it, and as a person writes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from oxenvideo.errors import InvalidRequest
from oxenvideo.media import media
from oxenvideo.media.media import Media
from oxenvideo.request import as_code

REQUEST_LIMIT = 4
"""Videos that one POST may ask for, by the API's documentation (its OpenAPI description says 12; 4 is sure)."""

TARGETS = ("target_namespace", "target_repo", "target_directory")


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

    @cached_property
    def has_media(self) -> bool:
        """Whether any parameter holds a Media."""
        return _holds_media(self.parameters)

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
        fields = {name: rest.pop(name) for name in (*TARGETS, "response_format") if rest.get(name) is not None}
        return cls(model, rest, count, **fields)

    def to_json(self) -> dict[str, Any]:
        """The request for the journal, media included; ``from_json`` reads it back without loss."""
        parameters = self._with_media(Media.to_json)
        data: dict[str, Any] = {"model": self.model, "parameters": parameters}
        if self.count != 1:
            data["count"] = self.count
        return data | self._fields()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> VideoRequest:
        """The request that ``to_json`` wrote."""
        fields = {name: data[name] for name in ("count", *TARGETS, "response_format") if name in data}
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
        if not self.has_media:
            return ()
        found = (medium.key for _, medium in media.walk(self.parameters) if medium.key is not None)
        return tuple(dict.fromkeys(found))

    def stored(self, directory: Path) -> VideoRequest:
        """This request with media that are only bytes put into files of ``directory``, named by their hash."""
        if not self.has_media:
            return self
        return replace(self, parameters=self._with_media(lambda medium: medium.store(directory)))

    def as_cell(self, name: str | None = None) -> str:
        """A ``%%oxenvideo`` cell that makes this request again, its Generation in the variable ``name``."""
        return as_code.cell(self.model, self.parameters, self.count, self._fields(), name)

    def as_python(self) -> str:
        """A call of ``oxenvideo.submit`` that makes this request again."""
        return as_code.python(self.model, self.parameters, self.count, self._fields())

    def __repr__(self) -> str:
        words = [repr(_cut(self.prompt, 60)), f"model={self.model!r}"]
        for key, value in self.preview(count=1).items():
            if key not in {"model", "prompt", "multi_prompt"}:
                words.append(f"{key}={_cut(repr(value), 60)}")
        if self.count != 1:
            words.append(f"count={self.count}")
        return f"VideoRequest({', '.join(words)})"

    def _assembled(self, count: int | None, change: Callable[[Media], Any]) -> dict[str, Any]:
        parameters = self._with_media(change)
        body: dict[str, Any] = {"model": self.model, **parameters}
        number = self.count if count is None else count
        if number > 1:
            body["num_generations"] = number
        return body | self._fields()

    def _with_media(self, change: Callable[[Media], Any]) -> dict[str, Any]:
        """A copy of the parameters, each Media replaced by ``change(media)``."""
        if self.has_media:
            return dict(media.replace(self.parameters, change))
        return {name: _json_value(value, name) for name, value in self.parameters.items()}

    def _fields(self) -> dict[str, str]:
        """The fields beside the model, its parameters and the count, by the API's names; only those that are set."""
        values = {name: getattr(self, name) for name in (*TARGETS, "response_format")}
        return {name: value for name, value in values.items() if value is not None}


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


def _holds_media(tree: Any) -> bool:
    if isinstance(tree, Mapping):
        return any(map(_holds_media, tree.values()))
    return any(map(_holds_media, tree)) if isinstance(tree, list) else isinstance(tree, Media)


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
