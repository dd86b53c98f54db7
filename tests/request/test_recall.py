"""What a video's metadata says is somebody else's text: it names no file of this machine that the person did not name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oxenvideo import VideoRequest, recall
from oxenvideo.errors import InvalidRequest
from oxenvideo.media import encode, mp4
from oxenvideo.media.media import Media

MODEL = "kling-video-v2-6-pro-image-to-video"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.png"
    path.write_bytes(encode.png(np.zeros((2, 2), dtype=np.uint8)))
    return path


def told(tmp_path: Path, request: Any) -> Path:
    """A video with this request in its metadata."""
    pytest.importorskip("av")
    path = tmp_path / "video.mp4"
    path.write_bytes(encode.mp4(np.zeros((2, 16, 16, 3), dtype=np.uint8)))
    mp4.write_metadata(path, {"request": request}, title="t", comment="c")
    return path


def test_what_was_written_is_read(tmp_path: Path, secret: Path) -> None:
    """A request with a file is recalled with that file, as long as it is the very same."""
    request = VideoRequest(MODEL, {"prompt": "x", "input_image": Media.from_value(secret, "image"), "duration": 5})
    found = recall(told(tmp_path, request.to_json()))
    assert found == request
    assert found.body() == request.body()
    secret.write_bytes(encode.png(np.ones((2, 2), dtype=np.uint8)))
    with pytest.raises(InvalidRequest, match=r"secret\.png is not the file that .* give an image again"):
        found.body()


@pytest.mark.parametrize("recorded", [None, "", "0" * 64, "unverified", 5])
@pytest.mark.parametrize("inside", [False, True])
def test_a_path_without_its_hash_is_not_read(tmp_path: Path, secret: Path, recorded: Any, inside: bool) -> None:
    """A path whose file has not the recorded hash is never read: not by a body, a hash, the journal and back, or a copy."""
    entry = {"$media": {"kind": "image", "path": str(secret)} | ({} if recorded is None else {"sha256": recorded})}
    found = recall(told(tmp_path, {"model": MODEL, "parameters": {"input_image": [entry] if inside else entry}}))
    assert "secret.png" in str(found.preview())
    journalled = VideoRequest.from_json(json.loads(json.dumps(found.stored(tmp_path / "media").to_json())))
    for one in (found, found.with_(prompt="new"), found.stored(tmp_path / "media"), journalled):
        with pytest.raises(InvalidRequest, match=r"secret\.png .* give an image again"):
            one.body()
        (medium,) = one.parameters["input_image"] if inside else [one.parameters["input_image"]]
        with pytest.raises(InvalidRequest, match="give an image again"):
            _ = medium.sha256


def test_a_path_as_text_is_not_read(tmp_path: Path, secret: Path) -> None:
    """A path that stands as text where a file could be is held back too; other text stays text."""
    elements = [{"frontal_image_url": str(secret), "name": "README"}]
    parameters = {
        "prompt": str(secret),
        "input_image": str(secret),
        "elements": elements,
        "image_url": "https://a.example",
    }
    found = recall(told(tmp_path, {"model": MODEL, "parameters": parameters}))
    assert found.parameters["prompt"] == str(secret)
    assert found.parameters["image_url"] == "https://a.example"
    assert found.parameters["elements"][0]["name"] == "README"
    for medium in (found.parameters["input_image"], found.parameters["elements"][0]["frontal_image_url"]):
        with pytest.raises(InvalidRequest, match="give an image again"):
            medium.read()


def test_a_known_hash_is_enough(tmp_path: Path, secret: Path) -> None:
    """Who knows the hash knows the file."""
    entry = {"kind": "image", "path": str(secret), "sha256": hashlib.sha256(secret.read_bytes()).hexdigest()}
    found = recall(told(tmp_path, {"model": MODEL, "parameters": {"input_image": {"$media": entry}}}))
    assert found.body()["input_image"].startswith("data:image/png")


def test_one_video_is_recalled(tmp_path: Path) -> None:
    """A count in the metadata is not obeyed: a file is one video."""
    assert recall(told(tmp_path, {"model": MODEL, "parameters": {"prompt": "x"}, "count": 500})).count == 1


@pytest.mark.parametrize(
    "request_",
    [
        None,
        5,
        {},
        {"model": 5, "parameters": {}},
        {"model": MODEL, "parameters": [1]},
        {"model": MODEL, "parameters": {"a": {"$media": {"kind": "image", "path": "a\0b"}}}},
        {"model": MODEL, "parameters": {"a": {"$media": {"kind": "image", "data": "data:,é"}}}},
        {"model": MODEL, "parameters": {"a": {"$media": 5}}},
    ],
)
def test_damaged_metadata(tmp_path: Path, request_: Any) -> None:
    """Metadata that holds no request is one line."""
    with pytest.raises(InvalidRequest, match="does not say how it was made"):
        recall(told(tmp_path, request_))
