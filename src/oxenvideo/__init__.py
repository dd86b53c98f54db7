"""Make videos with Oxen.ai from a notebook: ``%load_ext oxenvideo``, then ``%%oxenvideo``; or the functions here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from oxenvideo.client.client import Client
    from oxenvideo.errors import (
        ConfigurationError,
        CostLimitExceeded,
        DownloadFailed,
        GenerationCancelled,
        GenerationFailed,
        InvalidRequest,
        OutcomeUnknown,
        OxenVideoError,
        ServiceError,
        UnknownModel,
        WaitTimeout,
    )
    from oxenvideo.jobs.batch import Batch
    from oxenvideo.jobs.file_names import recall
    from oxenvideo.jobs.generation import Generation
    from oxenvideo.jobs.status import Status
    from oxenvideo.request.request import VideoRequest
    from oxenvideo.session import (
        Session,
        attach,
        configure,
        current_session,
        generate,
        history,
        models,
        resume,
        submit,
        submit_batch,
    )

__version__ = "0.1.0"

# Where each public name lives. Loaded when it is first used: `%load_ext` costs milliseconds, and no HTTP client.
_HOME = {
    **dict.fromkeys(
        (
            "attach",
            "configure",
            "generate",
            "history",
            "models",
            "resume",
            "current_session",
            "submit",
            "submit_batch",
        ),
        "oxenvideo.session",
    ),
    **dict.fromkeys(
        (
            "ConfigurationError",
            "CostLimitExceeded",
            "DownloadFailed",
            "GenerationCancelled",
            "GenerationFailed",
            "InvalidRequest",
            "OutcomeUnknown",
            "OxenVideoError",
            "ServiceError",
            "UnknownModel",
            "WaitTimeout",
        ),
        "oxenvideo.errors",
    ),
    "panel": "oxenvideo.notebook.panel.panel",
    "Batch": "oxenvideo.jobs.batch",
    "Client": "oxenvideo.client.client",
    "Generation": "oxenvideo.jobs.generation",
    "Session": "oxenvideo.session",
    "Status": "oxenvideo.jobs.status",
    "VideoRequest": "oxenvideo.request.request",
    "recall": "oxenvideo.jobs.file_names",
}

__all__ = [  # noqa: RUF022 - in the order in which a reader meets them
    "submit",
    "submit_batch",
    "generate",
    "attach",
    "resume",
    "history",
    "models",
    "panel",
    "recall",
    "configure",
    "current_session",
    "Generation",
    "Batch",
    "Status",
    "VideoRequest",
    "Client",
    "Session",
    "OxenVideoError",
    "ConfigurationError",
    "CostLimitExceeded",
    "DownloadFailed",
    "GenerationCancelled",
    "GenerationFailed",
    "InvalidRequest",
    "OutcomeUnknown",
    "ServiceError",
    "UnknownModel",
    "WaitTimeout",
    "load_ipython_extension",
    "unload_ipython_extension",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'oxenvideo' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics; called by ``%load_ext oxenvideo``, any number of times."""
    from oxenvideo.notebook.extension import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take back all that loading did; called by ``%unload_ext oxenvideo``."""
    from oxenvideo.notebook.extension import unload

    unload(shell)
