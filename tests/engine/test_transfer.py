"""Downloads: whole or not there, never mixed, never in one another's way, flat in memory."""

from __future__ import annotations

import asyncio
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import faulty as f
from faulty import FaultyService
from oxenvideo.client.client import Client
from oxenvideo.client.retry import Backoff
from oxenvideo.engine import transfer
from oxenvideo.errors import DownloadFailed
from oxenvideo.media import mp4

FILE = "GET /files/{file}"
VIDEO = f.small_video()
QUICK = Backoff(first=0.005, most=0.02)


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service with one finished job."""
    with FaultyService() as running:
        body = {"model": "kling-video-v2-6-pro-text-to-video", "prompt": "x"}
        key = {"Authorization": f"Bearer {running.api_key}"}
        httpx.post(f"{running.base_url}/api/ai/queue", json=body, headers=key, trust_env=False)
        running.finish()
        yield running


def fetch(service: FaultyService, destination: Path, **options: Any) -> Path:
    """Download the one job's result."""

    async def run() -> Path:
        async with Client(service.base_url, service.api_key) as client:
            (job,) = service.jobs

            async def renew() -> str:
                return (await client.generation(job)).result_url or ""

            return await transfer.fetch(
                client, await renew(), destination, **({"renew": renew, "backoff": QUICK, "most": 2**34} | options)
            )

    return asyncio.run(run())


def test_to_a_directory_that_is_made(service: FaultyService, tmp_path: Path) -> None:
    """The file lies where it was asked for, with nothing beside it."""
    path = fetch(service, tmp_path / "a" / "b" / "clip.mp4")
    assert path.read_bytes() == VIDEO
    assert list(path.parent.iterdir()) == [path]


def test_a_name_that_is_taken_is_not_overwritten(service: FaultyService, tmp_path: Path) -> None:
    """A file that was there stays as it is; the video gets the next free name."""
    (tmp_path / "clip.mp4").write_text("mine")
    (tmp_path / "clip-2.mp4").write_text("mine too")
    assert fetch(service, tmp_path / "clip.mp4") == tmp_path / "clip-3.mp4"
    assert (tmp_path / "clip.mp4").read_text() == "mine"


def test_two_at_the_same_time_do_not_collide(service: FaultyService, tmp_path: Path) -> None:
    """Two downloads of one generation to one name give two whole files, from threads and from processes."""
    service.always(FILE, f.slow_download(0.01))
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(service, tmp_path / "clip.mp4"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in paths) == ["clip-2.mp4", "clip-3.mp4", "clip.mp4"]
    assert {p.read_bytes() for p in paths} == {VIDEO}
    assert len(list(tmp_path.iterdir())) == 3


def test_what_a_dead_process_left_is_not_taken_for_ours(service: FaultyService, tmp_path: Path) -> None:
    """A temporary file of another time is not gone on with, and not left behind."""
    (tmp_path / ".clip.mp4.part").write_bytes(b"\0\0\0\x18ftyp other video")
    assert fetch(service, tmp_path / "clip.mp4").read_bytes() == VIDEO
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]
    assert "range" not in service.requests(FILE)[0].headers


def test_a_second_name_of_a_finished_video_is_removed_and_not_written_to(
    service: FaultyService, tmp_path: Path
) -> None:
    """A process ended after its video got its name and before the temporary name was removed: the video stays as it is."""
    finished = tmp_path / "clip.mp4"
    finished.write_bytes(b"the video of another generation")
    os.link(finished, tmp_path / ".clip.mp4.part")
    assert fetch(service, finished).read_bytes() == VIDEO
    assert finished.read_bytes() == b"the video of another generation"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip-2.mp4", "clip.mp4"]


def test_a_link_in_place_of_the_temporary_file_is_not_followed(service: FaultyService, tmp_path: Path) -> None:
    """Nobody can have the video written elsewhere by a symbolic link."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".clip.mp4.part").symlink_to(victim)
    with pytest.raises(DownloadFailed, match="Cannot write"):
        fetch(service, tmp_path / "clip.mp4")
    assert victim.read_text() == "precious"


def test_gone_on_with_by_range(service: FaultyService, tmp_path: Path) -> None:
    """After a break only what is missing is asked for, guarded by the ETag."""
    service.script(FILE, f.short_body(0.25), f.reset_midway(0.5))
    assert fetch(service, tmp_path / "clip.mp4").read_bytes() == VIDEO
    first, second, third = service.requests(FILE)
    assert "range" not in first.headers
    assert second.headers["range"] == f"bytes={len(VIDEO) // 4}-"
    assert second.headers["if-range"] == next(iter(service.jobs.values())).etag
    assert int(third.headers["range"][6:-1]) > len(VIDEO) // 4


def with_headers(**headers: str) -> f.Behaviour:
    """The first third of the file, under other headers, cut."""

    async def run(exchange: Any) -> None:
        whole = await exchange.act()
        whole.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        await exchange.send_head(whole)
        await exchange.send_body(whole.body[: len(whole.body) // 3])
        exchange.close()

    return f.Behaviour("with_headers", run, acts=True)


@pytest.mark.parametrize(
    ("headers", "resumed"),
    [
        ({"ETag": '"strong"'}, True),
        ({"ETag": 'W/"weak"'}, False),
        ({}, False),
        ({"Last_Modified": "Wed, 01 Jan 2020 00:00:00 GMT", "Date": "Wed, 01 Jan 2020 00:00:09 GMT"}, True),
        ({"Last_Modified": "Wed, 01 Jan 2020 00:00:09 GMT", "Date": "Wed, 01 Jan 2020 00:00:09 GMT"}, False),
        ({"Last_Modified": "Wed, 01 Jan 2020 00:00:00 GMT", "Date": ""}, False),
        ({"ETag": 'W/"weak"', "Last_Modified": "Wed, 01 Jan 2020 00:00:00 GMT", "Date": "Wed, 01 Jan 2020 00:00:09 GMT"}, False),
        ({"Last_Modified": "yesterday", "Date": "today"}, False),
    ],
    ids=["etag", "weak etag", "nothing", "modified long ago", "modified just now", "undated", "weak etag and a date", "nonsense"],
)  # fmt: skip
def test_only_a_strong_validator_is_gone_on_with(
    service: FaultyService, tmp_path: Path, headers: dict[str, str], resumed: bool
) -> None:
    """Without certainty that it is the same file a download begins anew (RFC 9110, sections 8.8 and 13.1.5)."""
    service.script(FILE, with_headers(**headers))
    assert fetch(service, tmp_path / "clip.mp4").read_bytes() == VIDEO
    assert ("range" in service.requests(FILE)[1].headers) == resumed


def test_a_link_that_moved_is_renewed(service: FaultyService, tmp_path: Path) -> None:
    """A link whose server is gone is renewed, as after a restart of the embedded server."""
    (job,) = service.jobs.values()
    job.result_url = "http://127.0.0.1:9/gone.mp4"
    threading.Timer(0.1, lambda: setattr(job, "result_url", None)).start()
    path = fetch(service, tmp_path / "clip.mp4", backoff=Backoff(first=0.05, most=0.1))
    assert path.read_bytes() == VIDEO


def test_renewals_have_an_end(service: FaultyService, tmp_path: Path) -> None:
    """A link that expires at once, however often it is renewed, ends in an error that says so."""
    service.always(FILE, f.expired())
    with pytest.raises(DownloadFailed, match=r"Download failed 4 times: the result URL has expired \(HTTP 403\)"):
        fetch(service, tmp_path / "clip.mp4")
    assert service.counts[FILE] == 4
    assert list(tmp_path.iterdir()) == []


def test_the_pace_that_a_busy_server_names(service: FaultyService, tmp_path: Path) -> None:
    """``Retry-After`` is kept by downloads too."""
    service.script(FILE, f.unavailable(0.3))
    began = time.monotonic()
    fetch(service, tmp_path / "clip.mp4")
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("behaviour", [f.endless_file(), f.huge_length()], ids=["endless", "huge"])
def test_size_is_bounded(service: FaultyService, tmp_path: Path, behaviour: f.Behaviour) -> None:
    """More than a video may have is not written to disk, announced or not."""
    service.always(FILE, behaviour)
    with pytest.raises(DownloadFailed, match=r"more than the 0\.001 GB that a video may have"):
        fetch(service, tmp_path / "clip.mp4", most=1_000_000, attempts=2)
    assert list(tmp_path.iterdir()) == []


def test_failing_to_finish_leaves_nothing(service: FaultyService, tmp_path: Path) -> None:
    """What goes wrong after the transfer leaves no half-named file either."""

    def finish(path: Path) -> None:
        assert path.read_bytes() == VIDEO
        raise OSError(28, "No space left on device")

    with pytest.raises(DownloadFailed, match=r"The disk is full: .*clip.mp4 was not written. Free some space"):
        fetch(service, tmp_path / "clip.mp4", finish=finish)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["fetched", "stored"])
def test_on_the_disk_before_it_has_its_name(
    service: FaultyService, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut, no name of a video stands for less than the whole video with its metadata."""
    flushed: list[tuple[int, int]] = []
    destination, real = tmp_path / "clip.mp4", os.fsync

    def fsync(descriptor: int) -> None:
        assert not destination.exists()
        real(descriptor)
        status = os.fstat(descriptor)
        flushed.append((status.st_ino, status.st_size))

    def finish(path: Path) -> None:
        mp4.write_metadata(path, {"a": 1}, title="t", comment="c")

    monkeypatch.setattr(os, "fsync", fsync)
    if how == "fetched":
        fetch(service, destination, finish=finish)
    else:
        transfer.store(VIDEO, destination, finish=finish)
    assert flushed == [(destination.stat().st_ino, destination.stat().st_size)]
    assert destination.stat().st_size > len(VIDEO)


def test_a_directory_that_cannot_be_written(service: FaultyService, tmp_path: Path) -> None:
    """A path through a file is one clear error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadFailed, match=r"Cannot write .* The video waits at the service"):
        fetch(service, tmp_path / "file" / "clip.mp4")


def test_a_file_system_without_hard_links(
    service: FaultyService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where files cannot be linked they are moved, and what is there is still not overwritten."""

    def no_links(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "clip.mp4").write_text("mine")
    path = fetch(service, tmp_path / "clip.mp4")
    assert path.name == "clip-2.mp4"
    assert path.read_bytes() == VIDEO
    assert len(list(tmp_path.iterdir())) == 2


_FULL_DISK = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from faulty import FaultyService
from faulty.video import small_video
from oxenvideo.errors import DownloadFailed
from oxenvideo.session import Session
content = small_video() + (300_000).to_bytes(4) + b"free" + bytes(299_992)
disk, roomy = Path(sys.argv[1]), Path(sys.argv[2])
with FaultyService(job_seconds=0.05, video=content) as service:
    session = Session(base_url=service.base_url, api_key=service.api_key, data_dir=roomy, download_dir=disk)
    generation = session.submit("a balloon")
    try:
        generation.wait(30)
    except DownloadFailed as error:
        print(error)
    print(sorted(p.name for p in disk.iterdir()))
    (disk / "ballast").unlink()
    print(session.resume()[0].wait(30).path.stat().st_size > 300_000, service.counts["POST /api/ai/queue"])
    session.close()
"""


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path) -> None:
    """A disk that is really full: one clear error, nothing left on it, and the video comes once there is room."""
    here = Path(__file__).parents[1]
    script = _FULL_DISK.format(paths=[str(here), str(here.parent / "src")])
    disk, roomy = tmp_path / "disk", tmp_path / "roomy"
    disk.mkdir()
    command = (
        f"mount -t tmpfs -o size=512k none {disk} && head -c 300000 /dev/zero > {disk}/ballast"
        f" && exec {sys.executable} - {disk} {roomy}"
    )
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("a small disk needs a mount namespace of its own (unshare -rm), which is not to be had here")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command], input=script, text=True, capture_output=True, timeout=60
    )
    error, left, after = done.stdout.splitlines()
    assert error.startswith("The disk is full: ")
    assert left == "['ballast']"
    assert after == "True 1"


# --- what a whole video is -------------------------------------------------------------------------------------------


@given(st.integers(0, len(VIDEO)))
def test_every_cut_of_a_video_is_noticed(length: int) -> None:
    """No proper beginning of an MP4 passes for a whole one."""
    import io

    lack = mp4.missing(io.BytesIO(VIDEO[:length]))
    if length >= mp4.HEAD:
        assert (lack is None) == (length == len(VIDEO))


@given(st.binary(max_size=200))
def test_any_bytes_may_be_looked_at(content: bytes) -> None:
    """Whatever comes, looking at it raises nothing."""
    import io

    mp4.is_video(content)
    mp4.missing(io.BytesIO(content))
    mp4.missing(io.BytesIO(VIDEO[:32] + content))


def test_kinds_of_video() -> None:
    """The containers that models give, and what is none."""
    import io

    for head in (b"\0\0\0\x20ftypisom", b"\x1a\x45\xdf\xa3rest", b"RIFF1234AVI ", b"OggS"):
        assert mp4.is_video(head)
    for head in (b"", b"<!DOCTYPE html>", b"{}", b"ftyp", b"%PDF-1.7"):
        assert not mp4.is_video(head)
    assert mp4.missing(io.BytesIO(b"\x1a\x45\xdf\xa3 webm")) is None
    assert mp4.missing(io.BytesIO(b"\0\0\0\x10ftypisom\0\0\0\0")) == "it has no movie header"
    large = b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\1moov" + (16).to_bytes(8)
    assert mp4.missing(io.BytesIO(large)) is None
    to_the_end = b"\0\0\0\x08moov" + b"\0\0\0\0mdat" + bytes(50)
    assert mp4.missing(io.BytesIO(to_the_end)) is None


def test_store_takes_only_videos(tmp_path: Path) -> None:
    """A video out of an answer's body is put in place with the same care."""
    assert transfer.store(VIDEO, tmp_path / "clip.mp4").read_bytes() == VIDEO
    assert transfer.store(VIDEO, tmp_path / "clip.mp4").name == "clip-2.mp4"
    with pytest.raises(DownloadFailed, match="holds no video"):
        transfer.store(b"<html>", tmp_path / "other.mp4")
    assert len(list(tmp_path.iterdir())) == 2


# --- memory and speed ------------------------------------------------------------------------------------------------

SIZE = 300 * 1024 * 1024


class _Large(http.server.BaseHTTPRequestHandler):
    """A video of 300 MB that is mostly one empty box."""

    def do_GET(self) -> None:
        head = b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08moov" + (SIZE - 24).to_bytes(4) + b"free"
        self.send_response_only(200)
        self.send_header("Content-Length", str(SIZE))
        self.end_headers()
        self.wfile.write(head)
        left, chunk = SIZE - len(head), bytes(1 << 20)
        while left:
            left -= self.wfile.write(chunk[:left])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


_MEASURED = """
import asyncio, resource, sys
from pathlib import Path
from oxenvideo.engine import transfer
from oxenvideo.client.client import Client

async def never():
    raise AssertionError

async def run(url, path):
    async with Client(url, "key") as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await transfer.fetch(client, url + "/large.mp4", path, renew=never, most=2**34)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(run(sys.argv[1], Path(sys.argv[2])))
"""


@pytest.fixture
def large() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Large)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_memory_stays_flat(large: str, tmp_path: Path) -> None:
    """300 MB raise the memory by at most 32 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, large, str(tmp_path / "large.mp4")],
        env=os.environ | {"PYTHONPATH": str(Path(transfer.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    growth = int(done.stdout)
    print(f"300 MB: {growth / 1024:.1f} MiB more memory")
    assert (tmp_path / "large.mp4").stat().st_size == SIZE
    assert growth * (1 if sys.platform == "darwin" else 1024) <= 32 * 1024**2
