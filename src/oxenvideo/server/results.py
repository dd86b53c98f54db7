"""The end of a generation: its video is stored, its row is completed, and whoever waits is told."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from oxenvideo.server.events import Endings
from oxenvideo.server.queue import Generation, Queue
from oxenvideo.server.repos import Repos
from oxenvideo.server.settings import Settings

log = logging.getLogger("oxenvideo.server")


class Results:
    """Ends the generations of one server."""

    def __init__(self, settings: Settings, queue: Queue, repos: Repos, endings: Endings) -> None:
        self._settings = settings
        self._queue = queue
        self._repos = repos
        self._endings = endings

    def succeed(self, generation: Generation, cost: str) -> None:
        """Store the video from the scratch directory, unless the generation was cancelled meanwhile.

        It may be called again after an error.
        """
        row = self._queue.get(generation.id)
        if row is None or row.status != "processing":
            return
        result = self._settings.result(generation.id)
        try:
            os.replace(self._settings.scratch(generation.id), result)
        except FileNotFoundError:
            if not result.is_file():  # else an earlier call stored it, and could not complete the row
                raise
        if generation.repo is not None:
            self._link(generation, generation.repo, result)
        self._publish(self._queue.succeed(generation.id, cost))

    def fail(self, generation: Generation, message: str) -> None:
        """Fail the generation with this error message, unless it has ended."""
        self._publish(self._queue.fail(generation.id, message))

    def _link(self, generation: Generation, repo: str, result: Path) -> None:
        """Store the video in its repository too. An error is logged only, because the video itself is there."""
        path = "/".join(filter(None, (generation.directory, result.name)))
        try:
            self._repos.link(generation.namespace, repo, path, result)
        except Exception:
            where = f"{generation.namespace}/{repo}"
            log.exception("generation %s: its video could not be stored in %s", generation.id, where)

    def _publish(self, ended: Generation | None) -> None:
        if ended is not None:
            self._endings.publish(ended)
