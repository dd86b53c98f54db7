"""Single pictures out of a file, held against decoding all of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from kinds import clips
from oxenvideo.errors import InvalidRequest
from oxenvideo.media import frames

FPS = 12


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds with sound, of frames that all differ."""
    path = tmp_path_factory.mktemp("film") / "bar.mp4"
    path.write_bytes(clips.moving_bar(seconds=2, fps=FPS, tone=True))
    return path


def test_a_frame_is_the_one_that_is_shown_then(film: Path) -> None:
    """At each moment the picture is the one that a player shows, whether counted from the start or from the end."""
    whole = clips.read(film).frames
    for number in range(len(whole)):
        for t in (number / FPS, (number + 0.6) / FPS, (number + 0.5) / FPS - 2):
            assert (np.asarray(frames.frame_at(film, t)) == whole[number]).all(), (number, t)


def test_the_last_frame_is_the_last(film: Path) -> None:
    """The very last picture, and the one at the very end, are the same."""
    whole = clips.read(film).frames
    assert (np.asarray(frames.last_frame(film)) == whole[-1]).all()
    assert (np.asarray(frames.frame_at(film, 2.0)) == whole[-1]).all()


@pytest.mark.parametrize("t", [2.1, -2.1, float("nan")])
def test_there_is_nothing_outside_of_the_video(film: Path, t: float) -> None:
    """A moment before or after the video is one line that says how long it lasts."""
    with pytest.raises(InvalidRequest, match="lasts 2 s"):
        frames.frame_at(film, t)


def test_the_length_of_clips_and_sounds(film: Path) -> None:
    """Seconds of a file and of bytes, with a picture or without."""
    assert frames.duration_of(film) == pytest.approx(2, abs=0.05)
    assert frames.duration_of(io.BytesIO(film.read_bytes())) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0\0\0\x18ftypmp42" + bytes(200)])
def test_a_file_that_is_no_video_is_one_line(tmp_path: Path, content: bytes) -> None:
    """What cannot be opened or decoded is named, without a traceback from the codec."""
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(content)
    for read in (frames.last_frame, frames.duration_of):
        with pytest.raises(InvalidRequest, match=r"odd\.mp4 cannot be read as a video: "):
            read(odd)


def test_a_file_that_is_gone_is_one_line(tmp_path: Path) -> None:
    """So is a file that was deleted."""
    with pytest.raises(InvalidRequest, match=r"gone\.mp4 cannot be read as a video: No such file"):
        frames.last_frame(tmp_path / "gone.mp4")
