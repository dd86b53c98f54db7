"""The browser's side of the panel: ES modules and a style sheet, used as they are written."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

_HERE = Path(__file__).parent


@lru_cache
def module(*names: str) -> str:
    """The ES module of a widget: what all share, and then its own files in order, as one text without a bundler."""
    return "\n".join(_read(name) for name in ("common.js", *names))


@lru_cache
def style() -> str:
    """The style sheet of the whole panel; every rule begins with the panel's own class."""
    return _read("panel.css")


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
