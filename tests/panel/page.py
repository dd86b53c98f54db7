"""A panel's page as far as the kernel knows it: what it is sent, and what it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from oxenvideo.notebook.panel import Panel

TEXT = "kling-video-v2-6-pro-text-to-video"
IMAGE = "kling-video-v2-6-pro-image-to-video"
SHOTS = "kling-video-o3-pro-reference-to-video"


class Wire:
    """What the kernel would have sent to the browser, with the time of each message."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, str, dict[str, Any]]] = []

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The custom messages of a kind, in order."""
        return [c for _, _, data in list(self.sent) if (c := data.get("content", {})).get("is") == kind]


def hear(panel: Panel, **content: Any) -> None:
    """What the board's page says."""
    panel.board._handle_custom_msg(content, [])


def tell_inlet(panel: Panel, buffers: Sequence[bytes] = (), **content: Any) -> None:
    """What the media slots' page says."""
    assert panel.form.inlet is not None
    panel.form.inlet._handle_custom_msg(content, [memoryview(b) for b in buffers])


def answer_settle(panel: Panel, wire: Wire) -> None:
    """The page hands over what it holds, as it is asked to after a press."""
    hear(panel, do="settled", n=wire.of("settle")[-1]["n"])


def press(panel: Panel, wire: Wire) -> None:
    """Press Generate, and let the page answer."""
    panel._button.widget.click()
    if panel._button.widget.description.startswith("Sending"):
        answer_settle(panel, wire)


def field(panel: Panel, name: str) -> Any:
    """A parameter's widget."""
    return panel.form._field(name).widget


def within(seconds: float, holds: Callable[[], object]) -> bool:
    """Whether it holds before so many seconds are over."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
