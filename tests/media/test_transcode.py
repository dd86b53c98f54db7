"""Videos that are written from others: joined, with another sound, or smaller."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import pytest

from clips import clip, codecs, loudest_tone, pictures
from oxenvideo.media import transcode

RED, GREEN, BLUE = (200, 30, 30), (30, 180, 30), (30, 30, 200)


def _packets(path: Path) -> list[str]:
    import av

    with av.open(str(path)) as container:
        return [hashlib.sha256(bytes(packet)).hexdigest() for packet in container.demux(video=0) if packet.size]


def _is(picture: object, colour: tuple[int, int, int]) -> bool:
    import numpy as np

    middle = np.asarray(picture)
    middle = middle[middle.shape[0] // 2, middle.shape[1] // 2]
    return bool(np.abs(middle.astype(int) - colour).max() < 16)


def test_equal_videos_are_joined_without_encoding(tmp_path: Path) -> None:
    """The pictures are the same bytes in the same order, and each part has its own sound."""
    parts = [clip(tmp_path / "a.mp4", RED, tone=440), clip(tmp_path / "b.mp4", GREEN, tone=880)]
    seen: list[float] = []
    transcode.join(parts, tmp_path / "film.mp4", seen.append)
    film = tmp_path / "film.mp4"
    assert _packets(film) == _packets(parts[0]) + _packets(parts[1])
    shown = pictures(film)
    assert len(shown) == 48
    assert all(later > earlier for (earlier, _), (later, _) in pairwise(shown))
    assert _is(shown[20][1], RED)
    assert _is(shown[30][1], GREEN)
    assert loudest_tone(film, 0.2, 0.8) == pytest.approx(440, abs=15)
    assert loudest_tone(film, 1.25, 1.85) == pytest.approx(880, abs=15)
    assert seen[-1] == 1.0
    assert seen == sorted(seen)


@pytest.mark.slow
def test_different_videos_are_encoded_to_the_size_of_the_first(tmp_path: Path) -> None:
    """Another shape gets black edges, another rate keeps its length, and a silent part stays silent between the others."""
    parts = [
        clip(tmp_path / "a.mp4", RED, tone=440),
        clip(tmp_path / "b.mp4", GREEN, size=(90, 160), tone=None, fps=30),
        clip(tmp_path / "c.mp4", BLUE, tone=880),
    ]
    film = tmp_path / "film.mp4"
    transcode.join(parts, film)
    assert codecs(film) == ["h264", "aac"]
    shown = pictures(film)
    assert {picture.shape for _, picture in shown} == {(90, 160, 3)}
    assert shown[-1][0] == pytest.approx(3.0, abs=0.15)
    by_second = {round(at * 2): picture for at, picture in shown}
    assert _is(by_second[1], RED)
    assert _is(by_second[3], GREEN)
    assert by_second[3][45, 5].max() < 16, "the edge beside an upright picture is not black"
    assert _is(by_second[5], BLUE)
    assert loudest_tone(film, 0.2, 0.8) == pytest.approx(440, abs=15)
    assert loudest_tone(film, 1.3, 1.8) == 0.0
    assert loudest_tone(film, 2.3, 2.9) == pytest.approx(880, abs=15)


def test_a_copy_with_mp3_sound_has_the_same_pictures(tmp_path: Path) -> None:
    """Only the sound is encoded; the source is not changed."""
    source = clip(tmp_path / "a.mp4")
    before = source.read_bytes()
    transcode.with_mp3(source, tmp_path / "mp3.mp4")
    assert transcode.sound_of(source) == "aac"
    assert codecs(tmp_path / "mp3.mp4") == ["h264", "mp3float"]
    assert _packets(tmp_path / "mp3.mp4") == _packets(source)
    assert loudest_tone(tmp_path / "mp3.mp4", 0.2, 0.9) == pytest.approx(440, abs=15)
    assert source.read_bytes() == before


@pytest.mark.slow
def test_a_smaller_copy_stays_below_its_limit(tmp_path: Path) -> None:
    """Even noise, which hardly compresses, becomes small enough, and keeps its shape and length."""
    source = clip(tmp_path / "a.mp4", noise=True, size=(640, 360), seconds=2)
    assert source.stat().st_size > 1_000_000
    transcode.smaller(source, tmp_path / "small.mp4", 300_000)
    assert (tmp_path / "small.mp4").stat().st_size <= 300_000
    shown = pictures(tmp_path / "small.mp4")
    height, width, _ = shown[0][1].shape
    assert width / height == pytest.approx(16 / 9, abs=0.02)
    assert shown[-1][0] == pytest.approx(2, abs=0.1)
