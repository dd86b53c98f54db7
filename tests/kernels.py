"""Kernels that are reached through files: a free port may be taken by another test before its kernel binds it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from traitlets.config import Config

OPTION = "--KernelManager.transport=ipc"  # of a server


def config(folder: Path) -> Config:
    """The configuration of a kernel whose sockets are in this directory."""
    return Config({"KernelManager": {"transport": "ipc", "ip": str(folder / ".kernel")}})


def start_kernel(environment: Mapping[str, str], folder: Path) -> tuple[KernelManager, BlockingKernelClient]:
    """Start a kernel in this directory, and wait until it answers."""
    manager = KernelManager(kernel_name="python3", config=config(folder))
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
