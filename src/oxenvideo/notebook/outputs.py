"""Where an item is shown: an output of plain HTML that lasts, or a widget where front ends update nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Protocol


class Publisher(Protocol):
    """IPython's display publisher, as far as it is used here."""

    def publish(
        self, data: dict[str, Any], metadata: Any = None, *, transient: Any = None, update: bool = False
    ) -> None:
        """Send a display message."""


class Place(Protocol):
    """Where one item is shown."""

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Show it, or show it anew."""

    def settle(self) -> None:
        """Nothing will change any more: take away what only made sense until now."""

    def tell(self, html: str, text: str, metadata: dict[str, Any]) -> None:
        """A last line below, for what became known after the end: what is above, and may be playing, stays."""


class OutputPlace:
    """An output of plain HTML with a display id, which saves and exports as it is.

    A second output below it holds a control, such as a Cancel button, and after the end a line or nothing at all: a
    widget would be saved as a dead one.
    """

    def __init__(self, publisher: Publisher, control: Callable[[], Any] | None = None) -> None:
        self._publisher = publisher
        self._display_id = uuid.uuid4().hex
        self._below_id = uuid.uuid4().hex
        self._make_control = control
        self._control: Any = None
        self._has_below = False

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Show or update the output; the control comes below it."""
        self._send({"text/html": html, "text/plain": text}, metadata, self._display_id, update=not first)
        if first and self._make_control is not None:
            self._control = self._make_control()
            self._send({**_bundle(self._control), "text/plain": ""}, {}, self._below_id, update=False)
            self._has_below = True

    def settle(self) -> None:
        """Replace the control by nothing."""
        if self._control is not None:
            self.tell("", "", {})
            self._control.close()
            self._control = None

    def tell(self, html: str, text: str, metadata: dict[str, Any]) -> None:
        """Put a line into the second output, where there is one: a first display would land in another cell."""
        if self._has_below:
            self._send({"text/html": html, "text/plain": text}, metadata, self._below_id, update=True)

    def _send(self, data: dict[str, Any], metadata: dict[str, Any], display_id: str, *, update: bool) -> None:
        self._publisher.publish(data, metadata, transient={"display_id": display_id}, update=update)


class WidgetPlace:
    """A widget that shows everything itself, for front ends that ignore display updates."""

    def __init__(self, publisher: Publisher, control: Callable[[], Any] | None = None) -> None:
        import ipywidgets

        self._publisher = publisher
        self._html = ipywidgets.HTML()
        self._below = ipywidgets.HTML()
        self._control = control() if control is not None else None
        self._box = ipywidgets.VBox([self._html, self._control or self._below])

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        """Set the widget's HTML; the first time, display it."""
        self._html.value = html
        if first:
            self._publisher.publish({**_bundle(self._box), "text/plain": text}, metadata)

    def settle(self) -> None:
        """Take the control away."""
        if self._control is not None:
            self._box.children = (self._html, self._below)
            self._control.close()
            self._control = None

    def tell(self, html: str, text: str, metadata: dict[str, Any]) -> None:
        """Set the line below."""
        self._below.value = html


def _bundle(widget: Any) -> dict[str, Any]:
    made = widget._repr_mimebundle_()
    return dict(made[0] if isinstance(made, tuple) else made)
