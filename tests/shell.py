"""A real IPython shell in this process, with the extension loaded and its files in a directory of the test's own."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import CapturedIO, capture_output

from oxenvideo import session as api

#: Options for a video that the embedded server makes at once.
SMALL = "--model wan-ai-wan2-1-t2v-1-3b-diffusers --num-frames 8 --width 64 --height 64"


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

    def __setitem__(self, name: str, value: Any) -> None:
        self.shell.push({name: value})


@contextmanager
def notebook_in(directory: Path, *, base_url: str | None = None, api_key: str | None = None) -> Iterator[Notebook]:
    """A shell that lives in this directory; without ``base_url`` its cells go to an embedded server of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OXEN_BASE_URL", "OXEN_API_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(directory))
        patch.setenv("IPYTHONDIR", str(directory / "ipython"))
        patch.setenv("OXENVIDEO_DATA_DIR", str(directory / "data"))
        patch.setattr(api, "_current", api._Current())
        patch.chdir(directory)
        if base_url is not None:
            # Not by the environment, which is cleaned before each test, while a shell may outlive many.
            api.configure(base_url=base_url, api_key=api_key, data_dir=directory / "data")
        patch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # which the shell replaces by its own
        shell = InteractiveShell()
        book = Notebook(shell)
        assert book.run("%load_ext oxenvideo").error is None
        yield book
        shell.run_cell("%unload_ext oxenvideo")
        api._current.close()
        shell.atexit_operations()
        atexit.unregister(shell.atexit_operations)
