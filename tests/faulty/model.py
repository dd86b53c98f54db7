"""The service's memory: jobs, their states and the links to their results, without any HTTP."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})

MODELS: tuple[dict[str, Any], ...] = (
    {
        "id": "kling-video-v2-6-pro-text-to-video",
        "price": 0.07,
        "properties": {
            "prompt": {"type": "string"},
            "negative_prompt": {"type": "string"},
            "duration": {"type": "integer", "enum": [5, 10], "default": 5},
            "aspect_ratio": {"type": "string", "enum": ["16:9", "9:16", "1:1"], "default": "16:9"},
            "cfg_scale": {"type": "number", "minimum": 0, "maximum": 10, "default": 0.5},
            "generate_audio": {"type": "boolean", "default": False},
            "seed": {"type": "integer"},
        },
    },
    {
        "id": "kling-video-o3-pro-reference-to-video",
        "price": 0.224,
        "properties": {
            "prompt": {"type": "string", "maxLength": 512},
            "multi_prompt": {"type": "array", "items": {"type": "object"}},
            "input_image": {"type": "array", "items": {"type": "string"}},
            "start_image_url": {"type": "string"},
            "tail_image_url": {"type": "string"},
            "duration": {"type": "integer", "minimum": 3, "maximum": 15, "default": 5},
            "aspect_ratio": {"type": "string", "enum": ["16:9", "9:16", "1:1"], "default": "16:9"},
        },
    },
)


def describe_model(entry: dict[str, Any]) -> dict[str, Any]:
    """One model as the service describes it."""
    return {
        "id": entry["id"],
        "object": "model",
        "created": 1760000000,
        "owned_by": "kling",
        "display_name": entry["id"].replace("-", " ").title(),
        "description": "A video model.",
        "summary": "Text to video.",
        "model_type": "base",
        "endpoint": "/videos/generate",
        "capabilities": {"input": ["text", "image"], "output": ["video"]},
        "pricing": {"method": "per_video_output_second", "cost_per_second": entry["price"]},
        "developer": {"name": "Kling", "logo": None},
        "deployments": [{"status": "running"}],
        "released_at": 1760000000,
        "request_schema": {"type": "object", "properties": entry["properties"]},
    }


@dataclass
class Job:
    """One generation as the service keeps it."""

    id: str
    body: dict[str, Any]
    enqueued_at: int
    content: bytes
    status: str = "queued"
    started_at: int | None = None
    completed_at: int | None = None
    error_message: str | None = None
    result_url: str | None = None  # set by a test to put an odd link in place of the real one
    serial: int = 1  # of the newest link handed out
    expired_serial: int = 0  # links up to this one no longer work
    expired_status: int = 403
    hidden: bool = False  # missing from lists, as on a replica that lags behind

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'


@dataclass
class Model:
    """All jobs of the service, and who wants to hear of their end. Safe to use from any thread."""

    files_origin: str = ""
    video: bytes = b""
    clock_skew: float = 0.0
    jobs: dict[str, Job] = field(default_factory=dict)
    on_end: Callable[[Job], None] = lambda job: None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def now(self) -> int:
        return int(time.time() + self.clock_skew)

    def create(self, body: dict[str, Any]) -> Job:
        with self.lock:
            job = Job(str(uuid.uuid4()), dict(body), self.now(), self.video)
            self.jobs[job.id] = job
            return job

    def start(self, job_id: str) -> None:
        with self.lock:
            job = self.jobs[job_id]
            if job.status == "queued":
                job.status, job.started_at = "processing", self.now()

    def end(self, job_id: str, status: str, error: str | None = None) -> bool:
        """End a job; False when it had ended before."""
        with self.lock:
            job = self.jobs[job_id]
            if job.status in TERMINAL:
                return False
            self.start(job_id)
            job.status, job.error_message, job.completed_at = status, error, self.now()
        if status != "cancelled":
            self.on_end(job)
        return True

    def expire(self, job_id: str, status: int = 403) -> None:
        """Let every link handed out so far answer with this status; the next reading hands out a new one."""
        with self.lock:
            job = self.jobs[job_id]
            job.expired_serial, job.expired_status = job.serial, status

    def link(self, job: Job, *, renew: bool = False) -> str | None:
        """The job's link; renewed, where asked for, once the old one has expired."""
        with self.lock:
            if job.status != "succeeded":
                return None
            if job.result_url is not None:
                return job.result_url
            if renew and job.serial <= job.expired_serial:
                job.serial = job.expired_serial + 1
            return f"{self.files_origin}/files/{job.id}.mp4?signature={job.serial}"

    def describe(self, job: Job) -> dict[str, Any]:
        """A generation as the queue's endpoints show it, its link renewed if it had expired."""
        sent = {name: value for name, value in job.body.items() if name not in ("model", "num_generations")}
        return {
            "target_namespace": "tester",
            "target_repo": None,
            "target_directory": None,
            "prompt": None,
            **sent,
            "generation_id": job.id,
            "model_name": job.body["model"],
            "media_type": "video",
            "status": job.status,
            "result_url": self.link(job, renew=True),
            "error_message": job.error_message,
            "enqueued_at": job.enqueued_at,
            "started_at": job.started_at,
            "completed_at": job.completed_at,
        }

    def notice(self, job: Job) -> dict[str, Any]:
        """The data of the event that tells of a job's end."""
        data: dict[str, Any] = {"generation_id": job.id, "status": job.status, "media_type": "video"}
        if job.status == "succeeded":
            return data | {"model": job.body["model"], "url": self.link(job)}
        return data | {"error": job.error_message}
