"""Servers for the tests: a shared one, and a function that starts more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oxenvideo.server.launcher import launch
from server.support import Api

Launch = Callable[..., Api]


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Return a server that the tests share."""
    server = launch(tmp_path_factory.mktemp("server"), options=("--workers", "2", "--keep-alive", "0.2"))
    yield Api(server)
    server.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Launch]:
    """Return a function that starts a server with these options, in the same directory each time."""
    started = []

    def start(*options: str, api_key: str | None = None, data_dir: Path | None = None) -> Api:
        server = launch(data_dir or tmp_path / "data", api_key=api_key, options=options)
        started.append(server)
        return Api(server)

    yield start
    for server in started:
        server.stop()
