"""The engine on this machine: diffusers in a process of its own, which keeps the model between jobs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from oxenvideo.server.engines.engine import (
    ConfigurationError,
    EngineConfig,
    EngineDied,
    Host,
    Job,
    JobFailed,
    ModelConfig,
    ModelUnavailable,
)
from oxenvideo.server.engines.http import cleaned

# The repository of the weights, and the frames a second for which the model was trained.
_MODELS = {
    "wan-ai-wan2-1-t2v-1-3b-diffusers": ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", 16),
    "wan-ai-wan2-1-t2v-14b-diffusers": ("Wan-AI/Wan2.1-T2V-14B-Diffusers", 16),
    "wan-ai-wan2-2-t2v-a14b-diffusers": ("Wan-AI/Wan2.2-T2V-A14B-Diffusers", 16),
    "wan-ai-wan2-2-ti2v-5b-diffusers": ("Wan-AI/Wan2.2-TI2V-5B-Diffusers", 24),
}
_FROM_IMAGES = "wan-ai-wan2-2-ti2v-5b-diffusers"
_IMAGE = {"type": "string", "format": "uri", "description": "Image to start from"}
_STEPS = 40  # of Wan 2.2 without the speed-up LoRA, which is not among its weights
PACKAGES = ("accelerate", "diffusers", "ftfy", "torch", "transformers")
_CANCEL_SECONDS = 120.0  # for a step, the longest one thinkable; then the process is ended
_MAX_LINE = 4 * 2**20

Json = dict[str, Any]


class Diffusers:
    """The adapter. With the option ``download``, missing weights are downloaded to the Hugging Face cache."""

    def __init__(self, config: EngineConfig) -> None:
        self._name = config.name
        self._download = config.options.get("download", False)
        if config.url is not None:
            raise ConfigurationError(f"Engine {config.name}: diffusers runs on this machine. Leave url out.")
        if not isinstance(self._download, bool):
            raise ConfigurationError(f"Engine {config.name}: download must be true or false.")
        if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
            words = f"{', '.join(missing)} cannot be imported. Run: pip install 'oxenvideo[diffusers]'"
            raise ConfigurationError(f"Engine {config.name}: {words}")
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._job: Job | None = None
        self._host: Host | None = None
        self._end: asyncio.Future[Json | None] | None = None  # None if the process ended
        self._is_loaded = False

    def describe(self, model: ModelConfig) -> Mapping[str, Any]:
        """Return the schema of the catalog without what needs more than the model's own weights."""
        self._weights(model)
        schema = dict((model.catalog or {})["request_schema"])
        properties = {name: dict(each) for name, each in schema["properties"].items()}
        if properties.pop("run_fast", None):
            properties["num_inference_steps"]["default"] = _STEPS
        if model.id != _FROM_IMAGES:
            return {"request_schema": schema | {"properties": properties}}
        properties["input_image"] = _IMAGE
        capabilities = {"input": ["text", "image"], "output": ["video"]}
        return {"request_schema": schema | {"properties": properties}, "capabilities": capabilities}

    async def ping(self) -> None:
        """Return; the process is started for a job."""

    async def check(self, model: ModelConfig) -> Sequence[str]:
        """Say whether the weights are there."""
        weights = self._weights(model)
        if self._download or await asyncio.to_thread(_has_weights, weights):
            return []
        if os.path.isabs(weights):
            return [f"Model {model.id}: weights has no model_index.json, so it is not a diffusers pipeline."]
        return [
            f"Model {model.id}: {weights} is not in the Hugging Face cache. Run `hf download {weights}`, set weights"
            f" to the path of a copy, or set download = true for the engine {self._name}."
        ]

    async def run(self, job: Job, host: Host) -> None:
        """Have the process make the video. If it has ended, another one is started."""
        image = job.path.with_suffix(".image")
        message = await self._message(job, host, os.fspath(image))
        try:
            process = await self._started()
            self._job, self._host, self._end = job, host, asyncio.get_running_loop().create_future()
            await self._send(process, message)
            end = await asyncio.shield(self._end)
        finally:
            image.unlink(missing_ok=True)
        self._job = self._host = None
        self._raise(end)

    async def stop(self, job: Job) -> str | None:
        """Stop the job after its step. While the model is being loaded, the process is ended."""
        if self._job is None or self._job.id != job.id or self._end is None:
            return None
        if self._process is not None and self._is_loaded:
            await self._send(self._process, {"cancel": job.id})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CANCEL_SECONDS):
                    await asyncio.shield(self._end)
        if not self._end.done():
            await self.close()
        self._job = None
        return None

    async def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading

    async def _message(self, job: Job, host: Host, image: str) -> Json:
        properties = self.describe(job.model)["request_schema"]["properties"]
        given = {name: value for name, value in job.parameters.items() if value is not None}
        if given.get("run_fast"):
            raise JobFailed(f"{self._name} has no speed-up LoRA: leave run_fast out.")
        uri = given.pop("input_image", None)
        if uri is not None and "input_image" not in properties:
            raise JobFailed("This model makes videos from text only: leave input_image out.")
        content = None if uri is None else await host.fetch(uri)
        if content is not None:
            await asyncio.to_thread(_write, image, content)
        defaults = {name: each["default"] for name, each in properties.items() if "default" in each}
        return {
            "id": job.id,
            "model": job.model.id,
            "weights": self._weights(job.model),
            "download": self._download,
            "parameters": defaults | given,
            "seed": job.seed,
            "fps": _MODELS[job.model.id][1],
            "image": None if content is None else image,
            "path": os.fspath(job.path),
        }

    def _weights(self, model: ModelConfig) -> str:
        """Return the path of the weights, or their repository."""
        if model.id not in _MODELS or model.catalog is None:
            raise ConfigurationError(f"Model {model.id}: diffusers makes the videos of {', '.join(_MODELS)} only.")
        path = model.path("weights")
        return _MODELS[model.id][0] if path is None else os.path.abspath(path)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        if self._reading is not None:
            await self._reading
        quiet = {
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DIFFUSERS_VERBOSITY": "error",
            "TRANSFORMERS_VERBOSITY": "error",
        }
        offline = {} if self._download else {"HF_HUB_OFFLINE": "1"}
        self._is_loaded = False
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "oxenvideo.server.engines.wan",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MAX_LINE,
            env={name: value for name, value in os.environ.items() if name != "OXEN_API_KEY"} | quiet | offline,
            start_new_session=True,  # so that an interrupt of the terminal reaches the server only
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read(self._process))
        return self._process

    async def _send(self, process: asyncio.subprocess.Process, message: Json) -> None:
        if stdin := process.stdin:
            with contextlib.suppress(OSError):  # the process has ended, which `_read` notices
                stdin.write(json.dumps(message).encode() + b"\n")
                await stdin.drain()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Take what the process writes until it ends."""
        while process.stdout and (line := await process.stdout.readline()):
            message = json.loads(line)
            if self._job is None or message["id"] != self._job.id:
                continue
            self._is_loaded = True  # nothing is written before
            if "end" in message and self._end is not None and not self._end.done():
                if message["end"] in ("memory", "model"):
                    await process.wait()
                self._end.set_result(message)
            elif "step" in message and self._host is not None:
                preview = base64.b64decode(message["preview"]) if "preview" in message else None
                self._host.report(message["step"], message["total"], preview)
        await process.wait()
        if self._end is not None and not self._end.done():
            self._end.set_result(None)

    def _raise(self, end: Json | None) -> None:
        """Raise the error of a job that ended without a video."""
        if end is None:
            status = self._process.returncode if self._process else None
            hint = ", maybe because the main memory was full" if status == -9 else ""
            raise EngineDied(f"The process of {self._name} ended unexpectedly (status {status}{hint}).")
        reason = cleaned(end.get("reason", ""))
        match end["end"]:
            case "weights":
                raise ModelUnavailable(reason)
            case "model":
                raise EngineDied(f"The model failed on {self._name}: {reason}")
            case "request" | "memory" | "cancelled":
                raise JobFailed(reason or "The job was cancelled.")


def _has_weights(weights: str) -> bool:
    if os.path.isabs(weights):
        return os.path.isfile(os.path.join(weights, "model_index.json"))
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(weights, "model_index.json"), str)


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
