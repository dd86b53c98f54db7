"""``%oxenvideo VERB``: list, wait, cancel, attach, resume, history, join, models, panel."""

from __future__ import annotations

import itertools
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oxenvideo.catalog.pricing import dollars
from oxenvideo.engine.film import Film
from oxenvideo.errors import InvalidRequest
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.notebook import arguments, card
from oxenvideo.notebook.card import Item, shown_path
from oxenvideo.notebook.runner import Runner, raise_failure
from oxenvideo.notebook.tables import Table, model_table, models_table
from oxenvideo.session import current_session


def run(runner: Runner, line: str) -> Any:
    """Do what the line says. Raises InvalidRequest for a verb, option or name that does not exist."""
    if arguments.is_cell(line):
        return runner.run_cell(line, "")
    words = arguments.split(line)
    if not words or words[0] in ("help", "--help", "-h"):
        return print(arguments.help_text())
    options = arguments.parse_verb(line)
    if options.help:
        return print(arguments.help_text(options.verb))
    return _VERBS[options.verb](runner, options)


def _list(runner: Runner, options: Namespace) -> Any:
    generations = current_session().generations
    if not generations:
        return print("No videos in this kernel yet. %oxenvideo history shows earlier ones.")
    variables = {id(v): k for k, v in runner.shell.user_ns.items() if isinstance(v, Generation) and k[0] != "_"}
    now = time.time()
    heads = ["name", "status", "model", "prompt", "time", "id"]
    table = Table(heads, unbroken=("status", "model", "time"), small=("id",))
    for g in generations:
        seconds = card.elapsed(g.state, now)
        taken = card.duration_text(seconds) if seconds is not None else ""
        name = variables.get(id(g)) or card.label(g)
        table.add(name, str(g.status), g.request.model, g.request.prompt, taken, g.id or "")
    return table


def _wait(runner: Runner, options: Namespace) -> None:
    generations = current_session().generations
    items = [_item(runner, word) for word in options.operands]
    items = items or [g for g in generations if not g.state.is_settled] or list(generations[-1:])
    if not items:
        print("There is nothing to wait for.")
        return
    if not runner.wait(items, options.timeout):
        print(f"Still running after {options.timeout:g} s; the videos go on.")
        return
    for item in items if not runner.in_terminal else ():
        print(card.text(item) if isinstance(item, Generation) else item.summary)
    for item in items:
        raise_failure(item)


def _cancel(runner: Runner, options: Namespace) -> None:
    if options.all:
        running = sorted((g for g in current_session().generations if not g.done), key=lambda g: g.name or "")
        items: list[Item] = []
        for name, group in itertools.groupby(running, key=lambda g: g.name):
            generations = list(group)
            items += generations if name is None or len(generations) == 1 else [Batch(generations, name=name)]
        if not items:
            print("Nothing is running.")
    elif options.operands:
        items = [_item(runner, word) for word in options.operands]
    else:
        raise InvalidRequest("Name what to cancel: %oxenvideo cancel NAME, an id, or --all.")
    for item in items:
        name = item.name or "The video"
        if isinstance(item, Generation):
            print(f"{name}: {item.cancel()}")
        elif answers := item.cancel():
            print(f"{name}: {sum(a.cancelled for a in answers)} of {len(answers)} cancelled.")
        else:
            print(f"{name}: all {len(item)} had already ended.")


def _attach(runner: Runner, options: Namespace) -> None:
    if not 1 <= len(options.operands) <= 2:
        raise InvalidRequest("Give an id, and the name of a variable if you like: %oxenvideo attach ID [NAME]")
    generation_id, name = (*options.operands, None)[:2]
    if name is not None:
        arguments.check_name(name)
    generation = current_session().attach(generation_id, name=name)
    if name is not None:
        runner.shell.user_ns[name] = generation
    runner.show(generation)


def _resume(runner: Runner, options: Namespace) -> None:
    session = current_session()
    # Running videos of this kernel are shown again as well: a page that was closed no longer receives their updates.
    running = [g for g in session.generations if not g.done]
    resumed = session.resume(everything=options.all)
    generations = list({g.key: g for g in [*running, *resumed]}.values())
    for note in resumed.notes:
        print(f"Not resumed: {note}")
    for generation in generations:
        if generation.name is not None and generation.index is None:
            _store(runner.shell.user_ns, generation.name, generation)
        runner.show(generation)
    if generations or resumed.notes:
        return
    print("Nothing is unfinished." if options.all else "Nothing of this notebook is unfinished (--all for others).")
    # What ended while no page was open has nothing left to resume, but the notebook still shows it as running.
    journal = session.journal
    ended = (e for e in journal.entries(limit=50) if e.notebook == journal.notebook and e.path is not None)
    for e in itertools.islice(ended, 3):
        name, file = e.name or "a video", shown_path(e.path, Path.cwd())
        print(f"Finished: {name} in {file}; %oxenvideo attach {e.generation_id} shows it.")


def _store(variables: dict[str, Any], name: str, generation: Generation) -> None:
    """Set a variable, or one of a similar name if this one holds something else."""

    def is_free(name: str) -> bool:
        held = variables.get(name)
        return name not in variables or (isinstance(held, Generation) and held.key == generation.key)

    free = name if is_free(name) else next(n for i in itertools.count(2) if is_free(n := f"{name}_{i}"))
    variables[free] = generation
    if free != name:
        print(f"The variable {name} holds something else and is kept; the resumed video is {free}.")


def _history(runner: Runner, options: Namespace) -> Any:
    session = current_session()
    rows = session.history(page=options.page or 1, page_size=options.size or 20)
    if not rows:
        return print("This page of the history is empty.")
    heads = ["when", "status", "model", "prompt", "cost", "file", "id"]
    table = Table(heads, unbroken=("when", "status", "model", "cost"), small=("id",))
    is_local = session.target.is_local
    for row in rows:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.enqueued_at)) if row.enqueued_at else ""
        cost = "free preview" if is_local else dollars(row.cost) if row.cost is not None else ""
        file = shown_path(row.path, Path.cwd()) or ""
        table.add(when, str(row.status), row.model, row.prompt, cost, file, row.id or "")
    return table


def _join(runner: Runner, options: Namespace) -> Any:
    if not options.save:
        raise InvalidRequest("Name the new file: %oxenvideo join NAME NAME --save film.mp4")

    def part(word: str) -> Film | Item | str:
        value = runner.shell.user_ns.get(word)
        return value if isinstance(value, Film) else word if Path(word).is_file() else _item(runner, word)

    return current_session().join([part(word) for word in options.operands], options.save)


def _models(runner: Runner, options: Namespace) -> Any:
    session = current_session()
    words = " ".join(options.operands)
    models = session.models(words, input=options.input, refresh=options.refresh)
    catalog = session.catalog
    if words in catalog:
        return model_table(catalog[words])
    if models:
        return models_table(models)
    near = catalog.nearest(words) if words else []
    return print("No model has all of these words." + (f" Near: {', '.join(near)}" if near else ""))


def _panel(runner: Runner, options: Namespace) -> Any:
    from oxenvideo.notebook.panel import Panel

    return Panel(current_session())


_FUNCTIONS = (_list, _wait, _cancel, _attach, _resume, _history, _join, _models, _panel)
_VERBS: Mapping[str, Callable[[Runner, Namespace], Any]] = {verb.__name__[1:]: verb for verb in _FUNCTIONS}


def _item(runner: Runner, word: str) -> Item:
    """A Generation or Batch by its variable, or a Generation by its own name or id."""
    value = runner.shell.user_ns.get(word)
    if isinstance(value, Generation | Batch):
        return value
    for generation in current_session().generations:
        if word in (generation.id, generation.key) or (generation.name == word and generation.index is None):
            return generation
    raise InvalidRequest(f"There is no video {word!r} in this kernel. See %oxenvideo list, or %oxenvideo attach ID.")
