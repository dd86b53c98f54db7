"""The stop key during a wait, and the end of a process with videos under way: real signals, real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import oxenvideo
from faulty import FaultyService

pytestmark = pytest.mark.slow

_START = """
import sys, time
from pathlib import Path
from oxenvideo.session import Session
url, where = sys.argv[1], Path(sys.argv[2])
session = Session(base_url=url, api_key="test-key", data_dir=where / "data", download_dir=where, notebook="test.ipynb")
batch = session.submit_batch([{"prompt": "a balloon", "seed": n} for n in range(4)], name="clips")
generation = session.submit("a balloon", name="clip")
while not (generation.id and all(g.id for g in batch)):
    time.sleep(0.01)
"""
_WAITS = {
    "wait": "generation.wait()",
    "batch": "batch.wait()",
    "await": "import asyncio; asyncio.run(generation.wait_async())",
    "await batch": "import asyncio; asyncio.run(batch.wait_async())",
}


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service whose jobs never end."""
    with FaultyService() as running:
        yield running


def child(service: FaultyService, where: Path, code: str, *, start: str = _START) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", start + code, service.base_url, str(where)],
        env=os.environ | {"PYTHONPATH": str(Path(oxenvideo.__file__).parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("wait", _WAITS)
def test_the_stop_key_ends_a_wait(service: FaultyService, tmp_path: Path, wait: str) -> None:
    """An interrupt ends a wait, says that the jobs go on and how to cancel; they do go on."""
    code = f"""
print("waiting", flush=True)
try:
    {_WAITS[wait]}
except KeyboardInterrupt as stopped:
    print(stopped, flush=True)
print(generation.status, batch.counts, flush=True)
"""
    process = child(service, tmp_path, code)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    said, after = out.splitlines()
    if "await" not in wait:
        assert said.startswith("Stopped waiting.")
        assert "go on" in said or "goes on" in said
        assert ".cancel()" in said
    assert after.startswith("queued Counter({<Status.QUEUED: 'queued'>: 4})")
    assert err == ""
    assert service.counts["DELETE /api/ai/queue/{id}"] == 0


def test_the_end_of_a_process_is_not_held_up(service: FaultyService, tmp_path: Path) -> None:
    """With videos under way a process ends without waiting for them, quietly, and loses none of them."""
    process = child(service, tmp_path, "")
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    from oxenvideo.jobs.journal import Journal

    journal = Journal(tmp_path / "data" / "journal.sqlite3")
    assert len(journal.open_entries()) == 5
    journal.close()


@pytest.mark.parametrize("trouble", ["raise SystemExit(3)", "1 / 0", "import os; os.kill(os.getpid(), 15)"])
def test_any_end_is_quiet(service: FaultyService, tmp_path: Path, trouble: str) -> None:
    """However a process ends, nothing of ours is printed."""
    process = child(service, tmp_path, "\n" + trouble)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "oxenvideo" not in err.replace("ZeroDivisionError", "")
    assert err.count("Traceback") == (trouble == "1 / 0")


def test_a_name_lookup_that_hangs_does_not_hold_up_the_end(tmp_path: Path, service: FaultyService) -> None:
    """A blocking call that never returns keeps no process alive."""
    code = """
import asyncio
from oxenvideo.jobs.threads import DaemonThreads
loop = asyncio.new_event_loop()
loop.set_default_executor(DaemonThreads("blocking", most=2))
async def hang():
    for _ in range(3):
        asyncio.ensure_future(asyncio.to_thread(time.sleep, 60))
    print(await asyncio.wait_for(asyncio.to_thread(lambda: "not reached"), 0.1))
try:
    loop.run_until_complete(hang())
except TimeoutError:
    print("full")
"""
    began = time.monotonic()
    out, err = child(service, tmp_path, code, start="import time").communicate(timeout=60)
    assert (out, err) == ("full\n", "")
    assert time.monotonic() - began < 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_copy_takes_nothing_along(service: FaultyService, tmp_path: Path) -> None:
    """A copy of the process that ends, as some libraries fork them, leaves the original's videos to the original."""
    code = """
import os
copy = os.fork()
if not copy:
    sys.exit(0)
os.waitpid(copy, 0)
print(len(session.journal.open_entries()), session.journal._live_owners([session.journal.owner]) != set())
print(generation.cancel())
"""
    out, err = child(service, tmp_path, code).communicate(timeout=60)
    assert out.splitlines() == ["5 True", "The service cancelled it."]
    assert err == ""
