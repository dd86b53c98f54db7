"""A real IPython shell, in this process, on the embedded server."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import CapturedIO, capture_output

from oxenvideo import api


@dataclass
class Cell:
    """What running a cell gave: its text, its display messages, and the error it raised."""

    captured: CapturedIO
    error: BaseException | None

    @property
    def text(self) -> str:
        return self.captured.stdout + self.captured.stderr

    @property
    def message(self) -> str:
        """The one line of the error."""
        assert self.error is not None, "the cell raised nothing"
        return str(self.error)


class Notebook:
    """Runs cells in a real shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    def run(self, source: str) -> Cell:
        with capture_output() as captured:
            result = self.shell.run_cell(source)
        return Cell(captured, result.error_before_exec or result.error_in_exec)

    def __getitem__(self, name: str) -> Any:
        return self.shell.user_ns[name]


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    """A shell with the extension loaded, its files and journal in a directory of the test's own."""
    for name in ("OXEN_API_KEY", "OXEN_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OXENVIDEO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(api, "_current", api._Current())
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell()
    book = Notebook(shell)
    assert book.run("%load_ext oxenvideo").error is None
    yield book
    shell.run_cell("%unload_ext oxenvideo")
    if api._current.session is not None:
        api._current.session.close()
    shell.atexit_operations()
    atexit.unregister(shell.atexit_operations)
