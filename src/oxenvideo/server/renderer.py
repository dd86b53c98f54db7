"""The contract of a renderer, and the local preview behind it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class InputRules:
    """What a renderer may fetch for a job.

    ``own`` are the authorities (`host:port`) that mean this very server, which listens at ``address`` and takes
    ``key``.
    """

    own: tuple[str, ...] = ()
    address: tuple[str, int] | None = None
    key: str | None = None
    allow_private: bool = False
    allow_files: bool = False


@dataclass(frozen=True)
class Job:
    """One video to make: the parameters as they were sent, and the model's own description.

    ``variation`` counts the generations of one request, so that four of them are four videos.
    """

    id: str
    model: Mapping[str, Any]
    parameters: Mapping[str, Any]
    variation: int = 0
    inputs: InputRules = InputRules()

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Job:
        """Read what `to_json` wrote."""
        rules = dict(data["inputs"])
        rules["own"] = tuple(rules["own"])
        rules["address"] = None if rules["address"] is None else (rules["address"][0], rules["address"][1])
        return cls(**{**data, "inputs": InputRules(**rules)})


@dataclass(frozen=True)
class Rendered:
    """What was made: seconds of video, whether it has sound, and the resolution tier it is billed at."""

    seconds: float
    audio: bool
    resolution: str | None


class RenderError(Exception):
    """The job cannot be rendered as it was asked; the text is for the person who asked."""


class Renderer(Protocol):
    """Makes videos. It runs in a process of its own, which is killed to cancel a job."""

    def render(self, job: Job, path: Path) -> Rendered:
        """Write the video to ``path``, an MP4; raise RenderError where the request is at fault."""


class LocalPreview:
    """A procedural video in place of a model's: quick, free, and marked as what it is."""

    def __init__(self) -> None:
        # Heavy libraries are loaded when a worker makes its renderer, before the first job arrives.
        from oxenvideo.server.preview import render as film

        self._film = film

    def render(self, job: Job, path: Path) -> Rendered:
        """Write the preview of this job."""
        return self._film.render(job, path)


def check(spec: str) -> None:
    """Raise ValueError where `module:factory` names no module there is; nothing is loaded."""
    module, _, factory = spec.partition(":")
    try:
        found = importlib.util.find_spec(module) if module and factory else None
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise ValueError(f"--renderer {spec} is not module:factory of a module that can be imported.")


def load(spec: str) -> Renderer:
    """Make the renderer that `module:factory` names."""
    module, _, factory = spec.partition(":")
    renderer: Renderer = getattr(importlib.import_module(module), factory)()
    return renderer
