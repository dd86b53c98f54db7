"""Loading and unloading: what ``%load_ext oxenvideo`` adds to IPython, and takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oxenvideo.notebook.magics import OxenVideo

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load(shell: InteractiveShell) -> None:
    """Register the magics, completion and formatters, once."""
    if _loaded(shell) is None:
        OxenVideo(shell).attach()


def unload(shell: InteractiveShell) -> None:
    """Take back everything; running generations go on and can be resumed."""
    if (magics := _loaded(shell)) is not None:
        magics.detach()


def _loaded(shell: InteractiveShell) -> OxenVideo | None:
    magics = shell.magics_manager.registry.get(OxenVideo.__name__)
    return magics if isinstance(magics, OxenVideo) else None
