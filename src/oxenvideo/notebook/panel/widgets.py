"""Plain widgets at little cost: one layout and one style of each kind for a whole panel, looks by CSS class alone."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets


class Kit:
    """Makes the widgets of one panel. ``layout`` is the one that they share.

    Every widget is a message to the front end, and by default its layout and its style are two more. Shared, they make a
    panel appear in a third of the time. A widget lives as long as its panel: one that is closed while the front end still
    lays it out makes that stumble, and one that is kept is there at once when its model is chosen again.
    """

    def __init__(self) -> None:
        self.layout = widgets.Layout()
        self._styles: dict[type, Any] = {}
        self._made: list[Any] = []

    def make(self, kind: type, classes: str = "", **traits: Any) -> Any:
        """A widget of this kind with these CSS classes (in one text) and traits."""
        style = kind.class_traits().get("style")  # type: ignore[attr-defined]
        if style is not None and style.klass not in self._styles:
            self._styles[style.klass] = style.klass()
        if style is not None:
            traits["style"] = self._styles[style.klass]
        made = kind(layout=self.layout, _dom_classes=tuple(classes.split()), **traits)
        return self.adopt(made)

    def adopt(self, widget: Any) -> Any:
        """Take care of a widget that was made elsewhere: have it heard in order with the others, and closed with them."""
        in_order(widget)
        self._made.append(widget)
        return widget

    def close(self) -> None:
        """Close every widget that was made here, the latest first, so that none outlives what it stands in."""
        for widget in reversed([self.layout, *self._styles.values(), *self._made]):
            widget.close()

    def column(self, children: Any = (), classes: str = "") -> Any:
        """Widgets below one another."""
        return self.make(widgets.VBox, classes, children=tuple(children))

    def row(self, children: Any = (), classes: str = "") -> Any:
        """Widgets beside one another."""
        return self.make(widgets.HBox, classes, children=tuple(children))

    def button(self, words: str, classes: str = "", *, hint: str = "", then: Any = None) -> Any:
        """A button; ``then`` is called without arguments."""
        made = self.make(widgets.Button, classes, description=words, tooltip=hint or None)
        if then is not None:
            made.on_click(lambda _: then())
        return made

    def html(self, value: str = "", classes: str = "") -> Any:
        """A piece of HTML; whoever sets its value has escaped it."""
        return self.make(widgets.HTML, classes, value=value)


def in_order(widget: Any) -> None:
    """Have what the browser says to a widget handled in one line with what it says to the others.

    JupyterLab asks for widgets' messages to be handled in a thread beside the cells, so that they do not wait for a
    running one. ipykernel 7.4 grants that comm by comm, to those that have been answered there already, and then a press
    of Generate could overtake the words that were typed before it. As the front end asked is the same for all.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, asked: asked


def show(widget: Any, *, when: bool) -> None:
    """Have a widget seen or not, by CSS class: a hidden one is out of the keyboard's way too."""
    mark(widget, "oxv-hidden", on=not when)


def mark(widget: Any, name: str, *, on: bool) -> None:
    """Give a widget a CSS class, or take it away."""
    if on != (name in widget._dom_classes):
        (widget.add_class if on else widget.remove_class)(name)
