"""A stand-in for a panel's page: it sends messages to the kernel and records those that the kernel sends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from oxenvideo.notebook.panel import Panel

TEXT = "kling-video-v2-6-pro-text-to-video"
IMAGE = "kling-video-v2-6-pro-image-to-video"
SHOTS = "kling-video-o3-pro-reference-to-video"


class Wire:
    """The messages that the kernel sent to the browser, with their times."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, str, dict[str, Any]]] = []

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The custom messages of a kind, in order."""
        return [c for _, _, data in list(self.sent) if (c := data.get("content", {})).get("is") == kind]

    def said(self) -> dict[str, Any]:
        """The last message to the user, of the form or the board."""
        contents = [data.get("content", {}) for _, _, data in list(self.sent)]
        found = [c if c.get("is") == "said" else c["page"]["said"] for c in contents if _says(c)]
        return found[-1] if found else {}


def _says(content: dict[str, Any]) -> bool:
    return content.get("is") == "said" or "said" in content.get("page", {})


def _send(widget: Any, content: dict[str, Any], buffers: Sequence[bytes] = ()) -> None:
    data = {"method": "custom", "content": content}
    widget.comm.handle_msg({"content": {"data": data}, "buffers": [memoryview(b) for b in buffers]})


def to_board(panel: Panel, **content: Any) -> None:
    """Send a message from the board's page."""
    _send(panel.board, content)


def to_form(panel: Panel, buffers: Sequence[bytes] = (), **content: Any) -> None:
    """Send a message from the form's page."""
    _send(panel.form, content, buffers)


def edit(panel: Panel, name: str, raw: Any) -> None:
    """Set a field: an option's index, a truth value, a number or a text."""
    to_form(panel, do="set", name=name, value=raw)


def press(panel: Panel) -> None:
    """Press Generate."""
    to_form(panel, do="generate")


def rows(panel: Panel) -> dict[str, Any]:
    """The rows that a newly opened page reads."""
    found: dict[str, Any] = panel.board.get_state("page")["page"]["jobs"]
    return found


def form_page(panel: Panel) -> dict[str, Any]:
    """The state that a newly opened page of the form reads."""
    found: dict[str, Any] = panel.form.get_state("page")["page"]
    return found


def board_page(panel: Panel) -> dict[str, Any]:
    """The state that a newly opened page of the board reads."""
    found: dict[str, Any] = panel.board.get_state("page")["page"]
    return found


def media_of(panel: Panel, name: str) -> dict[str, Any]:
    """What the form shows of a media parameter."""
    return next(one for one in form_page(panel)["media"] if one["name"] == name)


def within(seconds: float, holds: Callable[[], object]) -> bool:
    """Whether the condition becomes true within this many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
