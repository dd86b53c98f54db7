"""The options of ``%%oxenvideo`` and the verbs of ``%oxenvideo``: one table that is parsed, explained and completed."""

from __future__ import annotations

import argparse
import difflib
import shlex
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from keyword import iskeyword
from typing import Any, NamedTuple, NoReturn

from oxenvideo.catalog.schema import either
from oxenvideo.errors import InvalidRequest


class Option(NamedTuple):
    """One option. Without a ``metavar`` it is a flag; ``repeat`` collects the values of all its uses in a list."""

    name: str
    help: str
    metavar: str = ""
    short: str = ""
    repeat: bool = False
    nargs: str | None = None
    type: Callable[[str], Any] = str
    choices: tuple[str, ...] = ()


def _number(convert: Callable[[str], Any], what: str, least: int = 0) -> Callable[[str], Any]:
    """A type for argparse: a number of at least ``least``; ``what`` names it in the error."""

    def read(text: str) -> Any:
        try:
            if (value := convert(text)) >= least:
                return value
        except (ValueError, ArithmeticError):
            pass
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}.")

    return read


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed: use {either(choices)}.")
        return text

    return read


_DOLLARS = _number(lambda text: Decimal(text.removeprefix("$")), "an amount of US dollars")
_SECONDS = _number(float, "a number of seconds")
_COUNT = _number(int, "a whole number of at least 1", 1)
EMBED = ("auto", "inline", "file", "url")
"""How a video is stored in the notebook."""

_HELP = Option("help", "show this help", short="h")
CELL = (
    Option("model", "the model's id; %oxenvideo models lists them", "ID"),
    Option("duration", "length of the video in seconds", "SECONDS"),
    Option("aspect-ratio", "shape of the picture, such as 16:9, 9:16 or 1:1", "W:H"),
    Option("seed", "the same seed and request give the same video", "NUMBER"),
    Option("audio", "generate sound (generate_audio)"),
    Option("negative", "what the video should not show (negative_prompt)", "TEXT"),
    Option("count", "number of videos", "N", "n"),
    Option("image", "an image: a URL, a path or a variable; can be repeated", "IMAGE", repeat=True),
    Option("start-image", "the first frame", "IMAGE"),
    Option("end-image", "the last frame", "IMAGE"),
    Option("video", "an input video: a URL, a path or a variable; can be repeated", "VIDEO", repeat=True),
    Option("audio-ref", "an input sound: a URL, a path or a variable; can be repeated", "SOUND", repeat=True),
    Option("element", "a character or thing: its front view and up to three more", "VIEW", repeat=True, nargs="+"),
    Option("param", "any parameter of the model; the value is JSON or text", "KEY=VALUE", "p", repeat=True),
    Option("each", "one video for each row of a list of dicts or a DataFrame; {column} is replaced", "ROWS"),
    Option("sweep", "one video for each value; several sweeps are combined", "KEY=V1,V2,...", repeat=True),
    Option("repo", "store the result in an Oxen repository", "NAMESPACE/NAME[/DIR]"),
    Option("namespace", "the namespace that owns the video and pays for it (target_namespace)", "NAME"),
    Option("save", "file name; {name}, {model}, {seed}, {index} and {id} are replaced", "PATTERN"),
    Option("embed", f"how the video is stored in the notebook: {', '.join(EMBED)}", "HOW", choices=EMBED),
    Option("max-cost", "refuse a cell whose estimate is above this amount", "DOLLARS", type=_DOLLARS),
    Option("notify", "tell when it is done, by a notification or a sound"),
    Option("wait", "return when the video is here"),
    Option("sync", "use the synchronous endpoint, which responds when the video is ready"),
    Option("response-format", "url or b64_json; only with --sync", "FORMAT"),
    Option("dry-run", "show the request and its price, and send nothing"),
    Option("no-check", "send the request without checking it against the model's schema"),
    _HELP,
)
INPUTS = ("text", "image", "video", "audio")
VERBS: Mapping[str, tuple[str, str]] = {
    "list": ("", "list the videos of this kernel"),
    "wait": ("[NAME|ID ...]", "wait for videos, by default for all that are running"),
    "cancel": ("NAME|ID ...", "cancel videos"),
    "attach": ("ID [NAME]", "show any generation of the account, and store it in a variable"),
    "resume": ("", "bring back the unfinished videos of this notebook"),
    "history": ("", "show earlier generations with their cost"),
    "join": ("NAME|FILE ... --save FILE", "join videos into one file; unfinished ones are waited for"),
    "models": ("[WORDS|ID]", "find models, or show the parameters, limits and price of one"),
    "panel": ("", "open the panel"),
}
"""What each verb takes besides options, and its help."""
VERB_OPTIONS: Mapping[str, tuple[Option, ...]] = {
    **dict.fromkeys(VERBS, ()),
    "wait": (Option("timeout", "stop waiting after this time", "SECONDS", type=_SECONDS),),
    "cancel": (Option("all", "cancel all that are running"),),
    "resume": (Option("all", "bring back those of every notebook"),),
    "history": (
        Option("page", "page number, from 1 (the newest)", "N", type=_COUNT),
        Option("size", "rows of a page", "N", type=_COUNT),
    ),
    "join": (Option("save", "the new file, in the directory of the videos unless the path is absolute", "FILE"),),
    "models": (
        Option("input", "models that take text, image, video or audio", "KIND", choices=INPUTS),
        Option("refresh", "ask the service for its models first"),
    ),
}


def parse_cell(line: str) -> argparse.Namespace:
    """The options of a cell, with ``name`` (or None) and ``parameters``: the options that belong to the model.

    Raises InvalidRequest with one line that says what is wrong.
    """
    tokens = split(line)
    parser = _parser(CELL)
    known = {f"--{option.name}" for option in CELL}
    unknown: dict[str, str] = {}
    for position, token in enumerate(tokens):
        head, equals, value = token.partition("=")
        if (own := head.replace("_", "-")) in known:
            tokens[position] = own + equals + value
        elif head.startswith("--") and head != "--" and not any(map(str.isspace, head)) and head not in unknown:
            # argparse has no option for it yet: the value is optional, since it can be a flag of the model.
            unknown[head] = f"parameter {head[2:].replace('-', '_')}"
            parser.add_argument(head, dest=unknown[head], nargs="?", const=True)
    options, rest = _parse(parser, tokens)
    for token in rest:
        if _is_option(token):
            shorts = [f"-{option.short}" for option in CELL if option.short]
            hint = nearest(token, [*(option.name for option in CELL), *shorts])
            raise InvalidRequest(f"There is no option {token}.{hint}")
    if len(rest) > 1:
        advice = "write one name first, then options, and quotes around a value with spaces."
        raise InvalidRequest(f"{rest[1]!r} stands alone: {advice}")
    options.name = rest[0] if rest else None
    options.parameters = {dest.partition(" ")[2]: getattr(options, dest) for dest in unknown.values()}
    if options.name is not None:
        check_name(options.name)
    return options


def parse_verb(line: str) -> argparse.Namespace:
    """The options of a ``%oxenvideo`` line, with ``verb`` and ``operands``. Raises InvalidRequest."""
    verb, *tokens = split(line)
    if verb not in VERBS:
        close = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Use one of {', '.join(VERBS)}."
        advice = "Write a prompt in a cell that begins with %%oxenvideo."
        raise InvalidRequest(f"There is no verb {verb!r}. {hint} {advice}")
    options, rest = _parse(_parser((*VERB_OPTIONS[verb], _HELP)), tokens)
    if wrong := next(filter(_is_option, rest), None):
        offered = ", ".join(f"--{option.name}" for option in VERB_OPTIONS[verb])
        raise InvalidRequest(f"%oxenvideo {verb} has no option {wrong}.{f' Use {offered}.' if offered else ''}")
    if rest and not VERBS[verb][0]:
        raise InvalidRequest(f"%oxenvideo {verb} takes no name: {rest[0]!r} is not an option.")
    options.verb, options.operands = verb, rest
    return options


def is_cell(line: str) -> bool:
    """Whether a ``%oxenvideo`` line makes a video, such as an upscaled one, which needs no prompt."""
    first = line.split(maxsplit=1)[0] if line.strip() else ""
    return first not in VERBS and first not in ("--help", "-h", "help") and "--" in line


def check_name(name: str) -> None:
    """InvalidRequest unless a variable can have this name."""
    if not name.isidentifier() or iskeyword(name):
        raise InvalidRequest(f"{name!r} is not a name for a variable: use letters, digits and _, or leave it out.")


def split(line: str) -> list[str]:
    """The words of a line, quotes removed. Raises InvalidRequest."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InvalidRequest(f"The line cannot be read: {str(error).lower()}. Quotes come in pairs.") from None


def nearest(text: str, names: Iterable[str], *, likeness: float = 0.55) -> str:
    """A sentence that offers the most similar name; empty if none is at least this similar (0 to 1)."""
    close = difflib.get_close_matches(text.lstrip("-").replace("_", "-"), list(names), n=1, cutoff=likeness)
    return f" Did you mean {close[0] if close[0].startswith('-') else '--' + close[0]}?" if close else ""


def help_text(verb: str | None = None) -> str:
    """The help of a verb, or of cells and all verbs."""
    if verb is not None:
        operands, about = VERBS[verb]
        usage = f"%oxenvideo {verb} {operands} [OPTIONS]".replace("  ", " ")
        return _parser((*VERB_OPTIONS[verb], _HELP), usage, about.capitalize() + ".").format_help()
    description = (
        "Makes a video of the prompt in the cell's body. {variable} is replaced by its value; write {{ for a brace.\n"
        "NAME becomes a variable with the Generation, or the Batch if there are several videos. Lines of --- separate\n"
        "shots; a shot can begin with its length, such as [5s].\n"
        "Any other --option is a parameter of the model: see %oxenvideo models ID."
    )
    verbs = "\n".join(f"  %oxenvideo {f'{verb} {operands}':<24} {about}" for verb, (operands, about) in VERBS.items())
    epilog = f"lines:\n{verbs}\n\n%oxenvideo VERB --help shows a verb's options. %config OxenVideo shows the defaults."
    return _parser(CELL, "%%oxenvideo [NAME] [OPTIONS]", description, epilog).format_help()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """argparse would end the process."""
        raise InvalidRequest(message)


def _parser(options: Iterable[Option], usage: str = "", description: str = "", epilog: str = "") -> _Parser:
    parser = _Parser(
        usage=usage.replace("%", "%%"),
        description=description,
        epilog=epilog,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=36, width=118),
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
    )
    for option in options:
        flags = [f"--{option.name}", *([f"-{option.short}"] if option.short else [])]
        about = option.help.replace("%", "%%")
        if not option.metavar:
            parser.add_argument(*flags, action="store_true", help=about)
            continue
        parser.add_argument(
            *flags,
            action="append" if option.repeat else "store",
            nargs=option.nargs,
            metavar=option.metavar,
            type=_one_of(option.choices) if option.choices else option.type,
            default=[] if option.repeat else None,
            help=about,
        )
    return parser


def _parse(parser: _Parser, tokens: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the words that belong to none."""
    try:
        return parser.parse_known_args(tokens)
    except argparse.ArgumentError as error:
        name, what = (error.argument_name or "").partition("/")[0], error.message
        if what.startswith("expected"):
            metavar = next(action.metavar for action in parser._actions if name in action.option_strings)
            what = f"needs a value: {name} {metavar}"
        elif what.startswith("ignored explicit argument"):
            what = "takes no value."
        raise InvalidRequest(f"{name} {what}") from None


def _is_option(token: str) -> bool:
    return token.startswith("-") and len(token) > 1 and not token[1].isdigit() and not token[1:].startswith(".")
