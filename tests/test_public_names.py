"""The package's public names."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oxenvideo

ROOT = Path(oxenvideo.__file__).parent
INTERNAL = {"Panel", "Settings"}  # their methods are for the package itself
MADE_BY_USERS = {"Client", "Session", "VideoRequest"}


def test_no_public_name_is_a_module() -> None:
    """A module of the package named like a public function would replace it as soon as it is imported."""
    modules = {info.name for info in pkgutil.iter_modules(oxenvideo.__path__)}
    assert not modules & set(oxenvideo.__all__)


def test_every_public_name_is_there() -> None:
    """Each name in __all__ can be imported, and dir() lists it."""
    for name in oxenvideo.__all__:
        assert getattr(importlib.import_module("oxenvideo"), name) is not None
        assert name in dir(oxenvideo)


def classes() -> set[str]:
    """The public classes that the client side defines."""
    files = [path for path in ROOT.rglob("*.py") if "server" not in path.relative_to(ROOT).parts]
    trees = [ast.parse(path.read_text()) for path in files]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef) if node.name[0] != "_"}


def signatures(value: Any) -> Iterator[tuple[str, str]]:
    """The public functions behind a name, each with its annotations and docstring as text."""
    if not inspect.isclass(value):
        yield value.__name__, _text(value)
        return
    if dataclasses.is_dataclass(value):
        yield value.__name__, " ".join(str(field.type) for field in dataclasses.fields(value) if field.name[0] != "_")
    for name, member in vars(value).items():
        function = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
        if inspect.isfunction(function) and (
            name[0] != "_" or (name == "__init__" and value.__name__ in MADE_BY_USERS)
        ):
            yield f"{value.__name__}.{name}", _text(function)


def _text(function: Any) -> str:
    raised = " ".join(re.findall(r"[Rr]aises? [^:]*", function.__doc__ or ""))
    return " ".join(map(str, function.__annotations__.values())) + " " + raised


def test_whatever_a_public_function_names_is_public() -> None:
    """Each class of ours that a public function takes, returns or raises can be imported from the package."""
    known, missing = classes(), set()
    for name in set(oxenvideo.__all__) - INTERNAL:
        for where, text in signatures(getattr(oxenvideo, name)):
            named = set(re.findall(r"(?<![\w.])[A-Z]\w+|(?<=\.)[A-Z]\w+", text)) & known
            missing |= {f"{where}: {other}" for other in named - set(oxenvideo.__all__)}
    assert sorted(missing) == []


def test_every_exception_is_public() -> None:
    """All exceptions of the tree can be imported from the package, also those that no docstring names."""
    errors = importlib.import_module("oxenvideo.errors")
    assert {name for name, value in vars(errors).items() if inspect.isclass(value)} - {"Any"} <= set(oxenvideo.__all__)


def test_importing_the_package_stays_light() -> None:
    """Importing the package and loading the extension import neither the HTTP client nor the widgets."""
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell as S; s = S();"
        "s.run_line_magic('load_ext', 'oxenvideo');"
        "heavy = {'httpx', 'ipywidgets', 'jsonschema', 'fastjsonschema', 'numpy', 'PIL', 'av', 'starlette'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
