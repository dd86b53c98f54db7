"""Saving results as it once was."""

from __future__ import annotations

from pathlib import Path

from oxenvideo.engine.downloads import Downloads
from oxenvideo.errors import DownloadFailed
from oxenvideo.jobs.job import Job


def drop_what_cannot_be_saved() -> None:
    """The only copy of a video that came in an answer's body is gone after the first attempt to save it."""
    save = Downloads._save_kept

    def save_once(self: Downloads, job: Job, destination: Path) -> Path:
        try:
            return save(self, job, destination)
        except DownloadFailed:
            self._in_memory.pop(job.key, None)
            self._kept(job).unlink(missing_ok=True)
            raise

    Downloads._save_kept = save_once  # type: ignore[method-assign]
