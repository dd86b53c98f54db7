"""The download queue: a few files at a time, each of which ends up whole at its destination or not at all."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from oxenvideo.client.client import Client
from oxenvideo.client.retry import Backoff, persist
from oxenvideo.engine import transfer
from oxenvideo.errors import DownloadFailed, OxenVideoError
from oxenvideo.jobs import file_names
from oxenvideo.jobs.job import Job
from oxenvideo.jobs.journal import make_private_directory

log = logging.getLogger("oxenvideo")


class Downloads:
    """Fetches the files of jobs that succeeded, ``at_once`` of them together, each of at most ``most`` bytes.

    A video that came in an answer's body is kept in ``data_dir`` until it is saved.
    """

    def __init__(
        self,
        open_client: Callable[[], Awaitable[Client]],
        backoff: Backoff,
        data_dir: Path,
        *,
        at_once: int,
        most: int,
    ) -> None:
        self._open = open_client
        self._backoff = backoff
        self._data_dir = data_dir
        self._most = most
        self._turns = asyncio.Semaphore(at_once)
        self._in_memory: dict[str, bytes] = {}  # by key of the job, videos that could not be written anywhere

    async def fetch(self, job: Job) -> None:
        """Bring a job's file here. Whatever becomes of it, the job ends in a state that says so."""
        async with self._turns:
            try:
                path = await self._file_of(job)
                size = path.stat().st_size
                if self._is_kept(job):
                    self._forget_kept(job, path)
            except OxenVideoError as error:
                failure = error if isinstance(error, DownloadFailed) else DownloadFailed(f"Download failed: {error}")
                job.end(fetching=False, error=failure)
            except Exception as error:
                log.exception("A download failed by an unforeseen error")
                text = f"Download failed: {type(error).__name__}: {error}. Try again with .download()."
                job.end(fetching=False, error=DownloadFailed(text))
            else:
                job.end(fetching=False, path=path, received=size, expected=size, error=None)

    def keep(self, job: Job, encoded: str) -> str | None:
        """Keep a video that came in an answer's body (base64), the only copy there is, until it is saved.

        Returns the URL of the file in the data directory; None where that cannot be written and the video is in memory.
        """
        self._in_memory[job.key] = base64.b64decode(encoded)
        return self.keep_again(job)

    def keep_again(self, job: Job) -> str | None:
        """Try again to write a video that is only in memory; returns its URL, or None where it still is in memory."""
        content = self._in_memory.get(job.key)
        if content is None:
            return job.state.result_url
        draft = self._draft(job)
        try:
            make_private_directory(draft.parent)
            # Neither a kernel that ends meanwhile nor a power cut must leave half a video under the name of a whole one.
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._kept(job))
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            log.warning(
                "%s cannot be written (%s): a video is only in memory until it is saved.", self._kept(job), error
            )
            return None
        del self._in_memory[job.key]
        return self._kept(job).as_uri()

    def kept_url(self, job: Job) -> str | None:
        """The URL of a video that an ended kernel kept in the data directory, None where there is none.

        Half a video, which that kernel did not finish writing, is removed.
        """
        with contextlib.suppress(OSError):
            self._draft(job).unlink(missing_ok=True)
        return self._kept(job).as_uri() if self._kept(job).exists() else None

    def _kept(self, job: Job) -> Path:
        return file_names.kept(self._data_dir, job.key)

    def _draft(self, job: Job) -> Path:
        return self._kept(job).with_suffix(".part")

    async def _file_of(self, job: Job) -> Path:
        destination = file_names.destination(job)
        generation_id, url = job.state.generation_id, job.state.result_url
        if self._is_kept(job):
            return await asyncio.to_thread(self._save_kept, job, destination)
        # A kernel may have been killed after the file got its name and before that was written down.
        if destination.exists() and await asyncio.to_thread(file_names.is_file_of, destination, generation_id):
            await asyncio.to_thread(transfer.remove_partial, destination)
            return destination
        if url is None:
            url = await persist(lambda: self._renewed(job), attempts=8, backoff=self._backoff)
        return await transfer.fetch(
            await self._open(),
            url,
            destination,
            renew=lambda: self._renewed(job),
            progress=_Progress(job),
            backoff=self._backoff,
            most=self._most,
            finish=lambda whole: file_names.stamp(whole, job),
        )

    def _save_kept(self, job: Job, destination: Path) -> Path:
        try:
            content = self._in_memory.get(job.key) or self._kept(job).read_bytes()
        except OSError as error:
            raise DownloadFailed(f"The video that was kept in {self._kept(job)} cannot be read: {error}.") from None
        try:
            return transfer.store(content, destination, finish=lambda whole: file_names.stamp(whole, job))
        except DownloadFailed as error:
            kept = f"in {self._kept(job)}" if self._kept(job).exists() else "in memory, until this kernel ends"
            raise DownloadFailed(f"{error} The only copy of the video is {kept}; .download() saves it.") from None

    def _is_kept(self, job: Job) -> bool:
        return job.key in self._in_memory or (job.state.result_url or "").startswith("file:")

    def _forget_kept(self, job: Job, saved: Path) -> None:
        """Remove what was kept, after the journal knows where it is saved: a kernel that ends before then saves it again."""
        self._in_memory.pop(job.key, None)
        registry, state = job.submission.registry, replace(job.state, fetching=False, path=saved)
        if registry.write(lambda: registry.journal.record([(job.key, state)])):
            with contextlib.suppress(OSError):
                self._kept(job).unlink(missing_ok=True)

    async def _renewed(self, job: Job) -> str:
        generation_id = job.state.generation_id
        if generation_id is None:
            raise DownloadFailed("The result URL expired, and a synchronous request has no id by which to renew it.")
        seen = await (await self._open()).generation(generation_id)
        job.see(seen)
        if seen.result_url is None:
            raise DownloadFailed(f"The service has no result URL any more; the generation is {seen.status}.")
        return seen.result_url


class _Progress:
    """Tells a job from the download's thread how many bytes have come."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()

    def __call__(self, received: int, expected: int | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has just ended
            self._loop.call_soon_threadsafe(self._tell, received, expected)

    def _tell(self, received: int, expected: int | None) -> None:
        if self._job.state.fetching:
            self._job.update(received=received, expected=expected)
