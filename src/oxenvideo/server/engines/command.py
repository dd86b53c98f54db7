"""The command `oxenvideo engines`: shows, checks and edits `engines.toml`, and leaves the user's comments in it."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oxenvideo.server import models
from oxenvideo.server.engines import configuration, registry
from oxenvideo.server.engines.configuration import Configuration
from oxenvideo.server.engines.engine import ConfigurationError, Engine, EngineUnavailable, ModelConfig

if TYPE_CHECKING:
    import tomlkit

_CHECK_SECONDS = 30.0


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], path: Callable[[], Path]) -> None:
    """Add the command to the parser. ``path`` returns where `engines.toml` is."""
    engines = commands.add_parser(
        "engines",
        help="make the videos on your own model servers and GPUs",
        description="Configure your own model servers and GPUs. A running embedded server notices changes by itself.",
    )
    engines.set_defaults(run=lambda arguments: print(engines.format_help(), end="") or 0)
    actions = engines.add_subparsers(title="commands", metavar="COMMAND")

    def action(name: str, run: Callable[[argparse.Namespace, Path], int], words: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        parser.set_defaults(run=lambda arguments: run(arguments, path()))
        return parser

    add = action("add", _add, "add an engine, or replace the one with this name")
    add.add_argument("name", help="your name for it, such as gpu1")
    add.add_argument("kind", help=f"{', '.join(registry.ADAPTERS)}, or module:class")
    add.add_argument("url", nargs="?", help="its address, such as http://gpu1:8188")
    add.add_argument("--header", action="append", default=[], metavar="NAME=VALUE",
                     help="HTTP header to send; env:NAME in it stands for an environment variable")  # fmt: skip
    model = action("model", _model, "add a model that engines make, or replace the one with this id")
    model.add_argument("name", metavar="id", help="its id, as in --model")
    model.add_argument("--engine", action="append", required=True, metavar="NAME", help="an engine that has it")
    model.add_argument("--workflow", metavar="FILE", help="ComfyUI: the workflow, exported with File > Export (API)")
    model.add_argument("--map", action="append", default=[], metavar="NAME=NODE.INPUT",
                       help="ComfyUI: the input that a parameter sets; NODE is an id or a title")  # fmt: skip
    for parser in (add, model):
        parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set any other option")
    action("list", _list, "list the engines and their models")
    check = action("check", _check, "check that engines answer and have what their models need")
    check.add_argument("name", nargs="?", help="an engine or a model (default: all engines)")
    remove = action("remove", _remove, "remove an engine or a model")
    remove.add_argument("name", help="an engine or a model")


def _add(arguments: argparse.Namespace, path: Path) -> int:
    table: dict[str, Any] = {"kind": arguments.kind}
    if arguments.url:
        table["url"] = arguments.url
    table |= _options(arguments.set)
    if arguments.header:
        table["headers"] = dict(_pair(text, "--header") for text in arguments.header)
    engine = registry.connect(configuration.engine(arguments.name, table))
    _edit(path, lambda document: _put(document, "engines", arguments.name, table))
    print(f"Added engine {arguments.name}.")
    return asyncio.run(_report(arguments.name, engine, []))


def _model(arguments: argparse.Namespace, path: Path) -> int:
    known = _read(path)
    for name in arguments.engine:
        if name not in known.engines:
            raise ConfigurationError(known.problems.get(name) or f"Engine {name} is not configured: add it first.")
    table: dict[str, Any] = {"engines": arguments.engine} | _options(arguments.set)
    if arguments.workflow:
        table["workflow"] = os.fspath(Path(arguments.workflow).expanduser().resolve())
    if arguments.map:
        table["parameters"] = dict(_pair(text, "--map") for text in arguments.map)
    catalog = models.load(None).get(arguments.name)
    model = configuration.model(arguments.name, table, path.parent, catalog)
    engines = {name: registry.connect(known.engines[name]) for name in model.engines}
    described = next(iter(engines.values())).describe(model)
    _edit(path, lambda document: _put(document, "models", arguments.name, table))
    names = ", ".join(((described.get("request_schema") or {}).get("properties") or {}).keys())
    print(f"Added model {arguments.name}. Its parameters: {names or 'none'}.")

    async def check() -> int:
        return max([await _report(name, engine, [model]) for name, engine in engines.items()])

    return asyncio.run(check())


def _list(arguments: argparse.Namespace, path: Path) -> int:
    known = _read(path)
    for name, config in known.engines.items():
        served = [model.id for model in known.models.values() if name in model.engines]
        print(f"{name}  {config.kind}  {', '.join(served) or 'no models'}")
    for problem in known.problems.values():
        print(problem)
    if not known.engines and not known.problems:
        print("There are no engines. Add one: oxenvideo engines add gpu1 comfyui http://gpu1:8188")
    return 0


def _check(arguments: argparse.Namespace, path: Path) -> int:
    known, name = _read(path), arguments.name
    if name in known.problems:
        raise ConfigurationError(known.problems[name])
    if name is not None and name not in known.engines and name not in known.models:
        raise ConfigurationError(f"There is no engine or model {name}.")
    wanted = known.models[name].engines if name in known.models else [name] if name else known.engines

    async def check() -> int:
        worst = 0
        for each in wanted:
            if each not in known.engines:
                print(known.problems.get(each) or f"Engine {each} is not configured.")
                worst = 1
                continue
            served = [m for m in known.models.values() if each in m.engines and name in (None, each, m.id)]
            worst = max(worst, await _report(each, registry.connect(known.engines[each]), served))
        return worst

    if name is None:
        for problem in known.problems.values():
            print(problem)
    return max(asyncio.run(check()), int(name is None and bool(known.problems)))


def _remove(arguments: argparse.Namespace, path: Path) -> int:
    name = arguments.name
    known = _read(path)
    is_engine = name in known.engines or name in known.problems
    if not is_engine and name not in known.models:
        raise ConfigurationError(f"There is no engine or model {name}.")
    orphans = [model.id for model in known.models.values() if is_engine and list(model.engines) == [name]]

    def change(document: tomlkit.TOMLDocument) -> None:
        for kind in ("engines", "models"):
            for each in (name, *orphans):
                if kind == "models" or each == name:
                    document.get(kind, {}).pop(each, None)
        for table in document.get("models", {}).values():
            if is_engine and name in table.get("engines", ()):
                table["engines"] = [other for other in table["engines"] if other != name]

    _edit(path, change)
    also = f" and its models {', '.join(orphans)}" if orphans else ""
    print(f"Removed {name}{also}.")
    return 0


async def _report(name: str, engine: Engine, served: Iterable[ModelConfig]) -> int:
    """Print whether an engine answers and what it lacks; return the exit status."""
    problems: list[str] = []
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await engine.ping()
            for model in served:
                try:
                    problems += await engine.check(model)
                except ConfigurationError as error:
                    problems.append(str(error))
    except EngineUnavailable as error:
        problems = [f"{error} It is used as soon as it answers."]
    except TimeoutError:
        problems = [f"{name} did not answer in {_CHECK_SECONDS:.0f} s."]
    finally:
        await engine.close()
    print("\n".join(problems) if problems else f"{name} is ready.")
    return int(bool(problems))


def _read(path: Path) -> Configuration:
    return configuration.read(path, models.load(None))


def _edit(path: Path, change: Callable[[tomlkit.TOMLDocument], object]) -> None:
    import tomlkit  # other commands and the server do not need it
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(path.read_text("utf-8"))
    except FileNotFoundError:
        document = tomlkit.document()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.") from None
    change(document)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The new file takes the place of the old one as a whole, and only its owner can read it.
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=path.name, delete=False) as file:
        file.write(tomlkit.dumps(document))
    os.replace(file.name, path)


def _put(document: tomlkit.TOMLDocument, kind: str, name: str, table: Mapping[str, Any]) -> None:
    import tomlkit

    if kind not in document:
        document[kind] = tomlkit.table(is_super_table=True)
    document[kind][name] = table


def _options(texts: Sequence[str]) -> dict[str, Any]:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    options = {}
    for key, text in (_pair(each, "--set") for each in texts):
        try:
            options[key] = tomlkit.value(text).unwrap()
        except TOMLKitError:
            options[key] = text
    return options


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigurationError(f"{option} {text} is not NAME=VALUE.")
    return name, value
