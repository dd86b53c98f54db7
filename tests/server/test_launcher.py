"""The server started by another process: how fast, what it needs, and that it ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from oxenvideo.server import launcher
from oxenvideo.server.launcher import LocalExtraMissingError, LocalServer, LocalServerError, launch
from server.conftest import Launch
from server.support import LONG, children, frames, until_true

pytestmark = pytest.mark.slow

posix = pytest.mark.skipif(os.name != "posix", reason="signals and process groups of POSIX")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[LocalServer, float]]]:
    """Return two servers on one directory, each with the seconds from its launch to its first answer."""
    directory, started = tmp_path_factory.mktemp("two"), []
    for _ in range(2):
        begun = time.monotonic()
        server = launch(directory)
        answer = httpx.get(f"{server.base_url}/api/authorize", headers={"Authorization": f"Bearer {server.api_key}"})
        started.append((server, time.monotonic() - begun))
        assert answer.status_code == 200
    yield started
    for server, _ in started:
        server.stop()


def test_it_is_ready_soon(two: list[tuple[LocalServer, float]]) -> None:
    """A server answers soon after it was started; the limit leaves room for a busy machine."""
    seconds = min(seconds for _, seconds in two)
    print(f"ready in {seconds:.2f} s")
    assert seconds < 3


def test_the_key_is_not_an_argument(start: Launch) -> None:
    """The key is in no argument and no repr, because every user of the machine can see arguments."""
    api = start(api_key="a-very-secret-key")
    assert "a-very-secret-key" not in repr(api.server)
    assert "a-very-secret-key" not in " ".join(map(str, api.server.process.args))
    assert api.http.get("/api/authorize").status_code == 200


def test_keys_are_drawn(two: list[tuple[LocalServer, float]]) -> None:
    """Without a given key each server makes one."""
    (one, _), (other, _) = two
    assert one.api_key != other.api_key
    assert min(len(one.api_key), len(other.api_key)) >= 32


def test_videos_stay(start: Launch, tmp_path: Path) -> None:
    """A finished video is a file in the data directory and remains when the server has ended."""
    api = start(data_dir=tmp_path / "kept")
    id_ = api.make()["generation_id"]
    api.server.stop()
    assert len(frames(tmp_path / "kept" / "videos" / f"{id_}.mp4")) == 8
    assert list((tmp_path / "kept" / "tmp").iterdir()) == []


def test_stop_may_be_called_again(start: Launch) -> None:
    """Stopping a second time does nothing."""
    api = start()
    api.server.stop()
    api.server.stop()
    assert api.server.process.returncode == 0


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages of the extra an error says what to install, and nothing is started."""
    monkeypatch.setattr(launcher, "find_spec", lambda name: None if name == "starlette" else object())
    with pytest.raises(LocalExtraMissingError, match=r"pip install 'oxenvideo\[local\]'"):
        launch(tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_launch_needs_no_server_package() -> None:
    """Importing the launcher and the command imports no package of the extra."""
    code = """
        import sys
        import oxenvideo.cli, oxenvideo.server.launcher
        print(sorted({"starlette", "uvicorn", "sse_starlette", "av", "numpy", "PIL", "httpx"} & set(sys.modules)))
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """If the start fails the error ends with the last line of the server's log."""
    with pytest.raises(LocalServerError, match="--workers 0 is not possible"):
        launch(tmp_path, options=("--workers", "0"))


PARENT = """
    import sys, time
    from pathlib import Path
    from oxenvideo.server.launcher import launch
    server = launch(Path(sys.argv[1]), options=("--workers", "1"))
    print(server.process.pid, server.base_url, server.api_key, flush=True)
    time.sleep(60)
"""


@posix
def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """When the parent is killed with SIGKILL during a render, the server and its workers end too."""
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, url, key = parent.stdout.readline().split()
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{url}/api/ai/queue", json=LONG, headers=headers)
    assert answer.status_code == 200
    until_true(lambda: httpx.get(f"{url}/api/ai/queue?status=processing", headers=headers).json()["count"])
    family = until_true(lambda: len(ids := [int(pid), *children(int(pid))]) > 1 and ids)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until_true(lambda: not any(_is_alive(id_) for id_ in family), 4)


@posix
def test_workers_die_with_their_server(start: Launch) -> None:
    """When a server is killed with SIGKILL, its workers end, even one that renders."""
    api = start("--workers", "1")
    (id_,) = api.enqueue(**LONG)
    api.wait(id_, until=("processing",))
    pid = api.server.process.pid
    workers = until_true(lambda: children(pid))
    os.kill(pid, signal.SIGKILL)
    api.server.process.wait()
    until_true(lambda: not any(_is_alive(worker) for worker in workers), 4)


@posix
def test_an_interrupt_of_the_parents_group_does_not_reach_it(two: list[tuple[LocalServer, float]]) -> None:
    """The stop button of a notebook interrupts a process group. The server is in another one."""
    for server, _ in two:
        assert os.getpgid(server.process.pid) != os.getpgid(0)


def _is_alive(pid: int) -> bool:
    """Return whether a process runs. A zombie does not."""
    run = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(run.stdout.strip()) and not run.stdout.strip().startswith("Z")


@posix
def test_rendering_is_niced(start: Launch) -> None:
    """Workers have a low priority."""
    api = start("--workers", "1")
    api.make()
    (worker,) = children(api.server.process.pid)
    assert os.getpriority(os.PRIO_PROCESS, worker) >= 10


@posix
def test_files_are_for_the_user_alone(start: Launch, tmp_path: Path) -> None:
    """With the usual umask of 022, other users can read nothing that the server writes."""
    before = os.umask(0o022)
    try:
        api = start(data_dir=tmp_path / "new" / "data")
    finally:
        os.umask(before)
    api.http.post("/api/repos", json={"name": "r"})
    api.http.put("/api/repos/local/r/file/main/a/b.txt", files={"file": b"x" * 3_000_000}).raise_for_status()
    api.make(target_repo="films", target_directory="day")
    written = [tmp_path / "new" / "data", *(tmp_path / "new" / "data").rglob("*")]
    assert {path.name for path in written} >= {"server.log", "queue.sqlite3", "signing.key", "videos", "b.txt", "day"}
    assert [str(path) for path in written if path.stat().st_mode & 0o077] == []
