"""The contract between the server and a renderer."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class InputRules:
    """What a renderer may fetch for a job.

    ``own`` are the authorities (`host:port`) of this server, which listens at ``address`` and requires ``key``.
    """

    own: Sequence[str] = ()
    address: tuple[str, int] | None = None
    key: str | None = None
    allow_private: bool = False
    allow_files: bool = False


@dataclass(frozen=True)
class Job:
    """One video to render: the parameters as they were sent, and the model as the API describes it.

    ``variation`` numbers the generations of one request, so that each can look different.
    """

    id: str
    model: Mapping[str, Any]
    parameters: Mapping[str, Any]
    variation: int = 0
    inputs: InputRules = InputRules()


@dataclass(frozen=True)
class Rendered:
    """A rendered video: its length in seconds, whether it has sound, and the resolution that decides its price."""

    seconds: float
    audio: bool
    resolution: str | None


class RenderError(Exception):
    """The job cannot be rendered. The text becomes the generation's error message."""


class Renderer(Protocol):
    """Makes videos, in a process of its own that is killed to cancel a job."""

    def render(self, job: Job, path: Path) -> Rendered:
        """Write the video to ``path``, an MP4; raise RenderError if the request is at fault."""


def check(spec: str) -> None:
    """Raise ValueError unless `module:factory` names an existing module. The module is not imported."""
    module, _, factory = spec.partition(":")
    with contextlib.suppress(ModuleNotFoundError, ValueError):
        if factory and importlib.util.find_spec(module):
            return
    raise ValueError(f"--renderer {spec} is not module:factory of a module that can be imported.")
