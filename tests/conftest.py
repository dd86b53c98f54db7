"""What many tests stand on: workers, a clean environment, the faulty service, and sessions of their own."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from faults.fault import MODEL
from faulty import FaultyService
from oxenvideo.client.retry import Backoff
from oxenvideo.session import Session
from oxenvideo.settings import Pace

#: The real rules at a hundredth of the real times, more or less.
FAST = Pace(
    poll=0.2,
    first_poll=0.05,
    linger=1.0,
    stream_start=10.0,  # a busy machine must not fail a test that needs the service's clock, told by the stream first
    stream_retry=0.5,
    stream_silence=0.5,
    confirm=10.0,  # nor one in which a lost submit is found
    reach=1.0,
    backoff=Backoff(first=0.02, most=0.2),
)
#: For tests in which it is not found.
ASKS_SOON = replace(FAST, confirm=0.6)
#: The seconds after which a client gives up an answer, in tests in which one never comes.
GIVES_UP_SOON = 0.6


# A busy machine must not fail a test: no example has a deadline.
settings.register_profile("oxenvideo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("oxenvideo")

# A job in the background of a shell script ignores the interrupt key, and so would each process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each process that a test starts would compile everything again
# Clients read one authority of certificates and not all 140, which takes 30 ms each time. No test uses TLS.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("authority.pem"))
# Whatever imports nbformat imports jsonschema; that imports a package which builds 38 parsers for a check that is unused.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent / "absent"), os.environ.get("PYTHONPATH")])
)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three workers for each processor, because many tests wait; none for single tests or a debugger."""
    return 0 if any("::" in argument for argument in config.args) else 3 * (os.cpu_count() or 1)


class ByModule(LoadScopeScheduling):
    """One worker runs the tests of a module, because they may share a fixture.

    Two workers share the browser tests, each with a browser and front ends of its own: one has JupyterLab.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        if "/browser/" in path:
            return f"browser {any(name in nodeid for name in SECOND_BROWSER)}"
        if path.startswith("tests/simulation/"):
            return nodeid.partition("[")[0]  # all lives of one test are played at once
        return nodeid if path.startswith(("tests/faults/", "tests/engine/")) else path


SECOND_BROWSER = ("export", "marimo", "notebook7", "required", "voila")  # in the name of a test or of its module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByModule:
    """Distribute the tests."""
    return ByModule(config, log)


def pytest_collection_finish() -> None:
    """Leave the tests themselves out of garbage collections, which would look at them all again each time."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser test is slow."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No key, address, home or data directory of the machine's own reaches a test."""
    for name in [name for name in os.environ if name.startswith("OXEN") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("OXENVIDEO_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service whose jobs take 50 ms, and whose stream lives."""
    with FaultyService(job_seconds=0.05, keep_alive=0.1) as running:
        yield running


@pytest.fixture
def make_session(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Session]]:
    """Makes Sessions on a service; all with the same journal, closed at the end.

    The mark ``asks_soon`` is for tests in which the user is asked about a lost submit, ``gives_up_soon`` for those in
    which an answer never comes. All others have time, so that a busy machine fails none of them.
    """
    made: list[Session] = []

    def make(service: FaultyService, **options: Any) -> Session:
        settings: dict[str, Any] = {
            "base_url": service.base_url,
            "api_key": service.api_key,
            "model": MODEL,
            "data_dir": tmp_path / "data",
            "download_dir": tmp_path / "videos",
            "pace": ASKS_SOON if request.node.get_closest_marker("asks_soon") else FAST,
            "timeout": GIVES_UP_SOON if request.node.get_closest_marker("gives_up_soon") else 10.0,
        }
        made.append(Session(notebook="test.ipynb", **(settings | options)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def session(service: FaultyService, make_session: Callable[..., Session]) -> Session:
    """One Session on the service."""
    return make_session(service)
