"""Looking at the faulty service from outside: a client, a submit, the event stream over a bare socket."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from .service import FaultyService

SUBMIT = "POST /api/ai/queue"
LIST = "GET /api/ai/queue"
READ = "GET /api/ai/queue/{id}"
EVENTS = "GET /api/events"
FILE = "GET /files/{file}"
BODY = {"model": "kling-video-v2-6-pro-text-to-video", "prompt": "A red balloon", "duration": 5}
KEY = {"Authorization": "Bearer test-key"}


def client_of(service: FaultyService, timeout: float = 5.0) -> httpx.Client:
    return httpx.Client(base_url=service.base_url, headers=KEY, timeout=timeout)


def submit(http: httpx.Client, **changes: Any) -> str:
    answer = http.post("/api/ai/queue", json=BODY | changes)
    assert answer.status_code == 200, answer.text
    generation_id: str = answer.json()["generations"][0]["generation_id"]
    return generation_id


def finished(service: FaultyService, http: httpx.Client) -> tuple[str, str]:
    """The id of a job that has succeeded, and its link."""
    job_id = submit(http)
    service.finish(job_id)
    url: str = http.get(f"/api/ai/queue/{job_id}").json()["result_url"]
    return job_id, url


class RawStream:
    """The event stream over a bare socket."""

    def __init__(self, service: FaultyService) -> None:
        host, port = service.base_url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        request = "GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-key\r\n\r\n"
        self.socket.sendall(request.encode())
        self.data = b""

    def until(self, enough: Callable[[bytes], object], seconds: float = 30.0) -> bytes:
        """What came after the head, read until there is enough of it."""
        deadline = time.monotonic() + seconds
        while not enough(self.body):
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            got = self.socket.recv(1 << 20)
            if not got:
                raise EOFError
            self.data += got
        return self.body

    def quiet(self, seconds: float) -> bool:
        """Whether nothing at all comes for so many seconds."""
        self.socket.settimeout(seconds)
        try:
            self.data += self.socket.recv(1 << 16)
        except TimeoutError:
            return True
        return False

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    def events(self) -> list[dict[str, Any]]:
        found = re.findall(rb"^event: media_generation_completed\ndata: (.*)\n\n", self.body, re.M)
        return [json.loads(data) for data in found]


@contextlib.contextmanager
def listening(service: FaultyService) -> Iterator[RawStream]:
    stream = RawStream(service)
    with contextlib.closing(stream.socket):
        stream.until(lambda body: b"\r\n\r\n" in stream.data)
        yield stream


def ended(text: bytes) -> Callable[[bytes], object]:
    return lambda body: text in body
