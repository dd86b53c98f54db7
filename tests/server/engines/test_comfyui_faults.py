"""Faults of a ComfyUI server, over real sockets: no job is lost or runs twice, by the stub's own counters."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server.engines.comfy_stub import ComfyStub
from server.engines.fake import Plant, plant, until
from server.engines.one_job import IMAGE, TEXT, WORKFLOWS

pytestmark = pytest.mark.slow

Act = Callable[[ComfyStub], object]


@dataclass(frozen=True)
class Fault:
    """``arrange`` comes before the job, ``meanwhile`` acts on a running stub. ``submits`` are those that it accepted."""

    does: str
    arrange: Act = lambda stub: None
    meanwhile: Act | None = None
    status: str = "succeeded"
    submits: int = 1
    says: str = ""
    workflow: str = TEXT
    seconds: float = 0.2


def answers(route: str, *statuses: int | str) -> Act:
    """The next requests of a route are answered so."""
    return lambda stub: stub.answers.update({route: list(statuses)})


def having(**attributes: Any) -> Act:
    """The stub has these attributes."""
    return lambda stub: [setattr(stub, name, value) for name, value in attributes.items()]


def _interrupt(stub: ComfyStub) -> None:
    stub._interrupted.update(stub.active)


def _restart_twice(stub: ComfyStub) -> None:
    def again() -> None:
        if len(stub.ran) >= 2:
            stub.restart()
        else:
            threading.Timer(0.02, again).start()

    stub.restart()
    again()


def _clear(stub: ComfyStub) -> None:
    stub._generation += 1
    stub._running = None


_ERROR = {"node_id": "8", "exception_type": "ValueError", "exception_message": "bad at /srv/comfy/nodes.py\nTraceback (most"
          " recent call last):\n File"}  # fmt: skip
_PARTIAL = {"11": {"errors": [{"type": "x", "message": "bad", "details": "", "extra_info": {}}]}}

FAULTS = [
    Fault("the answer to the submit is lost, and the job is queued", answers("POST /prompt", "lose")),
    Fault("the connection breaks before the job is queued", answers("POST /prompt", "drop")),
    Fault("500 as text to the submit", answers("POST /prompt", 500)),
    Fault("503 to the submit", answers("POST /prompt", 503)),
    Fault("500 to every submit", answers("POST /prompt", *[500] * 9), None, "failed", 0, "The job ended 2 engines"),
    Fault("500 to a look at the history", answers("GET /history", 500, 500)),
    Fault("a look at the queue without an answer", answers("GET /queue", "drop")),
    Fault("the history is late", having(late_history=0.25)),
    Fault("a restart loses the running job", meanwhile=ComfyStub.restart, submits=2, seconds=1),
    Fault("two restarts", meanwhile=_restart_twice, status="failed", submits=2, says="The job ended 2 engines", seconds=1),
    Fault("somebody clears the queue", meanwhile=_clear, submits=2, seconds=1),
    Fault("success without a file", having(no_file=True), None, "failed", 1, "does not have the file"),
    Fault("the download breaks off", answers("GET /view", "drop")),
    Fault("500 to the download", answers("GET /view", 500)),
    Fault("the file is a page", having(video=b"<html>not a video</html>"), None, "failed", 1, "its file is not an MP4"),
    Fault("the file is empty", having(video=b""), None, "failed", 1, "its file is not an MP4"),
    Fault("the event socket is refused", having(socket_closed=True)),
    Fault("the event socket says nothing", having(socket_silent=True)),
    Fault("somebody interrupts the job", meanwhile=_interrupt, status="failed", says="interrupted at gpu1", seconds=1),
    Fault("a node fails", having(fail_with=_ERROR), None, "failed", 1, "gpu1 failed in node 8 'Grain': bad at nodes.py"),
    Fault("only a part of the workflow is valid", having(node_errors=_PARTIAL), None, "failed", 1, "gpu1 refused input"),
    Fault("413 to an input", answers("POST /upload", 413), None, "failed", 0, "does not accept an input", IMAGE),
    Fault("500 to an input", answers("POST /upload", 500), workflow=IMAGE),
    Fault("401 to a look at the history", answers("GET /history", 401)),
]  # fmt: skip
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.does)
def test_fault(fault: Fault, stub: ComfyStub, tmp_path: Path) -> None:
    """The job ends as it must, and the next one succeeds."""
    stub.seconds = fault.seconds
    configure(tmp_path, stub.url, fault.workflow)
    given = {"input_image": PNG} if fault.workflow == IMAGE else {}

    async def whole() -> None:
        async with plant(tmp_path) as made:
            await until(lambda: stub.count["GET /object_info"] >= 6)
            fault.arrange(stub)
            (id_,) = made.enqueue("wan22", seed=1, **given)
            if fault.meanwhile:
                await until(lambda: stub.ran)
                fault.meanwhile(stub)
            assert await made.ended(id_) == [fault.status], made.row(id_)
            message = made.row(id_).error_message or ""
            assert fault.says in message
            assert not re.search(r"://|/srv|/home|Traceback|127\.0\.0\.1", message)
            assert len(stub.prompts) == fault.submits
            assert len(stub.ran) <= fault.submits
            await until(lambda: not stub.active)
            assert _is_fine(made, id_)
            stub.seconds, stub.video, stub.no_file, stub.fail_with, stub.node_errors = 0.05, None, False, None, None
            stub.answers.clear()
            (after,) = made.enqueue("wan22", seed=2, **given)
            assert await made.ended(after) == ["succeeded"]
            assert made.queue.unwanted("gpu1") == []

    asyncio.run(whole())


def _is_fine(made: Plant, id_: str) -> bool:
    return made.settings.result(id_).exists() == (made.row(id_).status == "succeeded")


def test_a_redirect_leads_nowhere(stub: ComfyStub, tmp_path: Path) -> None:
    """Results and everything else come from the configured origin only."""
    with ComfyStub() as other:
        stub.redirect = f"{other.url}/system_stats"
        configure(tmp_path, stub.url)

        async def whole() -> None:
            async with plant(tmp_path) as made:
                (id_,) = made.enqueue("wan22")
                await until(lambda: made.notice(id_))
                words = "gpu1 redirects to another address (302): configure that."
                assert made.notice(id_) == f"Waiting for an engine. {words}"
            assert not other.count

        asyncio.run(whole())


def test_an_engine_that_is_away_at_first(tmp_path: Path) -> None:
    """Nothing was sent, so the job just waits."""
    stub = ComfyStub()
    configure(tmp_path, stub.url)

    async def whole() -> None:
        async with plant(tmp_path) as made:
            (id_,) = made.enqueue("wan22")
            await until(lambda: made.notice(id_))
            with stub:
                assert await made.ended(id_) == ["succeeded"]
                assert len(stub.prompts) == 1

    asyncio.run(whole())


def configure(directory: Path, url: str, workflow: str = TEXT) -> None:
    """Write gpu1, and wan22 on it."""
    path = json.dumps(str(WORKFLOWS / workflow))
    text = f'[engines.gpu1]\nkind = "comfyui"\nurl = "{url}"\n[models.wan22]\nengines = ["gpu1"]\nworkflow = {path}\n'
    (directory / "engines.toml").write_text(text)
