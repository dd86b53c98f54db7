"""Repositories: create, write and read, and no path out of them."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from oxenvideo.server.launcher import launch
from oxenvideo.server.repos import Repos
from server.support import Api, frames

FORM = {"message": "Add it", "name": "Ann", "email": "ann@example.com"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Path]]:
    """Return a server with the repository `r`, and the parent of its data directory."""
    directory = tmp_path_factory.mktemp("kept")
    server = launch(directory / "data")
    api = Api(server)
    api.http.post("/api/repos", json={"namespace": "local", "name": "r"})
    yield api, directory
    server.stop()


@pytest.fixture
def repo(api: Api) -> str:
    """Return the path of a new repository's files."""
    name = f"r{uuid.uuid4().hex}"
    answer = api.http.post("/api/repos", json={"namespace": "local", "name": name})
    assert answer.status_code == 201
    return f"/api/repos/local/{name}/file/main"


def test_a_file_goes_in_and_comes_out(api: Api, repo: str) -> None:
    """A file can be read, replaced, and read in part."""
    for content in (b"first", b"second" * 100_000):
        answer = api.http.put(f"{repo}/in/a%20b.png", files={"file": content}, data=FORM)
        assert answer.status_code == 200
        assert answer.json()["commit"] == {"message": "Add it", "author": "Ann", "email": "ann@example.com"}
        read = api.http.get(f"{repo}/in/a b.png")
        assert (read.content, read.headers["content-type"]) == (content, "image/png")
    assert api.http.get(f"{repo}/in/a b.png", headers={"Range": "bytes=0-5"}).content == b"second"


def test_a_repository_is_made_once(api: Api, repo: str) -> None:
    """Creating it again is a 409."""
    answer = api.http.post("/api/repos", json={"namespace": "local", "name": repo.split("/")[4]})
    assert (answer.status_code, answer.json()["status"]) == (409, "error")


def test_a_file_needs_a_repository(api: Api) -> None:
    """PUT and GET are a 404 if there is no repository."""
    path = f"/api/repos/local/{uuid.uuid4().hex}/file/main/x.txt"
    assert api.http.put(path, files={"file": b"x"}, data=FORM).status_code == 404
    assert api.http.get(path).status_code == 404


@pytest.mark.parametrize("content", [{"content": b"raw"}, {"data": {"file": "text"}}, {"files": {"other": b"x"}}])
def test_a_put_needs_the_part_file(api: Api, repo: str, content: dict[str, object]) -> None:
    """A PUT without the multipart file is refused with the reason."""
    answer = api.http.put(f"{repo}/x.txt", **content)
    assert answer.status_code == 400
    assert "'file'" in answer.json()["error"]["detail"]


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "..%2fx", "a/%2e%2e/%2e%2e/x", "%2e%2e%2f%2e%2e%2fsigning.key", "a%00b", "a%5c..%5cb", ".git/config",
     "C:%5cx", "/etc/passwd", "%2fetc%2fpasswd", "x" * 300, "x/" * 400 + "y"],
)  # fmt: skip
def test_no_path_leaves_the_repository(kept: tuple[Api, Path], path: str) -> None:
    """No path writes or reads anything outside the repository."""
    api, directory = kept

    def outside() -> set[Path]:
        inside = directory / "data" / "repos" / "local" / "r" / "main"
        files = {file for file in directory.rglob("*") if file.is_file() and inside not in file.parents}
        return {file for file in files if not file.name.startswith("queue.sqlite3")}

    before = outside()
    # Sent as it stands: the client would tidy the path.
    request = api.http.build_request("PUT", "/", files={"file": b"escaped"}, data=FORM)
    request.url = request.url.copy_with(raw_path=f"/api/repos/local/r/file/main/{path}".encode())
    put = api.http.send(request)
    get = api.http.send(httpx.Request("GET", request.url, headers=api.http.headers))
    assert outside() == before
    assert (put.status_code, get.content) == (200, b"escaped") or get.status_code in (400, 404)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\\b", ".hidden", "x" * 200, 5, None, "ü"])
def test_names_are_names(api: Api, name: object) -> None:
    """Names of repositories and namespaces cannot be paths."""
    assert api.http.post("/api/repos", json={"namespace": "local", "name": name}).status_code == 400
    if name:
        assert api.http.post("/api/repos", json={"namespace": name, "name": "ok"}).status_code == 400


def test_results_are_stored_where_they_were_wanted(api: Api) -> None:
    """A result is stored in the repository and directory of the request."""
    target = {"target_namespace": "studio", "target_repo": f"films-{uuid.uuid4()}", "target_directory": "day/1"}
    row = api.make(**target)
    path = f"/api/repos/studio/{target['target_repo']}/file/main/day/1/{row['generation_id']}.mp4"
    stored = api.http.get(path)
    assert stored.headers["content-type"] == "video/mp4"
    assert len(frames(stored.content)) == 8
    assert {key: row[key] for key in target} == target


@pytest.mark.parametrize(
    "target", [{"target_repo": ".."}, {"target_namespace": "../x"}, {"target_repo": "r", "target_directory": "../x"}]
)
def test_results_stay_in_their_repository(api: Api, target: dict[str, str]) -> None:
    """A target that is not a valid name or path is refused at enqueue."""
    answer = api.http.post("/api/ai/queue", json={"model": "wan-ai-wan2-1-t2v-1-3b-diffusers", "prompt": "x"} | target)
    assert answer.status_code == 400


@pytest.mark.parametrize("directory", ["/".join(["d" * 60] * 8), "ä/" * 160])
def test_a_result_must_fit_below_its_directory(api: Api, directory: str) -> None:
    """A directory that is too long for the name of a video in it is refused at enqueue."""
    body = {"model": "wan-ai-wan2-1-t2v-1-3b-diffusers", "prompt": "x", "target_repo": "r"}
    answer = api.http.post("/api/ai/queue", json=body | {"target_directory": directory})
    assert answer.status_code == 400
    assert "bytes, and at most 459 are possible" in answer.json()["error"]["detail"]


def test_a_result_is_linked_once(tmp_path: Path) -> None:
    """A second link changes nothing."""
    repos, video = Repos(tmp_path / "repos"), tmp_path / "video.mp4"
    video.write_bytes(b"video")
    for _ in range(2):
        repos.link("local", "r", "day/video.mp4", video)
    assert repos.find("local", "r", "main", "day/video.mp4").samefile(video)


def test_without_hard_links_a_result_is_copied_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that breaks leaves nothing, and the next one is complete."""
    repos, video = Repos(tmp_path / "repos"), tmp_path / "video.mp4"
    video.write_bytes(b"video" * 1000)
    copy = shutil.copyfile

    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "no hard links")

    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"vid")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        repos.link("local", "r", "video.mp4", video)
    assert [path for path in (tmp_path / "repos").rglob("*") if path.is_file()] == []
    monkeypatch.setattr(shutil, "copyfile", copy)
    repos.link("local", "r", "video.mp4", video)
    assert [path for path in (tmp_path / "repos").rglob("*") if path.is_file()] == [
        repos.find("local", "r", "main", "video.mp4")
    ]
    assert repos.find("local", "r", "main", "video.mp4").read_bytes() == video.read_bytes()


def test_a_path_is_a_file_or_a_directory(api: Api, repo: str) -> None:
    """A file cannot be put below a file, nor in place of a directory."""
    assert api.http.put(f"{repo}/a/b", files={"file": b"x"}).status_code == 200
    for path in ("a", "a/b/c"):
        answer = api.http.put(f"{repo}/{path}", files={"file": b"x"})
        assert (answer.status_code, answer.json()["status_message"]) == (400, "invalid_params")
    assert api.http.get(f"{repo}/a/b").content == b"x"


def test_the_texts_of_a_put_may_be_files(api: Api, repo: str) -> None:
    """A message that was sent as a file part is ignored."""
    answer = api.http.put(f"{repo}/x.txt", files={"file": ("x", b"x"), "message": ("m", b"text")})
    assert answer.status_code == 200
