"""``%%oxenvideo`` and ``%oxenvideo``: a translator from what is written in a cell to the session, and to cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Bool, Enum, Float, Int, Unicode, observe

from oxenvideo.errors import OxenVideoError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from oxenvideo.notebook.runner import Page

# Traits that are the session's settings, under the same name.
_SETTINGS = ("base_url", "model", "download_dir", "max_cost", "media_repo")


@magics_class
class OxenVideo(Magics):
    """Make videos from cells. Defaults are set with ``%config OxenVideo.<name> = value``."""

    base_url = Unicode(None, allow_none=True, help="the service; 'local' means the embedded server").tag(config=True)
    model = Unicode(None, allow_none=True, help="the model that is used where a cell names none").tag(config=True)
    duration = Int(None, allow_none=True, help="seconds, where a cell names none").tag(config=True)
    aspect_ratio = Unicode(None, allow_none=True, help="such as 16:9, where a cell names none").tag(config=True)
    embed = Enum(
        ["auto", "inline", "file", "url"],
        default_value="auto",
        help="how videos are kept: inline in the notebook, as a linked file, by the service's URL (which expires), "
        "or auto: inline up to 8 MB, linked above",
    ).tag(config=True)
    download_dir = Unicode(None, allow_none=True, help="where videos go; ./videos by default").tag(config=True)
    max_cost = Float(None, allow_none=True, help="US dollars above which a cell is refused").tag(config=True)
    media_repo = Unicode(None, allow_none=True, help="namespace/name that takes large input files").tag(config=True)
    nested_loops = Bool(
        False,
        help="let the notebook's own asyncio tasks go on while %oxenvideo wait waits, by nest-asyncio2 or nest-asyncio, "
        "which patch asyncio for the whole process; `await NAME` needs no patch, and handles button clicks too",
    ).tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.ipython: Any = shell  # as Magics.shell, but never None
        self._page: Page | None = None

    @property
    def page(self) -> Page:
        """What is shown in this shell; loads the rest of the package when it is first needed."""
        if self._page is None:
            from oxenvideo.notebook.runner import Page

            self._page = Page(self)
            changed = {name: value for name in _SETTINGS if (value := getattr(self, name)) is not None}
            if changed:
                self._page.configure(changed)
        return self._page

    @observe(*_SETTINGS)
    def _configure(self, change: Any) -> None:
        if self._page is not None:
            try:
                self._page.configure({change["name"]: change["new"]})
            except OxenVideoError as error:
                raise UsageError(str(error)) from None

    @no_var_expand
    @line_cell_magic
    def oxenvideo(self, line: str, cell: str | None = None) -> Any:
        """Make a video of the prompt in the cell, or manage videos on a line: ``%oxenvideo --help`` tells all."""
        try:
            if cell is not None:
                return self.page.run_cell(line, cell)
            from oxenvideo.notebook import commands

            # IPython refuses a cell without a body, and some models take no prompt: their order fits on a line.
            if commands.is_order(line):
                return self.page.run_cell(line, "")
            return commands.run(self.page, line)
        except OxenVideoError as error:
            raise UsageError(str(error)) from None
        except KeyboardInterrupt as stopped:
            print(str(stopped) or "Stopped waiting; the videos go on. Cancel one with %oxenvideo cancel NAME.")
            return None

    # Loading and unloading

    def attach(self) -> None:
        """Register with the shell, and say in one line what earlier kernels left unfinished."""
        from oxenvideo.notebook import completion

        self.ipython.register_magics(self)
        self._matcher = completion.matcher(self)
        self.ipython.Completer.custom_matchers.append(self._matcher)
        from oxenvideo.notebook.unfinished import unfinished_line

        if line := unfinished_line():
            print(line)

    def detach(self) -> None:
        """Take back what ``attach`` and the first use added."""
        if self._matcher in self.ipython.Completer.custom_matchers:
            self.ipython.Completer.custom_matchers.remove(self._matcher)
        manager = self.ipython.magics_manager
        manager.registry.pop(type(self).__name__, None)
        for kind in ("line", "cell"):
            manager.magics[kind].pop("oxenvideo", None)
        if self in self.ipython.configurables:
            self.ipython.configurables.remove(self)
        if self._page is not None:
            self._page.close()
            self._page = None

    @property
    def directory(self) -> Path:
        """The notebook's directory, to which links are relative."""
        return Path.cwd()
