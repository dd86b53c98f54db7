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
    host: str
    port: int
    workers: int
    delay: float
    min_seconds: float
    allow_host: list[str]
    allow_private_inputs: bool
    allow_file_inputs: bool
    max_body: int
    url_ttl: float
    keep_alive: float
    renderer: str
    models: Path | None
    engines: Path

    def make_directories(self) -> None:
        """Create the directories that are missing; OSError if that is not allowed."""
        for directory in (self.results_dir, self.scratch_dir):
            directory.mkdir(parents=True, exist_ok=True)

    @property
    def hosts(self) -> frozenset[str]:
        """The names that a request may have in its Host header."""
        return LOOPBACK_NAMES | {name.lower() for name in (self.host, *self.allow_host)}

    def result(self, id_: str) -> Path:
        """Return the path of the finished video of a generation."""
        return self.results_dir / f"{id_}.mp4"

    def scratch(self, id_: str) -> Path:
        """Return the path of the video of a generation while it is made."""
        return self.scratch_dir / f"{id_}.mp4"

    @property
    def results_dir(self) -> Path:
        """The directory of finished videos."""
        return self.data_dir / "videos"

    @property
    def scratch_dir(self) -> Path:
        """The directory of videos that are being rendered."""
        return self.data_dir / "tmp"
