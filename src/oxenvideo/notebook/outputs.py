"""The output of an item: plain HTML, or a widget where the front end ignores display updates; with a Cancel button."""

from __future__ import annotations

import os
import sys
import uuid
from importlib.util import find_spec
from typing import Any, Protocol

from oxenvideo.jobs.batch import Batch
from oxenvideo.notebook.card import Item


class Publisher(Protocol):
    """The part of IPython's display publisher that is used here."""

    def publish(
        self, data: dict[str, Any], metadata: Any = None, *, transient: Any = None, update: bool = False
    ) -> None:
        """Send a display message."""


class Output(Protocol):
    """The output of one item."""

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Show the item, or update what is shown."""

    def settle(self) -> None:
        """Remove the Cancel button."""

    def add_line(self, html: str, metadata: dict[str, Any]) -> None:
        """Show a line below the item, which stays as it is: its video may be playing."""


def output_for(shell: Any, item: Item) -> Output:
    """The output for an item in this shell's front end."""
    cancel = None if item.done or not (_has_widgets() and _in_front_end()) else item
    return (WidgetOutput if _in_voila() and _has_widgets() else HtmlOutput)(shell.display_pub, cancel)


class HtmlOutput:
    """Plain HTML with a display id, which is saved and exported as it is.

    A second output below holds the Cancel button and in the end a line or nothing: a saved widget would not work.
    """

    def __init__(self, publisher: Publisher, cancel: Item | None = None) -> None:
        self._publisher = publisher
        self._display_id, self._below_id = uuid.uuid4().hex, uuid.uuid4().hex
        self._button = None if cancel is None else _cancel_button(cancel)
        self._has_below = self._button is not None

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Send or update the output."""
        self._send({"text/html": html, "text/plain": text}, self._display_id, metadata, update=not first)
        if first and self._button is not None:
            self._send({**_mime_bundle(self._button), "text/plain": ""}, self._below_id, {}, update=False)

    def settle(self) -> None:
        """Replace the button by nothing."""
        if self._button is not None:
            self.add_line("", {})
            self._button.close()
            self._button = None

    def add_line(self, html: str, metadata: dict[str, Any]) -> None:
        """Update the second output if there is one; a new one would appear in whichever cell ran last."""
        if self._has_below:
            self._send({"text/html": html, "text/plain": ""}, self._below_id, metadata, update=True)

    def _send(self, data: dict[str, Any], display_id: str, metadata: dict[str, Any], *, update: bool) -> None:
        self._publisher.publish(data, metadata, transient={"display_id": display_id}, update=update)


class WidgetOutput:
    """A widget that holds everything, for Voilà."""

    def __init__(self, publisher: Publisher, cancel: Item | None = None) -> None:
        import ipywidgets

        self._publisher = publisher
        self._html, self._below = ipywidgets.HTML(), ipywidgets.HTML()
        self._button = None if cancel is None else _cancel_button(cancel)
        self._box = ipywidgets.VBox([self._html, self._button or self._below])

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Set the widget's HTML; the first time, display it."""
        self._html.value = html
        if first:
            self._publisher.publish({**_mime_bundle(self._box), "text/plain": text}, metadata)

    def settle(self) -> None:
        """Replace the button by the line."""
        if self._button is not None:
            self._box.children = (self._html, self._below)
            self._button.close()
            self._button = None

    def add_line(self, html: str, metadata: dict[str, Any]) -> None:
        """Set the line."""
        self._below.value = html


def _cancel_button(item: Item) -> Any:
    import ipywidgets

    button = ipywidgets.Button(
        description="Cancel all" if isinstance(item, Batch) else "Cancel",
        tooltip=f"Ask the service to cancel {item.name or 'this video'}",
        layout=ipywidgets.Layout(width="auto", height="28px"),
    )

    def clicked(_: Any) -> None:
        button.disabled = True
        button.description = "Cancelling"
        item.cancel(None)

    button.on_click(clicked)
    return button


def _mime_bundle(widget: Any) -> dict[str, Any]:
    made = widget._repr_mimebundle_()
    return dict(made[0] if isinstance(made, tuple) else made)


def _has_widgets() -> bool:
    return find_spec("ipywidgets") is not None


def _in_voila() -> bool:
    return "VOILA_REQUEST_URL" in os.environ or "VOILA_KERNEL_ID" in os.environ


def _in_front_end() -> bool:
    """Whether someone can click a button: a headless run (nbclient, papermill, nbconvert) would only save it."""
    return (
        "JPY_SESSION_NAME" in os.environ
        or _in_voila()
        or hasattr(sys.modules.get("__main__"), "__vsc_ipynb_file__")
        or "google.colab" in sys.modules
    )
