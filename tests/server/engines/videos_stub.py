"""A server with `/v1/videos` in the dialects of vLLM-Omni, SGLang and OpenAI, which counts what it receives.

The bodies of its answers were recorded from the schemas of the named versions.
"""

from __future__ import annotations

import email.parser
import email.policy
import itertools
import json
import socket
import struct
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RECORDED = json.loads(Path(__file__).with_name("videos_dialects.json").read_text())
VIDEO = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 400

Fault = Callable[["Handler", Callable[[], None]], None]  # of a handler and what it would do without the fault


@dataclass
class Video:
    """A job of the stub. It is done after ``steps`` reads, if it is not held."""

    id: str
    fields: dict[str, Any]
    image: bytes | None
    created: float
    status: str = "queued"
    error: tuple[int, str] | None = None
    reads: int = 0


@dataclass
class Stub:
    """The state of the server."""

    dialect: str
    served: str = "wan"
    steps: int = 2
    held: bool = False  # jobs stay in progress
    clock: float = 0.0  # seconds that the clock of the server is ahead
    fail_with: tuple[int, str] | None = None  # jobs end with this code and message
    content: bytes | None = VIDEO
    received: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    videos: dict[str, Video] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)  # ids of all jobs that took time of the GPU
    stopped: list[str] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)  # by method and route; each is used once
    url: str = ""

    @property
    def recorded(self) -> dict[str, Any]:
        """The answers of this dialect."""
        return next(answers for name, answers in RECORDED.items() if name.startswith(self.dialect))

    def count(self, route: str) -> int:
        """Return how many requests of this method and route arrived."""
        return Counter(self.received)[route]

    def view(self, video: Video, status: str | None = None) -> dict[str, Any]:
        """Return the job as the dialect shows it."""
        body = dict(self.recorded[status or video.status])
        if body.get("object") == "video":
            body["created_at"] = int(video.created + self.clock)
            body["model"] = video.fields.get("model", self.served)
            body["size"] = video.fields.get("size") or body["size"]
            if "prompt" in body:
                body["prompt"] = video.fields["prompt"]
            if body["status"] == "failed" and video.error is not None:
                code, message = video.error
                body["error"] = {"message": message} | ({"code": code} if "prompt" in body else {})
        return body | {"id": video.id}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    stub: Stub
    numbers: Iterator[int]

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def handle_one_request(self) -> None:
        """Ignore clients that leave."""
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def answer(self, status: int, body: Any, kind: str = "application/json", **headers: str) -> None:
        """Send an answer; JSON unless the body is bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of the server's clock."""
        return super().date_time_string(time.time() + self.stub.clock if timestamp is None else timestamp)

    def error(self, status: int, message: str) -> None:
        """Answer an error in the dialect."""
        body = json.loads(json.dumps(self.stub.recorded["not_found"]).replace("Video not found", message))
        if "error" in body:
            body["error"]["code"] = status
        self.answer(status, body)

    def _serve(self, method: str) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urllib.parse.urlsplit(self.path).path.removeprefix("/v1")
        parts = [urllib.parse.unquote(part) for part in path.split("/") if part]
        route = f"{method} /{'/'.join(['{id}' if i == 1 else part for i, part in enumerate(parts)])}"
        self.stub.received.append(route)
        self.stub.headers.append(dict(self.headers))

        def act() -> None:
            self._act(method, parts)

        faults = self.stub.faults.get(route)
        if faults:
            faults.pop(0)(self, act)
        else:
            act()

    def _act(self, method: str, parts: list[str]) -> None:
        stub = self.stub
        match method, parts:
            case "GET", ["models"]:
                self.answer(200, {"object": "list", "data": [{"id": stub.served, "object": "model"}]})
            case "POST", ["videos"]:
                self._create()
            case "GET", ["videos"]:
                rows = [stub.view(video) for video in reversed(stub.videos.values())]
                self.answer(200, stub.recorded["list"] | {"data": rows})
            case _, ["videos", id_, *_] if id_ not in stub.videos:
                self.error(404, "Video not found")
            case "GET", ["videos", id_]:
                self._show(stub.videos[id_])
            case "DELETE", ["videos", id_]:
                video = stub.videos.pop(id_)
                if stub.dialect == "vllm":
                    stub.stopped.append(id_)
                self.answer(200, stub.view(video, "deleted"))
            case "GET", ["videos", id_, "content"]:
                if stub.videos[id_].status != "completed" or stub.content is None:
                    self.error(404, "Generation is still in-progress")
                else:
                    self.answer(200, stub.content, "video/mp4")
            case _:
                self.error(404, "Not Found")

    def _create(self) -> None:
        stub, kind = self.stub, self.headers.get("Content-Type", "")
        image = None
        if kind.startswith("multipart/form-data"):
            head = f"Content-Type: {kind}\r\n\r\n".encode()
            form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + self.body)
            fields = {}
            for part in form.iter_parts():
                name = part.get_param("name", header="content-disposition")
                content = part.get_payload(decode=True)
                if part.get_filename():
                    image = content
                else:
                    fields[str(name)] = content.decode()
        elif stub.dialect == "vllm":
            return self.error(400, "prompt: Field required")
        else:
            fields = json.loads(self.body)
        if not fields.get("prompt"):
            return self.error(400, "prompt is required")
        if stub.dialect == "vllm" and fields.get("model", stub.served) != stub.served:
            text = f"Model mismatch: request specifies '{fields['model']}' but server is running '{stub.served}'."
            return self.error(400, text)
        prefix = "video_gen_" if stub.dialect == "vllm" else ""
        video = Video(f"{prefix}{next(self.numbers):032x}", fields, image, time.time())
        stub.videos[video.id] = video
        stub.computed.append(video.id)
        return self.answer(200, stub.view(video))

    def _show(self, video: Video) -> None:
        stub = self.stub
        video.reads += 1
        video.status = "in_progress"
        if video.reads > stub.steps and not stub.held:
            video.error = stub.fail_with
            video.status = "failed" if video.error else "completed"
        # vLLM-Omni answers an error status for a job that failed.
        status = video.error[0] if video.error and stub.dialect == "vllm" else 200
        self.answer(status, stub.view(video))


def reset(handler: Handler, act: Callable[[], None]) -> None:
    """Break the connection before the request has any effect."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def unanswered(handler: Handler, act: Callable[[], None]) -> None:
    """Do what was asked and break the connection in place of an answer."""
    handler.answer = lambda *args, **headers: None  # type: ignore[method-assign]
    act()
    reset(handler, act)


def silent(handler: Handler, act: Callable[[], None]) -> None:
    """Do what was asked, and never answer."""
    handler.answer = lambda *args, **headers: None  # type: ignore[method-assign]
    act()
    handler.connection.recv(1)  # until the client leaves
    handler.close_connection = True


def instead(status: int, body: Any, kind: str = "application/json", **headers: str) -> Fault:
    """Answer this, and do nothing."""
    return lambda handler, act: handler.answer(status, body, kind, **headers)


def but(status: int, body: Any, kind: str = "text/html") -> Fault:
    """Do what was asked, and answer this."""

    def fault(handler: Handler, act: Callable[[], None]) -> None:
        answer = handler.answer
        handler.answer = lambda *args, **headers: None  # type: ignore[method-assign]
        act()
        del handler.answer  # type: ignore[method-assign]
        answer(status, body, kind)

    return fault


def cut(handler: Handler, act: Callable[[], None]) -> None:
    """Send half of the file."""
    content = handler.stub.content or b""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True


@contextmanager
def running(dialect: str, **state: Any) -> Iterator[Stub]:
    """Run a stub on a free port."""
    stub = Stub(dialect, **state)
    handler = type("Bound", (Handler,), {"stub": stub, "numbers": itertools.count(1)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
