"""Kernels that are reached through files: a free port may be taken by another test before its kernel binds it.

As a plugin of pytest, ``-p kernels``, this makes the kernels of nbval such kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from traitlets.config import Config

OPTION = "--KernelManager.transport=ipc"  # of the Jupyter programs


def through_files(folder: Path) -> Config:
    """The configuration of a kernel whose sockets are in this directory."""
    return Config({"KernelManager": {"transport": "ipc", "ip": str(folder / ".kernel")}})


def pytest_configure(config: pytest.Config) -> None:
    """Give nbval, which has no option for it, a class of kernels that is configured."""
    import nbval.kernel

    folder = TemporaryDirectory(prefix="kernels")
    config.add_cleanup(folder.cleanup)
    nbval.kernel.KernelManager = partial(KernelManager, config=through_files(Path(folder.name)))


def start_kernel(environment: Mapping[str, str], folder: Path) -> tuple[KernelManager, BlockingKernelClient]:
    """Start a kernel in this directory, and wait until it answers."""
    manager = KernelManager(kernel_name="python3", config=through_files(folder))
    manager.start_kernel(env=dict(environment), cwd=str(folder))
    client: BlockingKernelClient = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
    except RuntimeError:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        raise
    return manager, client
