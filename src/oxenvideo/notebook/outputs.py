"""The output of an item: plain HTML, or a widget where the front end ignores display updates; with a Cancel button."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from oxenvideo.engine.film import Film
from oxenvideo.environment import FrontEnd
from oxenvideo.notebook.card import Item

if TYPE_CHECKING:
    from oxenvideo.notebook.widget import CardWidget


class Output:
    """Plain HTML with a display id, which is saved and exported as it is.

    A second output below holds the Cancel button and in the end a line or nothing: a saved widget would not work.
    """

    def __init__(self, publisher: Any, widget: CardWidget | None = None) -> None:
        self._publisher = publisher
        self._widget = widget
        self._has_below = widget is not None
        self._display_id, self._below_id = uuid.uuid4().hex, uuid.uuid4().hex

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Show the item, or update what is shown."""
        self._send({"text/html": html, "text/plain": text}, self._display_id, metadata, update=not first)
        if first and self._widget is not None:
            self._send(self._widget.bundle(""), self._below_id, {}, update=False)

    def notify(self, text: str) -> None:
        """Tell somebody who does not look at the page; before ``settle``."""
        if self._widget is not None:
            self._widget.told = text

    def settle(self) -> None:
        """Remove the button."""
        if self._widget is not None:
            self.add_line("", {})
            self._widget.close()
            self._widget = None

    def add_line(self, html: str, metadata: dict[str, Any]) -> None:
        """Show a line below the item, whose video may be playing.

        Only where the button was: a new output would appear in whichever cell ran last.
        """
        if self._has_below:
            self._send({"text/html": html, "text/plain": ""}, self._below_id, metadata, update=True)

    def _send(self, data: dict[str, Any], display_id: str, metadata: dict[str, Any], *, update: bool) -> None:
        self._publisher.publish(data, metadata, transient={"display_id": display_id}, update=update)


class WidgetOutput(Output):
    """A widget that holds everything, for front ends that ignore display updates; ``bundle`` is what shows it."""

    bundle: dict[str, Any]

    def __init__(self, widget: CardWidget, publisher: Any = None) -> None:
        super().__init__(publisher)
        self._card = widget

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Set the widget's HTML; the first time, display it if there is a publisher."""
        self._card.html = html
        if first:
            self.bundle = self._card.bundle(text)
            if self._publisher is not None:
                self._publisher.publish(self.bundle, metadata)

    def notify(self, text: str) -> None:
        """Tell somebody who does not look at the page."""
        self._card.told = text

    def settle(self) -> None:
        """Remove the button."""
        self._card.button = ""

    def add_line(self, html: str, metadata: dict[str, Any]) -> None:
        """Show the line below."""
        self._card.line = html


class StillOutput(Output):
    """Plain HTML in ``bundle``, for whoever asks for the present state."""

    bundle: dict[str, Any]

    def __init__(self) -> None:
        super().__init__(None)

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Keep the bundle."""
        self.bundle = {"text/html": html, "text/plain": text}


def output_for(item: Item | Film, front_end: FrontEnd, publisher: Any, *, notify: bool = False) -> Output:
    """The output for an item, with a Cancel button if someone can click it."""
    if item.done or not front_end.widgets or (front_end.updates and isinstance(item, Film)):  # it has no button
        return Output(publisher)
    try:
        from oxenvideo.notebook.widget import CardWidget
    except ImportError:  # of ipywidgets
        return Output(publisher)
    widget = CardWidget(item, notify=notify)
    return Output(publisher, widget) if front_end.updates else WidgetOutput(widget, publisher)
