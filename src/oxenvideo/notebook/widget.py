"""The widget of a card: a Cancel button, and the whole card where the front end ignores updates of plain HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import traitlets

from oxenvideo.engine.film import Film
from oxenvideo.jobs.batch import Batch
from oxenvideo.notebook.card import Item
from oxenvideo.notebook.live_widget import LiveWidget, script


class CardWidget(LiveWidget):
    """``html`` is the card, ``line`` is HTML below it; without the text of a ``button`` there is none.

    ``notify`` asks the browser for the permission to notify, and ``told`` is what it then tells.
    """

    _esm = script(Path(__file__).with_name("card.js"))
    html = traitlets.Unicode().tag(sync=True)
    button = traitlets.Unicode().tag(sync=True)
    hint = traitlets.Unicode().tag(sync=True)
    line = traitlets.Unicode().tag(sync=True)
    notify = traitlets.Bool().tag(sync=True)
    told = traitlets.Unicode().tag(sync=True)

    def __init__(self, item: Item | Film, *, notify: bool = False) -> None:
        if isinstance(item, Film) or item.done:
            super().__init__()
            return
        label = "Cancel all" if isinstance(item, Batch) else "Cancel"
        super().__init__(notify=notify, button=label, hint=f"Ask the service to cancel {item.name or 'this video'}")
        self.on_msg(lambda _, content, buffers: item.cancel(None))

    def bundle(self, text: str) -> dict[str, Any]:
        """The MIME bundle that shows the widget; ``text`` is its plain text."""
        made: Any = self._repr_mimebundle_()
        return {**(made[0] if isinstance(made, tuple) else made), "text/plain": text}
