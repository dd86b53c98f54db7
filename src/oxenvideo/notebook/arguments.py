"""The magic's line: what its options are called, and how a line is read."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from keyword import iskeyword
from typing import Literal

from oxenvideo.errors import InvalidRequest

Kind = Literal["flag", "value", "repeat", "list"]


@dataclass(frozen=True)
class Option:
    """One option: ``value`` takes one text, ``repeat`` one at each use, ``list`` all up to the next option."""

    name: str
    kind: Kind
    help: str
    metavar: str = ""
    short: str = ""


OPTIONS: Mapping[str, Option] = {
    option.name: option
    for option in (
        Option("model", "value", "the model's id; see %oxenvideo models", "ID"),
        Option("duration", "value", "seconds", "SECONDS"),
        Option("aspect-ratio", "value", "shape of the picture, such as 16:9, 9:16 or 1:1", "W:H"),
        Option("seed", "value", "the same seed asks for the same video again", "NUMBER"),
        Option("audio", "flag", "with sound (generate_audio)"),
        Option("negative", "value", "what to keep out (negative_prompt)", "TEXT"),
        Option("count", "value", "how many videos", "N", "n"),
        Option("image", "repeat", "a picture: URL, path or variable; may be repeated", "IMAGE"),
        Option("start-image", "value", "the first frame", "IMAGE"),
        Option("end-image", "value", "the last frame", "IMAGE"),
        Option("video", "repeat", "a video to work on: URL, path or variable", "VIDEO"),
        Option("audio-ref", "repeat", "a sound to work with: URL, path or variable", "SOUND"),
        Option("element", "list", "a character or thing: a front view and up to three others", "FRONT [VIEW ...]"),
        Option("param", "repeat", "any parameter of the model; the value is JSON or text", "KEY=VALUE", "p"),
        Option(
            "each", "value", "one video for each row of a list of dicts or a DataFrame; {column} is filled in", "ROWS"
        ),
        Option("sweep", "repeat", "one video for each value; several sweeps are combined", "KEY=V1,V2,..."),
        Option("repo", "value", "keep the result in an Oxen repository", "NAMESPACE/NAME[/DIR]"),
        Option("namespace", "value", "the namespace that owns and pays (target_namespace)", "NAME"),
        Option(
            "save", "value", "name of the file here; {name}, {model}, {seed}, {index}, {id} are filled in", "PATTERN"
        ),
        Option("embed", "value", "how the video is kept in the notebook: auto, inline, file or url", "HOW"),
        Option("max-cost", "value", "refuse to send above this estimate", "DOLLARS"),
        Option("wait", "flag", "return only when the video is here"),
        Option("sync", "flag", "use the synchronous endpoint, which answers when the video is ready"),
        Option("response-format", "value", "url or b64_json, with --sync", "FORMAT"),
        Option("dry-run", "flag", "show the exact request and its price; send nothing"),
        Option("no-check", "flag", "send as it is, without checking against the model's schema"),
        Option("help", "flag", "show this help", "", "h"),
    )
}
_SHORT = {f"-{option.short}": option for option in OPTIONS.values() if option.short}


@dataclass
class Line:
    """A line as it was read: our options by name, and whatever may be a parameter of the model."""

    name: str | None = None
    values: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[list[str]]] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    parameters: dict[str, str | bool] = field(default_factory=dict)

    def all(self, name: str) -> list[str]:
        """Everything that was given to a repeatable option."""
        return [text for group in self.lists.get(name, []) for text in group]


def read(line: str) -> Line:
    """Read the line of a cell magic. Raises InvalidRequest with one line that says what is wrong."""
    try:
        tokens = shlex.split(line)
    except ValueError as error:
        raise InvalidRequest(f"The options cannot be read: {str(error).lower()}. Quotes come in pairs.") from None
    found = Line()
    rest = _Tokens(tokens)
    while rest:
        _take(found, rest.next(), rest)
    if found.name is not None and not is_name(found.name):
        raise InvalidRequest(f"{found.name!r} is no name for a variable: use letters, digits and _, or leave it out.")
    return found


def is_name(text: str) -> bool:
    """Whether a variable may be called so."""
    return text.isidentifier() and not iskeyword(text)


class _Tokens:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._tokens)

    def next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def peek_value(self) -> bool:
        """Whether a value comes next, not an option; a negative number is a value."""
        return bool(self) and not _is_option(self._tokens[self._at])


def _is_option(token: str) -> bool:
    return token.startswith("-") and len(token) > 1 and not token[1].isdigit() and not token[1:].startswith(".")


def _take(found: Line, token: str, rest: _Tokens) -> None:
    if not _is_option(token):
        if found.name is not None:
            raise InvalidRequest(
                f"{token!r} stands alone: one name comes first, then options. Put quotes around a value with spaces."
            )
        found.name = token
        return
    head, equals, attached = token.partition("=")
    option = _SHORT.get(head) or (OPTIONS.get(head[2:].replace("_", "-")) if head.startswith("--") else None)
    if option is None:
        _take_parameter(found, head, attached if equals else None, rest)
    elif option.kind == "flag":
        if equals:
            raise InvalidRequest(f"{head} takes no value.")
        found.flags.add(option.name)
    else:
        _take_value(found, option, head, attached if equals else None, rest)


def _take_value(found: Line, option: Option, head: str, attached: str | None, rest: _Tokens) -> None:
    if attached is None and not rest.peek_value():
        raise InvalidRequest(f"{head} needs a value: {head} {option.metavar}")
    group = [attached] if attached is not None else [rest.next()]
    if option.kind == "value":
        found.values[option.name] = group[0]
        return
    while option.kind == "list" and rest.peek_value():
        group.append(rest.next())
    found.lists.setdefault(option.name, []).append(group)


def _take_parameter(found: Line, head: str, attached: str | None, rest: _Tokens) -> None:
    if not head.startswith("--"):
        raise InvalidRequest(f"There is no option {head}.{nearest(head, [*OPTIONS, *_SHORT])}")
    name = head[2:].replace("-", "_")
    if attached is not None:
        found.parameters[name] = attached
    else:
        found.parameters[name] = rest.next() if rest.peek_value() else True


def nearest(text: str, names: Iterable[str], *, likeness: float = 0.55) -> str:
    """A sentence that offers the nearest of the names, or nothing where none is so much alike (0 to 1)."""
    close = difflib.get_close_matches(text.lstrip("-").replace("_", "-"), list(names), n=1, cutoff=likeness)
    return f" Did you mean {close[0] if close[0].startswith('-') else '--' + close[0]}?" if close else ""


def help_text() -> str:
    """The help of ``%oxenvideo --help``: IPython itself refuses a cell magic without a body."""
    lines = [
        "%%oxenvideo [NAME] [OPTIONS]",
        "the prompt, as the body of the cell; {variable} is filled in, {{ is a brace",
        "",
        "NAME becomes a variable that holds the Generation. Shots are separated by lines of ---, each may begin with [5s].",
        "",
    ]
    for option in OPTIONS.values():
        short = f"-{option.short}, " if option.short else ""
        lines.append(f"  {short + '--' + option.name + ' ' + option.metavar:<34} {option.help}")
    lines += [
        "",
        "Any other --option is a parameter of the model: see `%oxenvideo models ID`.",
        "Line magic: %oxenvideo list | wait | cancel | attach | resume | history | models | panel",
        "Defaults: %config OxenVideo",
    ]
    return "\n".join(lines)
