"""The key stays with its origin and out of every text; what the service names leads nowhere it should not."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import pickle
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import faulty as f
from faults.fault import MODEL
from faulty import FaultyService
from oxenvideo.client import credentials
from oxenvideo.client.client import Client
from oxenvideo.engine.local_server import LocalService, _key
from oxenvideo.errors import ConnectionFailed, DownloadFailed, GenerationFailed, OxenVideoError
from oxenvideo.session import Session

KEY = "oxk-7f3a9c52e1d84b06"
FILE = "GET /files/{file}"
POST = "POST /api/ai/queue"


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service with a key that can be searched for."""
    with FaultyService(job_seconds=0.05, keep_alive=0.1, api_key=KEY) as running:
        yield running


def keys_seen(service: FaultyService, origin: str) -> set[str]:
    return service.authorizations.get(origin, set())


# --- where the key goes ----------------------------------------------------------------------------------------------


def test_the_key_stays_with_its_origin(session: Session, service: FaultyService) -> None:
    """Results at another origin, as presigned links are, are fetched without the key."""
    session.submit("a balloon").wait(30)
    assert keys_seen(service, service.base_url) == {f"Bearer {KEY}"}
    assert keys_seen(service, service.other_origin) == set()
    assert service.counts[FILE] == 1


def test_the_key_does_not_follow_a_redirect(make_session: Callable[..., Session]) -> None:
    """A result at the service's own origin is asked for with the key, and another port on the same host without it."""
    with FaultyService(job_seconds=0.05, keep_alive=0.1, api_key=KEY, files_elsewhere=False) as service:
        service.script(FILE, f.redirect_elsewhere(service.other_origin))
        make_session(service).submit("a balloon").wait(30)
        first, second = service.requests(FILE)
        assert first.headers["authorization"] == f"Bearer {KEY}"
        assert "authorization" not in second.headers
        assert keys_seen(service, service.other_origin) == set()


@pytest.mark.asks_soon
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_api_requests_follow_no_redirect(session: Session, service: FaultyService, code: int) -> None:
    """A submit that is redirected goes nowhere else, neither with the key nor without."""
    service.script(POST, f.redirect(f"{service.other_origin}/api/ai/queue", code))
    with pytest.raises(OxenVideoError, match=r"check base_url|no generation like it"):
        session.submit("a balloon").wait(30)
    assert all(r.headers["host"] in service.base_url for r in service.log)
    assert service.jobs == {}


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x.mp4",
        "javascript:alert(1)",
        "data:video/mp4;base64,AAAA",
        "gopher://127.0.0.1/",
        "http://",
        "http://user:password@127.0.0.1/x.mp4",
        "http://[::1/x.mp4",
        "http://127.0.0.1:99999/x.mp4",
        "HTTP+unix://x",
        "\x00",
    ],
)
def test_only_http_and_https_are_fetched(make_session: Callable[..., Session], url: str) -> None:
    """Whatever the service names as a result: only a plain http or https URL is opened."""
    with FaultyService(keep_alive=0.1, api_key=KEY) as service:  # its jobs end by hand
        session = make_session(service)
        generation = session.submit("a balloon")
        service.wait_until(lambda: service.jobs)
        next(iter(service.jobs.values())).result_url = url
        service.finish()
        with pytest.raises(DownloadFailed):
            generation.wait(30)
        assert service.counts[FILE] == 0
    assert not list(session.settings.download_dir.rglob("*"))


def test_no_way_down_from_https(service: FaultyService) -> None:
    """A redirect from https to http is not followed."""
    import httpx

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.scheme == "https"
        return httpx.Response(302, headers={"Location": "http://hub.example/x.mp4"})

    client = Client("https://hub.example", service.api_key, file_transport=httpx.MockTransport(answer))
    with pytest.raises(DownloadFailed, match="from https to http"), client.open_result("/x.mp4"):
        pass


# --- where the key stands --------------------------------------------------------------------------------------------


def test_the_key_is_in_no_text(
    make_session: Callable[..., Session], service: FaultyService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither reprs, logs of any level, errors, the journal, files nor URLs hold the key."""
    caplog.set_level(logging.DEBUG)
    session = make_session(service)
    service.script(POST, f.unauthorized())
    with pytest.raises(GenerationFailed) as caught:
        session.submit("refused").wait(30)
    generation = session.submit("a balloon")
    generation.wait(30)
    session.history()
    (endpoint,) = session.engine._services.values()
    assert endpoint._client is not None
    things = [
        session, session.settings, session.target, session.engine, session.journal, endpoint, endpoint._client,
        generation, generation.state, generation.request,
        caught.value, credentials.Secret(KEY), vars(session.settings), vars(session.target),
    ]  # fmt: skip
    texts = [text for thing in things for text in (repr(thing), str(thing), f"{thing}")]
    texts.append(caplog.text)
    texts += [str(record.__dict__) for record in caplog.records]
    texts += [f"{request.path} {request.query}" for request in service.log]
    session.close()
    texts += [p.read_bytes().decode("latin-1") for p in tmp_path.rglob("*") if p.is_file()]
    assert len(texts) > 50
    assert not [text for text in texts if KEY in text]


@pytest.mark.parametrize("trouble", ["refused", "reset", "json"])
def test_the_key_is_in_no_traceback(service: FaultyService, trouble: str) -> None:
    """Tracebacks that show the values of variables, as a verbose notebook does, do not show the key."""

    async def ask() -> None:
        address = "http://127.0.0.1:9" if trouble == "refused" else service.base_url
        async with Client(address, KEY) as client:
            if trouble == "reset":
                service.script(POST, f.reset())
            await client.enqueue({"model": MODEL, "prompt": "a balloon" if trouble != "json" else "\ud800"})

    try:
        asyncio.run(ask())
    except OxenVideoError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        verbose = io.StringIO()
        from IPython.core.ultratb import VerboseTB

        VerboseTB(ostream=verbose, **({"color_scheme": "NoColor"} if sys.version_info < (3, 11) else {}))(
            *sys.exc_info()
        )
        assert "enqueue" in shown
        assert KEY not in shown
        assert KEY not in verbose.getvalue()
    else:
        pytest.fail("nothing was raised")


def test_secrets_do_not_print() -> None:
    """A key prints as stars however it is put into text."""
    secret = credentials.Secret(KEY)
    assert {repr(secret), str(secret), f"{secret}", f"{secret!s}", f"{[secret]}"[1:-1]} == {"'***'"}
    assert secret == credentials.Secret(KEY)
    assert hash(secret) == hash(credentials.Secret(KEY))
    assert KEY not in repr(credentials.Target("https://hub.example", secret))
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(secret)


def test_connection_errors_name_the_host_alone() -> None:
    """What cannot be reached is named without path, query and key."""

    async def ask() -> None:
        async with Client("http://127.0.0.1:9", KEY) as client:
            await client.queue(namespace="secret-project")

    with pytest.raises(ConnectionFailed) as caught:
        asyncio.run(ask())
    assert str(caught.value).startswith("Cannot reach 127.0.0.1: ")
    assert "secret-project" not in str(caught.value)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX")
def test_files_are_the_users_own(session: Session, service: FaultyService, tmp_path: Path) -> None:
    """The journal, the files beside it and the embedded server's key are readable by their owner alone."""
    session.submit("a balloon").wait(30)
    kept = [*(tmp_path / "data").glob("journal.sqlite3*")]
    assert len(kept) >= 2
    _key(tmp_path / "local")
    kept += [*(tmp_path / "local").iterdir()]
    assert {stat.S_IMODE(p.stat().st_mode) for p in kept} == {0o600}
    assert [p.name for p in (tmp_path / "local").iterdir()] == ["key"]


def test_the_embedded_servers_key_is_one(tmp_path: Path) -> None:
    """Kernels that start at the same time agree on one key, and none reads half of it."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: _key(tmp_path), range(64)))
    assert len(keys) == 1
    assert len(keys.pop()) >= 32
    assert repr(LocalService(tmp_path)).find("key=") == -1


def test_names_from_the_service_lead_nowhere(session: Session, service: FaultyService, tmp_path: Path) -> None:
    """A model's name that is a path stays within the directory of downloads."""
    evil = "../../../../tmp/evil\x00/..\\..\\x"
    service.models.append(service.models[0] | {"id": evil, "price": 1})
    import httpx

    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(
        f"{service.base_url}/api/ai/queue", json={"model": evil, "prompt": "x"}, headers=headers, trust_env=False
    )
    generation = session.attach(answer.json()["generations"][0]["generation_id"])
    path = generation.wait(30).path
    assert path is not None
    assert path.parent == session.settings.download_dir
    assert list(tmp_path.rglob("*.mp4")) == [path]
