"""Turns the media of a request into addresses that the service can read: data URIs, uploads, other videos' results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from oxenvideo.client.retry import persist
from oxenvideo.errors import BadRequest, InvalidRequest, OxenVideoError
from oxenvideo.jobs.generation import Generation
from oxenvideo.media import media
from oxenvideo.media.media import Media
from oxenvideo.request.request import VideoRequest

if TYPE_CHECKING:
    from oxenvideo.client.client import Client


class UpstreamFailed(OxenVideoError):
    """A generation whose video this one needs did not succeed; this one was not sent."""


def check_sizes(requests: Iterable[VideoRequest], inline_limit: int, repository: str | None) -> None:
    """Raise InvalidRequest for a file above ``inline_limit`` bytes where there is no ``repository`` for it."""
    if repository is None:
        for request in requests:
            if request.has_media:
                for _, leaf in media.walk(request.parameters):
                    if (leaf.size or 0) > inline_limit:
                        raise _too_large(leaf, inline_limit)


def _too_large(leaf: Media, inline_limit: int) -> InvalidRequest:
    return InvalidRequest(
        f"{leaf.label} is larger than the {inline_limit / 2**20:g} MB that can be sent inline: give a URL, or name an Oxen "
        "repository for uploads with oxenvideo.configure(media_repo='namespace/name')."
    )


class MediaInputs:
    """Resolves the media of requests to one service.

    Files up to ``inline_limit`` bytes become data URIs; larger ones are uploaded. ``find`` gives the generation of a key,
    ``fresh_url`` a new result URL of a generation of this service, or None for one of another service.
    """

    def __init__(
        self,
        open_client: Callable[[], Awaitable[Client]],
        find: Callable[[str], Generation | None],
        fresh_url: Callable[[Generation], Awaitable[str | None]],
        inline_limit: int,
    ) -> None:
        self._open = open_client
        self._find = find
        self._fresh_url = fresh_url
        self._inline_limit = inline_limit
        self._uploads: dict[tuple[str, str], asyncio.Task[str]] = {}  # by repository and hash: each file is sent once

    async def resolve(
        self, request: VideoRequest, repository: str | None, waiting: Callable[[str], None]
    ) -> VideoRequest:
        """The request with every Media replaced by text.

        ``repository`` (namespace/name) takes large files. ``waiting`` is called with the names of the generations whose
        videos are waited for. Raises UpstreamFailed, InvalidRequest, or what an upload raises.
        """
        leaves = [leaf for _, leaf in media.walk(request.parameters)]
        upstream = {id(leaf): self._upstream(leaf) for leaf in leaves if leaf.key is not None}
        await _all_succeeded(list(dict.fromkeys(upstream.values())), waiting)
        texts = {id(leaf): await self._address(leaf, upstream.get(id(leaf)), repository) for leaf in leaves}
        return request.with_(parameters=media.replace(request.parameters, lambda leaf: texts[id(leaf)]))

    def _upstream(self, leaf: Media) -> Generation:
        found: Any = leaf.generation if leaf.generation is not None else self._find(leaf.key or "")
        if not isinstance(found, Generation):
            raise UpstreamFailed("Not sent, because the generation whose video it needs is not known here any more.")
        return found

    async def _address(self, leaf: Media, upstream: Generation | None, repository: str | None) -> str:
        if leaf.url is not None:
            return leaf.url
        if upstream is not None:
            if leaf.part == "video" and (url := await self._fresh_url(upstream)) is not None:
                return url
            leaf = await asyncio.to_thread(_taken_from, upstream, leaf)
        if (leaf.size or 0) <= self._inline_limit:
            return await asyncio.to_thread(leaf.data_uri)
        if repository is None:
            raise _too_large(leaf, self._inline_limit)
        return await self._uploaded(leaf, repository)

    async def _uploaded(self, leaf: Media, repository: str) -> str:
        which = repository, await asyncio.to_thread(lambda: leaf.sha256 or "")
        task = self._uploads.get(which)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._uploads[which] = asyncio.create_task(self._upload(leaf, repository))
        return await asyncio.shield(task)

    async def _upload(self, leaf: Media, repository: str) -> str:
        namespace, _, name = repository.partition("/")
        content = await asyncio.to_thread(leaf.read)
        mime = leaf.mime or "application/octet-stream"
        file = f"oxenvideo/{leaf.sha256}.{mime.rpartition('/')[2]}"

        async def put() -> str:
            client = await self._open()
            try:
                await client.create_repository(namespace, name)
            except BadRequest as error:
                if error.status_code != 409:  # it exists already
                    raise
            return await client.upload(namespace, name, file, content, mime=mime, message=f"Input {leaf.label}")

        return await persist(put)  # the same file under the same name: a second time changes nothing


async def _all_succeeded(upstream: Sequence[Generation], waiting: Callable[[str], None]) -> None:
    """Wait until every one has its video; raise UpstreamFailed as soon as one certainly has none."""
    running = [_name(generation) for generation in upstream if not generation.state.is_settled]
    if running:
        waiting(" and ".join(dict.fromkeys(running)))
    tasks = [asyncio.create_task(_succeeded(generation)) for generation in upstream]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _succeeded(generation: Generation) -> None:
    try:
        await generation.wait_async()
    except OxenVideoError as error:
        raise UpstreamFailed(f"Not sent, because {_name(generation)} gave no video: {error}") from None


def _name(generation: Generation) -> str:
    """A generation as the user knows it."""
    if generation.name is None:
        return f"a video of {generation.request.model}"
    return generation.name if generation.index is None else f"{generation.name}[{generation.index}]"


def _taken_from(generation: Generation, leaf: Media) -> Media:
    if leaf.part == "video":
        if generation.path is None:
            raise UpstreamFailed("Not sent, because the video that it needs has not been downloaded.")
        return Media(leaf.kind, path=generation.path)
    return Media.from_value(generation.last_frame(), "image")
