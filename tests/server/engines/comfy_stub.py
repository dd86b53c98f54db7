"""A stub of ComfyUI over real sockets: it behaves as the real one was measured to, misbehaves on request, and counts."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any

import av
import numpy as np
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from faulty import hold_port

_INT = ["INT", {"default": 0, "min": -(2**63), "max": 2**63 - 1}]
_LINK: list[Any] = ["IMAGE"]
_CLASSES: dict[str, dict[str, Any]] = {
    "PrimitiveStringMultiline": {"value": ["STRING", {"multiline": True}]},
    "PrimitiveInt": {"value": _INT},
    "PrimitiveFloat": {"value": ["FLOAT", {"default": 0.0, "min": -1e300, "max": 1e300}]},
    "LoadImage": {"image": [["input.png"], {"image_upload": True}]},
    "ImageScale": {
        "image": _LINK,
        "upscale_method": [["lanczos", "area"], {}],
        "width": ["INT", {"default": 512, "min": 0, "max": 16384, "step": 1}],
        "height": ["INT", {"default": 512, "min": 0, "max": 16384, "step": 1}],
        "crop": [["disabled", "center"], {}],
    },
    "RepeatImageBatch": {"image": _LINK, "amount": ["INT", {"default": 1, "min": 1, "max": 4096}]},
    "EmptyImage": {
        "width": ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}],
        "height": ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}],
        "batch_size": ["INT", {"default": 1, "min": 1, "max": 4096}],
        "color": ["INT", {"default": 0, "min": 0, "max": 0xFFFFFF}],
    },
    "ImageAddNoise": {
        "image": _LINK,
        "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1}],
        "strength": ["FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01}],
    },
    "ColorTransfer": {},
    "TextOverlay": {},
    "CreateVideo": {"images": _LINK, "fps": ["FLOAT", {"default": 30.0, "min": 1.0, "max": 120.0, "step": 1.0}]},
    "SaveVideo": {"video": ["VIDEO"], "filename_prefix": ["STRING", {}], "format": ["COMBO", {"options": ["auto", "mp4"]}]},
    "PreviewAny": {"source": ["*"]},
    "UNETLoader": {"unet_name": [["wan2.2_high.safetensors"], {}]},
    "KSampler": {"seed": ["INT", {"min": 0, "max": 2**64 - 1}], "steps": ["INT", {"default": 20, "min": 1, "max": 10000}]},
    "VHS_VideoCombine": {"images": _LINK, "filename_prefix": ["STRING", {}]},
}  # fmt: skip
_OUTPUTS = {"SaveVideo", "PreviewAny", "VHS_VideoCombine"}


class ComfyStub:
    """One stub server, which renders one job at a time in ``seconds``. ``count`` counts requests by route.

    ``ran`` lists the ids of the jobs that it began, and ``prompts`` the bodies that it accepted. The attributes below
    make it misbehave. Its port is its own from the beginning; until it starts, it refuses connections.
    """

    def __init__(self, *, seconds: float = 0.1, steps: int = 4) -> None:
        self.seconds = seconds
        self.steps = steps
        self.waits = False  # the job that runs waits after a step
        self.count: Counter[str] = Counter()
        self.prompts: list[dict[str, Any]] = []
        self.ran: list[str] = []
        self.ended_at: dict[str, float] = {}  # when the entry of the history appeared
        self.interrupts: list[Any] = []
        self.uploads: dict[str, bytes] = {}
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.authorizations: set[str | None] = set()
        # Misbehaviour
        self.version = "0.33.0"
        self.without: set[str] = set()  # classes that are not installed
        self.late_history = 0.0  # seconds between the event and the entry, in which the job is nowhere
        self.other_file: str | None = None  # named in place of the job's own
        self.no_file = False  # success, a name, and 404
        self.success_after_cancel = False
        self.fail_with: dict[str, Any] | None = None  # `execution_error`
        self.output_key = "images"
        self.suffix = ".mp4"
        self.socket_closed = False  # the event socket cannot be had
        self.socket_silent = False
        self.answers: dict[str, list[int | str]] = {}  # statuses by route, or "lose", before ordinary answers
        self.drop_submits = 0  # submits whose connection breaks before they are queued
        self.node_errors: dict[str, Any] | None = None
        self.video: bytes | None = None
        self.redirect: str | None = None
        self._pending: list[tuple[int, str, dict[str, Any], dict[str, Any]]] = []
        self._running: tuple[int, str, dict[str, Any], dict[str, Any]] | None = None
        self._interrupted: set[str] = set()
        self.history: dict[str, Any] = {}
        self._number = 0
        self._sockets: dict[str, WebSocket] = {}
        self._work = asyncio.Event()
        self._generation = 0
        self._socket = hold_port()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    # Running

    def start(self) -> ComfyStub:
        """Start it in a thread; return it when it listens."""
        config = uvicorn.Config(self._application(), log_level="critical", lifespan="on", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """End it, and close its connections."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()

    def __enter__(self) -> ComfyStub:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def restart(self) -> None:
        """Lose the queue, the running job and the history, as a restart does."""
        self._generation += 1
        self._pending, self._running, self.history = [], None, {}

    @property
    def active(self) -> list[str]:
        """The ids of waiting and running jobs."""
        return [item[1] for item in (*([self._running] if self._running else ()), *self._pending)]

    def _application(self) -> Any:
        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            task = asyncio.create_task(self._render_all())
            yield
            task.cancel()

        app = Starlette(
            lifespan=lifespan,
            routes=[
                Route("/prompt", self._submit, methods=["POST"]),
                Route("/queue", self._queue, methods=["GET"]),
                Route("/queue", self._delete, methods=["POST"]),
                Route("/interrupt", self._interrupt, methods=["POST"]),
                Route("/history/{id}", self._history),
                Route("/view", self._view),
                Route("/upload/image", self._upload, methods=["POST"]),
                Route("/system_stats", self._stats),
                Route("/object_info/{kind:path}", self._object_info),
                WebSocketRoute("/ws", self._events),
            ],
        )

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                route = f"{scope['method']} /{scope['path'].strip('/').partition('/')[0]}"
                self.count[route] += 1
                headers = {name.decode(): value.decode() for name, value in scope["headers"]}
                self.authorizations.add(headers.get("authorization"))
                if self.redirect:
                    return await Response(status_code=302, headers={"location": self.redirect})(scope, receive, send)
                if planned := self.answers.get(route):
                    answer = planned.pop(0)
                    if answer == "lose":  # the request is served, and its answer is cut off
                        return await app(scope, receive, _cut(send))
                    if answer == "drop":
                        return await _cut_off(send)
                    body = "500 Internal Server Error\n\nServer got itself in trouble"
                    return await PlainTextResponse(body, status_code=int(answer))(scope, receive, send)
            return await app(scope, receive, send)

        return counted

    # Routes

    async def _submit(self, request: Request) -> Response:
        body = await request.json()
        graph = body.get("prompt")
        if not isinstance(graph, dict) or "nodes" in graph:
            return PlainTextResponse("500 Internal Server Error\n\nServer got itself in trouble", status_code=500)
        for node_id, node in graph.items():
            if node["class_type"] not in _CLASSES or node["class_type"] in self.without:
                extra = {"node_id": node_id, "class_type": node["class_type"], "node_title": "?"}
                error = {"type": "missing_node_type", "message": "Node not found", "details": "", "extra_info": extra}
                return JSONResponse({"error": error, "node_errors": {}}, status_code=400)
        if errors := self._invalid(graph):
            error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation",
                     "details": "", "extra_info": {}}  # fmt: skip
            return JSONResponse({"error": error, "node_errors": errors}, status_code=400)
        self._number += 1
        extra = {**(body.get("extra_data") or {}), "client_id": body.get("client_id")}
        self.prompts.append(body)
        self._pending.append((self._number, body["prompt_id"], graph, extra))
        self._work.set()
        answer = {"prompt_id": body["prompt_id"], "number": self._number, "node_errors": self.node_errors or {}}
        return JSONResponse(answer)

    def _invalid(self, graph: dict[str, Any]) -> dict[str, Any]:
        errors: dict[str, Any] = {}
        for node_id, node in graph.items():
            for name, spec in _CLASSES[node["class_type"]].items():
                value = node["inputs"].get(name)
                found: dict[str, Any] = {}
                if (
                    isinstance(spec[0], list)
                    and not isinstance(value, list)
                    and name != "image"
                    and value not in spec[0]
                ):
                    found = {"type": "value_not_in_list", "details": f"{name}: {value!r} not in {spec[0]}"}
                elif (
                    name == "image" and node["class_type"] == "LoadImage" and value not in {"input.png", *self.uploads}
                ):
                    found = {"type": "custom_validation_failed", "details": f"image - Invalid image file: {value}"}
                elif (
                    spec[0] in ("INT", "FLOAT") and isinstance(value, int | float) and value < spec[1].get("min", value)
                ):
                    found = {"type": "value_smaller_than_min", "details": name}
                if found:
                    problem = {"message": found["type"].replace("_", " "), "extra_info": {"input_name": name}, **found}
                    entry = {"errors": [problem], "dependent_outputs": ["14"], "class_type": node["class_type"]}
                    errors[node_id] = entry
        return errors

    async def _queue(self, request: Request) -> Response:
        def shown(item: tuple[int, str, dict[str, Any], dict[str, Any]]) -> list[Any]:
            return [*item, ["14"]]

        running = [shown(self._running)] if self._running else []
        return JSONResponse({"queue_running": running, "queue_pending": [shown(item) for item in self._pending[::-1]]})

    async def _delete(self, request: Request) -> Response:
        ids = (await request.json()).get("delete") or []
        self._pending = [item for item in self._pending if item[1] not in ids]
        return Response()

    async def _interrupt(self, request: Request) -> Response:
        body = await request.json()
        self.interrupts.append(body.get("prompt_id"))
        if self._running and body.get("prompt_id") in (None, self._running[1]):
            self._interrupted.add(self._running[1])
        return Response()

    async def _history(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        return JSONResponse({id_: self.history[id_]} if id_ in self.history else {})

    async def _view(self, request: Request) -> Response:
        query = request.query_params
        content = self.files.get((query["filename"], query.get("subfolder", ""), query.get("type", "output")))
        return Response(status_code=404) if content is None else Response(content, media_type="video/mp4")

    async def _upload(self, request: Request) -> Response:
        async with request.form() as form:
            file, subfolder = form["image"], str(form.get("subfolder") or "")
            assert not isinstance(file, str)
            self.uploads[f"{subfolder}/{file.filename}"] = await file.read()
            return JSONResponse({"name": file.filename, "subfolder": subfolder, "type": "input"})

    async def _stats(self, request: Request) -> Response:
        argv = ["/home/joe/ComfyUI/main.py"]
        return JSONResponse({"system": {"comfyui_version": self.version, "argv": argv}, "devices": []})

    async def _object_info(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind not in _CLASSES or kind in self.without:
            return JSONResponse({})
        described = {"input": {"required": _CLASSES[kind]}, "output_node": kind in _OUTPUTS}
        return JSONResponse({kind: described})

    async def _events(self, socket: WebSocket) -> None:
        self.count["WS /ws"] += 1
        if self.socket_closed:
            await socket.close()
            return
        await socket.accept()
        client = socket.query_params["clientId"]
        self._sockets[client] = socket
        await socket.send_json(
            {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": client}}
        )
        with suppress(WebSocketDisconnect):
            while True:
                await socket.receive_text()
        self._sockets.pop(client, None)

    # Rendering

    async def _render_all(self) -> None:
        while True:
            self._work.clear()
            if self._pending:
                self._pending.sort(key=lambda item: item[0])
                self._running = self._pending.pop(0)
                await self._render(*self._running, generation=self._generation)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._work.wait(), 0.05)

    async def _render(
        self, number: int, id_: str, graph: dict[str, Any], extra: dict[str, Any], generation: int
    ) -> None:
        self.ran.append(id_)
        client = extra.get("client_id")
        await self._tell(client, "execution_start", prompt_id=id_, timestamp=0)
        await self._tell(client, "execution_cached", nodes=[], prompt_id=id_, timestamp=0)
        await self._tell(client, "executing", node="11", display_node="11", prompt_id=id_)
        for step in range(1, self.steps + 1):
            await asyncio.sleep(self.seconds / self.steps)
            if self._generation != generation:
                return  # restarted
            if id_ in self._interrupted and not self.success_after_cancel:
                self._settle(
                    number, id_, graph, "error", ["execution_interrupted", {"prompt_id": id_, "node_id": "11"}]
                )
                await self._tell(client, "execution_interrupted", prompt_id=id_, node_id="11")
                return
            await self._tell(client, "progress", value=step, max=self.steps, prompt_id=id_, node="11")
            await self._picture(client, id_, step)
            while self.waits:
                await asyncio.sleep(0.005)
        if self.fail_with is not None:
            self._settle(number, id_, graph, "error", ["execution_error", {"prompt_id": id_, **self.fail_with}])
            await self._tell(client, "execution_error", prompt_id=id_, **self.fail_with)
            return
        output = self._save(id_, graph)
        await self._tell(client, "execution_success", prompt_id=id_, timestamp=0)
        if self.late_history:
            self._running = None
            await asyncio.sleep(self.late_history)
        self._settle(number, id_, graph, "success", ["execution_success", {"prompt_id": id_}], output)
        await self._tell(client, "executing", node=None, prompt_id=id_)

    def _save(self, id_: str, graph: dict[str, Any]) -> dict[str, Any]:
        node_id, node = next((i, n) for i, n in graph.items() if n["class_type"] in ("SaveVideo", "VHS_VideoCombine"))
        folder, _, stem = node["inputs"]["filename_prefix"].rpartition("/")
        name = self.other_file or f"{stem}_00001_{self.suffix}"
        kind = "temp" if self.output_key == "gifs" else "output"
        if not self.no_file:
            seeds = [
                n["inputs"].get("value", 0) for n in graph.values() if (n.get("_meta") or {}).get("title") == "seed"
            ]
            self.files[name, folder, kind] = (
                self.video if self.video is not None else movie(int(seeds[0]) % 8 if seeds else 0)
            )
        file = {"filename": name, "subfolder": folder, "type": kind}
        file |= {"format": "video/h264-mp4"} if self.output_key == "gifs" else {}
        echo = next((i for i, n in graph.items() if n["class_type"] == "PreviewAny"), None)
        outputs: dict[str, Any] = {} if echo is None else {echo: {"text": ["a prompt"]}}
        return outputs | {node_id: {self.output_key: [file], "animated": [True]}}

    def _settle(
        self, number: int, id_: str, graph: dict[str, Any], status: str, last: list[Any], outputs: Any = None
    ) -> None:
        self._interrupted.discard(id_)
        self._running = None
        self.history[id_] = {
            "prompt": [number, id_, graph, {}, ["14"]],
            "outputs": outputs or {},
            "status": {"status_str": status, "completed": status == "success",
                       "messages": [["execution_start", {"prompt_id": id_, "timestamp": 0}], last]},
            "meta": {},
        }  # fmt: skip
        self.ended_at[id_] = time.monotonic()

    async def _tell(self, client: str | None, kind: str, **data: Any) -> None:
        await self._send(client, text=json.dumps({"type": kind, "data": data}))

    async def _picture(self, client: str | None, id_: str, step: int) -> None:
        head = json.dumps({"node_id": "11", "prompt_id": id_, "image_type": "image/jpeg"}).encode()
        await self._send(client, data=struct.pack(">II", 4, len(head)) + head + picture(step))

    async def _send(self, client: str | None, *, text: str | None = None, data: bytes | None = None) -> None:
        found = self._sockets.get(client or "")
        if found is not None and not self.socket_silent:
            with suppress(RuntimeError, WebSocketDisconnect, OSError):
                await (found.send_text(text) if text is not None else found.send_bytes(data or b""))


def _cut(send: Send) -> Send:
    async def cut(message: Any) -> None:
        if message["type"] == "http.response.start":
            await send(message)

    return cut


async def _cut_off(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})


@lru_cache
def movie(seed: int) -> bytes:
    """A real MP4 of 8 frames, whose colour depends on the seed."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for n in range(8):
            pixels = np.full((64, 64, 3), (30 * seed, 10 * n, 120), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


@lru_cache
def picture(step: int) -> bytes:
    """A JPEG."""
    file = io.BytesIO()
    Image.new("RGB", (512, 288), (40 * step % 256, 90, 160)).save(file, "JPEG")
    return file.getvalue()
