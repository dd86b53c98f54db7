"""Completion of options, models and values in ``%%oxenvideo`` cells, and of verbs in ``%oxenvideo`` lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from oxenvideo.notebook.magics import OxenVideo

_LINE = re.compile(r"^\s*(%{1,2})oxenvideo\s+(.*)$")


def matcher(magics: OxenVideo) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """A matcher for IPython's completer."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    def offers(context: Any) -> SimpleMatcherResult:
        line = context.line_with_cursor[: context.cursor_position]
        found = _LINE.match(line)
        # Only the cell's first line holds options; the rest is the prompt.
        if found is None or (found[1] == "%%" and context.cursor_line != 0):
            return {"completions": []}
        from oxenvideo.notebook.commands import is_order

        written = found[2]
        token = re.split(r"\s", written)[-1]
        before = written[: len(written) - len(token)].split()
        verb = found[1] == "%" and not is_order(written)
        names = _verb_offers(magics, before) if verb else _cell_offers(magics, before, token)
        start, offered = _fit(token, names, context.token)
        return {
            "completions": [SimpleCompletion(text=text, type="option") for text in offered],
            "matched_fragment": start,
            "suppress": bool(offered),
        }

    return context_matcher(identifier="oxenvideo.options")(offers)  # type: ignore[no-any-return]


def _fit(token: str, names: Iterable[str], fragment: str) -> tuple[str, list[str]]:
    """Offers that begin with what is written, given for the part of it that IPython will replace."""
    skip = len(token) - len(fragment) if token.endswith(fragment) else 0
    return fragment, sorted(name[skip:] for name in set(names) if name.startswith(token))


def _verb_offers(magics: OxenVideo, before: list[str]) -> Iterable[str]:
    from oxenvideo.notebook.commands import VERBS

    if not before:
        return VERBS
    if before[0] in ("wait", "cancel"):
        return [
            n for n, v in magics.ipython.user_ns.items() if type(v).__name__ in ("Generation", "Batch") and n[0] != "_"
        ]
    if before[0] == "models":
        return [*magics.page.session.catalog, "--input", "--refresh"]
    return ["--all"] if before[0] == "resume" else []


def _cell_offers(magics: OxenVideo, before: list[str], token: str) -> Iterable[str]:
    from oxenvideo.notebook.arguments import OPTIONS

    catalog = magics.page.session.catalog
    option = before[-1] if before and before[-1].startswith("--") else ""
    if "=" in token and token.startswith("--"):
        option = token.partition("=")[0]
        return [f"{option}={value}" for value in _values(magics, option, before)]
    if option == "--model":
        return list(catalog)
    if option and (values := _values(magics, option, before)):
        return values
    model = catalog.get(_model_of(magics, before), None)
    parameters = model.parameters if model is not None else {}
    return [f"--{name}" for name in OPTIONS] + [
        f"--{name.replace('_', '-')}" for name in parameters if "prompt" not in name
    ]


def _values(magics: OxenVideo, option: str, before: list[str]) -> list[str]:
    from oxenvideo.notebook.embed import HOWS

    if option == "--embed":
        return list(HOWS)
    if option in ("--each", "--element", "--image", "--start-image", "--end-image", "--video", "--audio-ref"):
        return [name for name in magics.ipython.user_ns if not name.startswith("_") and name not in ("In", "Out")]
    model = magics.page.session.catalog.get(_model_of(magics, before), None)
    spec = model.parameters.get(option[2:].replace("-", "_"), {}) if model is not None else {}
    if "enum" in spec:
        return [str(value) for value in spec["enum"]]
    return ["true", "false"] if spec.get("type") == "boolean" else []


def _model_of(magics: OxenVideo, before: list[str]) -> str:
    for option, value in pairwise(before):
        if option == "--model":
            return value
    given = [word.partition("=")[2] for word in before if word.startswith("--model=")]
    return given[-1] if given else magics.page.session.settings.model
