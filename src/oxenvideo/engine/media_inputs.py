"""Media of a request as addresses that the service can read: data URIs, uploads, and other generations' results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from oxenvideo.client.client import Client
from oxenvideo.errors import BadRequest, InvalidRequest, OxenVideoError
from oxenvideo.jobs.generation import Generation
from oxenvideo.media import media
from oxenvideo.media.media import Media
from oxenvideo.request.request import VideoRequest
from oxenvideo.retry import persist


class UpstreamFailed(OxenVideoError):
    """A generation that this one builds on did not succeed; this one was not sent."""


def depends_on_others(request: VideoRequest) -> bool:
    """Whether it builds on other generations, which may not have ended yet."""
    return any(leaf.key is not None for _, leaf in media.walk(request.parameters))


def check_sizes(requests: Iterable[VideoRequest], inline_limit: int, repository: str | None) -> None:
    """InvalidRequest for a file above ``inline_limit`` bytes where no ``repository`` takes it: no job is needed for that."""
    if repository is None:
        for request in requests:
            for _, leaf in media.walk(request.parameters):
                if (leaf.size or 0) > inline_limit:
                    raise _too_large(leaf, inline_limit)


def _too_large(leaf: Media, inline_limit: int) -> InvalidRequest:
    return InvalidRequest(
        f"{leaf.label} is more than the {inline_limit / 2**20:g} MB that are sent inline: give a URL, or name an Oxen "
        "repository for uploads with oxenvideo.configure(media_repo='namespace/name')."
    )


class Inputs:
    """Resolves the media of requests for one service.

    ``inline_limit`` is bytes of a file sent as a data URI; larger ones go to what ``repository`` tells
    ("namespace/name"), or are an error where there is none. ``fresh_url`` renews the result URL of a generation of the
    same service, or gives None for one that lives elsewhere.
    """

    def __init__(
        self,
        open_client: Callable[[], Awaitable[Client]],
        find: Callable[[str], Generation | None],
        fresh_url: Callable[[Generation], Awaitable[str | None]],
        *,
        inline_limit: int,
        repository: Callable[[], str | None],
    ) -> None:
        self._open = open_client
        self._find = find
        self._fresh_url = fresh_url
        self._inline_limit = inline_limit
        self._repository = repository
        self._uploads: dict[tuple[str, str], asyncio.Task[str]] = {}  # by repository and hash: each file goes up once

    async def resolve(self, request: VideoRequest, waiting: Callable[[str], None]) -> VideoRequest:
        """The request with every Media replaced by text; ``waiting`` is told whose end is waited for.

        Raises UpstreamFailed, InvalidRequest, or what an upload raises.
        """
        leaves = [leaf for _, leaf in media.walk(request.parameters)]
        if not leaves:
            return request
        upstream = {id(leaf): self._upstream(leaf) for leaf in leaves if leaf.key is not None}
        await _all_end_well(list(dict.fromkeys(upstream.values())), waiting)
        texts = {id(leaf): await self._address(leaf, upstream.get(id(leaf))) for leaf in leaves}
        return request.with_(parameters=media.replace(request.parameters, lambda leaf: texts[id(leaf)]))

    def _upstream(self, leaf: Media) -> Generation:
        found: Any = leaf.generation if leaf.generation is not None else self._find(leaf.key or "")
        if not isinstance(found, Generation):
            raise UpstreamFailed("Not sent, because the generation it builds on is not known here any more.")
        return found

    async def _address(self, leaf: Media, upstream: Generation | None) -> str:
        if leaf.url is not None:
            return leaf.url
        if upstream is not None:
            if leaf.part == "video" and (url := await self._fresh_url(upstream)) is not None:
                return url
            leaf = await asyncio.to_thread(_taken_from, upstream, leaf)
        if (leaf.size or 0) <= self._inline_limit:
            return await asyncio.to_thread(leaf.data_uri)
        repository = self._repository()
        if repository is None:
            raise _too_large(leaf, self._inline_limit)
        return await self._upload(leaf, repository)

    async def _upload(self, leaf: Media, repository: str) -> str:
        place = repository, await asyncio.to_thread(lambda: leaf.sha256 or "")
        task = self._uploads.get(place)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._uploads[place] = asyncio.create_task(self._put(leaf, repository))
        return await asyncio.shield(task)

    async def _put(self, leaf: Media, repository: str) -> str:
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


async def _all_end_well(upstream: Sequence[Generation], waiting: Callable[[str], None]) -> None:
    """Wait until every one of them has its video; UpstreamFailed as soon as it is sure that one will have none."""
    running = [_name(generation) for generation in upstream if not generation.state.is_settled]
    if running:
        waiting(" and ".join(dict.fromkeys(running)))
    tasks = [asyncio.create_task(_ends_well(generation)) for generation in upstream]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _ends_well(generation: Generation) -> None:
    try:
        await generation.wait_async()
    except OxenVideoError as error:
        raise UpstreamFailed(f"Not sent, because {_name(generation)} gave no video: {error}") from None


def _name(generation: Generation) -> str:
    """A generation as the person who waits for it knows it."""
    if generation.name is None:
        return f"a video of {generation.request.model}"
    return generation.name if generation.index is None else f"{generation.name}[{generation.index}]"


def _taken_from(generation: Generation, leaf: Media) -> Media:
    if leaf.part == "video":
        if generation.path is None:
            raise UpstreamFailed("Not sent, because the video it builds on has not been downloaded.")
        return Media(leaf.kind, path=generation.path)
    return Media.from_value(generation.last_frame(), "image")
