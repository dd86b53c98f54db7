"""A queue that speaks four services' wire over one set of simulated jobs, in a process of its own.

The jobs are numbered. A prompt says which one is meant ("job-17"), so that every participant has the same jobs, and the
simulator knows of each the moment at which it ended by the clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

from ..faulty.video import small_video
from .shapes import SHAPES, Job, Shape

JOB = re.compile(rb"job-(\d+)")
SHORTEST, LONGEST = 5.0, 15.0  # seconds that a job takes
KEEP_ALIVE = 15.0  # seconds between two comments of an idle stream


@dataclass
class Setting:
    """How one run is set up. `gated`: jobs begin when they are released, so that any number are in flight at once."""

    seed: int = 7
    gated: bool = False
    stream: bool = True
    answer_after: float = 0.0  # seconds until a submit is answered
    shortest: float = SHORTEST
    longest: float = LONGEST
    result: str | None = None  # where every video lies, in place of the simulator's own few bytes


@dataclass
class Queue:
    """The jobs of one run, when each ended, and what was asked."""

    setting: Setting
    origin: str
    jobs: dict[str, Job] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    listeners: set[asyncio.Transport] = field(default_factory=set)
    waiting: list[Job] = field(default_factory=list)

    def create(self, number: int, shape: Shape) -> Job:
        name = str(uuid.uuid4())
        result = self.setting.result or f"{self.origin}/files/{name}.mp4"
        job = Job(name, number, int(time.time()), shape, result)
        self.jobs[job.id] = job
        if self.setting.gated and number >= 0:
            self.waiting.append(job)
        else:
            self._begin(job)
        return job

    def release(self) -> None:
        """Let the jobs that were held back begin."""
        for job in self.waiting:
            self._begin(job)
        self.waiting.clear()

    def duration(self, number: int) -> float:
        """Seconds that a job takes: the same for every participant; none for the one that is to warm it up."""
        if number < 0:
            return 0.0
        return random.Random(self.setting.seed * 1_000_003 + number).uniform(
            self.setting.shortest, self.setting.longest
        )

    def _begin(self, job: Job) -> None:
        job.started = True
        asyncio.get_running_loop().call_later(self.duration(job.number), self._end, job)

    def _end(self, job: Job) -> None:
        self.ended[job.number] = time.monotonic()
        job.ended = True
        event = job.shape.event(job)
        for listener in self.listeners:
            listener.write(event)


class Simulator:
    """Answers requests of all four shapes; those under /bench steer it and are not counted."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.queue = Queue(Setting(), origin)

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes, float]:
        """Status, body and the seconds to wait before they are sent."""
        if path.startswith("/bench/"):
            return 200, self._steer(path, body), 0.0
        if path.startswith("/files/"):
            return 200, small_video(), 0.0
        for shape in SHAPES:
            if path.startswith(shape.submits) and method == "POST":
                self.queue.requests["submit"] += 1
                return 200, self._submit(shape, body), self.queue.setting.answer_after
        self.queue.requests["read"] += 1
        for shape in SHAPES:
            found = shape.read(path, query, self.queue.jobs, self.origin)
            if found is not None:
                return 200, found, 0.0
        return 404, b'{"error":{"type":"resource_not_found","title":"Not found"},"status":"error"}', 0.0

    def _submit(self, shape: Shape, body: bytes) -> bytes:
        found = JOB.search(body)
        number = int(found[1]) if found else -1
        count = re.search(rb'"num_generations":\s*(\d+)', body)
        jobs = [self.queue.create(number + place, shape) for place in range(int(count[1]) if count else 1)]
        return shape.submitted(jobs, self.origin)

    def _steer(self, path: str, body: bytes) -> bytes:
        if path == "/bench/reset":
            for listener in self.queue.listeners:
                listener.close()
            self.queue = Queue(Setting(**json.loads(body or b"{}")), self.origin)
        elif path == "/bench/set":
            self.queue.setting = replace(self.queue.setting, **json.loads(body))
        elif path == "/bench/release":
            self.queue.release()
        state: dict[str, Any] = {
            "ended": self.queue.ended,
            "requests": self.queue.requests,
            "jobs": len(self.queue.jobs),
        }
        return json.dumps(state).encode()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, parsed by hand: the simulator must cost less than those it measures."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.buffer = b""
        self.listens = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.simulator.queue.listeners.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while not self.listens and (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = re.search(rb"\r\ncontent-length: *(\d+)", head)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < total:
                if b"\r\nexpect: 100-continue" in head and len(self.buffer) == end + 4:
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            method, target, _ = self.buffer[: self.buffer.index(b"\r\n")].decode().split(" ")
            body, self.buffer = self.buffer[end + 4 : total], self.buffer[total:]
            self._request(method, target, body)

    def _request(self, method: str, target: str, body: bytes) -> None:
        path, _, search = target.partition("?")
        queue = self.simulator.queue
        if path == "/api/events" and queue.setting.stream:
            queue.requests["stream"] += 1
            self.listens = True
            queue.listeners.add(self.transport)
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            return
        status, answer, delay = self.simulator.answer(method, path, dict(parse_qsl(search)), body)
        kind = b"video/mp4" if path.startswith("/files/") else b"application/json"
        head = b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(answer))
        if delay:
            asyncio.get_running_loop().call_later(delay, self.transport.write, head + answer)
        else:
            self.transport.write(head + answer)


async def keep_alive(simulator: Simulator) -> None:
    while True:
        await asyncio.sleep(KEEP_ALIVE)
        for listener in simulator.queue.listeners:
            listener.write(b": keep-alive\n\n")


async def main() -> None:
    small_video()  # made now, not while somebody waits for it
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    simulator = Simulator(f"http://127.0.0.1:{listening.getsockname()[1]}")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(simulator), sock=listening, backlog=1024)
    print(simulator.origin, flush=True)
    idle = asyncio.create_task(keep_alive(simulator))
    await loop.run_in_executor(None, sys.stdin.read)  # whoever started it closes its input to end it
    idle.cancel()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
