"""A process that uses the package is forked, as ``multiprocessing`` does: the child works by itself or is told at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import oxenvideo
from faults.fault import MODEL
from faulty import FaultyService

pytestmark = pytest.mark.slow

POST = "POST /api/ai/queue"
DELETE = "DELETE /api/ai/queue/{id}"

# What every parent does first. ``fork(work)`` runs work in a forked child and gives its result, None where it hangs.
_PARENT = """
import asyncio, json, multiprocessing, os, sys, threading, time
from pathlib import Path
import oxenvideo
from oxenvideo import VideoRequest
from oxenvideo.errors import OxenVideoError
told = json.loads(sys.argv[1])
data = Path(told["data"])
oxenvideo.configure(base_url=told["base_url"], api_key="test-key", data_dir=data / "data", download_dir=data / "videos")
session = oxenvideo.current_session()

def request(prompt):
    return VideoRequest(told["model"], {"prompt": prompt, "duration": 5})

def submitted(prompt):
    generation = oxenvideo.submit(request(prompt))
    end = time.monotonic() + 10
    while not (generation.id and session.journal.find(generation.id)) and time.monotonic() < end:
        time.sleep(0.01)
    return generation

def outcome(work):
    began = time.monotonic()
    try:
        result = work()
    except OxenVideoError as error:
        return ["OxenVideoError", str(error), time.monotonic() - began]
    except BaseException as error:
        return [type(error).__name__, str(error), time.monotonic() - began]
    return ["returned", repr(result), time.monotonic() - began]

context = multiprocessing.get_context("fork")

def forked(*works):
    running = []
    for work in works:
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=lambda work=work, sending=sending: sending.send(work()))
        process.start()
        running.append((process, receiving))
    results = [receiving.recv() if receiving.poll(15) else None for _, receiving in running]
    for process, _ in running:
        process.join(30)
        process.kill()
    return results

def tell(**said):
    print(json.dumps(said), flush=True)
"""


class Parent:
    """The forking process: what it tells, and that it ends."""

    def __init__(self, service: FaultyService, data: Path, script: str) -> None:
        told = json.dumps({"base_url": service.base_url, "data": str(data), "model": MODEL})
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _PARENT + script, told],
            env=os.environ | {"PYTHONPATH": str(Path(oxenvideo.__file__).parent.parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._watchdog = threading.Timer(40, self.process.kill)
        self._watchdog.start()

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process hung or ended"
        return dict(json.loads(line))

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        try:
            assert self.process.wait(30) == 0
        finally:
            self._watchdog.cancel()
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service that makes a child's videos at once, and the parent's when the test says so."""

    def seconds(job: Any) -> float:
        return 0.05 if job.body["prompt"].startswith("child") else 3600.0

    with FaultyService(job_seconds=seconds, keep_alive=0.1) as running:
        yield running


_THE_PARENT_GOES_ON = """
sys.stdin.readline()
generation.wait(30)
after = submitted("after")
tell(status=generation.status, path=str(generation.path), parent=session.journal.owner, keys=[generation.key, after.key],
     unfinished=session.unfinished(), after=after.id)
"""


def test_the_functions_work_in_forked_children(service: FaultyService, tmp_path: Path) -> None:
    """Three children make a video each with a session, an owner and keys of their own; the parent is not disturbed."""
    parent = Parent(
        service,
        tmp_path,
        """
generation = submitted("parent")

def work():
    made = oxenvideo.submit(request(f"child {os.getpid()}"))
    path = made.wait(30).path
    own = oxenvideo.current_session()
    left = [g.id for g in oxenvideo.resume()]
    shown = oxenvideo.history()
    again = oxenvideo.attach(made.id)
    return dict(owner=own.journal.owner, key=made.key, id=made.id, path=str(path), same=own is session, left=left,
                shown=len(shown), again=again.id, pid=os.getpid())

tell(children=forked(work, work, work))
"""
        + _THE_PARENT_GOES_ON,
    )
    children = parent.told()["children"]
    service.finish()
    parent.go_on()
    after = parent.told()
    parent.end()
    assert None not in children
    assert [child["same"] for child in children] == [False] * 3
    assert [child["left"] for child in children] == [[]] * 3  # the parent lives, and its video is left to it
    owners = {child["owner"] for child in children} | {after["parent"]}
    assert len(owners) == 4
    assert len({child["key"] for child in children} | set(after["keys"])) == 5
    assert len({child["id"] for child in children}) == 3
    assert {child["again"] for child in children} == {child["id"] for child in children}
    assert all(Path(child["path"]).is_file() for child in children)
    assert after["status"] == "succeeded"
    assert Path(after["path"]).is_file()
    assert after["after"]
    assert service.counts[POST] == len(service.jobs) == 5
    assert service.counts[DELETE] == 0


def test_the_parents_objects_raise_at_once_in_a_forked_child(service: FaultyService, tmp_path: Path) -> None:
    """Nothing in the child would ever change a Session or a Generation of the parent: each use says so and does nothing."""
    parent = Parent(
        service,
        tmp_path,
        """
generation = submitted("parent")
batch = oxenvideo.Batch([generation])

def work():
    uses = {
        "wait": lambda: generation.wait(30),
        "wait without end": lambda: generation.wait(),
        "await": lambda: asyncio.run(generation.wait_async(5)),
        "cancel": lambda: generation.cancel(),
        "cancel without waiting": lambda: generation.cancel(None),
        "on_change": lambda: generation.on_change(print),
        "download": lambda: generation.download(),
        "submit": lambda: session.submit(request("child")),
        "submit_batch": lambda: session.submit_batch([request("child"), request("child 2")]),
        "generate": lambda: session.generate(request("child")),
        "attach": lambda: session.attach(generation.id),
        "attach another": lambda: session.attach("some-id"),
        "resume": lambda: session.resume(),
        "history": lambda: session.history(),
        "batch.wait": lambda: batch.wait(30),
        "await batch": lambda: asyncio.run(batch.wait_async(5)),
        "batch.cancel": lambda: batch.cancel(),
    }
    outcomes = {name: outcome(use) for name, use in uses.items()}
    session.close()
    return outcomes

tell(uses=forked(work)[0])
"""
        + _THE_PARENT_GOES_ON,
    )
    uses = parent.told()["uses"]
    assert service.counts[POST] == 1
    assert service.counts[DELETE] == 0
    service.finish()
    parent.go_on()
    after = parent.told()
    parent.end()
    assert uses is not None, "the child hung"
    assert {name: kind for name, (kind, _, _) in uses.items() if kind != "OxenVideoError"} == {}
    assert {words for _, words, _ in uses.values() if "forked" not in words} == set()
    assert max(seconds for _, _, seconds in uses.values()) < 4
    assert after["status"] == "succeeded"
    assert after["after"]
    assert service.counts[POST] == 2


def test_a_fork_while_locks_are_held(service: FaultyService, tmp_path: Path) -> None:
    """Another thread of the parent holds the locks in the moment of the fork: the child does not hang on them."""
    parent = Parent(
        service,
        tmp_path,
        """
generation = submitted("parent")
from oxenvideo import session as functions
engine = session.engine
locks = [functions._current._lock, engine._handles_lock, engine._start_lock, engine.registry._lock]
held, release = threading.Event(), threading.Event()

def hold():
    for lock in locks:
        lock.acquire()
    held.set()
    release.wait()
    for lock in reversed(locks):
        lock.release()

holder = threading.Thread(target=hold)
holder.start()
held.wait()

def old():
    return [outcome(lambda: session.submit(request("old"))), outcome(lambda: generation.on_change(print)),
            outcome(lambda: generation.cancel(None)), outcome(lambda: generation.wait(30))]

def new():
    return str(oxenvideo.submit(request("child")).wait(30).path)

results = forked(old, new)
release.set()
holder.join()
tell(results=results)
"""
        + _THE_PARENT_GOES_ON,
    )
    old, new = parent.told()["results"]
    service.finish()
    parent.go_on()
    after = parent.told()
    parent.end()
    assert old is not None, "the child hung on a session of its parent"
    assert [kind for kind, _, _ in old] == ["OxenVideoError"] * 4
    assert new is not None, "the child hung on a session of its own"
    assert Path(new).is_file()
    assert after["status"] == "succeeded"


def test_a_forked_child_that_exits_leaves_the_parent_alone(service: FaultyService, tmp_path: Path) -> None:
    """A child of ``os.fork`` ends with all its exit handlers: the parent's engine and its place in the journal stay."""
    parent = Parent(
        service,
        tmp_path,
        """
generation = submitted("parent")
if (pid := os.fork()) == 0:
    session.close()
    sys.exit(0)
os.waitpid(pid, 0)
tell(alive=session.journal.is_alive(session.journal.owner), code=0)
"""
        + _THE_PARENT_GOES_ON,
    )
    assert parent.told()["alive"]
    service.finish()
    parent.go_on()
    after = parent.told()
    parent.end()
    assert after["status"] == "succeeded"
    assert service.counts[POST] == 2
