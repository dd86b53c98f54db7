"""What this machine and front end tell: the directory for data, and the notebook's path."""

from __future__ import annotations

import os
import sys
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
