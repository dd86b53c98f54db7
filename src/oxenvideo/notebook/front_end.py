"""The notebook that this kernel belongs to."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def notebook_path() -> str | None:
    """The notebook's path as Jupyter's server or VS Code gives it; otherwise the working directory stands for it."""
    for name in ("JPY_SESSION_NAME", "__vsc_ipynb_file__"):
        if value := os.environ.get(name):
            return value
    main = sys.modules.get("__main__")
    if (told := getattr(main, "__vsc_ipynb_file__", None)) is not None:
        return str(told)
    return str(Path.cwd())
