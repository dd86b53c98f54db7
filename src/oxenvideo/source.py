"""A request as the code that makes it again: a ``%%oxenvideo`` cell, or a call of ``oxenvideo.submit``."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from oxenvideo import shots
from oxenvideo.media import Media
from oxenvideo.media import replace as replace_media

if TYPE_CHECKING:
    from oxenvideo.request import VideoRequest

_OPTION_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@%+=,-]+")
_OWN_OPTIONS = {
    *("model", "n", "count", "image", "images", "start_image", "end_image", "video", "videos", "audio", "audio_ref"),
    *("element", "elements", "repo", "namespace", "save", "each", "sweep", "wait", "sync", "dry_run", "help"),
    *("max_cost", "no_check", "check", "p", "param", "name", "shots", "prompt", "base_url"),
}
"""Names that an option of the magic already has, or may come to have: such a parameter is written ``-p name=value``."""
_OWN_ARGUMENTS = {
    *("prompt", "model", "catalog", "count", "image", "images", "start_image", "end_image", "video", "videos"),
    *("audio_ref", "shots", "repo", "namespace", "response_format", "check"),
}
_OPEN, _CLOSE = "\ue000", "\ue001"
"""Private characters that stand for the braces around a variable until all other braces are doubled."""


def cell(request: VideoRequest, name: str | None = None) -> str:
    """The ``%%oxenvideo`` cell; bytes appear as data URIs, another Generation as ``{its name}``."""
    parameters = dict(request.parameters)
    body = _body(parameters)
    words = ["%%oxenvideo", *([name] if name else []), "--model", _quoted(request.model)]
    for key, value in parameters.items():
        words += _option(key, value)
    if request.count != 1:
        words += ["-n", str(request.count)]
    if request.target_namespace and request.target_repo:
        place = [request.target_namespace, request.target_repo, request.target_directory or ""]
        words += ["--repo", _quoted("/".join(place).rstrip("/"))]
    else:
        for key in ("target_namespace", "target_repo", "target_directory"):
            if getattr(request, key):
                words += ["-p", _quoted(f"{key}={getattr(request, key)}")]
    if request.response_format:
        words += ["-p", f"response_format={request.response_format}"]
    return " ".join(words) + "\n" + body


def python(request: VideoRequest) -> str:
    """The call of ``oxenvideo.submit``; bytes appear as data URIs, another Generation as its variable."""
    arguments: list[tuple[str, str]] = [("model", repr(request.model))]
    parameters = dict(request.parameters)
    prompt = parameters.pop("prompt", None)
    if "multi_prompt" in parameters:
        arguments.append(("shots", _expression(parameters.pop("multi_prompt"))))
    odd = {key: value for key, value in parameters.items() if not key.isidentifier() or key in _OWN_ARGUMENTS}
    arguments += [(key, _expression(value)) for key, value in parameters.items() if key not in odd]
    if request.count != 1:
        arguments.append(("count", str(request.count)))
    for key in ("target_namespace", "target_repo", "target_directory", "response_format"):
        if getattr(request, key) is not None:
            arguments.append((key, repr(getattr(request, key))))
    lines = [repr(prompt)] if prompt is not None else []
    lines += [f"{key}={value}" for key, value in arguments]
    lines += [f"**{_expression(odd)}"] if odd else []
    return "oxenvideo.submit(\n" + "".join(f"    {line},\n" for line in lines) + ")"


def _body(parameters: dict[str, Any]) -> str:
    """The cell's body; takes the prompt or the shots out of the parameters where a body can say them."""
    listed = parameters.get("multi_prompt")
    text = shots.render(listed) if isinstance(listed, list) and listed else None
    if text is not None:
        del parameters["multi_prompt"]
    elif isinstance(parameters.get("prompt"), str) and shots.parse(parameters["prompt"]) == parameters["prompt"]:
        text = parameters.pop("prompt")
    return _doubled(text or "")


def _option(key: str, value: Any) -> Iterator[str]:
    """The words of one parameter; what is not plain text or a number is JSON."""
    written = replace_media(value, _address)
    plain = isinstance(written, str) and written.isprintable() and not _is_json(written)
    text = _doubled(written if plain else json.dumps(written, ensure_ascii=False))
    text = text.translate({ord(_OPEN): "{", ord(_CLOSE): "}"})
    if _OPTION_NAME.fullmatch(key) and key not in _OWN_OPTIONS and not isinstance(value, bool) and text[:1] != "-":
        yield from (f"--{key.replace('_', '-')}", _quoted(text))
    else:
        yield from ("-p", _quoted(f"{key}={text}"))


def _address(medium: Media) -> str:
    if medium.path is not None:
        return str(medium.path)
    if medium.key is not None:
        return _OPEN + _variable(medium) + _CLOSE
    return medium.data_uri()


def _expression(value: Any) -> str:
    """A Python expression of the value, in which a Generation is its variable."""
    if isinstance(value, Media) and value.key is not None:
        return _variable(value)
    if isinstance(value, Media):
        return repr(_address(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_expression(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_expression, value)) + "]"
    return repr(value)


def _variable(medium: Media) -> str:
    name = getattr(medium.generation, "name", None)
    return name if isinstance(name, str) and name.isidentifier() else "generation"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _doubled(text: str) -> str:
    """Braces doubled, as a single pair names a variable of the notebook."""
    return text.replace("{", "{{").replace("}", "}}")


def _quoted(text: str) -> str:
    return text if _PLAIN_VALUE.fullmatch(text) else shlex.quote(text)
