"""Make videos with Oxen.ai from a notebook: ``%load_ext oxenvideo``, then ``%%oxenvideo``; or the functions here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__version__ = "0.1.0"

# The names are in __init__.pyi. Each is imported when it is first used, so that %load_ext imports no HTTP client.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics; called by ``%load_ext oxenvideo``, any number of times."""
    from oxenvideo.notebook.magics import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Remove the magics; called by ``%unload_ext oxenvideo``."""
    from oxenvideo.notebook.magics import unload

    unload(shell)
