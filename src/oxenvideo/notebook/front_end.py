"""Which notebook this kernel belongs to, and whether a person looks at it, as far as front ends tell."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def notebook_path() -> str | None:
    """The notebook's path: from Jupyter's server, or VS Code; else the working directory stands for it."""
    for name in ("JPY_SESSION_NAME", "__vsc_ipynb_file__"):
        if value := os.environ.get(name):
            return value
    main = sys.modules.get("__main__")
    if (told := getattr(main, "__vsc_ipynb_file__", None)) is not None:
        return str(told)
    return str(Path.cwd())


def in_voila() -> bool:
    """Whether Voilà shows the outputs: it takes widget changes and ignores display updates."""
    return "VOILA_REQUEST_URL" in os.environ or "VOILA_KERNEL_ID" in os.environ


def in_front_end() -> bool:
    """Whether somebody can press a button: a headless run (nbclient, papermill, nbconvert) would only save a dead one."""
    main = sys.modules.get("__main__")
    return (
        "JPY_SESSION_NAME" in os.environ
        or in_voila()
        or hasattr(main, "__vsc_ipynb_file__")
        or "google.colab" in sys.modules
    )
