"""In a real kernel: how soon a cell returns, how responsive the loop stays, how many display messages are sent."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from .participants.course import steer
from .race import process, simulator
from .rows import Row, at_most, figure
from .transfer import make_large

MODEL = "kling-video-v2-6-pro-text-to-video"
CELLS = 20
JOBS = 200
FILM = 5_000_000  # bytes of each result
SPELL = 18.0  # seconds for which the loop is watched; the longest job takes 15

WARM_UP = f"%%oxenvideo --model {MODEL} --duration 5\nA job before the start, ended at once"
TIMED = """
import json, time
_begun, _took = 0.0, []
def _begin(info):
    global _begun
    _begun = time.perf_counter()
def _end(result):
    _took.append(time.perf_counter() - _begun)
get_ipython().events.register("pre_run_cell", _begin)
get_ipython().events.register("post_run_cell", _end)
"""
MANY = f"""
for number in range({JOBS}):
    get_ipython().run_cell_magic("oxenvideo", "--model {MODEL} --duration 5", f"job-{{number}}: a red balloon")
"""
WATCH = f"""
import asyncio, json, time
late, end = [], time.monotonic() + {SPELL}
while time.monotonic() < end:
    due = time.monotonic() + 0.01
    await asyncio.sleep(0.01)
    late.append(time.monotonic() - due)
print(json.dumps(sorted(late)))
"""


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        film = make_large(Path(name) / "source.mp4", FILM)
        with simulator() as origin, process("fileserver", str(film)) as url:
            with _kernel(origin, Path(name) / "cells") as kernel:
                yield from _cell(kernel, origin, url)
            with _kernel(origin, Path(name) / "jobs") as kernel:
                yield from _many(kernel, origin, url)


@dataclass
class Seen:
    """What a cell printed and what was displayed while it ran."""

    printed: str = ""
    displays: list[dict[str, Any]] = field(default_factory=list)


class Kernel:
    """A kernel whose cells are run one after the other."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client

    def run(self, code: str) -> Seen:
        """Run a cell and gather its messages until it is done; RuntimeError where it raises."""
        request = self.client.execute(code)
        seen = Seen()
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            kind, content = message["msg_type"], message["content"]
            if kind == "update_display_data":
                seen.displays.append(message)
            if message["parent_header"].get("msg_id") != request:
                continue
            if kind == "error":
                raise RuntimeError(f"{content['ename']}: {content['evalue']}")
            if kind == "stream":
                seen.printed += content["text"]
            if kind == "status" and content["execution_state"] == "idle":
                return seen


@contextlib.contextmanager
def _kernel(origin: str, folder: Path) -> Iterator[Kernel]:
    folder.mkdir()
    steer(origin, "reset")
    environment = os.environ | {
        "OXEN_BASE_URL": origin,
        "OXEN_API_KEY": "key",
        "OXENVIDEO_DATA_DIR": str(folder / "data"),
    }
    manager, client = start_new_kernel(kernel_name="python3", env=environment, cwd=str(folder))
    try:
        kernel = Kernel(client)
        kernel.run("%load_ext oxenvideo")
        kernel.run(WARM_UP)
        kernel.run(TIMED)
        time.sleep(1)
        yield kernel
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _cell(kernel: Kernel, origin: str, url: str) -> Iterator[Row]:
    steer(origin, "reset", json.dumps({"answer_after": 2.0, "result": url}).encode())
    kernel.run("_took.clear()")
    for number in range(CELLS):
        kernel.run(f"%%oxenvideo --model {MODEL} --duration 5\njob-{number}: a red balloon")
    took = json.loads(kernel.run("print(json.dumps(_took))").printed)[1 : CELLS + 1]
    note = f"median of {CELLS}, the service taking 2 s to answer; slowest {1000 * max(took):.0f} ms"
    yield at_most("a warm cell returns within", 1000 * statistics.median(took), 20, "ms", note)


def _many(kernel: Kernel, origin: str, url: str) -> Iterator[Row]:
    steer(origin, "reset", json.dumps({"result": url}).encode())
    kernel.run(MANY)
    seen = kernel.run(WATCH)
    state = steer(origin, "state")
    late = json.loads(seen.printed)
    note = (
        f"{JOBS} jobs with downloads of {FILM / 1e6:g} MB, {len(state['ended'])} ended; worst {1000 * late[-1]:.0f} ms"
    )
    yield at_most("kernel loop lag, p99", 1000 * late[round(0.99 * (len(late) - 1))], 20, "ms", note)
    times = [datetime.fromisoformat(str(message["header"]["date"])).timestamp() for message in seen.displays]
    by_output: defaultdict[str, list[float]] = defaultdict(list)
    for message, at in zip(seen.displays, times, strict=True):
        by_output[message["content"]["transient"]["display_id"]].append(at)
    note = f"{len(times)} messages on {len(by_output)} outputs; the busiest second"
    yield at_most("display messages a second, in all", busiest(times), 20, note=note)
    yield at_most("display messages a second, a job", max(map(busiest, by_output.values()), default=0), 2)
    yield figure("display messages a job", len(times) / JOBS)


def busiest(times: list[float]) -> int:
    """The most that fall into one second of the clock that begins with any of them."""
    ordered, first, most = sorted(times), 0, 0
    for last, at in enumerate(ordered):
        while at - ordered[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
