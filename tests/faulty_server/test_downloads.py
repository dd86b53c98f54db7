"""Downloads go as they should, or wrong in the ways their faults are named after."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from faulty import (
    DOWNLOAD_FAULTS,
    Behaviour,
    FaultyService,
    changed_file,
    chunked,
    endless_file,
    evil_file_name,
    expired,
    huge_length,
    ignore_range,
    range_not_satisfiable,
    redirect,
    redirect_elsewhere,
    redirect_hops,
    redirect_loop,
    reset_midway,
    short_body,
    slow_download,
    small_video,
    stall_midway,
    until_close,
    wrong_range,
)
from faulty.probe import FILE, KEY, client_of, finished


def test_ranges_are_served(service: FaultyService, http: httpx.Client) -> None:
    """A range, a range with If-Range, one of another file, and one that lies behind the end."""
    _, url = finished(service, http)
    whole = httpx.get(url)
    part = httpx.get(url, headers={"Range": "bytes=100-"})
    assert (part.status_code, part.content) == (206, whole.content[100:])
    assert part.headers["content-range"] == f"bytes 100-{len(whole.content) - 1}/{len(whole.content)}"
    same = httpx.get(url, headers={"Range": "bytes=100-199", "If-Range": whole.headers["etag"]})
    assert (same.status_code, same.content) == (206, whole.content[100:200])
    other = httpx.get(url, headers={"Range": "bytes=100-", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, whole.content)
    behind = httpx.get(url, headers={"Range": f"bytes={len(whole.content)}-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(whole.content)}")


@pytest.mark.parametrize(
    ("cut", "error"),
    [(short_body, httpx.RemoteProtocolError), (reset_midway, httpx.ReadError), (stall_midway, httpx.ReadTimeout)],
)
def test_cut_downloads_give_half_and_then_their_failure(
    cut: Callable[[], Behaviour], error: type[Exception], service: FaultyService, http: httpx.Client
) -> None:
    """The announced length is the whole one, half of it comes, then the end, the reset or nothing."""
    job_id, url = finished(service, http)
    service.script(FILE, cut())
    got = b""
    patience = 0.5 if error is httpx.ReadTimeout else 10
    with pytest.raises(error), httpx.stream("GET", url, timeout=patience) as answer:  # noqa: PT012
        assert int(answer.headers["content-length"]) == len(small_video())
        for piece in answer.iter_raw():
            got += piece
    assert got == small_video()[: len(small_video()) // 2]
    assert service.delivered[job_id] == len(got)


def test_lies_about_ranges(service: FaultyService, http: httpx.Client) -> None:
    """The whole file for a range, a refusal of a range that exists, a range of another start."""
    _, url = finished(service, http)
    service.script(FILE, ignore_range(), range_not_satisfiable(), wrong_range(7))
    ignored, refused, shifted = (httpx.get(url, headers={"Range": "bytes=100-"}) for _ in range(3))
    assert (ignored.status_code, ignored.content) == (200, small_video())
    assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{len(small_video())}")
    assert (shifted.status_code, shifted.content) == (206, small_video()[93:])
    assert shifted.headers["content-range"].startswith("bytes 93-")


def test_a_file_that_changes_between_attempts(service: FaultyService, http: httpx.Client) -> None:
    """Another content under another ETag: whole where If-Range is heeded, a part of the new one where not."""
    _, url = finished(service, http)
    old, new = httpx.get(url), small_video(shade=90)
    ask = {"Range": "bytes=100-", "If-Range": old.headers["etag"]}
    service.script(FILE, changed_file(new), changed_file(small_video(shade=120), heed_if_range=False))
    heeded, unheeded = httpx.get(url, headers=ask), httpx.get(url, headers=ask)
    assert (heeded.status_code, heeded.content) == (200, new)
    assert (unheeded.status_code, unheeded.content) == (206, small_video(shade=120)[100:])
    assert len({answer.headers["etag"] for answer in (old, heeded, unheeded)}) == 3


@pytest.mark.parametrize("status", [403, 404, 410])
def test_an_expired_link_works_again_when_the_generation_was_read(
    status: int, service: FaultyService, http: httpx.Client
) -> None:
    """The old link stays dead, the reading gives a new one, and that downloads."""
    job_id, url = finished(service, http)
    service.script(FILE, expired(status))
    assert [httpx.get(url).status_code for _ in range(3)] == [status] * 3
    renewed = http.get(f"/api/ai/queue/{job_id}").json()["result_url"]
    assert renewed != url
    assert httpx.get(renewed).content == small_video()
    assert httpx.get(url).status_code == status
    service.expire(job_id, 410)
    assert httpx.get(renewed).status_code == 410


def test_files_of_unsaid_or_false_length(service: FaultyService, http: httpx.Client) -> None:
    """In chunks; up to the close, whole or cut; a length that never comes; an end that never comes."""
    _, url = finished(service, http)
    service.script(FILE, chunked(), until_close(), until_close(0.5), huge_length(), endless_file())
    in_chunks, whole, cut = (httpx.get(url) for _ in range(3))
    assert (in_chunks.headers["transfer-encoding"], in_chunks.content) == ("chunked", small_video())
    assert "content-length" not in whole.headers
    assert whole.content == small_video()
    assert cut.content == small_video()[: len(small_video()) // 2]
    with pytest.raises(httpx.ReadTimeout), httpx.stream("GET", url, timeout=0.5) as answer:  # noqa: PT012
        assert int(answer.headers["content-length"]) == 1 << 44
        answer.read()
    with httpx.stream("GET", url) as answer:
        size = 0
        for piece in answer.iter_raw():
            size += len(piece)
            if size > 1 << 22:
                break
    assert size > 1 << 22


def test_what_is_no_video(service: FaultyService, http: httpx.Client) -> None:
    """A page under a video's type and under its own, and an empty file."""
    _, url = finished(service, http)
    for name in ("page as video", "page", "empty file"):
        service.script(FILE, DOWNLOAD_FAULTS[name]())
    disguised, page, empty = (httpx.get(url) for _ in range(3))
    assert (disguised.headers["content-type"], disguised.content[:9]) == ("video/mp4", b"<!DOCTYPE")
    assert page.headers["content-type"] == "text/html"
    assert (empty.status_code, empty.content) == (200, b"")


def test_a_slow_download_comes_whole_and_late(service: FaultyService, http: httpx.Client) -> None:
    """All bytes, after at least the pauses."""
    _, url = finished(service, http)
    service.script(FILE, slow_download(pause=0.01, chunk=500))
    begun = time.monotonic()
    assert httpx.get(url).content == small_video()
    assert time.monotonic() - begun >= 0.01 * (len(small_video()) // 500)


def test_redirects(service: FaultyService, http: httpx.Client) -> None:
    """So many hops and then the file; a loop; a step to another origin, where a key that arrives is noted."""
    _, url = finished(service, http)
    service.script(FILE, redirect_hops(3))
    hopped = httpx.get(url, follow_redirects=True)
    assert (len(hopped.history), hopped.content) == (3, small_video())
    service.script(FILE, redirect_loop())
    with pytest.raises(httpx.TooManyRedirects):
        httpx.get(url, follow_redirects=True)
    service.script(FILE, redirect_elsewhere(service.base_url))
    service.authorizations.clear()
    away = httpx.get(url, headers=KEY)
    assert away.headers["location"].startswith(service.base_url)
    assert httpx.get(away.headers["location"], headers=KEY).content == small_video()
    assert set(service.authorizations) == {service.base_url, service.other_origin}
    assert set.union(*service.authorizations.values()) == {KEY["Authorization"]}


def test_links_and_redirects_of_other_schemes_and_names(service: FaultyService, http: httpx.Client) -> None:
    """A redirect to a file, a file name that climbs out, a result link put in place by the test."""
    job_id, url = finished(service, http)
    service.script(FILE, redirect("file:///etc/hostname"), evil_file_name())
    assert httpx.get(url).headers["location"] == "file:///etc/hostname"
    named = httpx.get(url)
    assert named.headers["content-disposition"] == 'attachment; filename="../../../escape.mp4"'
    assert named.content == small_video()
    service.jobs[job_id].result_url = "file:///etc/passwd"
    assert http.get(f"/api/ai/queue/{job_id}").json()["result_url"] == "file:///etc/passwd"


def test_results_lie_at_another_origin_unless_told_otherwise(service: FaultyService, http: httpx.Client) -> None:
    """Links lead to the second origin, or to the first where that is wanted."""
    assert finished(service, http)[1].startswith(f"{service.other_origin}/files/")
    with FaultyService(files_elsewhere=False) as near, client_of(near) as client:
        assert finished(near, client)[1].startswith(f"{near.base_url}/files/")
