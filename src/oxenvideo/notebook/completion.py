"""Completion of options, models and values in ``%%oxenvideo`` cells and ``%oxenvideo`` lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from IPython.core.completer import SimpleCompletion, SimpleMatcherResult

from oxenvideo.notebook.arguments import CELL, VERB_OPTIONS, VERBS, is_cell

if TYPE_CHECKING:
    from oxenvideo.session import Session

_LINE = re.compile(r"^\s*(%{1,2})oxenvideo\s+(.*)$")
_TAKES_VARIABLE = {"each", "element", "image", "start-image", "end-image", "video", "audio-ref"}


def complete(context: Any, shell: Any, session: Callable[[], Session]) -> SimpleMatcherResult:
    """What IPython's completer offers. ``session`` is called only if something is to be completed."""
    found = _LINE.match(context.line_with_cursor[: context.cursor_position])
    # Only the first line of a cell has options; the rest is the prompt.
    if found is None or (found[1] == "%%" and context.cursor_line != 0):
        return {"completions": []}
    written = found[2]
    token = re.split(r"\s", written)[-1]
    before = written[: len(written) - len(token)].split()
    if found[1] == "%" and not is_cell(written):
        offers = _verb_offers(shell, session, before)
    else:
        offers = _cell_offers(shell, session(), before, token)
    # IPython replaces only context.token, which can be the end of what is written.
    skip = len(token) - len(context.token) if token.endswith(context.token) else 0
    texts = sorted(offer[skip:] for offer in set(offers) if offer.startswith(token))
    return {
        "completions": [SimpleCompletion(text=text, type="option") for text in texts],
        "matched_fragment": context.token,
        "suppress": bool(texts),
    }


def _verb_offers(shell: Any, session: Callable[[], Session], before: list[str]) -> Iterable[str]:
    if not before:
        return VERBS
    if before[0] not in VERBS:
        return ()
    options = VERB_OPTIONS[before[0]]
    for option in options:
        if before[-1] == f"--{option.name}" and option.metavar:
            return option.choices
    offers = [f"--{option.name}" for option in options]
    if before[0] in ("wait", "cancel"):
        videos = ("Generation", "Batch")
        offers += [n for n, v in shell.user_ns.items() if type(v).__name__ in videos and n[0] != "_"]
    return [*session().catalog, *offers] if before[0] == "models" else offers


def _cell_offers(shell: Any, session: Session, before: list[str], token: str) -> Iterable[str]:
    catalog = session.catalog
    model_id = session.settings.model
    for option, value in pairwise([*before, ""]):
        model_id = value if option == "--model" and value else option.partition("--model=")[2] or model_id
    model = catalog.get(model_id, None)
    parameters = model.parameters if model is not None else {}

    def values(option: str) -> list[str]:
        name = option.removeprefix("--")
        if name == "model":
            return list(catalog)
        if name in _TAKES_VARIABLE:
            return [name for name in shell.user_ns if not name.startswith("_") and name not in ("In", "Out")]
        if choices := next((option.choices for option in CELL if option.name == name), ()):
            return list(choices)
        spec = parameters.get(name.replace("-", "_"), {})
        if "enum" in spec:
            return [str(value) for value in spec["enum"]]
        return ["true", "false"] if spec.get("type") == "boolean" else []

    if token.startswith("--") and "=" in token:
        option = token.partition("=")[0]
        return [f"{option}={value}" for value in values(option)]
    if before and before[-1].startswith("--") and (offers := values(before[-1])):
        return offers
    own = [name.replace("_", "-") for name in parameters if "prompt" not in name]
    return [f"--{name}" for name in (*(option.name for option in CELL), *own)]
