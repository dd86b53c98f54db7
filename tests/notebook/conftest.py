"""A real IPython shell, in this process, on the embedded server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shell import Notebook, notebook_in


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    """A shell with the extension loaded, its files and journal in a directory of the test's own."""
    with notebook_in(tmp_path) as book:
        yield book
