"""The requests of a cell: variables replaced, rows and sweeps expanded, options turned into parameters of the model."""

from __future__ import annotations

import ast
import itertools
import os
import re
import string
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oxenvideo.catalog import schema
from oxenvideo.catalog.catalog import Catalog, Model
from oxenvideo.errors import InvalidRequest
from oxenvideo.jobs.batch import Batch
from oxenvideo.notebook.arguments import CELL, nearest
from oxenvideo.request import shots
from oxenvideo.request.build import build
from oxenvideo.request.request import VideoRequest

_SIMILAR = 0.8  # (0 to 1) an unknown option that is this similar to a known one is taken for a typing error
# Options and the arguments of ``build`` that they become.
_TEXTS = {"duration": "duration", "aspect_ratio": "aspect_ratio", "seed": "seed", "negative": "negative_prompt"}
_LISTS = {"image": "images", "video": "videos", "audio_ref": "audio_ref"}
_PART = re.compile(r"(?P<name>[^\W\d]\w*)(\[(?P<key>[^\]]+)\]|\.(?P<attribute>[^\W\d]\w*))")  # a[0] or a.b
_FIELDS = ("repo", "namespace", "response_format")


def requests(
    options: Namespace,
    body: str,
    variables: Mapping[str, Any],
    catalog: Catalog,
    model: str,
    defaults: Mapping[str, Any],
) -> tuple[list[VideoRequest], list[str]]:
    """The requests of a cell in order, and the warnings about them, each once. Raises InvalidRequest.

    ``model`` is used if the cell names none, ``defaults`` are parameters for models that have them.
    """
    made: list[VideoRequest] = []
    warnings: dict[str, None] = {}
    rows = _rows(options.each, variables)
    for row in rows:
        names = {**variables, **row} if row else variables
        for sweep in _sweeps(options.sweep):
            model_id = sweep.pop("model", None) or _filled(options.model, names) or model
            known = catalog.get(model_id, Model(model_id)) if options.no_check else catalog.get(model_id)
            given = _arguments(options, body, names, known, defaults)
            for name, text in sweep.items():
                given[name] = schema.from_text(known.parameters.get(name, {}), name, text)
            built = build(model=known, catalog=catalog, check=not options.no_check, **given)
            made.append(built.request)
            warnings.update(dict.fromkeys(built.warnings))
    # A user can take columns that no text of the cell names for parameters.
    written = f"{body} {vars(options)}"
    for column in dict.fromkeys(itertools.chain(*rows)):
        if f"{{{column}" not in written:
            unused = f"Column {column} of {options.each} is not used: write {{{column}}} in the prompt or an option."
            warnings[unused] = None
    return made, list(warnings)


def _arguments(
    options: Namespace, body: str, names: Mapping[str, Any], model: Model, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of ``build`` for one request, without the model."""
    own, required = model.parameters, model.required
    given = {name: value for name, value in defaults.items() if value is not None and name in own}
    for option, name in _TEXTS.items():
        if (text := getattr(options, option)) is not None:
            given[name] = schema.from_text(own.get(name, {}), name, fill(text, names))
    for name, written in _parameters(options):
        given[name] = _typed(own.get(name, {}), name, written, names)
    if options.audio:
        given["generate_audio"] = True
    for option in ("start_image", "end_image"):
        if text := getattr(options, option):
            given[option] = _medium(option, text, names)
    for option, argument in _LISTS.items():
        # A variable can hold a list of media, or a Batch.
        values = [_medium(option, text, names) for text in getattr(options, option)]
        many = [value if isinstance(value, list | tuple | Batch) else (value,) for value in values]
        given[argument] = list(itertools.chain(*many))
    given["elements"] = [[_medium("element", text, names) for text in views] for views in options.element]
    if body.strip():
        text = fill(body.strip("\n"), names)
        prompt = shots.parse(text) if "---" in text else text.strip()  # most cells have no shots
        given["prompt" if isinstance(prompt, str) else "shots"] = prompt
    if model.schema is not None and not options.no_check:
        _check_options(model, options.parameters)
        if ("prompt" in required or "multi_prompt" in own) and not given.keys() & {"prompt", "shots", "multi_prompt"}:
            raise InvalidRequest("Write a prompt in the cell's body.")
    if options.count is not None:
        given["count"] = _count(fill(options.count, names))
    return given | {name: _filled(getattr(options, name), names) for name in _FIELDS}


def _filled(text: str | None, names: Mapping[str, Any]) -> str | None:
    return None if text is None else fill(text, names)


def _parameters(options: Namespace) -> Iterator[tuple[str, str | bool]]:
    """The parameters of the model that were given by their own names."""
    yield from options.parameters.items()
    for pair in options.param:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidRequest(f"-p {pair!r} is not KEY=VALUE.")
        yield key.replace("-", "_"), value


def _typed(spec: Mapping[str, Any], name: str, written: str | bool, names: Mapping[str, Any]) -> Any:
    if isinstance(written, bool):
        return written
    whole = _whole_field(written)
    if whole in names and not isinstance(names[whole], str):
        return names[whole]
    if written in names and not isinstance(names[written], str | int | float | bool | None | list | dict | tuple):
        return names[written]  # a medium
    as_it_is = written.lstrip().startswith(("{", "[")) and not whole  # JSON
    return schema.from_text(spec, name, written if as_it_is else fill(written, names))


def _check_options(model: Model, parameters: Mapping[str, Any]) -> None:
    """Refuse an unknown option that is nearly a known one; any other is sent, with a warning that the schema lacks it."""
    known = [*(option.name for option in CELL), *(name.replace("_", "-") for name in model.parameters)]
    for name in parameters:
        if name not in model.parameters and (hint := nearest(name, known, likeness=_SIMILAR)):
            raise InvalidRequest(
                f"{model.id} has no option --{name.replace('_', '-')}.{hint} To send it nevertheless, write -p {name}=VALUE"
            )


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        raise InvalidRequest(f"--count {text!r} is not a whole number.") from None
    if count < 1:
        raise InvalidRequest(f"--count {count} is below 1: ask for at least one video.")
    return count


# Several requests


def _rows(name: str | None, variables: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if name is None:
        return ({},)
    value = variables.get(name)
    if value is None:
        raise InvalidRequest(f"--each {name}: there is no variable {name!r}.")
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.to_dict("records")
    rows = list(value) if not isinstance(value, str | Mapping) else []
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise InvalidRequest(f"--each {name}: the variable must hold a list of dicts or a DataFrame, with rows.")
    return [{str(key): item for key, item in row.items()} for row in rows]


def _sweeps(sweeps: Sequence[str]) -> Iterator[dict[str, str]]:
    axes: list[list[tuple[str, str]]] = []
    for sweep in sweeps:
        key, equals, values = sweep.partition("=")
        listed = [value.strip() for value in values.split(",") if value.strip()]
        if not equals or not key or not listed:
            raise InvalidRequest(f"--sweep {sweep!r} is not KEY=V1,V2,...")
        axes.append([(key.strip().replace("-", "_"), value) for value in listed])
    return map(dict, itertools.product(*axes))


# Variables


class _Fields(string.Formatter):
    """``str.format`` with names only: ``{}`` and ``{0}`` are errors."""

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if isinstance(key, int) or not key:
            raise InvalidRequest("The text has an empty {}: name a variable, or write {{ }} for braces.")
        if key not in kwargs:
            raise InvalidRequest(f"There is no variable {key!r} for {{{key}}}: define it, or write {{{{ for a brace.")
        return kwargs[key]


def fill(text: str, names: Mapping[str, Any]) -> str:
    """Text with each ``{variable}`` replaced; attributes, items and formats work as in ``str.format``."""
    if "{" not in text and "}" not in text:
        return text
    try:
        return _Fields().vformat(text, (), names)
    except InvalidRequest:
        raise
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise InvalidRequest(f"A {{variable}} cannot be replaced: {error}. Write {{{{ for a brace.") from None


def _whole_field(text: str) -> str:
    """The name in a text that is only ``{name}``; empty for any other text."""
    inner = text[1:-1]
    return inner if text[:1] == "{" and text[-1:] == "}" and inner.isidentifier() else ""


def _medium(option: str, text: str, names: Mapping[str, Any]) -> Any:
    """A medium: a variable, an item or attribute of one such as ``clips[0]``, or else a URL or a path."""
    name = _whole_field(text) or text
    if name in names:
        return names[name]
    part = _PART.fullmatch(text)
    if part and part["name"] in names:
        value = names[part["name"]]
        try:
            # Only a constant is evaluated: a URL or a path must not run as code.
            return value[ast.literal_eval(part["key"])] if part["key"] else getattr(value, part["attribute"])
        except AttributeError:
            pass  # a file such as clip.mp4
        except (LookupError, TypeError, ValueError, SyntaxError) as error:
            raise InvalidRequest(f"{text} cannot be read: {type(error).__name__}: {error}") from None
    elif name != text or ((name.isidentifier() or (part and part["key"])) and not os.path.exists(text)):
        what = f"variable {name!r}" if name != text else f"variable and no file {(part['name'] if part else text)!r}"
        raise InvalidRequest(f"--{option.replace('_', '-')} {text}: there is no {what}.")
    return fill(text, names)
