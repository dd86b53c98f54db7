"""Write a request as a ``%%oxenvideo`` cell or as a call of ``oxenvideo.submit``."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from oxenvideo.catalog.catalog import bundled
from oxenvideo.media.media import Media, walk
from oxenvideo.media.media import replace as replace_media
from oxenvideo.request import shots

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:@%+=,-]+")
_OPTION_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_MEDIA_OPTIONS = {"image": "--image", "video": "--video", "audio": "--audio-ref"}
_TARGETS = ("target_namespace", "target_repo", "target_directory")
_OWN_ARGUMENTS = {
    *("prompt", "model", "catalog", "count", "image", "images", "start_image", "end_image", "video", "videos"),
    *("audio_ref", "shots", "repo", "namespace", "response_format", "check", "name", "save_as", "max_cost"),
}
"""Keywords of ``submit`` that are not parameters of a model."""


def cell(
    model: str, parameters: Mapping[str, Any], count: int, fields: Mapping[str, str], name: str | None = None
) -> str:
    """The ``%%oxenvideo`` cell; bytes appear as data URIs, another Generation as ``{its variable}``."""
    parameters = dict(parameters)
    body = _body(parameters)
    known = bundled().get(model, None)
    words = ["%%oxenvideo", *([name] if name else []), "--model", _quoted(_doubled(model))]
    for key, value in parameters.items():
        words += _words(key, value, known is not None and key in known.parameters)
    if count != 1:
        words += ["-n", str(count)]
    words += _target_words(*(fields.get(key) for key in _TARGETS))
    if "response_format" in fields:
        words += ["--response-format", fields["response_format"]]
    return " ".join(words) + "\n" + body


def python(model: str, parameters: Mapping[str, Any], count: int, fields: Mapping[str, str]) -> str:
    """The call of ``oxenvideo.submit``, or of ``submit_batch`` for more than one video.

    Bytes appear as data URIs, another Generation as its variable.
    """
    parameters = dict(parameters)
    lines = [f"prompt={parameters.pop('prompt')!r}"] if "prompt" in parameters else []
    lines.append(f"model={model!r}")
    if "multi_prompt" in parameters:
        lines.append(f"shots={_expression(parameters.pop('multi_prompt'))}")
    odd = {key: value for key, value in parameters.items() if not key.isidentifier() or key in _OWN_ARGUMENTS}
    lines += [f"{key}={_expression(value)}" for key, value in parameters.items() if key not in odd]
    lines += [f"count={count}"] if count != 1 else []
    lines += [f"{key}={value!r}" for key, value in fields.items()]
    lines += [f"**{_expression(odd)}"] if odd else []
    if count == 1:
        return "oxenvideo.submit(\n" + "".join(f"    {line},\n" for line in lines) + ")"
    return "oxenvideo.submit_batch([\n    dict(\n" + "".join(f"        {line},\n" for line in lines) + "    ),\n])"


def _body(parameters: dict[str, Any]) -> str:
    """The cell's body; removes the prompt or the shots from the parameters if a body can express them."""
    listed, prompt = parameters.get("multi_prompt"), parameters.get("prompt")
    text = None
    if isinstance(listed, list) and listed and not any(walk(listed)):
        text = shots.render(listed)
        if text is not None:
            del parameters["multi_prompt"]
    elif isinstance(prompt, str) and shots.says_prompt(prompt):
        text = parameters.pop("prompt")
    return _doubled(text or "")


def _words(key: str, value: Any, known: bool) -> Iterator[str]:
    """The words of one parameter: an option if the model is known to have it, else ``-p``."""
    if key == "elements" and _plain_elements(value):
        for element in value:
            views = [element["frontal_image_url"], *element.get("reference_image_urls", [])]
            yield from ("--element", *(_quoted(_medium(view)) for view in views))
    elif isinstance(value, list) and any(medium.key is not None for _, medium in walk(value)):
        # JSON cannot hold a variable, and a list of media is what these options make again.
        kind = next(medium.kind for _, medium in walk(value))
        for item in value:
            yield from (_MEDIA_OPTIONS[kind], _quoted(_medium(item)))
    else:
        yield from _pair(key, value, known)


def _pair(key: str, value: Any, known: bool) -> Iterator[str]:
    text = _medium(value) if isinstance(value, Media) else _value(replace_media(value, _address))
    if known and _OPTION_NAME.fullmatch(key) and not text.startswith("-"):
        option = f"--{key.replace('_', '-')}"
        yield from (option,) if value is True else (option, _quoted(text))
    else:
        yield from ("-p", _quoted(f"{key}={text}"))


def _value(value: Any) -> str:
    """The text that an option reads as this value; text that it would read as something else becomes a JSON literal."""
    plain = isinstance(value, str) and value.isprintable() and value[:1] not in {"{", "[", " "} and not _is_json(value)
    text = value if plain else json.dumps(value, ensure_ascii=False)
    # A list or an object is read as JSON at once; in everything else single braces name a variable.
    return text if isinstance(value, (list, Mapping)) else _doubled(text)


def _plain_elements(value: Any) -> bool:
    """Whether ``--element`` can express each element: a front image, and perhaps other views."""
    known = {"frontal_image_url", "reference_image_urls"}
    return bool(isinstance(value, list) and value) and all(
        isinstance(element, Mapping)
        and "frontal_image_url" in element
        and element.keys() <= known
        and (others := element.get("reference_image_urls", [""])) != []
        and isinstance(others, list)
        for element in value
    )


def _target_words(namespace: str | None, repo: str | None, directory: str | None) -> Iterator[str]:
    if namespace and repo:
        place = f"{namespace}/{repo}/{directory}" if directory else f"{namespace}/{repo}"
        yield from ("--repo", _quoted(_doubled(place)))
        return
    for key, value in zip(_TARGETS, (namespace, repo, directory), strict=True):
        if value is not None:
            yield from ("-p", _quoted(f"{key}={_value(value)}"))


def _medium(value: Any) -> str:
    """A Media as a word: another Generation by its variable, everything else by its path or URL."""
    if isinstance(value, Media) and value.key is not None:
        return "{" + _variable(value) + "}"
    return _doubled(_address(value) if isinstance(value, Media) else str(value))


def _address(medium: Media) -> str:
    if medium.path is not None:
        return str(medium.path)
    return _variable(medium) if medium.key is not None else medium.data_uri()


def _expression(value: Any) -> str:
    """A Python expression of the value; a Generation is written as its variable."""
    if isinstance(value, Media):
        return _variable(value) if value.key is not None else repr(_address(value))
    if isinstance(value, Mapping):
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
    """The text with doubled braces, because single braces name a variable of the notebook."""
    return text.replace("{", "{{").replace("}", "}}")


def _quoted(text: str) -> str:
    return text if _PLAIN_WORD.fullmatch(text) else shlex.quote(text)
