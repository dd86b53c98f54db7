"""What a server is started with."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_PORT = 8639
DEFAULT_RENDERER = "oxenvideo.server.renderer:LocalPreview"
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Settings:
    """One server's settings; sizes in bytes, times in seconds.

    ``users`` maps a user's name to the API key; the name is also the user's namespace, so jobs outlive a change of key.
    """

    data_dir: Path
    users: Mapping[str, str] = field(repr=False)
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    workers: int = 1
    delay: float = 0.0
    min_seconds: float = 0.0
    allow_hosts: tuple[str, ...] = ()
    allow_private_inputs: bool = False
    allow_file_inputs: bool = False
    max_body: int = 100 * 1024 * 1024
    url_ttl: float = 3600.0
    keep_alive: float = 15.0
    renderer: str = DEFAULT_RENDERER
    models_file: Path | None = None

    def user_of(self, key: str) -> str | None:
        """Name the user whose key this is, comparing every key in constant time."""
        found = None
        for name, known in self.users.items():
            if hmac.compare_digest(known.encode(), key.encode()):
                found = name
        return found

    def make_directories(self) -> None:
        """Make the directories that are missing; OSError where that is not allowed."""
        for directory in (self.data_dir, self.results_dir, self.scratch_dir, self.repos_dir):
            directory.mkdir(parents=True, exist_ok=True)

    @property
    def hosts(self) -> frozenset[str]:
        """Names a request may give in its Host header."""
        return LOOPBACK_NAMES | {self.host.lower()} | {name.lower() for name in self.allow_hosts}

    @property
    def results_dir(self) -> Path:
        """Where finished videos stay."""
        return self.data_dir / "videos"

    @property
    def scratch_dir(self) -> Path:
        """Where videos are while they are made."""
        return self.data_dir / "tmp"

    @property
    def repos_dir(self) -> Path:
        """Where repositories' files are, by user, namespace and repository."""
        return self.data_dir / "repos"
