"""In marimo, plain HTML takes the place of a finished widget, so that the saved session holds the video."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from oxenvideo.jobs.generation import TICK

if TYPE_CHECKING:
    from oxenvideo.notebook.display import Card
    from oxenvideo.notebook.widget import CardWidget


def keep_when_settled(card: Card, widget: CardWidget) -> None:
    """Replace the present cell's output when the card has its final state; the widget then holds only the line below.

    Only if the item itself is the output: within a layout, the other parts would be lost.
    """
    marimo: Any = sys.modules["marimo"]
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "as_html":  # marimo renders a part of a layout
            return

    def run() -> None:
        while not marimo.current_thread().should_exit:
            if card.is_final:
                marimo.output.replace(marimo.vstack([marimo.Html(widget.html), widget], gap=0))
                widget.html = ""
                return
            time.sleep(TICK)

    marimo.Thread(target=run, name="oxenvideo-marimo", daemon=True).start()
