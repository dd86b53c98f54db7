"""VideoRequest: one request for videos, with its forms for the API, the journal and the user."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from oxenvideo.catalog import media_parameters
from oxenvideo.catalog.catalog import Model
from oxenvideo.errors import InvalidRequest
from oxenvideo.media import media, mp4
from oxenvideo.media.media import Kind, Media

REQUEST_LIMIT = 4
"""Videos that one POST may ask for. The API's documentation says 4, its OpenAPI description 12."""

TARGETS = ("target_namespace", "target_repo", "target_directory")


@dataclass(frozen=True)
class VideoRequest:
    """A model, its parameters, and the number of videos to make.

    ``parameters`` holds JSON values and Media, ``prompt`` or ``multi_prompt`` among them, and only what was given, not
    the service's defaults. The ``target_`` fields name an Oxen repository that stores the result; ``response_format``
    is for the synchronous endpoint. Raises InvalidRequest for a value that JSON cannot hold.
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
        """The prompt; for shots, their prompts on a line each; empty for a model that takes neither."""
        prompt = self.parameters.get("prompt")
        if isinstance(prompt, str):
            return prompt
        listed = self.parameters.get("multi_prompt")
        if not isinstance(listed, list):
            return ""
        return "\n".join(str(shot.get("prompt", "")) for shot in listed if isinstance(shot, Mapping))

    def body(self, count: int | None = None, resolve: Callable[[Media], str] = Media.data_uri) -> dict[str, Any]:
        """The JSON body for ``POST /api/ai/queue``.

        ``resolve`` gives the URL of each Media, by default a data URI, which raises InvalidRequest for a Generation.
        ``count`` replaces the request's own number of videos.
        """
        parameters = self._with_media(resolve)
        number = self.count if count is None else count
        body = {"model": self.model, **parameters, **({"num_generations": number} if number > 1 else {})}
        return body | self._fields()

    def preview(self, count: int | None = None) -> dict[str, Any]:
        """The body for display: files and data URIs by type and size, a Generation by name. It cannot be sent."""
        body = self.body(count, lambda medium: medium.label)
        return dict(media.map_leaves(body, lambda leaf: media.shortened(leaf) if isinstance(leaf, str) else leaf))

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> VideoRequest:
        """The request that has this body; InvalidRequest if it names no model."""
        rest = dict(body)
        model, count = rest.pop("model", None), rest.pop("num_generations", 1)
        if not isinstance(model, str) or not model:
            raise InvalidRequest("The request names no model.")
        fields = {name: rest.pop(name) for name in (*TARGETS, "response_format") if rest.get(name) is not None}
        return cls(model, rest, count, **fields)

    def to_json(self) -> dict[str, Any]:
        """The form for the journal; ``from_json`` reads it back without loss."""
        parameters = self._with_media(Media.to_json)
        count = {"count": self.count} if self.count != 1 else {}
        return {"model": self.model, "parameters": parameters, **count, **self._fields()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, trusted: bool = True) -> VideoRequest:
        """The request that ``to_json`` wrote; InvalidRequest if a media input in it is damaged.

        With ``trusted=False``, for data from somebody else, a local file is used only if its hash is recorded and
        right; the use of any other path raises InvalidRequest.
        """
        fields = {name: data[name] for name in ("count", *TARGETS, "response_format") if name in data}
        parameters = {name: _restored(value, trusted) for name, value in data["parameters"].items()}
        if not trusted:
            parameters = _without_paths(Model(data["model"]), parameters)
        return cls(data["model"], parameters, **fields)

    def with_(self, **changes: Any) -> VideoRequest:
        """This request with other fields or parameters.

        None removes a parameter. A prompt replaces shots, and shots replace a prompt.
        """
        fields = {name: changes.pop(name) for name in list(changes) if name in self.__dataclass_fields__}
        parameters = dict(fields.pop("parameters", self.parameters))
        for name, other in (("prompt", "multi_prompt"), ("multi_prompt", "prompt")):
            if changes.get(name) is not None:
                parameters.pop(other, None)
        parameters |= changes
        kept = {name: value for name, value in parameters.items() if value is not None or name not in changes}
        return replace(self, parameters=kept, **fields)

    def split(self, limit: int = REQUEST_LIMIT) -> list[VideoRequest]:
        """Requests for at most ``limit`` videos each, and together for as many as this one."""
        full, rest = divmod(self.count, limit)
        return [replace(self, count=count) for count in [limit] * full + ([rest] if rest else [])]

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The keys of the generations whose results are inputs of this request."""
        found = (medium.key for _, medium in media.walk(self.parameters) if medium.key is not None)
        return tuple(dict.fromkeys(found)) if self.has_media else ()

    def stored(self, directory: Path) -> VideoRequest:
        """This request with media that are only bytes written to files in ``directory``; see ``Media.store``."""
        if not self.has_media:
            return self
        return replace(self, parameters=self._with_media(lambda medium: medium.store(directory)))

    def as_cell(self, name: str | None = None) -> str:
        """A ``%%oxenvideo`` cell that makes this request again, its Generation in the variable ``name``."""
        from oxenvideo.request import as_code

        return as_code.cell(self.model, self.parameters, self.count, self._fields(), name)

    def as_python(self) -> str:
        """A call of ``oxenvideo.submit`` that makes this request again."""
        from oxenvideo.request import as_code

        return as_code.python(self.model, self.parameters, self.count, self._fields())

    def __repr__(self) -> str:
        shown = self.preview(count=1)
        rest = {key: _cut(repr(shown[key]), 60) for key in shown if key not in {"model", "prompt", "multi_prompt"}}
        named = {"model": repr(self.model)} | rest | ({"count": str(self.count)} if self.count != 1 else {})
        words = [repr(_cut(self.prompt, 60)), *(f"{key}={value}" for key, value in named.items())]
        return f"VideoRequest({', '.join(words)})"

    def _with_media(self, change: Callable[[Media], Any]) -> dict[str, Any]:
        """A copy of the parameters, each Media replaced by ``change(media)``."""
        if self.has_media:
            return dict(media.replace(self.parameters, change))
        return {name: _json_value(value, name) for name, value in self.parameters.items()}

    def _fields(self) -> dict[str, str]:
        """The fields other than model, parameters and count that are set."""
        values = {name: getattr(self, name) for name in (*TARGETS, "response_format")}
        return {name: value for name, value in values.items() if value is not None}


def _json_value(value: Any, name: str) -> Any:
    """The value in JSON's types, or a Media; a NumPy number becomes a number, and a tuple a list."""
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
        tree = list(tree.values())
    return any(map(_holds_media, tree)) if isinstance(tree, list) else isinstance(tree, Media)


def _restored(tree: Any, trusted: bool) -> Any:
    if isinstance(tree, Mapping):
        if set(tree) == {"$media"}:
            return Media.from_json(tree, trusted=trusted)
        return {key: _restored(value, trusted) for key, value in tree.items()}
    return [_restored(value, trusted) for value in tree] if isinstance(tree, list) else tree


def _without_paths(model: Model, tree: Any, kind: Kind | None = None) -> Any:
    """The parameters with text that is in the place of a URL and is none, such as a path, made an unverified Media."""
    if isinstance(tree, Mapping):
        found = {key: media_parameters.by_name(model, key) for key in tree}
        return {key: _without_paths(model, value, p.kind if (p := found[key]) else None) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_paths(model, value, kind) for value in tree]
    if kind is None or not isinstance(tree, str) or media.is_url(tree):
        return tree
    return Media.from_json({"$media": {"kind": kind, "path": tree}}, trusted=False)


class Joined(NamedTuple):
    """What a film was joined from: the names of the files, and the request that made each, None where it is not known."""

    files: tuple[str, ...]
    requests: tuple[VideoRequest | Joined | None, ...]


def recall(path: str | Path) -> VideoRequest | Joined:
    """The request that made a saved video, read from the metadata of its file; for a joined film, what it was joined from.

    The file may come from somebody else: a local file that the request names is used only if its content is the recorded
    one. Raises InvalidRequest for a file without such metadata.
    """
    record = mp4.read_metadata(Path(path))
    if (found := _recalled(record)) is None:
        raise InvalidRequest(f"{path} does not say how it was made: its metadata holds no request.")
    return found


def _recalled(record: Any) -> VideoRequest | Joined | None:
    with contextlib.suppress(LookupError, TypeError, ValueError, AttributeError, RecursionError):
        if "joined" in record:
            parts = record["joined"]
            return Joined(tuple(str(part["file"]) for part in parts), tuple(_recalled(part) for part in parts))
        data = record["request"]
        if isinstance(data["model"], str):
            return VideoRequest.from_json({**data, "count": 1}, trusted=False)
    return None


def _cut(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


# What was sent, as the journal keeps it and recovery compares it

_NOT_IN_ROWS = frozenset({"num_generations", "response_format"})
EMBEDDED = "data:sha256="
"""How a hash that stands for embedded media begins."""


def sent_parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    """The model and parameters of a request as the journal keeps them: embedded media give way to their hash."""
    return {name: hashed(value) for name, value in body.items() if name not in _NOT_IN_ROWS and value is not None}


def hashed(value: Any) -> Any:
    """The value with embedded media replaced by their hashes."""
    if isinstance(value, str):
        is_embedded = value.startswith("data:") and not value.startswith(EMBEDDED)
        return EMBEDDED + hashlib.sha256(value.encode()).hexdigest() if is_embedded else value
    if isinstance(value, Mapping):
        return {name: hashed(item) for name, item in value.items() if item is not None}
    return [hashed(item) for item in value] if isinstance(value, list | tuple) else value
