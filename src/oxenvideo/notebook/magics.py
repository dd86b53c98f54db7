"""``%%oxenvideo`` and ``%oxenvideo``: the class that IPython calls, its configuration, loading and unloading."""

from __future__ import annotations

import sqlite3
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleMatcherResult, context_matcher
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Bool, Callable, Enum, Float, Int, Unicode, Union

from oxenvideo.environment import JOURNAL, default_data_dir, notebook_path
from oxenvideo.errors import OxenVideoError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from oxenvideo.notebook.runner import Runner
    from oxenvideo.session import Session


@magics_class
class OxenVideo(Magics):
    """Make videos from cells. ``%config OxenVideo.<name> = value`` sets a default; None restores the original one."""

    base_url = Unicode(None, allow_none=True, help="the service; 'local' is the embedded server").tag(config=True)
    model = Unicode(None, allow_none=True, help="the model of cells that name none").tag(config=True)
    duration = Int(None, allow_none=True, help="seconds, for cells that give no duration").tag(config=True)
    aspect_ratio = Unicode(None, allow_none=True, help="such as 16:9, for cells that give none").tag(config=True)
    embed = Enum(
        ["auto", "inline", "file", "url"],
        default_value="auto",
        help="how videos are stored: inline in the notebook, as a linked file, by the service's url (which expires), or "
        "auto: inline up to embed_limit, linked above",
    ).tag(config=True)
    embed_limit = Int(
        None, allow_none=True, help="bytes up to which a video is stored inline; by default what the front end allows"
    ).tag(config=True)
    download_dir = Unicode(None, allow_none=True, help="directory of the videos; ./videos by default").tag(config=True)
    max_cost = Float(None, allow_none=True, help="US dollars above which a cell is refused").tag(config=True)
    media_repo = Unicode(None, allow_none=True, help="namespace/name for large input files").tag(config=True)
    notify = Union(
        [Bool(), Callable()],
        default_value=False,
        help="tell when a cell's videos are done, as --notify does; or a function to call with the Generation or Batch",
    ).tag(config=True)
    nested_loops = Bool(
        False,
        help="let the notebook's own asyncio tasks run while %oxenvideo wait waits, with nest-asyncio2 or nest-asyncio, "
        "which patch asyncio for the whole process; `await NAME` needs no patch, and also handles button clicks",
    ).tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._shell: Any = shell  # like Magics.shell, but never None
        self._runner: Runner | None = None

        def complete(context: CompletionContext) -> SimpleMatcherResult:
            from oxenvideo.notebook import completion

            return completion.complete(context, shell, self._session)

        matcher: Any = context_matcher(identifier="oxenvideo.options")
        self._matcher = matcher(complete)

    @no_var_expand
    @line_cell_magic
    def oxenvideo(self, line: str, cell: str | None = None) -> Any:
        """Make a video of the prompt in the cell, or manage videos with a line: see ``%oxenvideo --help``."""
        try:
            runner = self._runner or self._start()
            if cell is not None:
                return runner.run_cell(line, cell)
            from oxenvideo.notebook import commands

            return commands.run(runner, line)
        except OxenVideoError as error:
            raise UsageError(str(error)) from None
        except KeyboardInterrupt as stopped:
            print(str(stopped) or "Stopped waiting; the videos go on. Cancel one with %oxenvideo cancel NAME.")
            return None

    def _start(self) -> Runner:
        """Import the rest of the package, unless that is done already, and pass on what is configured."""
        from oxenvideo.notebook.runner import Runner

        self._runner = Runner(self._shell)
        configured = {name: getattr(self, name) for name in _own_traits()}
        self._runner.configure(**{name: value for name, value in configured.items() if value is not None})
        return self._runner

    def _session(self) -> Session:
        from oxenvideo.session import current_session

        if self._runner is None:
            self._start()
        return current_session()

    def _pass_on(self, change: Any) -> None:
        if self._runner is not None:
            try:
                self._runner.configure(**{change["name"]: change["new"]})
            except OxenVideoError as error:
                raise UsageError(str(error)) from None

    # Loading and unloading

    def load(self) -> None:
        """Register with the shell, and say in one line what earlier kernels left unfinished."""
        self.observe(self._pass_on, _own_traits())
        self._shell.register_magics(self)
        self._shell.Completer.custom_matchers.append(self._matcher)
        self._shell.input_transformers_cleanup.append(_add_body)
        if line := _unfinished_line():
            print(line)
        # The rest of the package is imported while the user writes the first cell.
        threading.Thread(target=import_module, args=("oxenvideo.notebook.runner",), daemon=True).start()

    def unload(self) -> None:
        """Undo ``load`` and what running cells added. Videos in progress go on and can be resumed."""
        shell = self._shell
        shell.magics_manager.registry.pop(type(self).__name__, None)
        for kind in ("line", "cell"):
            shell.magics_manager.magics[kind].pop("oxenvideo", None)
        for place, added in (
            (shell.Completer.custom_matchers, self._matcher),
            (shell.input_transformers_cleanup, _add_body),
            (shell.configurables, self),
        ):
            if added in place:
                place.remove(added)
        if self._runner is not None:
            self._runner.close()
            self._runner = None


def _own_traits() -> list[str]:
    return list(OxenVideo.class_own_traits(config=True))


def load(shell: InteractiveShell) -> None:
    """Register the magics, completion and formatters; a second time has no effect."""
    if OxenVideo.__name__ not in shell.magics_manager.registry:
        OxenVideo(shell).load()


def unload(shell: InteractiveShell) -> None:
    """Undo ``load``."""
    if (magics := shell.magics_manager.registry.get(OxenVideo.__name__)) is not None:
        magics.unload()


def _add_body(lines: list[str]) -> list[str]:
    """An input transformer. IPython refuses a cell magic without a body before the magic can say anything about it."""
    if lines and lines[0].startswith("%%oxenvideo") and not any(line.strip() for line in lines[1:]):
        return [lines[0].rstrip("\n") + "\n", "\n"]
    return lines


_add_body.has_side_effects = True  # type: ignore[attr-defined]  # so that a terminal still waits for the body


def _unfinished_line() -> str | None:
    """A line about unfinished videos, or None. Reads the journal directly, since loading must stay fast."""
    path = default_data_dir() / JOURNAL
    if not path.exists():
        return None
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0.1)
        try:
            count = db.execute(
                "SELECT count(*) FROM generation g JOIN submission s ON s.key = g.submission"
                " WHERE g.delivered = 0 AND s.notebook = ?",
                (notebook_path(),),
            ).fetchone()[0]
        finally:
            db.close()
    except sqlite3.Error:
        return None  # only a hint: %oxenvideo resume reports what is wrong
    videos = "1 video of this notebook is" if count == 1 else f"{count} videos of this notebook are"
    them = "it" if count == 1 else "them"
    return f"oxenvideo: {videos} unfinished; %oxenvideo resume brings {them} back." if count else None
