"""The contract between the scheduler and an adapter of a kind of engine.

The scheduler makes an adapter for each configured engine and gives it one job at a time:

    await engine.ping()           # only after a failure, before the next job
    await engine.run(job, host)   # submit the job or find it again, follow it, write the video
    await engine.stop(job)        # only for a job that was cancelled, after `run` was ended

All methods are coroutines on one event loop, except `describe`. Work that blocks belongs in a thread or a process.
Every text that an adapter raises or returns is one sentence for the user: it names the engine, and holds no URL, header,
path or traceback. `http.cleaned` cuts the texts of engines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class ConfigurationError(ValueError):
    """The configuration of an engine or a model cannot be used. The text is one sentence."""


class JobFailed(Exception):
    """The job fails, and the text becomes its error message.

    The request is at fault, or somebody stopped the job at the engine. Or the engine may have the job, which cannot be
    found, or has made its video, which is gone: the user decides about another one, because it may cost again.
    """


class EngineError(Exception):
    """The engine is at fault. The job moves on; after three in a row the engine rests."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or takes no jobs now.

    A job that has no remote id moves on to the next free engine. A job that has one stays with this engine for some
    minutes, because it may still run there: `run` is called again with the same remote id.
    """


class EngineDied(EngineError):
    """The engine ended or lost the job that it had accepted, and certainly has neither the job nor its video.

    The job is run once more, from its beginning, without the remote id. The second time, the job fails.
    """


class ModelUnavailable(EngineError):
    """The engine works but lacks something that the model needs, such as a file. Other engines may have it.

    The engine gets no jobs of this model for some minutes. If no other engine of the model has it either, or if the
    job has a remote id and may thus have been made, the job fails with this text.
    """


@dataclass(frozen=True)
class EngineConfig:
    """One engine of `engines.toml`. ``headers`` hold resolved secrets; ``options`` are all other keys of its table."""

    name: str
    kind: str
    url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelConfig:
    """One model of `engines.toml`, for the engines of one kind. ``options`` are all other keys of its table.

    Relative paths in the options start at ``directory``. ``catalog`` is the model of the bundled catalog with this id.
    """

    id: str
    engines: Sequence[str]
    options: Mapping[str, Any]
    directory: Path
    catalog: Mapping[str, Any] | None = None

    def path(self, option: str) -> Path | None:
        """Return the path in an option, or None if it is not set; raise ConfigurationError if it is not a path."""
        value = self.options.get(option)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"Model {self.id}: {option} must be a path, not {value!r}.")
        return self.directory / Path(value).expanduser()


@dataclass(frozen=True)
class Job:
    """One video to make.

    ``id`` is a lower-case UUID. ``parameters`` are valid by the model's request schema. ``variation`` numbers the
    generations of one request: each must look different, also if a seed is given. The same parameters and variation
    give the same video. ``remote_id`` is what `Host.accepted` stored earlier, maybe before this server was restarted.
    The MP4 goes to ``path``, which does not exist yet.
    """

    id: str
    model: ModelConfig
    parameters: Mapping[str, Any]
    variation: int
    remote_id: str | None
    path: Path

    @property
    def seed(self) -> int:
        """The seed to use: the one that was given plus the variation, else one that only this job has."""
        given = self.parameters.get("seed")
        if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
            return (given + self.variation) % 2**63
        return int(self.id.replace("-", "")[:8], 16) >> 1


def is_mp4(path: Path) -> bool:
    """Return whether there is an MP4 file, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(12)[4:8] == b"ftyp"
    except OSError:
        return False


class Host(Protocol):
    """What the server does for an adapter that runs a job."""

    async def fetch(self, uri: str) -> bytes:
        """Return the content at an input URI of the request, such as a data URI; raise JobFailed if it is refused.

        Adapters upload this content to the engine, and never forward the URI.
        """

    def accepted(self, remote_id: str) -> None:
        """Store the engine's id of this job on disk. Call it before the submit if the adapter can choose the id."""

    def rejected(self) -> None:
        """Forget the stored id, because the engine certainly does not have the job."""

    def report(self, step: int, total: int, preview: bytes | None = None) -> None:
        """Report progress that the engine has counted, and maybe a picture in any format. Call it as often as you like."""


class Engine(Protocol):
    """An adapter for one engine. The registry makes it with the `EngineConfig` as the only argument.

    It raises ConfigurationError if the configuration cannot be used, and connects to nothing. One instance lives as
    long as its configuration does not change, and may keep connections and loaded models.
    """

    def describe(self, model: ModelConfig) -> Mapping[str, Any]:
        """Return the fields of the API's model that differ from the bundled catalog, at least ``request_schema``.

        It asks the engine nothing, but may use what an earlier `check` has learned. Raises ConfigurationError.
        """

    async def ping(self) -> None:
        """Return if the engine takes jobs; else raise EngineUnavailable."""

    async def check(self, model: ModelConfig) -> Sequence[str]:
        """Return what prevents the engine from making videos of a model, one sentence each.

        Raises EngineUnavailable if the engine does not answer, and ConfigurationError.
        """

    async def run(self, job: Job, host: Host) -> None:
        """Make the video, and return when it is at ``job.path``.

        With a ``remote_id``, find the job at the engine again and submit nothing; if the engine does not know it any
        more, raise EngineDied or, if it may have made the video, JobFailed. If the answer to a submit is lost, find out
        whether the engine has the job before anything is sent again. Raises JobFailed or EngineError.

        If the task is cancelled, stop following the job, and leave it alone at the engine: the server may be about to
        restart. Shield a submit that is under way, so that its answer is not lost.
        """

    async def stop(self, job: Job) -> str | None:
        """Stop a job at the engine, and return when the engine confirms that it does not run any more.

        ``job.remote_id`` is None if none was stored. Returns None, also for a job that the engine does not know, or a
        sentence that says what the engine cannot stop. Raises EngineUnavailable if that is not known; it is called again.
        """

    async def close(self) -> None:
        """Close connections and end processes. No method is called after it."""
