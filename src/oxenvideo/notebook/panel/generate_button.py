"""The Generate button: one press is one intent, however often and however late the clicks arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from oxenvideo.notebook.panel.widgets import Kit

REST = 1.5  # seconds for which the same request is not taken for a second intent


class GenerateButton:
    """Calls ``generate()`` once for each intent; it returns whether something was sent.

    Clicks wait in the kernel's queue while a cell runs, and a front end holds back what was typed last, so the click can
    overtake it. Therefore a click first asks the browser, by ``settle(then)``, to hand over what it still holds.
    """

    def __init__(
        self,
        kit: Kit,
        settle: Callable[[Callable[[], None]], object],
        generate: Callable[[], bool],
        intent: Callable[[], object],
    ) -> None:
        self._settle = settle
        self._generate = generate
        self._intent = intent
        self._under_way = False
        self._sent: object = None
        self._sent_at = -REST
        self.widget: Any = kit.make(
            widgets.Button, "oxv-generate", description="Generate", button_style="primary", tooltip="Make the video"
        )
        self.widget.on_click(lambda _: self.press())

    def press(self) -> None:
        """What a click does."""
        if self._under_way or self._is_same_intent():
            return
        self._under_way = True
        self._look("Sending …", disabled=True)
        self._settle(self._go)

    def refresh(self) -> None:
        """The form has changed: another request is another intent."""
        if not self._under_way:
            self._look("Generate", disabled=self._is_same_intent())

    def _is_same_intent(self) -> bool:
        return time.monotonic() - self._sent_at < REST and self._intent() == self._sent

    def _go(self) -> None:
        intent = self._intent()
        sent = False
        try:
            sent = self._generate()
        finally:
            self._under_way = False
            if sent:
                self._sent, self._sent_at = intent, time.monotonic()
                timer = threading.Timer(REST, self.refresh)
                timer.daemon = True
                timer.start()
            self.refresh()

    def _look(self, words: str, *, disabled: bool) -> None:
        self.widget.description = words
        self.widget.disabled = disabled
