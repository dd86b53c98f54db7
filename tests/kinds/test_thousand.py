"""A thousand videos from one cell of a real kernel, and what page, kernel and service feel of it."""

from __future__ import annotations

import ast
import json
import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from faulty import FaultyService
from kernels import start_kernel

pytestmark = pytest.mark.slow

COUNT = 1000
SHOWN = ("display_data", "update_display_data", "stream")


class Watch:
    """Looks at the service all the while: how many connections it has at most."""

    def __init__(self, service: FaultyService) -> None:
        self.most = 0
        self._service = service
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.003):
            self.most = max(self.most, self._service.connections_open)


class Front:
    """A front end: sends cells and keeps every message with the moment at which the kernel made it."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client
        self.messages: list[tuple[float, dict[str, Any]]] = []

    def run(self, code: str) -> None:
        """Run a cell and return when the kernel is free again."""
        cell = self.client.execute(code)
        while not self._take(cell, 60.0):
            continue

    def value(self, expression: str) -> Any:
        """What an expression gives in the kernel."""
        answer = self.client.execute_interactive(
            "", user_expressions={"value": expression}, allow_stdin=False, output_hook=self._keep
        )
        return ast.literal_eval(answer["content"]["user_expressions"]["value"]["data"]["text/plain"])

    def rest(self, seconds: float) -> None:
        """Take in what still comes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._take("", 0.2)

    def _keep(self, message: dict[str, Any]) -> None:
        assert message["msg_type"] != "error", message["content"]["evalue"]
        self.messages.append((datetime.fromisoformat(str(message["header"]["date"])).timestamp(), message))

    def _take(self, cell: str, timeout: float) -> bool:
        """Take one message; whether it says that this cell is over."""
        try:
            message = self.client.get_iopub_msg(timeout=timeout)
        except Empty:
            return False
        self._keep(message)
        idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
        return idle and message["parent_header"].get("msg_id") == cell


@pytest.fixture
def quick() -> Iterator[FaultyService]:
    """A service whose jobs take 0.3 s."""
    with FaultyService(job_seconds=0.3) as service:
        yield service


@pytest.fixture
def front(quick: FaultyService, tmp_path: Path) -> Iterator[Front]:
    """A kernel, the extension loaded and used once."""
    environment = os.environ | {
        "HOME": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "OXEN_BASE_URL": quick.base_url,
        "OXEN_API_KEY": quick.api_key,
        "OXENVIDEO_DATA_DIR": str(tmp_path / "data"),
    }
    manager, client = start_kernel(environment, tmp_path)
    try:
        opened = Front(client)
        opened.run("%load_ext oxenvideo\nimport oxenvideo")
        opened.run("%%oxenvideo --dry-run\nA fox")
        yield opened
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_thousand_jobs_in_one_cell(front: Front, quick: FaultyService) -> None:
    """The cell returns at once, all videos come, and nobody is flooded: not the page, the kernel or the service."""
    front.run(f"rows = [{{'animal': f'fox number {{i}}'}} for i in range({COUNT})]")
    front.messages.clear()
    with Watch(quick) as watch:
        front.run("%%oxenvideo many --each rows\nA {animal} that runs over the hills while the sun sets behind it")
        while not front.value("many.done"):
            front.run("1 + 1")
            time.sleep(0.05)
        front.rest(3.0)
    shown = [(at, message) for at, message in front.messages if message["msg_type"] in SHOWN]
    sizes = [len(json.dumps(message["content"])) for _, message in shown]
    times = [at for at, _ in shown]
    busiest = max(sum(start <= at < start + 1 for at in times) for start in times)
    print(
        f"\n{len(shown)} display messages, at most {busiest} in a second, largest {max(sizes)} bytes, "
        f"{watch.most} connections"
    )
    assert front.value("many.summary") == f"{COUNT} videos: {COUNT} succeeded"
    assert len(quick.submits) == COUNT
    grids = [message for _, message in shown if "text/html" in message["content"].get("data", {})]
    assert len({message["content"]["transient"]["display_id"] for message in grids}) == 1, "more than one output"
    assert busiest <= 20
    assert max(sizes) < 1_000_000
    assert sum(sizes[:-1]) < 150_000 * (1 + times[-1] - times[0]), "bytes a second, until the last one with all videos"
    assert watch.most <= 2 * 8 + 4 + 2, (
        "submits and what rests between two, downloads, the stream, and one of another kind"
    )
    assert f"{COUNT} succeeded" in shown[-1][1]["content"]["data"]["text/plain"]
