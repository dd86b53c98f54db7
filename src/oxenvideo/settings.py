"""What an engine needs to know beforehand: limits, pace and places."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from oxenvideo.credentials import Target
from oxenvideo.engine import transfer
from oxenvideo.media import media
from oxenvideo.pace import Pace


@dataclass(frozen=True)
class Limits:
    """How much happens at once, and how large things may be.

    ``inline`` is bytes of a media file sent as a data URI, ``video`` bytes of a result.
    """

    submits: int = 8
    downloads: int = 4
    inline: int = media.DEFAULT_INLINE_LIMIT
    video: int = transfer.VIDEO_LIMIT


@dataclass(frozen=True)
class Setup:
    """What the engine needs to know beforehand. ``media_repo`` (namespace/name) takes media too large to be sent inline."""

    data_dir: Path
    pace: Pace = field(default_factory=Pace)
    local_pace: Pace = field(default_factory=lambda: Pace(poll=1.0, first_poll=0.3))
    limits: Limits = field(default_factory=Limits)
    download: bool = True
    download_dir: Path = Path("videos")
    media_repo: str | None = None
    client_timeout: float = 30.0


def account_of(target: Target) -> str:
    """What tells one key's jobs from another's in the journal, without telling the key."""
    if target.is_local or target.api_key is None:
        return "local"
    return hashlib.sha256(target.api_key.reveal().encode()).hexdigest()[:16]
