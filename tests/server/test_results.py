"""Presigned results: no key, a time limit, ranges."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from server.conftest import Launch
from server.support import Api, frames


@pytest.fixture(scope="module")
def result(api: Api) -> Iterator[tuple[str, bytes]]:
    """Return the URL of a finished video, and the video."""
    url = api.make()["result_url"]
    return url, httpx.get(url).content


def test_the_address_needs_no_key(result: tuple[str, bytes]) -> None:
    """The URL alone returns the whole video with its type, length and entity tag."""
    url, content = result
    answer = httpx.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert int(answer.headers["content-length"]) == len(content)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"]
    assert len(frames(content)) == 8


def test_head(result: tuple[str, bytes]) -> None:
    """HEAD returns the length and no content."""
    url, content = result
    answer = httpx.head(url)
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(content)


@pytest.mark.parametrize("asked", ["bytes=0-99", "bytes=100-", "bytes=-50", "bytes=7-7"])
def test_ranges(result: tuple[str, bytes], asked: str) -> None:
    """A range request returns that part and Content-Range."""
    url, content = result
    first, last = asked.removeprefix("bytes=").split("-")
    start = int(first) if first else len(content) - int(last)
    stop = int(last) + 1 if first and last else len(content)
    answer = httpx.get(url, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == content[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"


def test_a_range_beyond_the_end(result: tuple[str, bytes]) -> None:
    """A range beyond the end is a 416 with the length."""
    url, content = result
    answer = httpx.get(url, headers={"Range": f"bytes={len(content)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(content)}"


def test_a_range_of_another_version(result: tuple[str, bytes]) -> None:
    """A range request with another entity tag returns the whole file."""
    url, content = result
    answer = httpx.get(url, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (answer.status_code, answer.content) == (200, content)


@pytest.mark.parametrize(
    "change", [{"signature": "0" * 64}, {"expires": "99999999999"}, {"signature": ""}, {"expires": ""}]
)
def test_a_changed_address_is_refused(result: tuple[str, bytes], change: dict[str, str]) -> None:
    """A changed signature or expiry is refused."""
    parts = urlsplit(result[0])
    query = dict(parse_qsl(parts.query)) | change
    answer = httpx.get(parts._replace(query=urlencode(query)).geturl())
    assert (answer.status_code, answer.json()["status_message"]) == (403, "forbidden")


@pytest.mark.slow
def test_an_address_is_for_one_video(api: Api, result: tuple[str, bytes]) -> None:
    """The signature of one video is not valid for another."""
    other = api.make()["generation_id"]
    parts = urlsplit(result[0])
    assert httpx.get(parts._replace(path=f"/results/{other}.mp4").geturl()).status_code == 403


@pytest.mark.slow
def test_an_address_expires_and_is_renewed(start: Launch) -> None:
    """An expired URL is a 403 that says so. Reading the generation again gives a new one."""
    api = start("--url-ttl", "3")
    row = api.make()
    assert httpx.get(row["result_url"]).status_code == 200
    time.sleep(3.1)
    answer = httpx.get(row["result_url"])
    assert answer.status_code == 403
    assert "expired" in answer.json()["error"]["detail"]
    assert httpx.get(api.get(row["generation_id"])["result_url"]).status_code == 200
