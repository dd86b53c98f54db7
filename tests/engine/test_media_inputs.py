"""Media of requests made into addresses: inline, uploaded, and out of other generations."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import generations
from faulty import FaultyService, bad_request, small_video
from oxenvideo.client.client import Client
from oxenvideo.engine.media_inputs import MediaInputs, UpstreamFailed
from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import State, Status
from oxenvideo.media.media import Media
from oxenvideo.request.request import VideoRequest

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
URI = "data:image/png;base64," + base64.b64encode(DOT).decode()
RUNNING = State(remote="processing", generation_id="one", submitted_at=1.0)


def request_with(**parameters: Any) -> VideoRequest:
    return VideoRequest("kling-video-o3-pro-reference-to-video", {"prompt": "A fox", **parameters})


def generation(state: State = RUNNING, name: str | None = "first", index: int | None = None) -> Generation:
    return generations.generation(request_with(), state, name=name, index=index)


def done(path: Path | None) -> State:
    return State(remote="succeeded", generation_id="one", fetching=False, path=path)


async def _elsewhere(upstream: Generation) -> str | None:
    return None


async def _no_client() -> Client:
    raise AssertionError("nothing is to be sent here")


@dataclass
class Resolver:
    """MediaInputs with a repository."""

    inputs: MediaInputs
    repository: str | None

    async def resolve(self, request: VideoRequest, waiting: Callable[[str], None]) -> VideoRequest:
        return await self.inputs.resolve(request, self.repository, waiting)


def inputs(
    open_client: Callable[[], Awaitable[Client]] = _no_client,
    *,
    known: dict[str, Generation] | None = None,
    fresh_url: Callable[[Generation], Awaitable[str | None]] = _elsewhere,
    inline_limit: int = 1000,
    repository: str | None = None,
) -> Resolver:
    return Resolver(MediaInputs(open_client, (known or {}).get, fresh_url, inline_limit), repository)


def resolved(made: Resolver, request: VideoRequest) -> dict[str, Any]:
    return asyncio.run(made.resolve(request, lambda label: None)).body()


@asynccontextmanager
async def opened(service: FaultyService) -> AsyncIterator[Callable[[], Awaitable[Client]]]:
    async with Client(service.base_url, service.api_key) as client:

        async def give() -> Client:
            return client

        yield give


def test_a_request_without_media_stays_itself() -> None:
    """Addresses and plain values are not touched."""
    request = request_with(input_image=["https://example.com/a.png"], seed=3)
    assert resolved(inputs(), request) == request.body()


def test_small_media_go_inline(tmp_path: Path) -> None:
    """Bytes and files up to the limit become data URIs, wherever they stand in the request."""
    file = tmp_path / "dot.png"
    file.write_bytes(DOT)
    element = {"frontal_image_url": Media("image", path=file), "reference_image_urls": [Media("image", content=DOT)]}
    body = resolved(inputs(inline_limit=len(DOT)), request_with(input_image=["https://x/y.png"], elements=[element]))
    assert body["elements"] == [{"frontal_image_url": URI, "reference_image_urls": [URI]}]
    assert body["input_image"] == ["https://x/y.png"]


def test_large_media_without_a_repository_are_an_error() -> None:
    """One byte above the limit, with nowhere to upload to, is one line that says what to do."""
    with pytest.raises(InvalidRequest) as caught:
        resolved(inputs(inline_limit=len(DOT) - 1), request_with(start_image_url=Media("image", content=DOT)))
    said = str(caught.value)
    assert "image/png" in said
    assert "media_repo" in said
    assert "\n" not in said


def test_large_media_are_uploaded() -> None:
    """A large file goes into the repository, and its address there into the request."""

    async def run(service: FaultyService) -> tuple[dict[str, Any], bytes]:
        async with opened(service) as client:
            made = inputs(client, inline_limit=10, repository="ox/inputs")
            body = (await made.resolve(request_with(start_image_url=Media("image", content=DOT)), print)).body()
            return body, service.requests("PUT /api/repos/file")[0].body

    with FaultyService() as service:
        body, sent = asyncio.run(run(service))
        url = body["start_image_url"]
        assert url.startswith(f"{service.base_url}/api/repos/ox/inputs/file/main/oxenvideo/")
        assert url.endswith(".png")
        assert DOT in sent
        assert service.counts["POST /api/repos"] == 1


def test_the_same_file_is_uploaded_once() -> None:
    """Many requests with the same picture, at the same time and later, upload it once."""

    async def run(service: FaultyService) -> set[str]:
        async with opened(service) as client:
            made = inputs(client, inline_limit=10, repository="ox/inputs")
            asked = [request_with(start_image_url=Media("image", content=DOT), seed=seed) for seed in range(5)]
            first = await asyncio.gather(*(made.resolve(request, print) for request in asked))
            later = await made.resolve(asked[0], print)
            return {request.body()["start_image_url"] for request in (*first, later)}

    with FaultyService() as service:
        assert len(asyncio.run(run(service))) == 1
        assert service.counts["PUT /api/repos/file"] == 1


def test_a_repository_that_exists_is_used() -> None:
    """That the repository is there already is no obstacle."""

    async def run(service: FaultyService) -> None:
        async with opened(service) as client:
            for picture in (DOT, DOT + b"x"):
                made = inputs(client, inline_limit=10, repository="ox/inputs")
                await made.resolve(request_with(start_image_url=Media("image", content=picture)), print)

    with FaultyService() as service:
        asyncio.run(run(service))
        assert service.counts["POST /api/repos"] == 2
        assert service.counts["PUT /api/repos/file"] == 2


@pytest.mark.parametrize("kind", ["image", "video"])
def test_another_generation_is_waited_for(tmp_path: Path, kind: str) -> None:
    """The result of a generation that still runs goes in when it is there: its last frame, or its video."""
    av = pytest.importorskip("av")
    from PIL import Image

    film = tmp_path / "first.mp4"
    film.write_bytes(small_video(shade=90))
    upstream = generation()
    medium = Media.from_value(upstream, kind)  # type: ignore[arg-type]
    told: list[str] = []

    async def run() -> dict[str, Any]:
        work = asyncio.create_task(inputs(inline_limit=100_000).resolve(request_with(input=medium), told.append))
        await asyncio.sleep(0.05)
        assert not work.done()
        generations.change(upstream, done(film))
        return (await work).body()

    uri = asyncio.run(run())["input"]
    assert told == ["first"]
    content = base64.b64decode(uri.partition(",")[2])
    if kind == "video":
        assert content == film.read_bytes()
        return
    with av.open(str(film)) as container:
        last = list(container.decode(video=0))[-1].to_image()
    assert Image.open(io.BytesIO(content)).tobytes() == last.tobytes()


def test_a_video_of_the_same_service_goes_by_its_address(tmp_path: Path) -> None:
    """What the service itself has made is not sent back to it: a fresh address is."""

    async def fresh(upstream: Generation) -> str | None:
        return "https://files/fresh.mp4"

    medium = Media.from_value(generation(done(tmp_path / "gone.mp4")), "video")
    assert resolved(inputs(fresh_url=fresh), request_with(input_video=medium))["input_video"] == (
        "https://files/fresh.mp4"
    )


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (State(remote="failed", error_message="The picture is empty"), "The picture is empty"),
        (State(remote="cancelled"), "cancelled"),
        (State(local=Status.FAILED, error=OxenVideoError("no credits")), "no credits"),
    ],
)
def test_a_failure_upstream_is_told_at_once(end: State, said: str) -> None:
    """As soon as one input is sure to be missing the request is given up, though another still runs."""
    bad, slow = generation(), generation(name="second", index=2)
    media = [Media.from_value(slow, "image"), Media.from_value(bad, "image")]
    told: list[str] = []

    async def run() -> float:
        work = asyncio.create_task(inputs().resolve(request_with(input_image=media), told.append))
        await asyncio.sleep(0.02)
        begun = time.monotonic()
        generations.change(bad, end)
        with pytest.raises(UpstreamFailed) as caught:
            await work
        assert str(caught.value).startswith("Not sent, because first gave no video: ")
        assert said in str(caught.value)
        return time.monotonic() - begun

    assert asyncio.run(run()) < 10
    assert told == ["second[2] and first"]


def test_an_upstream_that_nobody_knows_is_an_error() -> None:
    """A generation of an earlier kernel that is not here any more is named as the reason."""
    with pytest.raises(UpstreamFailed, match="Not sent"):
        resolved(inputs(), request_with(input_image=[Media("image", key="gone", part="last_frame")]))


def test_an_upstream_of_the_journal_is_found_by_its_key(tmp_path: Path) -> None:
    """A request read back from the journal finds its input by key."""
    film = tmp_path / "first.mp4"
    film.write_bytes(small_video())
    upstream = generation(done(film))
    medium = Media("video", key=upstream.key, part="video")
    body = resolved(inputs(known={upstream.key: upstream}, inline_limit=100_000), request_with(input_video=medium))
    assert body["input_video"].startswith("data:video/mp4;base64,")


def test_a_failed_upload_is_not_remembered() -> None:
    """After an upload that failed the next request uploads again."""

    async def run(service: FaultyService) -> None:
        async with opened(service) as client:
            made = inputs(client, inline_limit=10, repository="ox/inputs")
            request = request_with(start_image_url=Media("image", content=DOT))
            service.always("PUT /api/repos/file", bad_request())
            with pytest.raises(OxenVideoError):
                await made.resolve(request, print)
            service.clear("PUT /api/repos/file")
            await made.resolve(request, print)

    with FaultyService() as service:
        asyncio.run(run(service))
