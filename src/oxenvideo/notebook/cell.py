"""From a cell to requests: variables filled in, rows and sweeps spread out, each request checked."""

from __future__ import annotations

import ast
import itertools
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oxenvideo.catalog.catalog import Model
from oxenvideo.errors import InvalidRequest
from oxenvideo.jobs.batch import Batch
from oxenvideo.notebook import arguments
from oxenvideo.notebook.arguments import Line
from oxenvideo.request import shots
from oxenvideo.request.build import coerce_text
from oxenvideo.request.request import VideoRequest

if TYPE_CHECKING:
    from oxenvideo.session import Session

# Our options' names for parameters of models.
_PARAMETER_OF = {
    "duration": "duration",
    "aspect-ratio": "aspect_ratio",
    "seed": "seed",
    "negative": "negative_prompt",
}
_SLIP = 0.8  # how much alike (0 to 1) an unknown option is to a known one to be taken for a slip
_MEDIA = {"start-image": "start_image", "end-image": "end_image"}
_MEDIA_LISTS = {"image": "images", "video": "videos", "audio-ref": "audio_ref"}


@dataclass(frozen=True)
class Order:
    """The requests of one cell, in order, and the warnings about them, each once."""

    requests: tuple[VideoRequest, ...]
    warnings: tuple[str, ...]


def of(line: Line, body: str, namespace: Mapping[str, Any], session: Session, defaults: Mapping[str, Any]) -> Order:
    """Build the requests of a cell. Raises InvalidRequest, with nothing sent, for the first thing that is wrong."""
    requests: list[VideoRequest] = []
    warnings: dict[str, None] = {}
    for row in _rows(line, namespace):
        for sweep in _sweeps(line):
            names = {**namespace, **row} if row else namespace
            built = session.request(**_arguments(line, body, names, session, sweep, defaults))
            requests.append(built.request)
            warnings.update(dict.fromkeys(built.warnings))
    for column in _unused_columns(line, body, namespace):
        warnings[
            f"Column {column} of {line.values['each']} is not used: {{{column}}} in the prompt or an option uses it."
        ] = None
    if not requests:
        raise InvalidRequest(f"--each {line.values.get('each')} has no rows.")
    return Order(tuple(requests), tuple(warnings))


def _arguments(
    line: Line,
    body: str,
    names: Mapping[str, Any],
    session: Session,
    sweep: Mapping[str, str],
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    def text_of(option: str) -> str | None:
        return fill(line.values[option], names) if option in line.values else None

    model_id = sweep.get("model") or text_of("model") or session.settings.model
    check = "no-check" not in line.flags
    model = session.catalog.get(model_id) if check else session.catalog.get(model_id, None)
    known = model.parameters if model is not None else {}
    given: dict[str, Any] = {n: v for n, v in defaults.items() if v is not None and n in known}
    for name, written in _texts(line, names):
        given[name] = _typed(model, name, written, names)
    given |= {n: coerce_text(model, n, text) for n, text in sweep.items() if n != "model"}
    if "audio" in line.flags:
        given["generate_audio"] = True
    given |= {key: _medium(text, names) for option, key in _MEDIA.items() if (text := line.values.get(option))}
    given |= {key: list(_media(line.all(option), names)) for option, key in _MEDIA_LISTS.items() if line.all(option)}
    if elements := line.lists.get("element"):
        given["elements"] = [[_medium(text, names) for text in group] for group in elements]
    prompt = shots.parse(fill(body.strip("\n"), names)) if body.strip() else None
    if prompt is not None:
        given["shots" if isinstance(prompt, list) else "prompt"] = prompt
    _check_options(model, line, check)
    return {
        **given,
        "model": model_id,
        "count": _count(text_of("count")),
        "repo": text_of("repo"),
        "namespace": text_of("namespace"),
        "response_format": text_of("response-format"),
        "check": check,
    }


def _texts(line: Line, names: Mapping[str, Any]) -> Iterator[tuple[str, str | bool]]:
    """Every parameter that was given as text, our own names translated."""
    for option, parameter in _PARAMETER_OF.items():
        if option in line.values:
            yield parameter, fill(line.values[option], names)
    for name, value in line.parameters.items():
        yield name, value
    for pair in line.all("param"):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidRequest(f"-p {pair!r} is no KEY=VALUE.")
        yield key.replace("-", "_"), value


def _typed(model: Model | None, name: str, text: str | bool, names: Mapping[str, Any]) -> Any:
    if isinstance(text, bool):
        return text
    whole = _whole_field(text)
    if whole is not None and not isinstance(names.get(whole), str) and whole in names:
        return names[whole]
    if text.isidentifier() and text in names and _is_medium(names[text]):
        return names[text]
    filled = text if text.lstrip().startswith(("{", "[")) and whole is None else fill(text, names)
    return coerce_text(model, name, filled)


def _check_options(model: Model | None, line: Line, check: bool) -> None:
    """An option that nobody knows and that is nearly one that is known is a slip: better said than sent.

    Any other is a parameter that the schema lacks: it is sent, with a warning.
    """
    if model is None or model.schema is None or not check:
        return
    known = [*arguments.OPTIONS, *(name.replace("_", "-") for name in model.parameters)]
    for name in line.parameters:
        if name not in model.parameters and (hint := arguments.nearest(name, known, likeness=_SLIP)):
            raise InvalidRequest(
                f"There is no option --{name.replace('_', '-')} for {model.id}.{hint} To send it all the same: "
                f"-p {name}=VALUE"
            )


def _count(text: str | None) -> int:
    if text is None:
        return 1
    try:
        count = int(text)
    except ValueError:
        raise InvalidRequest(f"--count {text!r} is no whole number.") from None
    if count < 1:
        raise InvalidRequest(f"--count {count} is below 1: ask for at least one video.")
    return count


# Many


def _rows(line: Line, namespace: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if (name := line.values.get("each")) is None:
        return ({},)
    value = namespace.get(name)
    if value is None:
        raise InvalidRequest(f"--each {name}: there is no variable {name!r}.")
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.to_dict("records")
    rows = list(value) if not isinstance(value, str | Mapping) else []
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise InvalidRequest(f"--each {name}: a list of dicts or a DataFrame with rows is needed.")
    return [{str(key): item for key, item in row.items()} for row in rows]


def _unused_columns(line: Line, body: str, namespace: Mapping[str, Any]) -> list[str]:
    """Columns of the rows that stand nowhere in the cell: a person may take them for parameters."""
    written = [body, *line.values.values(), *(str(v) for v in line.parameters.values())]
    written += [text for groups in line.lists.values() for group in groups for text in group]
    whole = " ".join(written)
    columns = dict.fromkeys(column for row in _rows(line, namespace) for column in row)
    return [column for column in columns if f"{{{column}" not in whole]


def _sweeps(line: Line) -> Iterator[dict[str, str]]:
    axes: list[list[tuple[str, str]]] = []
    for sweep in line.all("sweep"):
        key, equals, values = sweep.partition("=")
        listed = [value.strip() for value in values.split(",") if value.strip()]
        if not equals or not key or not listed:
            raise InvalidRequest(f"--sweep {sweep!r} is no KEY=V1,V2,...")
        axes.append([(key.strip().replace("-", "_"), value) for value in listed])
    for combination in itertools.product(*axes):
        yield dict(combination)


# Variables


class _Fields(string.Formatter):
    """``str.format`` with names only: no ``{}`` and no ``{0}``, and an error that names what is missing."""

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if isinstance(key, int) or not key:
            raise InvalidRequest("An empty {} stands in the text: name a variable, or write {{ }} for braces.")
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
        raise InvalidRequest(f"A {{variable}} cannot be filled in: {error}. Write {{{{ for a brace.") from None


def _whole_field(text: str) -> str | None:
    inner = text[1:-1]
    return inner if text[:1] == "{" and text[-1:] == "}" and inner.isidentifier() else None


def _medium(text: str, names: Mapping[str, Any]) -> Any:
    """What stands for a medium: a variable by its name, an expression like ``clips[0]``, else a URL or a path."""
    whole = _whole_field(text)
    name = whole or text
    if name.isidentifier() and name in names:
        return names[name]
    found = _element(name, names)
    return fill(text, names) if found is None else found


def _media(texts: Sequence[str], names: Mapping[str, Any]) -> Iterator[Any]:
    """The media of a repeatable option; a variable may hold a list of them, or a Batch."""
    for text in texts:
        value = _medium(text, names)
        yield from value if isinstance(value, list | tuple | Batch) else (value,)


def _element(text: str, names: Mapping[str, Any]) -> Any:
    """``name[0]`` or ``name.attribute`` of the notebook, read without evaluating anything else; None if it is neither."""
    try:
        node: ast.expr = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return None
    match node:
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=key)) if name in names:
            try:
                return names[name][key]
            except (LookupError, TypeError) as error:
                raise InvalidRequest(f"{text} cannot be read: {type(error).__name__}: {error}") from None
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in names and hasattr(
            names[name], attribute
        ):
            return getattr(names[name], attribute)
    return None


def _is_medium(value: Any) -> bool:
    return not isinstance(value, str | int | float | bool | None | list | dict | tuple)
