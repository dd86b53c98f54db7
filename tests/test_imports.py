"""Imports go one way, and what is heavy or knows HTTP stays where it belongs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import oxenvideo

ROOT = Path(oxenvideo.__file__).parent

FRONTS = ("notebook", "cli", "__main__", "api")
SESSION = ("session", "earlier", "batch", "live_catalog")
ENGINE = (
    "engine",
    "channel",
    "sender",
    "lost",
    "watch",
    "deliver",
    "cancel",
    "costs",
    "inputs",
    "local",
    "setup",
    "ledger",
)
WIRE = ("client", "transport", "network", "results", "sse", "download")
REQUEST = (
    "request",
    "checks",
    "rules",
    "slots",
    "schema",
    "catalog",
    "price",
    "shots",
    "media",
    "encode",
    "source",
    "lengths",
)
PURE = ("state", "retry", "config", "entry", "journal", "processes", "threads", "container", "frames", "files")
KNOW_HTTP = {"client", "transport", "network", "results", "sse", "download"}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def imports(module: str, *, at_once: bool = False) -> frozenset[str]:
    """What a module imports, names in full; without what is there for type checkers alone.

    ``at_once``: only what importing it imports, without what its functions do later.
    """
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return frozenset(name for node in _nodes(tree, at_once) for name in _names(node))


def _nodes(tree: ast.AST, at_once: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if at_once and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        yield from _nodes(node, at_once)


def _names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    whole = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name if name.removeprefix("oxenvideo.") in MODULES else str(node.module) for name in whole]


def ours(module: str, *, at_once: bool = False) -> set[str]:
    """The modules of this package that a module imports."""
    found = (n.removeprefix("oxenvideo.") for n in imports(module, at_once=at_once) if n.startswith("oxenvideo."))
    return {name for name in found if name in MODULES}


def layer(*names: str) -> list[str]:
    """The modules of these names, and those within packages of these names."""
    return [m for m in MODULES if m.partition(".")[0] in names]


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        (SESSION, FRONTS),
        (ENGINE, FRONTS + SESSION),
        (WIRE, FRONTS + SESSION + ENGINE),
        (REQUEST, FRONTS + SESSION + ENGINE + WIRE + ("journal", "generation")),
        (PURE, FRONTS + SESSION + ENGINE + WIRE),
    ],
    ids=["session", "engine", "wire", "request", "pure"],
)
def test_one_way(lower: tuple[str, ...], upper: tuple[str, ...]) -> None:
    """Fronts import the session, that the engine, that the client and the journal; never the other way round."""
    wrong = {m: ours(m) & set(layer(*upper)) for m in layer(*lower)}
    assert {m: found for m, found in wrong.items() if found} == {}
    assert layer(*lower), "the layer is empty"


def test_no_cycles() -> None:
    """What importing one module imports never leads back to it."""
    order = list(TopologicalSorter({m: ours(m, at_once=True) for m in MODULES}).static_order())
    assert set(order) == set(MODULES)


def test_errors_stand_at_the_bottom() -> None:
    """The exceptions know nothing of the rest."""
    assert ours("errors") == set()


def test_the_server_stands_apart() -> None:
    """The embedded server shares no type with the client, or a mistake on the wire would agree with itself."""
    outside = {m: {n for n in ours(m) if n.partition(".")[0] != "server"} for m in layer("server")}
    assert {m: found for m, found in outside.items() if found} == {}
    using = {m for m in MODULES if m.partition(".")[0] != "server" and any(n.startswith("server") for n in ours(m))}
    assert using == {"cli", "local"}


def test_few_know_http() -> None:
    """Only the client, and what it is made of, imports the HTTP library."""
    knowing = {m for m in MODULES if any(n.partition(".")[0] in ("httpx", "httpx_sse", "h11") for n in imports(m))}
    assert {m for m in knowing if m.partition(".")[0] != "server"} <= KNOW_HTTP


def test_modules_are_of_a_size_to_read() -> None:
    """No module has more than 350 lines."""
    long = {m: n for m, path in MODULES.items() if (n := len(path.read_text(encoding="utf-8").splitlines())) > 350}
    assert long == {}
