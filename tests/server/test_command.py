"""The `oxenvideo serve` command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from oxenvideo import cli
from server.support import until_true

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "oxenvideo"]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False)


@contextmanager
def _serving(*arguments: str, env: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command until it has printed its usage; yield the process and the text."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={k: v for k, v in os.environ.items() if k != "OXEN_API_KEY"} | (env or {}),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        text = ""
        while "OXEN_API_KEY=" not in text:
            line = process.stdout.readline()
            assert line, text
            text += line
        yield process, text
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _exports(text: str) -> dict[str, str]:
    lines = [line.removeprefix("export ") for line in text.splitlines() if line.startswith("export ")]
    return dict(line.split("=", 1) for line in lines)


def test_it_prints_how_it_is_used(tmp_path: Path) -> None:
    """The two printed variables are all that is needed to use the server."""
    with _serving("--data-dir", str(tmp_path)) as (_, text):
        exports = _exports(text)
        headers = {"Authorization": f"Bearer {exports['OXEN_API_KEY']}"}
        answer = httpx.get(f"{exports['OXEN_BASE_URL']}/api/authorize", headers=headers)
    assert answer.json()["user"]["name"] == "local"
    assert str(tmp_path / "videos") in text


def test_the_key_of_the_environment(tmp_path: Path) -> None:
    """Without --api-key the key comes from the environment."""
    with _serving("--data-dir", str(tmp_path), env={"OXEN_API_KEY": "from-the-environment"}) as (_, text):
        assert _exports(text)["OXEN_API_KEY"] == "from-the-environment"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_it(tmp_path: Path, sign: signal.Signals) -> None:
    """Ctrl+C and SIGTERM end it, without output and with status 0, even with an open stream."""
    with _serving("--data-dir", str(tmp_path), "--api-key", "k") as (process, text):
        url = _exports(text)["OXEN_BASE_URL"]
        with httpx.stream("GET", f"{url}/api/events", headers={"Authorization": "Bearer k"}) as stream:
            assert stream.status_code == 200
            process.send_signal(sign)
            assert process.wait(30) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_open_answer_is_cut_off_without_a_word(tmp_path: Path) -> None:
    """Ctrl+C while a client waits for its video: no traceback, and the client is not told that the video was refused."""
    headers = {"Authorization": "Bearer k"}
    with (
        _serving("--data-dir", str(tmp_path), "--api-key", "k") as (process, text),
        httpx.Client(base_url=_exports(text)["OXEN_BASE_URL"], headers=headers, timeout=30) as http,
        ThreadPoolExecutor() as threads,
    ):
        body = {"model": "kling-video-v2-6-pro-text-to-video", "prompt": "x", "duration": 10}
        for _ in range(20):  # so that the next one has to wait
            http.post("/api/ai/queue", json=body)
        answer = threads.submit(http.post, "/api/ai/videos/generate", json=body | {"prompt": "y"})
        until_true(lambda: "y" in [row["prompt"] for row in http.get("/api/ai/queue").json()["generations"]])
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""
        with suppress(httpx.TransportError):
            assert answer.result(30).status_code == 500


def test_other_addresses_are_warned_of(tmp_path: Path) -> None:
    """Listening for other machines prints a warning, and Host names are still checked."""
    with _serving("--data-dir", str(tmp_path), "--api-key", "k", "--host", "0.0.0.0") as (_, text):
        port = _exports(text)["OXEN_BASE_URL"].rpartition(":")[2]
        headers = {"Authorization": "Bearer k"}
        assert httpx.get(f"http://127.0.0.1:{port}/api/authorize", headers=headers).status_code == 200
        foreign = headers | {"Host": "evil.example"}
        assert httpx.get(f"http://127.0.0.1:{port}/api/authorize", headers=foreign).status_code == 403
    assert "Warning: 0.0.0.0 can be reached from other machines" in text


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    """A port that is in use is reported in one line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        run = _run("serve", "--port", str(taken.getsockname()[1]), "--data-dir", str(tmp_path))
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "Try --port 0" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "0"], "--workers 0"),
        (["--models", "/no/such/file"], "/no/such/file"),
        (["--models", __file__], "test_command.py is not JSON"),
        (["--renderer", "nothing"], "--renderer nothing"),
        (["--renderer", "no.such:thing"], "--renderer no.such:thing"),
        (["--data-dir", "/proc/nowhere"], "Choose another --data-dir"),
    ],
)
def test_wrong_options_are_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    """An impossible value is reported in one line before anything is served."""
    run = _run("serve", "--port", "0", "--data-dir", str(tmp_path), *arguments)
    assert run.returncode == 2
    assert words in run.stderr
    assert run.stderr.count("\n") == 1


def test_help_and_version() -> None:
    """The command has help texts and a version."""
    assert "serve" in _run("--help").stdout
    assert "--data-dir" in _run("serve", "--help").stdout
    assert _run("--version").stdout.startswith("oxenvideo 0.")
    assert "serve" in _run().stdout


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the packages of the extra the command says what to install."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main(["serve", "--port", "0"]) == 2
    assert "pip install 'oxenvideo[local]'" in capsys.readouterr().err
