"""ComfyUI, 0.3.57 or newer: a running server that makes the videos of exported workflows.

The event socket gives hints and progress. What counts is `/history` and `/queue`, which are read every second. A job has
the same id at ComfyUI as here, so that it can be found again after a lost answer or a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import struct
from collections.abc import AsyncIterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import httpx
import websockets
from websockets.asyncio.client import connect

from oxenvideo.server.engines.engine import (
    EngineConfig,
    EngineDied,
    EngineUnavailable,
    Host,
    Job,
    JobFailed,
    ModelConfig,
    ModelUnavailable,
)
from oxenvideo.server.engines.http import AnswerLost, EngineHttp, cleaned
from oxenvideo.server.engines.workflow import Workflow, options

_OLDEST = (0, 3, 57)  # before it, an interrupt stops whatever runs
_POLL_SECONDS = 1.0
_MISSING_SECONDS = 1.5  # that a job is in neither list before it is lost
_SILENCE_SECONDS = 10.0  # of failed looks, before the engine counts as not available
_RECONNECT_SECONDS = 5.0
_DOWNLOADS = 3
_FOLDER = "oxenvideo"  # in the folders for inputs and outputs of the engine
_MAX_FRAME = 64 * 1024 * 1024
_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4
_ENDS = ("execution_success", "execution_error", "execution_interrupted")
_FILES = re.compile(r"\.(safetensors|ckpt|pt|pth|bin|gguf|onnx|sft)$", re.IGNORECASE)
_SUFFIXES = (
    (0, b"\x89PNG", ".png"),
    (0, b"\xff\xd8", ".jpg"),
    (8, b"WEBP", ".webp"),
    (0, b"GIF8", ".gif"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1aE\xdf\xa3", ".webm"),
    (8, b"WAVE", ".wav"),
    (0, b"ID3", ".mp3"),
    (0, b"fLaC", ".flac"),
    (0, b"OggS", ".ogg"),
)


class ComfyUI:
    """One ComfyUI server."""

    def __init__(self, config: EngineConfig) -> None:
        self._name = config.name
        self._http = EngineHttp(config)
        self._socket = (config.url or "").replace("http", "ws", 1) + "/ws"
        self._headers = config.headers
        self._info: dict[str, Mapping[str, Any]] = {}

    def describe(self, model: ModelConfig) -> Mapping[str, Any]:
        """Return the request schema that the workflow defines."""
        workflow = Workflow(model)
        media = dict.fromkeys(each.medium for each in workflow.parameters.values() if each.medium)
        inputs = [*(["text"] if "prompt" in workflow.parameters else ()), *media]
        return {
            "request_schema": workflow.schema(self._info),
            "capabilities": {"input": inputs or ["text"], "output": ["video"]},
        }

    async def ping(self) -> None:
        """Return if the server answers and is new enough."""
        answer = await self._http.request("GET", "system_stats")
        if answer.status_code in (401, 403):
            raise EngineUnavailable(f"{self._name} refuses requests ({answer.status_code}): check its headers.")
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            version = str(answer.json()["system"]["comfyui_version"])
            if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) >= _OLDEST:
                return
            raise EngineUnavailable(f"{self._name} runs ComfyUI {cleaned(version)}, and 0.3.57 or newer is needed.")
        raise EngineUnavailable(f"{self._name} does not answer as ComfyUI does ({answer.status_code}).")

    async def check(self, model: ModelConfig) -> Sequence[str]:
        """Return what the server lacks for the workflow: nodes and model files. Learn the ranges of the inputs."""
        await self.ping()
        workflow = Workflow(model)
        kinds = sorted({str(node["class_type"]) for node in workflow.graph.values()})
        found = {kind: await self._http.json("GET", f"object_info/{quote(kind, safe='')}") for kind in kinds}
        self._info |= {kind: answer[kind] for kind, answer in found.items() if kind in answer}
        missing = [kind for kind, answer in found.items() if kind not in answer]
        if missing:
            return [
                f"{self._name} does not have the node {kind}, which the workflow of {model.id} uses."
                for kind in missing
            ]
        problems = []
        for node, key, value in workflow.literals():
            choices = options(self._info, workflow.graph[node]["class_type"], key)
            if choices is not None and isinstance(value, str) and _FILES.search(value) and value not in choices:
                words = f"which {workflow.label(node)} of the workflow of {model.id} uses"
                problems.append(f"{self._name} does not have the file {value!r}, {words}.")
        if not any(self._info[kind].get("output_node") for kind in kinds):
            problems.append(f"The workflow of {model.id} saves no video: add a node such as Save Video.")
        return problems

    async def run(self, job: Job, host: Host) -> None:
        """Submit the job, or find it again; follow it, and download its video."""
        workflow = Workflow(job.model)
        hint = asyncio.Event()
        connected = asyncio.Event()
        listening = asyncio.create_task(self._listen(job.id, host, hint, connected))
        try:
            if job.remote_id is None:
                graph = await self._graph(job, workflow, host)
                with contextlib.suppress(TimeoutError):  # events before the connection are not repeated
                    async with asyncio.timeout(2):
                        await connected.wait()
                host.accepted(job.id)
                submitting = asyncio.create_task(self._submit(job, graph, host, workflow))
                try:
                    await asyncio.shield(submitting)
                except asyncio.CancelledError:
                    await asyncio.wait([submitting])
                    raise
            entry = await self._ended(job.id, hint)
        finally:
            listening.cancel()
        await self._download(job, self._chosen(entry, workflow, job))

    async def stop(self, job: Job) -> str | None:
        """Stop the job, and return when it is neither running nor waiting. Other jobs are left alone."""
        if job.remote_id is None:
            return None  # the id is stored before the submit
        while True:
            for path, body in (("queue", {"delete": [job.id]}), ("interrupt", {"prompt_id": job.id})):
                answer = await self._http.request("POST", path, json=body)
                if answer.status_code != 200:
                    raise EngineUnavailable(f"{self._name} answered {answer.status_code} to a cancellation.")
            if await self._entry(job.id) is not None or not await self._has(job.id):
                return None
            await asyncio.sleep(_POLL_SECONDS / 2)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    # Submitting

    async def _graph(self, job: Job, workflow: Workflow, host: Host) -> dict[str, Any]:
        """Return the graph of the job. Inputs are uploaded first, because the server looks for them at the submit."""
        values = dict(job.parameters)
        if "seed" in workflow.parameters:
            values["seed"] = job.seed
        for name, each in workflow.parameters.items():
            if each.medium and isinstance(values.get(name), str):
                values[name] = await self._upload(f"{job.id}-{name}", await host.fetch(values[name]))
        return workflow.filled(values, f"{_FOLDER}/{job.id}")

    async def _upload(self, name: str, content: bytes) -> str:
        marks = (suffix for start, mark, suffix in _SUFFIXES if content[start : start + len(mark)] == mark)
        file = (name + next(marks, ".bin"), content)
        form = {"overwrite": "true", "subfolder": _FOLDER, "type": "input"}
        answer = await self._http.request("POST", "upload/image", files={"image": file}, data=form)
        if answer.status_code == 413:
            raise JobFailed(f"{self._name} does not accept an input of {len(content) / 1e6:.0f} MB.")
        try:
            stored = answer.json()
            return "/".join(filter(None, (stored.get("subfolder"), str(stored["name"]))))
        except (ValueError, KeyError, AttributeError):
            raise EngineUnavailable(f"{self._name} answered {answer.status_code} to the upload of an input.") from None

    async def _submit(self, job: Job, graph: Mapping[str, Any], host: Host, workflow: Workflow) -> None:
        body = {
            "prompt": graph,
            "prompt_id": job.id,
            "client_id": _client_id(job.id),
            "extra_data": {"preview_method": "auto"},
        }
        try:
            answer = await self._http.request("POST", "prompt", json=body)
        except AnswerLost:
            return  # it is looked for, and never sent again under this id unless it is nowhere
        except EngineUnavailable:
            host.rejected()
            raise
        try:
            said = answer.json()
        except ValueError:
            said = None
        errors = said.get("node_errors") if isinstance(said, dict) else None
        if answer.status_code == 200 and not errors:
            return
        if answer.status_code == 200:
            await self._http.request("POST", "queue", json={"delete": [job.id]})  # it would run in part
            await self._http.request("POST", "interrupt", json={"prompt_id": job.id})
        elif answer.status_code == 413:
            host.rejected()
            raise JobFailed(f"The workflow with its values is larger than {self._name} accepts.")
        elif answer.status_code != 400 or not isinstance(said, dict):
            return  # such an answer is no proof that the job was not queued
        host.rejected()
        raise self._refusal(said, job, workflow)

    def _refusal(self, said: Mapping[str, Any], job: Job, workflow: Workflow) -> JobFailed | ModelUnavailable:
        """Return the exception for an answer that refuses the job, with one sentence about the first problem."""
        error = said.get("error")
        error = error if isinstance(error, dict) else {"message": error}
        extra = error.get("extra_info")
        missing = extra.get("class_type") if isinstance(extra, dict) else None
        if missing is None and (named := re.search(r"Node '?([\w .-]+?)'? (?:not found|does not exist)", str(error))):
            missing = named[1]
        if missing is not None and error.get("type") in ("missing_node_type", "invalid_prompt"):
            node = cleaned(missing)
            return ModelUnavailable(
                f"{self._name} does not have the node {node}, which the workflow of {job.model.id} uses."
            )
        settable = {(each.node, each.name): name for name, each in workflow.parameters.items()}
        for node, found in (said.get("node_errors") or {}).items():
            for problem in found.get("errors") or ():
                key = str((problem.get("extra_info") or {}).get("input_name") or "")
                where = settable.get((node, key)) or f"{key or 'input'} of {workflow.label(node)}"
                words = cleaned(f"{problem.get('message')}: {problem.get('details')}".rstrip(": "))
                if problem.get("type") == "value_not_in_list" and (node, key) not in settable:
                    value = workflow.graph[node]["inputs"].get(key)
                    return ModelUnavailable(f"{self._name} does not have {cleaned(value)!r}, the {where}.")
                return JobFailed(f"{self._name} refused {where}: {words}.")
        return JobFailed(f"{self._name} refused the job: {cleaned(error.get('message') or error.get('type'))}.")

    # Following

    async def _ended(self, id_: str, hint: asyncio.Event) -> Mapping[str, Any]:
        """Return the entry of the history when the job has ended; raise EngineDied if the server lost it."""
        loop = asyncio.get_running_loop()
        answered, missing_since = loop.time(), math.inf
        while True:
            hint.clear()
            try:
                if (entry := await self._entry(id_)) is not None:
                    return entry
                # A job moves from the queue to the history between two requests, and the history can be late.
                if await self._has(id_):
                    missing_since = math.inf
                elif (entry := await self._entry(id_)) is not None:
                    return entry
                else:
                    missing_since = min(missing_since, loop.time())
                answered = loop.time()
            except EngineUnavailable:
                if loop.time() - answered >= _SILENCE_SECONDS:
                    raise
            if loop.time() - missing_since >= _MISSING_SECONDS:
                raise EngineDied(f"{self._name} does not know the job any more; it may have been restarted.")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await hint.wait()

    async def _entry(self, id_: str) -> Mapping[str, Any] | None:
        """Return the entry of a job in the history, or None. An unknown job is an empty answer."""
        history = await self._http.json("GET", f"history/{id_}")
        entry = history.get(id_) if isinstance(history, dict) else None
        return entry if isinstance(entry, dict) and isinstance(entry.get("status"), dict) else None

    async def _has(self, id_: str) -> bool:
        """Return whether a job is waiting or running."""
        queue = await self._http.json("GET", "queue")
        items = [*(queue.get("queue_running") or ()), *(queue.get("queue_pending") or ())] if queue else []
        return any(len(item) > 1 and item[1] == id_ for item in items)

    async def _listen(self, id_: str, host: Host, hint: asyncio.Event, connected: asyncio.Event) -> None:
        """Report the progress that the event socket tells, and set ``hint`` when the job may have ended."""
        address = f"{self._socket}?clientId={_client_id(id_)}"
        while True:
            with contextlib.suppress(OSError, TimeoutError, ValueError, websockets.WebSocketException):
                async with connect(
                    address, additional_headers=self._headers, proxy=None, open_timeout=5, max_size=_MAX_FRAME
                ) as socket:
                    features = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
                    await socket.send(json.dumps(features))
                    connected.set()
                    hint.set()  # what happened before is not repeated
                    await self._report(socket, id_, host, hint)
            connected.set()  # or there is no event socket, which nothing waits for
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _report(self, socket: AsyncIterable[str | bytes], id_: str, host: Host, hint: asyncio.Event) -> None:
        is_running = False  # whether the last `executing` was ours
        step, total = 0, 0
        async for frame in socket:
            if isinstance(frame, bytes):
                if total and (picture := _preview(frame, id_, is_running)) is not None:
                    host.report(step, total, picture)
                continue
            with contextlib.suppress(ValueError, AttributeError, KeyError, TypeError):
                message = json.loads(frame)
                kind, data = message["type"], message.get("data") or {}
                is_ours = data.get("prompt_id") == id_
                if kind == "executing":
                    is_running = is_ours and data.get("node") is not None
                if not is_ours:
                    continue
                if kind == "progress":
                    step, total = int(data["value"]), int(data["max"])
                    host.report(step, total)
                elif kind in _ENDS or (kind == "executing" and data.get("node") is None):
                    hint.set()

    # The result

    def _chosen(self, entry: Mapping[str, Any], workflow: Workflow, job: Job) -> dict[str, str]:
        """Return the query of the video of a job that ended; raise JobFailed if there is none."""
        messages = {
            str(message[0]): message[1] for message in entry["status"].get("messages") or () if len(message) > 1
        }
        if "execution_interrupted" in messages:
            raise JobFailed(f"The job was interrupted at {self._name}.")
        if entry["status"].get("status_str") != "success":
            raise JobFailed(self._reason(messages.get("execution_error") or {}, workflow))
        files = []
        for node, output in (entry.get("outputs") or {}).items():
            for value in output.values() if isinstance(output, dict) else ():
                for file in value if isinstance(value, list) else ():
                    if isinstance(file, dict) and isinstance(file.get("filename"), str):
                        files.append(
                            (node, {key: str(file.get(key) or "") for key in ("filename", "subfolder", "type")})
                        )
        videos = [(node, file) for node, file in files if file["filename"].lower().endswith(".mp4")]
        if not videos:
            made = f"only {cleaned(files[0][1]['filename'])}" if files else "no file"
            raise JobFailed(f"{self._name} made {made}: the workflow must save an MP4, such as with Save Video.")

        def rank(video: tuple[str, dict[str, str]]) -> tuple[bool, bool]:
            node, file = video
            return not (node in workflow.graph and workflow.is_output(node)), file["type"] != "output"

        node, file = min(videos, key=rank)
        is_named = isinstance(workflow.graph.get(node, {}).get("inputs", {}).get("filename_prefix"), str)
        if is_named and job.id not in f"{file['subfolder']}/{file['filename']}":
            raise JobFailed(f"{self._name} named the file of another job as the result.")
        return file

    def _reason(self, error: Mapping[str, Any], workflow: Workflow) -> str:
        node = str(error.get("node_id"))
        where = workflow.label(node) if node in workflow.graph else cleaned(error.get("node_type") or "the workflow")
        if "OutOfMemory" in str(error.get("exception_type")):
            return f"{self._name} ran out of memory in {where}. Ask for a smaller or shorter video."
        words = cleaned(error.get("exception_message") or error.get("exception_type") or "no reason was given")
        return f"{self._name} failed in {where}: {words}"

    async def _download(self, job: Job, file: Mapping[str, str]) -> None:
        for attempt in range(_DOWNLOADS):
            try:
                status = await self._http.download("view", job.path, params=file)
                break
            except (AnswerLost, httpx.StreamError):
                if attempt == _DOWNLOADS - 1:
                    raise
                await asyncio.sleep(_POLL_SECONDS)
        if status != 200:
            name = PurePosixPath(cleaned(file["filename"])).name
            words = f"{self._name} reported success, but does not have the file {name} ({status})."
            if status in (401, 403, 404, 410):
                raise JobFailed(words)
            raise EngineUnavailable(words)


def _client_id(id_: str) -> str:
    return f"oxenvideo-{id_}"


def _preview(frame: bytes, id_: str, is_running: bool) -> bytes | None:
    """Return the picture in a binary frame, if it is one of this job."""
    with contextlib.suppress(struct.error, ValueError, AttributeError):
        (kind,) = struct.unpack_from(">I", frame)
        if kind == _PREVIEW and is_running:
            return frame[8:]
        if kind == _PREVIEW_WITH_METADATA:
            (length,) = struct.unpack_from(">I", frame, 4)
            if json.loads(frame[8 : 8 + length]).get("prompt_id") == id_:
                return frame[8 + length :]
    return None
