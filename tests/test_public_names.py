"""The package's public names."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import oxenvideo


def test_no_public_name_is_a_module() -> None:
    """A module of the package named like a public function would take its place as soon as it is imported."""
    modules = {info.name for info in pkgutil.iter_modules(oxenvideo.__path__)}
    assert not modules & set(oxenvideo.__all__)


def test_every_public_name_is_there() -> None:
    """Each name in __all__ can be imported, and is told by dir()."""
    for name in oxenvideo.__all__:
        assert getattr(importlib.import_module("oxenvideo"), name) is not None
        assert name in dir(oxenvideo)


def test_importing_the_package_stays_light() -> None:
    """Importing the package and loading the extension bring in neither the HTTP client nor the widgets."""
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell as S; s = S();"
        "s.run_line_magic('load_ext', 'oxenvideo');"
        "heavy = {'httpx', 'ipywidgets', 'jsonschema', 'numpy', 'PIL', 'av', 'starlette'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
