"""The settings of a server, and its directories."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_PORT = 8639
DEFAULT_RENDERER = "oxenvideo.server.preview.render:LocalPreview"
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
USER = "local"  # the one user of a server; also the default namespace


@dataclass(frozen=True)
class Settings:
    """The settings of one server; sizes in bytes, times in seconds."""

    data_dir: Path
    api_key: str = field(repr=False)
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

    def make_directories(self) -> None:
        """Create the directories that are missing; OSError if that is not allowed."""
        for directory in (self.data_dir, self.results_dir, self.scratch_dir, self.repos_dir):
            directory.mkdir(parents=True, exist_ok=True)

    @property
    def hosts(self) -> frozenset[str]:
        """The names that a request may have in its Host header."""
        return LOOPBACK_NAMES | {self.host.lower()} | {name.lower() for name in self.allow_hosts}

    @property
    def results_dir(self) -> Path:
        """The directory of finished videos."""
        return self.data_dir / "videos"

    @property
    def scratch_dir(self) -> Path:
        """The directory of videos that are being rendered."""
        return self.data_dir / "tmp"

    @property
    def repos_dir(self) -> Path:
        """The directory of the repositories' files, by namespace and repository."""
        return self.data_dir / "repos"
