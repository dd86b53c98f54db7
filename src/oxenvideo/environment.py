"""What this machine and front end tell: the directory for data, the notebook's path, and what the front end can show."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

ENGINES = "engines.toml"
"""The file of the user's own engines in the data directory, for all embedded servers."""
JOURNAL = "journal.sqlite3"
"""The journal's file in the data directory."""


def default_data_dir() -> Path:
    """The directory of the journal, the cached catalogs and the embedded server: ``OXENVIDEO_DATA_DIR`` or the user's."""
    if chosen := os.environ.get("OXENVIDEO_DATA_DIR"):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_data_dir("oxenvideo", appauthor=False))


def notebook_path() -> str | None:
    """The path of this kernel's notebook, from Jupyter's server or VS Code; else the working directory."""
    for name in ("JPY_SESSION_NAME", "__vsc_ipynb_file__"):
        if value := os.environ.get(name):
            return value
    if (named := getattr(sys.modules.get("__main__"), "__vsc_ipynb_file__", None)) is not None:
        return str(named)
    return str(Path.cwd())


@dataclass(frozen=True)
class FrontEnd:
    """What shows the outputs, and what it cannot do.

    ``updates`` is whether it follows updates of an output that is plain HTML, ``widgets`` whether somebody can click a
    widget there, ``links`` whether a link relative to the notebook reaches a file, ``aac`` whether it plays AAC sound,
    and ``output_limit`` how many bytes one output can have.
    """

    name: str
    updates: bool = True
    widgets: bool = True
    links: bool = True
    aac: bool = True
    output_limit: int | None = None

    @property
    def embed_limit(self) -> int:
        """Bytes of a video that can be stored in an output, where Base64 takes 4/3 of them."""
        return INLINE_LIMIT if self.output_limit is None else min(INLINE_LIMIT, (self.output_limit - _MARKUP) * 3 // 4)


INLINE_LIMIT = 8 * 1024 * 1024
"""Bytes up to which a video is stored inside the notebook if the front end allows it."""
_MARKUP = 100_000  # bytes of an output besides the video


def front_end() -> FrontEnd:
    """The present front end, as far as the environment and the loaded modules tell."""
    modules, names = sys.modules, os.environ
    if "marimo" in modules and modules["marimo"].running_in_notebook():
        return FrontEnd("marimo", updates=False, links=False, output_limit=8_000_000)
    if hasattr(modules.get("__main__"), "__vsc_ipynb_file__"):
        return FrontEnd("vscode", aac=False)
    if "google.colab" in modules or "COLAB_RELEASE_TAG" in names:
        return FrontEnd("colab", links=False)
    if "KAGGLE_KERNEL_RUN_TYPE" in names:
        return FrontEnd("kaggle", widgets=False, links=False)
    if "DATABRICKS_RUNTIME_VERSION" in names:
        return FrontEnd("databricks", widgets=False, links=False, output_limit=10_000_000)
    if "VOILA_REQUEST_URL" in names or "VOILA_KERNEL_ID" in names:
        return FrontEnd("voila", updates=False)
    # A headless run (nbclient, papermill, nbconvert) would only save the widget.
    return FrontEnd("jupyter", widgets="JPY_SESSION_NAME" in names)
