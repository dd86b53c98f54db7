"""The project's own notebooks: they run as they are, and what they show is what is stored in them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

TESTS = Path(__file__).parents[1]
NOTEBOOKS = TESTS.parent / "notebooks"
FIRST = NOTEBOOKS / "01_first_video.ipynb"
LARGEST = 64 * 1024  # bytes of a notebook in version control


@pytest.fixture
def newcomer(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody without a key and without earlier videos."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OXEN", "JPY"))}
    return kept | {
        "HOME": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "OXENVIDEO_DATA_DIR": str(tmp_path / "data"),
    }


def _run(*arguments: str, cwd: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nbval") is None, reason="nbval is not installed: pip install nbval")
def test_the_first_notebook_shows_what_is_stored_in_it(newcomer: dict[str, str], tmp_path: Path) -> None:
    """nbval runs every cell and compares every output that is not marked as changing."""
    copy = tmp_path / FIRST.name
    copy.write_text(FIRST.read_text())
    newcomer["PYTHONPATH"] = os.pathsep.join([str(TESTS), newcomer["PYTHONPATH"]])
    options = ["--nbval", "-q", "-p", "kernels", "-p", "no:cacheprovider"]
    said = _run("pytest", *options, copy.name, cwd=tmp_path, environment=newcomer)
    assert "passed" in said


# What the README's command makes of a notebook lies beside it, and is not under version control.
STORED = [path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")) if not path.stem.endswith("_done")]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_notebooks_in_version_control_are_small(path: Path) -> None:
    """What is stored is text that can be compared: no videos, pictures or widgets."""
    assert path.stat().st_size < LARGEST
    kinds = {
        kind
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    }
    assert kinds <= {"text/plain"}
