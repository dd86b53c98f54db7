"""Every setting that a user or a test can change."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from oxenvideo.client.credentials import DEFAULT_MODEL, Secret
from oxenvideo.client.retry import Backoff
from oxenvideo.environment import default_data_dir
from oxenvideo.errors import ConfigurationError
from oxenvideo.media.media import DEFAULT_INLINE_LIMIT


@dataclass(frozen=True)
class Pace:
    """How often the service is asked, and how long things are waited for, in seconds.

    ``poll`` is the time between two lists (the documentation advises 10 to 30 s for videos), ``first_poll`` the time
    before the first list after a submit, ``linger`` how long the event stream stays open with nothing to watch,
    ``stream_start`` how long a submit waits for the stream to open, ``stream_retry`` the time between attempts where the
    service has no stream, ``stream_silence`` how long the stream may be silent (the service sends a keep-alive every
    15 s), ``confirm`` how long a submit whose answer was lost is searched for before the user is asked, and how long an
    id may be unknown to the service, and ``reach`` how long an unreachable service is tried.
    """

    poll: float = 10.0
    first_poll: float = 2.0
    linger: float = 20.0
    stream_start: float = 3.0
    stream_retry: float = 300.0
    stream_silence: float = 46.0
    confirm: float = 45.0
    reach: float = 60.0
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True)
class Limits:
    """How much happens at once, and how large files may be.

    ``inline`` is the size in bytes up to which a media file is sent as a data URI; ``video`` bounds a result in bytes.
    """

    submits: int = 8
    downloads: int = 4
    inline: int = DEFAULT_INLINE_LIMIT
    video: int = 16 * 1024**3


@dataclass(frozen=True)
class Settings:
    """What can be configured.

    ``max_cost`` is in US dollars for one submit, ``poll_interval`` in seconds between two lists (it replaces
    ``pace.poll``), ``timeout`` in seconds for an ordinary answer. ``media_repo`` (namespace/name) takes media files that
    are too large to be sent inline. ``download`` is whether videos are fetched into ``download_dir``. ``embed_limit`` is the
    size in bytes up to which a video is stored in the notebook; by default what the front end allows, at most 8 MB.
    """

    base_url: str | None = None
    api_key: Secret | None = field(default=None, repr=False)
    model: str = DEFAULT_MODEL
    data_dir: Path = field(default_factory=default_data_dir)
    download_dir: Path = Path("videos")
    download: bool = True
    max_cost: Decimal | None = None
    media_repo: str | None = None
    embed_limit: int | None = None
    poll_interval: float | None = None
    pace: Pace = field(default_factory=Pace)
    limits: Limits = field(default_factory=Limits)
    timeout: float = 30.0

    def changed(self, **options: Any) -> Settings:
        """These settings with some replaced; None stands for the default. ConfigurationError names an unknown setting."""
        unknown = sorted(set(options) - set(self.__dataclass_fields__))
        if unknown:
            raise ConfigurationError(
                f"There is no setting {unknown[0]!r}: use one of {', '.join(self.__dataclass_fields__)}."
            )
        if not options:
            return self
        if None in options.values():
            standard = Settings()
            options = {name: getattr(standard, name) if value is None else value for name, value in options.items()}
        if isinstance(options.get("api_key"), str):
            options["api_key"] = Secret(options["api_key"])
        for name in ("data_dir", "download_dir"):
            if isinstance(options.get(name), str):
                options[name] = Path(options[name]).expanduser()
        if options.get("max_cost") is not None:
            options["max_cost"] = Decimal(str(options["max_cost"]))
        repository = options.get("media_repo")
        if repository is not None and not re.fullmatch(r"[^/\s]+/[^/\s]+", repository):
            raise ConfigurationError(f"media_repo {repository!r} is not a repository: use namespace/name.")
        return replace(self, **options)

    def pace_at(self, *, local: bool) -> Pace:
        """The pace for a service; the embedded server (``local``) is on this machine and is asked more often."""
        pace = self.pace
        if local:
            pace = replace(pace, poll=min(pace.poll, 1.0), first_poll=min(pace.first_poll, 0.3))
        return pace if self.poll_interval is None else replace(pace, poll=self.poll_interval)


#: Settings that a running session can take on. The others are built into its engine.
CHANGEABLE = frozenset(
    {"base_url", "api_key", "model", "max_cost", "download_dir", "download", "media_repo", "embed_limit"}
)
