"""One embedded server for all tests of kinds, pictures and clips in a repository of it, and a notebook beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from shell import Notebook, notebook_in

pytest.importorskip("av", reason="the embedded server needs the local extra")

from kinds import clips
from oxenvideo.server.launcher import LocalServer, launch

Place = Callable[[str, bytes], str]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """An embedded server, spoken to by its address and key as any other service."""
    server = launch(tmp_path_factory.mktemp("service"), options=("--workers", "2"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def place(service: LocalServer) -> Place:
    """Puts a file into a repository of the service and gives the address that the service reads it at."""
    http = httpx.Client(base_url=service.base_url, headers={"Authorization": f"Bearer {service.api_key}"})
    http.post("/api/repos", json={"namespace": "ox", "name": "inputs"}).raise_for_status()

    def put(name: str, content: bytes) -> str:
        path = f"/api/repos/ox/inputs/file/main/{name}"
        http.put(path, files={"file": (name, content)}, data={"message": "an input"}).raise_for_status()
        return service.base_url + path

    return put


@pytest.fixture(scope="session")
def urls(place: Place) -> dict[str, str]:
    """The addresses of the inputs, by the names that cells know them by."""
    return {
        "cat": place("cat.png", clips.png(clips.halves(clips.RED, clips.GREEN))),
        "dog": place("dog.png", clips.png(clips.halves(clips.BLUE, clips.ORANGE))),
        "bird": place("bird.png", clips.png(clips.halves(clips.MAGENTA, clips.MAGENTA))),
        "bar": place("bar.mp4", clips.moving_bar(tone=True)),
    }


@pytest.fixture(scope="module")
def book(service: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook whose cells go to the service; one for each module, as a shell takes its time."""
    directory = tmp_path_factory.mktemp("book")
    with notebook_in(directory, base_url=service.base_url, api_key=service.api_key) as opened:
        yield opened
