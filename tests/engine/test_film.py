"""Joining videos into a film: what it takes, what it writes, and what is told when it fails."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import generations
from clips import clip, pictures
from faulty import FaultyService
from oxenvideo.errors import GenerationFailed, InvalidRequest, WaitTimeout
from oxenvideo.jobs.status import State
from oxenvideo.request.request import Joined, VideoRequest, recall
from oxenvideo.session import Session


@pytest.fixture
def slow() -> Iterator[FaultyService]:
    """A service whose jobs end when the test says so."""
    with FaultyService(keep_alive=0.1) as running:
        yield running


def test_an_unfinished_video_is_waited_for(
    slow: FaultyService, make_session: Callable[..., Session], tmp_path: Path
) -> None:
    """join returns at once; the film has all pictures and says what it was joined from."""
    session = make_session(slow)
    first, second = session.submit("A fox"), session.submit("An owl")
    file = clip(tmp_path / "end.mp4", seconds=0.5)
    film = session.join([first, second, file], "story")
    assert film.status == "processing"
    assert film.summary == "waiting for 2 of 3 videos"
    with pytest.raises(WaitTimeout, match="story is not joined after"):
        film.wait(0.1)
    slow.wait_until(lambda: len(slow.jobs) == 2, timeout=20)
    slow.finish(*slow.jobs)
    assert film.wait(60) is film
    assert (film.progress, film.summary) == (1.0, "joined from 3 videos")
    assert film.path == tmp_path / "videos" / "story.mp4"
    parts = [path for path in (first.path, second.path, file) if path]
    assert len(pictures(film.path)) >= sum(len(pictures(part)) for part in parts) - 3
    told = recall(film.path)
    assert isinstance(told, Joined)
    assert told.files == tuple(part.name for part in parts)
    assert told.requests == (first.request, second.request, None)
    assert film.last_frame().size == pictures(parts[0])[0][1].shape[1::-1]


def test_a_file_is_not_overwritten_and_inputs_stay(session: Session, tmp_path: Path) -> None:
    """A second film of the same name is written beside the first; a film can be joined again; await works."""
    parts = [clip(tmp_path / f"{name}.mp4", seconds=0.3) for name in "ab"]
    before = [hashlib.sha256(part.read_bytes()).hexdigest() for part in parts]
    first = session.join(parts, tmp_path / "film.mp4").wait(60)

    async def again() -> Path | None:
        return (await session.join([first, *parts], tmp_path / "film.mp4")).path

    assert asyncio.run(again()) == tmp_path / "film-2.mp4"
    assert [hashlib.sha256(part.read_bytes()).hexdigest() for part in parts] == before
    told = recall(tmp_path / "film-2.mp4")
    assert isinstance(told, Joined)
    assert told.files == ("film.mp4", "a.mp4", "b.mp4")
    assert isinstance(told.requests[0], Joined)
    assert sorted(path.name for path in tmp_path.glob("*.part")) == []


def test_what_cannot_be_joined_is_named(session: Session, tmp_path: Path) -> None:
    """Too few videos and a missing file are told at once, a failed or broken input when its turn comes."""
    one = clip(tmp_path / "a.mp4", seconds=0.3)
    with pytest.raises(InvalidRequest, match="join takes two or more videos, not 1"):
        session.join([one], "film.mp4")
    with pytest.raises(InvalidRequest, match=r"There is no file .*nowhere\.mp4"):
        session.join([one, tmp_path / "nowhere.mp4"], "film.mp4")
    failed = generations.generation(VideoRequest("m", {"prompt": "x"}), State(remote="failed", error_message="NSFW"))
    film = session.join([one, failed], "film.mp4")
    with pytest.raises(GenerationFailed, match="NSFW"):
        film.wait(60)
    assert film.status == "failed"
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    film = session.join([one, tmp_path / "broken.mp4"], "film.mp4")
    with pytest.raises(InvalidRequest, match=r"broken\.mp4 cannot be read as a video"):
        film.wait(60)
    assert not list((tmp_path / "videos").glob("*"))
