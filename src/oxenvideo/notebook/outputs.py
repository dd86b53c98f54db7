"""The output of an item: plain HTML, or a widget where the front end ignores display updates; with a Cancel button."""

from __future__ import annotations

import os
import sys
import uuid
from importlib.util import find_spec
from typing import Any

from oxenvideo.jobs.batch import Batch
from oxenvideo.notebook.card import Item


class Output:
    """Plain HTML with a display id, which is saved and exported as it is.

    A second output below holds the Cancel button and in the end a line or nothing: a saved widget would not work.
    """

    def __init__(self, publisher: Any, button: Any = None) -> None:
        self._publisher = publisher
        self._button = button
        self._has_below = button is not None
        self._display_id, self._below_id = uuid.uuid4().hex, uuid.uuid4().hex

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Show the item, or update what is shown."""
        self._send({"text/html": html, "text/plain": text}, self._display_id, metadata, update=not first)
        if first and self._button is not None:
            self._send({**_mime_bundle(self._button), "text/plain": ""}, self._below_id, {}, update=False)

    def settle(self) -> None:
        """Remove the button."""
        if self._button is not None:
            self.add_line("", {})
            self._button.close()
            self._button = None

    def add_line(self, html: str, metadata: dict[str, Any]) -> None:
        """Show a line below the item, whose video may be playing.

        Only where the button was: a new output would appear in whichever cell ran last.
        """
        if self._has_below:
            self._send({"text/html": html, "text/plain": ""}, self._below_id, metadata, update=True)

    def _send(self, data: dict[str, Any], display_id: str, metadata: dict[str, Any], *, update: bool) -> None:
        self._publisher.publish(data, metadata, transient={"display_id": display_id}, update=update)


class WidgetOutput(Output):
    """A widget that holds everything, for Voilà, which ignores display updates."""

    def __init__(self, publisher: Any, button: Any = None) -> None:
        import ipywidgets

        super().__init__(publisher, button)
        self._html, self._below = ipywidgets.HTML(), ipywidgets.HTML()
        self._box = ipywidgets.VBox([self._html, button or self._below])

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Set the widget's HTML; the first time, display it."""
        self._html.value = html
        if first:
            self._publisher.publish({**_mime_bundle(self._box), "text/plain": text}, metadata)

    def add_line(self, html: str, metadata: dict[str, Any]) -> None:
        """Show the line in the button's place."""
        self._below.value = html
        self._box.children = (self._html, self._below)


def output_for(shell: Any, item: Item) -> Output:
    """The output for an item in this shell's front end, with a Cancel button if someone can click it."""
    has_widgets = find_spec("ipywidgets") is not None
    is_voila = "VOILA_REQUEST_URL" in os.environ or "VOILA_KERNEL_ID" in os.environ
    # A headless run (nbclient, papermill, nbconvert) would only save the button.
    is_front_end = (
        is_voila
        or "JPY_SESSION_NAME" in os.environ
        or hasattr(sys.modules.get("__main__"), "__vsc_ipynb_file__")
        or "google.colab" in sys.modules
    )
    button = _cancel_button(item) if has_widgets and is_front_end and not item.done else None
    return (WidgetOutput if is_voila and has_widgets else Output)(shell.display_pub, button)


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
