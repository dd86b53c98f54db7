"""A real kernel: cells that return before their video is done, outputs that change afterwards, and what that costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from faulty import FaultyService
from kernels import start_kernel

pytestmark = pytest.mark.slow

CLIP = "%%oxenvideo clip --duration 5\nA red balloon floating upward"


class Kernel:
    """A kernel as a front end sees it: cells are sent, and every message on the bus is kept."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client
        self.messages: list[dict[str, Any]] = []

    def start(self, code: str) -> str:
        """Send a cell, and return the id by which its messages are known."""
        sent: str = self.client.execute(code)
        return sent

    def run(self, code: str) -> str:
        """Run a cell to its end and return what it printed; AssertionError where it raised."""
        cell = self.start(code)
        self.until(lambda message: _is_idle(message, cell))
        mine = [m for m in self.messages if m["parent_header"].get("msg_id") == cell]
        errors = [m["content"]["evalue"] for m in mine if m["msg_type"] == "error"]
        assert not errors, errors
        return "".join(m["content"]["text"] for m in mine if m["msg_type"] == "stream")

    def until(self, holds: Callable[[dict[str, Any]], bool], timeout: float = 30.0) -> dict[str, Any]:
        """Take in messages up to the first for which this holds."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            try:
                message = self.client.get_iopub_msg(timeout=0.5)
            except Empty:
                continue
            self.messages.append(message)
            if holds(message):
                return message
        raise AssertionError(f"not within {timeout:g} s: {[m['msg_type'] for m in self.messages[-20:]]}")


def _is_idle(message: dict[str, Any], cell: str) -> bool:
    return bool(
        message["msg_type"] == "status"
        and message["content"]["execution_state"] == "idle"
        and message["parent_header"].get("msg_id") == cell
    )


def _shows(word: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a message displays, or updates a display to, something with this word."""
    return lambda message: (
        message["msg_type"] in ("display_data", "update_display_data")
        and word in message["content"]["data"].get("text/html", "")
    )


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service whose jobs end when the test says so."""
    with FaultyService(keep_alive=0.5) as running:
        yield running


@pytest.fixture
def kernel(service: FaultyService, tmp_path: Path) -> Iterator[Kernel]:
    """A kernel under a front end, the extension loaded."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OXEN", "JPY"))}
    environment = kept | {
        "HOME": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "OXEN_BASE_URL": service.base_url,
        "OXEN_API_KEY": service.api_key,
        "OXENVIDEO_DATA_DIR": str(tmp_path / "data"),
        "JPY_SESSION_NAME": str(tmp_path / "notebook.ipynb"),  # so that cards have their button
    }
    manager, client = start_kernel(environment, tmp_path)
    running = Kernel(manager, client)
    try:
        running.run("%load_ext oxenvideo")
        yield running
    finally:
        client.stop_channels()
        if manager.is_alive():
            manager.shutdown_kernel(now=True)


def test_the_cell_returns_before_the_video_is_done_and_its_output_changes_after(
    kernel: Kernel, service: FaultyService
) -> None:
    """The cell is idle while the job is queued; the display that it made is then updated to the video."""
    kernel.run(CLIP)
    service.wait_until(lambda: len(service.jobs) == 1)
    first = next(m for m in kernel.messages if _shows("A red balloon")(m))
    assert first["msg_type"] == "display_data"
    service.finish()
    done = kernel.until(_shows("<video"))
    assert done["msg_type"] == "update_display_data"
    assert done["content"]["transient"] == first["content"]["transient"]
    shown = [m for m in kernel.messages if m["msg_type"] == "display_data" and "text/html" in m["content"]["data"]]
    assert shown == [first], "something was displayed anew, which lands in whichever cell ran last"


def test_a_busy_cell_does_not_keep_the_video_from_appearing(
    kernel: Kernel, service: FaultyService, tmp_path: Path
) -> None:
    """While a loop of ``time.sleep`` holds the kernel's main thread, the video is downloaded and shown."""
    kernel.run(CLIP)
    service.wait_until(lambda: len(service.jobs) == 1)
    sleeper = kernel.start("import os, time\nwhile not os.path.exists('over'):\n    time.sleep(0.05)")
    service.finish()
    kernel.until(_shows("<video"))
    assert not any(_is_idle(message, sleeper) for message in kernel.messages)
    (tmp_path / "over").touch()
    kernel.until(lambda message: _is_idle(message, sleeper))


def test_the_end_is_drawn_once(kernel: Kernel, service: FaultyService) -> None:
    """A waiting cell and the drawing thread both see the end; the video is sent once, and not again for its cost."""
    kernel.run(CLIP)
    service.wait_until(lambda: len(service.jobs) == 1)
    waiting = kernel.start("%oxenvideo wait clip")
    service.finish()
    kernel.until(lambda message: _is_idle(message, waiting))
    kernel.until(_shows("cost $0.35"))
    assert sum(_shows("<video")(message) for message in kernel.messages) == 1


def test_loading_and_the_first_cell_import_no_http_client(tmp_path: Path) -> None:
    """``%load_ext oxenvideo`` imports nothing slow, and a first cell that sends nothing does not either."""
    code = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "slow = lambda: sorted({'httpx', 'ipywidgets', 'jsonschema', 'av', 'numpy'} & set(sys.modules))\n"
        "shell.run_line_magic('load_ext', 'oxenvideo')\n"
        "print(slow())\n"
        "shell.run_cell_magic('oxenvideo', '--dry-run', 'A red balloon')\n"
        "print(slow())"
    )
    environment = os.environ | {
        "OXENVIDEO_DATA_DIR": str(tmp_path),
        "IPYTHONDIR": str(tmp_path),
        "OXEN_BASE_URL": "local",
    }
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    lines = said.splitlines()
    assert (lines[0], lines[-1]) == ("[]", "[]"), said


def test_a_restart_leaves_no_connection_and_no_thread(kernel: Kernel, service: FaultyService) -> None:
    """The kernel ends at once although a job runs, closes every connection, and what was running can be resumed."""
    kernel.run(CLIP)
    service.wait_until(lambda: len(service.jobs) == 1 and service.streams_open == 1)
    kernel.manager.shutdown_wait_time = 60  # seconds after which it is killed
    begun = time.monotonic()
    kernel.manager.shutdown_kernel(now=False, restart=True)
    assert time.monotonic() - begun < 30, "it was killed"
    service.wait_until(lambda: service.connections_open == 0)


def test_an_idle_kernel_has_no_drawing_thread(kernel: Kernel, service: FaultyService) -> None:
    """Once every card is settled the thread that draws them ends."""
    kernel.run(CLIP)
    service.wait_until(lambda: len(service.jobs) == 1)
    service.finish()
    kernel.until(_shows("cost $0.35"))
    names = "import threading; print(any(t.name == 'oxenvideo-display' for t in threading.enumerate()))"
    assert kernel.run(names) == "True\n"
    end = time.monotonic() + 10
    while kernel.run(names) == "True\n" and time.monotonic() < end:
        time.sleep(0.5)
    assert kernel.run(names) == "False\n"


def test_an_interrupt_gets_through_a_wait_at_once(kernel: Kernel, service: FaultyService) -> None:
    """Interrupting ``%oxenvideo wait`` ends the wait, says so, and leaves the job running."""
    kernel.run(CLIP)
    service.wait_until(lambda: len(service.jobs) == 1)
    waiting = kernel.start("%oxenvideo wait clip")
    time.sleep(0.5)
    kernel.manager.interrupt_kernel()
    kernel.until(lambda message: message["msg_type"] == "stream" and "Stopped waiting" in message["content"]["text"])
    kernel.until(lambda message: _is_idle(message, waiting))
    assert kernel.run("print(clip.status)") == "queued\n"


def _button(kernel: Kernel) -> str:
    """The model of the Cancel button that was displayed."""
    view = "application/vnd.jupyter.widget-view+json"
    shown = [m["content"]["data"] for m in kernel.messages if m["msg_type"] == "display_data"]
    return next(str(data[view]["model_id"]) for data in shown if view in data)


def test_a_click_is_handled_while_a_cell_awaits(kernel: Kernel, service: FaultyService) -> None:
    """``await clip`` leaves the kernel's loop free, so Cancel works at once; the cell then says what became of it."""
    kernel.run(CLIP)
    service.wait_until(lambda: len(service.jobs) == 1)
    waiting = kernel.start("await clip")
    time.sleep(0.3)
    click = {"comm_id": _button(kernel), "data": {"method": "custom", "content": {"event": "click"}}}
    kernel.client.shell_channel.send(kernel.client.session.msg("comm_msg", click))
    (job,) = service.jobs.values()
    service.wait_until(lambda: job.status == "cancelled")
    raised = kernel.until(lambda message: message["msg_type"] == "error")
    assert raised["content"]["ename"] == "GenerationCancelled"
    kernel.until(lambda message: _is_idle(message, waiting))


@pytest.mark.parametrize("nested", [False, True])
def test_the_notebooks_own_tasks_run_during_a_wait_only_with_nested_loops(
    kernel: Kernel, service: FaultyService, nested: bool
) -> None:
    """A waiting cell holds up the kernel's loop, unless nested loops are opted in to; either way the kernel lives on."""
    kernel.run(f"%config OxenVideo.nested_loops = {nested}")
    kernel.run(
        "import asyncio\n"
        "beats = []\n"
        "async def beat():\n"
        "    while True:\n"
        "        beats.append(1)\n"
        "        await asyncio.sleep(0.05)\n"
        "task = asyncio.get_running_loop().create_task(beat())"
    )
    kernel.run(CLIP)
    said = kernel.run("before = len(beats)\n%oxenvideo wait clip --timeout 1\nprint('beats:', len(beats) - before)")
    assert "Still running after 1 s" in said
    assert (int(said.rpartition("beats: ")[2]) > 5) == nested
    service.wait_until(lambda: service.jobs)
    service.finish()
    assert "clip: succeeded" in kernel.run("%oxenvideo wait clip")
