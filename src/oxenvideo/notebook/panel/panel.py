"""The panel: the form and the board of one session, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.media import frames
from oxenvideo.notebook.panel.board import Board
from oxenvideo.notebook.panel.form import Form
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session

# An output above the panel. JupyterLab shows it only where the panel's widget is gone, in place of its own error.
_KEPT = (
    "<style>.jp-OutputArea-child:has(.oxenvideo-kept):has(+.jp-OutputArea-child .oxv-panel),"
    ".jp-OutputArea-child:has(.oxenvideo-kept)+.jp-OutputArea-child .jupyter-widgets:not(:has(*)){display:none}</style>"
    '<div class="oxenvideo-kept">The panel is open only while its kernel runs. Run this cell to open it.</div>'
)


class Panel:
    """Make, watch and compare videos in the notebook. Show it as the last expression of a cell, or by ``%oxenvideo panel``.

    ``request`` is the form's content, ``selected`` the open video, ``generations`` everything that the panel shows;
    ``load(request)`` fills the form, ``generate()`` does what the button does. ``widget`` is the whole panel as an
    ipywidgets object, for your own layouts.
    """

    def __init__(self, session: Session, *, names: Callable[[], Mapping[str, Any]] | None = None) -> None:
        self.session = session
        media_names: dict[str, str] = {}  # what media are called, by the path of their file
        self.form = Form(session, names or _notebook_names, media_names)
        self.board = Board(session, media_names)
        self.form.on_msg(self._on_form_message)
        self.board.on_msg(self._on_board_message)
        self.widget = widgets.VBox([self.form, self.board])
        self.widget.add_class("oxv-panel")

    @property
    def request(self) -> VideoRequest:
        """The request in the form; not checked, see ``problem``."""
        return self.form.state.request

    @property
    def problem(self) -> str | None:
        """Why the form cannot be submitted, or None."""
        return self.form.validation.first

    @property
    def selected(self) -> Generation | None:
        """The generation that is open in the panel, the first of two; None if none of this kernel is."""
        return next((video.generation for video in self.board.open_videos if video.generation is not None), None)

    @property
    def generations(self) -> list[Generation]:
        """Everything of this session that the panel shows, oldest first."""
        return self.board.jobs.generations

    def load(self, request: VideoRequest) -> None:
        """Fill the form with a request, such as ``generation.request``."""
        self.form.load(request)

    def generate(self) -> Batch:
        """Submit the form's request and return at once. Raises InvalidRequest with the first problem."""
        return self.form.submit()

    def close(self) -> None:
        """Remove the panel; what it submitted goes on."""
        self.board.stop()
        for widget in (self.form, *self.widget.children, self.widget):
            widget.layout.close()
            widget.close()

    def __repr__(self) -> str:
        return "<Panel>"

    def _ipython_display_(self) -> None:
        from IPython.core.getipython import get_ipython

        shell: Any = get_ipython()
        shell.display_pub.publish({"text/html": _KEPT, "text/plain": ""})
        shell.display_pub.publish(self._repr_mimebundle_()[0])

    def _repr_mimebundle_(self, **options: Any) -> Any:
        shown = self.widget._repr_mimebundle_(**options)
        data, metadata = shown if isinstance(shown, tuple) else (shown, {})
        return {**data, "text/plain": repr(self)}, metadata

    def _display_(self) -> Any:
        """For marimo, which shows anywidgets and no others."""
        import marimo

        return marimo.vstack([self.form, self.board])

    # Messages that concern both the form and the board

    def _on_form_message(self, _: Any, content: Mapping[str, Any], buffers: Any) -> None:
        if content.get("do") == "code":
            self.board.show_code(self.request)

    def _on_board_message(self, _: Any, content: Mapping[str, Any], buffers: Any) -> None:
        key = str(content.get("key", ""))
        try:
            match content.get("do"):
                case "use":
                    self.load(self.board.request_of(key))
                    self.form.focus("prompt")
                    self.board.say("The form has these settings now.", "good")
                case "code":
                    self.board.show_code(self.board.request_of(key))
                case "frame":
                    self._use_last_frame(key, str(content.get("model", "")))
        except OxenVideoError as error:
            self.board.report(str(error))

    def _use_last_frame(self, key: str, model_id: str) -> None:
        """Put the last frame of a video into the form; on a model without images, offer one that has them."""
        video = self.board.video(key)
        picture = frames.last_frame(video.path)
        if model_id:
            self.form.pick(model_id)
        try:
            self.form.put_first_frame(picture, f"last frame of {video.name}")
        except InvalidRequest as error:
            other = self.form.model_with_image()
            if other is None or model_id:
                raise
            label = f"Switch to {other.display_name or other.id}"
            self.board.say(str(error), "bad", {"label": label, "do": "frame", "key": key, "model": other.id})
        else:
            self.board.say("The last frame is in the form.", "good")


def _notebook_names() -> Mapping[str, Any]:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return shell.user_ns if shell is not None else {}


def panel() -> Panel:
    """The panel to make, watch and compare videos without writing code."""
    from oxenvideo.session import current_session

    return Panel(current_session())
