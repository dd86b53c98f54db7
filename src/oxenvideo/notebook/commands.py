"""``%oxenvideo VERB``: list, wait, cancel, attach, resume, history, models, panel."""

from __future__ import annotations

import difflib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oxenvideo.catalog.pricing import dollars
from oxenvideo.errors import InvalidRequest
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.notebook import card
from oxenvideo.notebook import model_tables as tables_of_models
from oxenvideo.notebook.arguments import help_text, is_name
from oxenvideo.notebook.display import shown_path
from oxenvideo.notebook.runner import Page
from oxenvideo.notebook.table import Table
from oxenvideo.notebook.waiting import Item

_USAGE = "%oxenvideo list | wait [NAME|ID ...] [--timeout SECONDS] | cancel NAME|ID|--all | attach ID [NAME] | resume [--all]"
_USAGE += " | history [--page N] | models [WORDS|ID] [--input KIND] [--refresh] | panel"


def is_order(line: str) -> bool:
    """Whether a line is no verb but an order for a video, such as an upscale, which needs no prompt."""
    first = line.split(maxsplit=1)[0] if line.strip() else ""
    return first not in _VERBS and first not in _HELP and "--" in line


def run(page: Page, line: str) -> Any:
    """Do what the line says. Raises InvalidRequest for a verb or argument that does not exist."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise InvalidRequest(f"The line cannot be read: {str(error).lower()}.") from None
    if not words or words[0] in _HELP:
        print(f"{_USAGE}\n\n{help_text()}")
        return None
    verb = _VERBS.get(words[0])
    if verb is None:
        close = difflib.get_close_matches(words[0], _VERBS, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Use one of {', '.join(_VERBS)}."
        raise InvalidRequest(f"There is no verb {words[0]!r}. {hint} A prompt goes into a cell: %%oxenvideo")
    return verb(page, words[1:])


def _list(page: Page, words: Sequence[str]) -> Any:
    _options(words, {})
    generations = page.session.generations
    names = _names(page)
    table = Table(["name", "status", "model", "prompt", "time", "id"], whole=("status", "model", "time"), small=("id",))
    for g in generations:
        view = card.view_of(g, time.time())
        spent = card.duration_text(view.elapsed) if view.elapsed is not None else ""
        table.add(
            names.get(id(g)) or view.name or "", str(g.status), g.request.model, g.request.prompt, spent, g.id or ""
        )
    return table if generations else print("No videos in this kernel yet. %oxenvideo history shows earlier ones.")


def _wait(page: Page, words: Sequence[str]) -> None:
    rest, found = _options(words, {"--timeout": True})
    timeout = _number(found.get("--timeout"), "--timeout")
    items: list[Item] = [_item(page, word) for word in rest]
    items = (
        items or [g for g in page.session.generations if not g.state.is_settled] or list(page.session.generations[-1:])
    )
    if not items:
        print("There is nothing to wait for.")
        return
    if not page.wait(items, timeout):
        print(f"Still running after {timeout:g} s; the videos go on.")
        return
    if not page.in_terminal:
        for item in items:
            print(card.text(card.view_of(item, time.time())) if isinstance(item, Generation) else item.summary)
    for item in items:
        page.raise_failure(item)


def _cancel(page: Page, words: Sequence[str]) -> None:
    rest, found = _options(words, {"--all": False})
    if "--all" in found:
        items: list[Item] = [g for g in page.session.generations if not g.done]
    elif rest:
        items = [_item(page, word) for word in rest]
    else:
        raise InvalidRequest("Cancel which one? %oxenvideo cancel NAME, an id, or --all.")
    for item in items:
        label = item.name or "the video"
        if isinstance(item, Batch):
            answers = item.cancel()
            print(f"{label}: {sum(a.cancelled for a in answers)} of {len(answers)} running ones cancelled.")
        else:
            print(f"{label}: {item.cancel()}")
    if not items:
        print("Nothing is running.")


def _attach(page: Page, words: Sequence[str]) -> None:
    rest, _ = _options(words, {})
    if not 1 <= len(rest) <= 2:
        raise InvalidRequest("%oxenvideo attach ID [NAME]")
    name = rest[1] if len(rest) == 2 else None
    if name is not None and not is_name(name):
        raise InvalidRequest(f"{name!r} is no name for a variable: use letters, digits and _.")
    generation = page.session.attach(rest[0], name=name)
    if name is not None:
        page.push(name, generation)
    page.show(generation)


def _resume(page: Page, words: Sequence[str]) -> None:
    _, found = _options(words, {"--all": False})
    # What runs in this very kernel is shown again too: a page that was closed meanwhile no longer gets its updates.
    here = [g for g in page.session.generations if not g.done]
    resumed = page.session.resume(everything="--all" in found)
    generations = list({id(g): g for g in [*here, *resumed]}.values())
    for note in resumed.notes:
        print(f"Not brought back: {note}")
    for generation in generations:
        if generation.name is not None and generation.index is None:
            page.push(generation.name, generation)
        page.show(generation)
    if not generations and not resumed.notes:
        print(
            "Nothing is unfinished."
            if "--all" in found
            else "Nothing of this notebook is unfinished (--all for others)."
        )
        for line in _finished_lately(page):
            print(line)


def _finished_lately(page: Page) -> list[str]:
    """How to see what ended while no page was open: nothing is left to resume then, and the notebook shows it running."""
    journal = page.session.journal
    lately = [e for e in journal.entries(limit=50) if e.notebook == journal.notebook and e.path is not None][:3]
    return [
        f"Finished: {e.name or 'a video'} in {shown_path(e.path, page.directory)}; %oxenvideo attach {e.generation_id} shows it."
        for e in lately
    ]


def _history(page: Page, words: Sequence[str]) -> Any:
    rest, found = _options(words, {"--page": True, "--size": True})
    number = int(_number(found.get("--page") or (rest[0] if rest else None), "--page") or 1)
    rows = page.session.history(page=max(1, number), page_size=int(_number(found.get("--size"), "--size") or 20))
    heads = ["when", "status", "model", "prompt", "cost", "file", "id"]
    table = Table(heads, whole=("when", "status", "model", "cost"), small=("id",))
    for row in rows:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.enqueued_at)) if row.enqueued_at else ""
        cost = "free" if page.session.target.is_local else dollars(row.cost) if row.cost is not None else ""
        file = shown_path(row.path, page.directory) or ""
        table.add(when, str(row.status), row.model, row.prompt, cost, file, row.id or "")
    return table if rows else print("There is nothing on this page of the history.")


def _models(page: Page, words: Sequence[str]) -> Any:
    rest, found = _options(words, {"--input": True, "--refresh": False})
    kind = found.get("--input")
    if kind is not None and kind not in ("text", "image", "video", "audio"):
        raise InvalidRequest(f"--input {kind!r} is not known: use text, image, video or audio.")
    models = page.session.models("" if len(rest) == 1 else " ".join(rest), input=kind, refresh="--refresh" in found)
    if len(rest) == 1:
        exact = page.session.catalog.get(rest[0], None)
        if exact is not None:
            return tables_of_models.of_one(exact)
        models = page.session.models(rest[0], input=kind)
    if not models:
        near = page.session.catalog.nearest(" ".join(rest)) if rest else []
        print(f"No model has all of these words.{f' Near: {chr(44).join(near)}' if near else ''}")
        return None
    return tables_of_models.of_many(models)


def _panel(page: Page, words: Sequence[str]) -> Any:
    _options(words, {})
    from oxenvideo.notebook.panel.panel import panel

    return panel()


_VERBS: Mapping[str, Callable[[Page, Sequence[str]], Any]] = {
    "list": _list,
    "wait": _wait,
    "cancel": _cancel,
    "attach": _attach,
    "resume": _resume,
    "history": _history,
    "models": _models,
    "panel": _panel,
}
VERBS = tuple(_VERBS)
_HELP = ("--help", "-h", "help")


def _options(words: Sequence[str], known: Mapping[str, bool]) -> tuple[list[str], dict[str, str]]:
    """Plain words, and the options among them; ``known`` says which take a value."""
    rest: list[str] = []
    found: dict[str, str] = {}
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            rest.append(word)
            continue
        head, equals, value = word.partition("=")
        if head not in known:
            offered = f" Use {', '.join(known)}." if known else ""
            raise InvalidRequest(f"There is no option {head} here.{offered}")
        if known[head] and not equals:
            if not queue:
                raise InvalidRequest(f"{head} needs a value.")
            value = queue.pop(0)
        found[head] = value
    return rest, found


def _number(text: str | None, what: str) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidRequest(f"{what} {text!r} is no number.") from None


def _item(page: Page, word: str) -> Item:
    """A Generation or Batch by the name of its variable, by its own name, or by its id."""
    value = page.variables.get(word)
    if isinstance(value, Generation | Batch):
        return value
    for generation in page.session.generations:
        if word in (generation.id, generation.key) or (generation.name == word and generation.index is None):
            return generation
    raise InvalidRequest(f"There is no video {word!r} in this kernel. See %oxenvideo list, or %oxenvideo attach ID.")


def _names(page: Page) -> dict[int, str]:
    return {id(v): k for k, v in page.variables.items() if isinstance(v, Generation) and not k.startswith("_")}


__all__ = ["VERBS", "run"]
