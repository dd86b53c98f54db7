"""A widget that hears the kernel however long the page takes to load its script."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import anywidget
import traitlets


class LiveWidget(anywidget.AnyWidget):
    """A widget whose script can call ``stayLive``; see ``live_widget.js``."""

    own_id = traitlets.Unicode().tag(sync=True)

    def __init__(self, **options: Any) -> None:
        own_id = options["comm"].comm_id if "comm" in options else uuid.uuid4().hex
        super().__init__(own_id=own_id, model_id=own_id, **options)


def script(path: Path) -> str:
    """A widget's script, with ``stayLive`` before it."""
    return Path(__file__).with_suffix(".js").read_text("utf-8") + path.read_text("utf-8")
