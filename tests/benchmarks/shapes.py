"""The four wire shapes: Oxen's queue with its events, fal's queue, Replicate's predictions, OpenAI's videos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

OXEN_MODEL = "kling-video-v2-6-pro-text-to-video"


@dataclass
class Job:
    """One simulated generation."""

    id: str
    number: int
    created: int  # unix seconds
    shape: Shape
    result: str  # where the video lies
    started: bool = False
    ended: bool = False


class Shape:
    """How one service words a submit's answer, a reading, and the news of an end."""

    submits = "/"  # the path, or its beginning, that takes submits

    def submitted(self, jobs: list[Job], origin: str) -> bytes:
        """The answer to a submit."""
        return _json(self.describe(jobs[0], origin))

    def read(self, path: str, query: dict[str, str], jobs: dict[str, Job], origin: str) -> bytes | None:
        """The answer to a reading; None where the path is not this service's."""
        if not path.startswith(self.submits + "/"):
            return None
        job = jobs.get(path.rsplit("/", 1)[-1])
        return None if job is None else _json(self.describe(job, origin))

    def describe(self, job: Job, origin: str) -> dict[str, Any]:
        """The job as this service shows it."""
        raise NotImplementedError

    def event(self, job: Job) -> bytes:
        """What stands on the event stream when the job has ended; nothing where there is no stream."""
        return b""


class Oxen(Shape):
    """POST and GET /api/ai/queue, and /api/events."""

    submits = "/api/ai/queue"

    def submitted(self, jobs: list[Job], origin: str) -> bytes:
        return _json({"generations": [{"generation_id": job.id, "status": "queued"} for job in jobs]})

    def read(self, path: str, query: dict[str, str], jobs: dict[str, Job], origin: str) -> bytes | None:
        if path == self.submits:
            wanted = query.get("status")
            shown = [
                _json(self.describe(job, origin))
                for job in jobs.values()
                if (self.status(job) == wanted if wanted else not job.ended)
            ]
            return b'{"count":%d,"generations":[%b]}' % (len(shown), b",".join(shown))
        if path == "/api/ai/models":
            return _json({"object": "list", "data": [OXEN_DESCRIPTION]})
        if path == "/api/ai/generations":
            rows = [self.describe(job, origin) | {"cost": "0.35" if job.ended else None} for job in jobs.values()]
            shown_rows = rows[::-1][: int(query.get("page_size", "50"))]
            return _json({"count": len(shown_rows), "generations": shown_rows, "page_number": 1, "page_size": 50,
                          "total_pages": 1, "total_entries": len(rows), "total_cost": "0.0"})  # fmt: skip
        if path.startswith("/api/ai/generations/"):
            job = jobs.get(path.rsplit("/", 1)[-1])
            found = None if job is None else self.describe(job, origin) | {"cost": "0.35" if job.ended else None}
            return None if found is None else _json({"status": "success", "generation": found})
        return super().read(path, query, jobs, origin)

    @staticmethod
    def status(job: Job) -> str:
        return "succeeded" if job.ended else "processing" if job.started else "queued"

    def describe(self, job: Job, origin: str) -> dict[str, Any]:
        return {
            "generation_id": job.id,
            "model_name": OXEN_MODEL,
            "prompt": f"job-{job.number}",
            "media_type": "video",
            "status": self.status(job),
            "result_url": job.result if job.ended else None,
            "error_message": None,
            "enqueued_at": job.created,
            "started_at": job.created if job.started else None,
            "completed_at": job.created if job.ended else None,
            "duration": 5,
        }

    def event(self, job: Job) -> bytes:
        data = {"generation_id": job.id, "status": "succeeded", "media_type": "video", "model": OXEN_MODEL,
                "url": job.result}  # fmt: skip
        return b"event: media_generation_completed\ndata: %b\n\n" % _json(data)


class Fal(Shape):
    """POST /fal-ai/video, its status and its response."""

    submits = "/fal-ai/video"

    def submitted(self, jobs: list[Job], origin: str) -> bytes:
        job = jobs[0]
        url = f"{origin}{self.submits}/requests/{job.id}"
        return _json({"status": "IN_QUEUE", "request_id": job.id, "response_url": url, "status_url": f"{url}/status",
                      "cancel_url": f"{url}/cancel", "queue_position": 0})  # fmt: skip

    def read(self, path: str, query: dict[str, str], jobs: dict[str, Job], origin: str) -> bytes | None:
        if not path.endswith("/status"):
            return super().read(path, query, jobs, origin)
        job = jobs.get(path.split("/")[-2])
        if job is None:
            return None
        status = "COMPLETED" if job.ended else "IN_PROGRESS" if job.started else "IN_QUEUE"
        answer: dict[str, Any] = {"status": status, "request_id": job.id, "logs": None, "metrics": {}}
        return _json(answer | ({"queue_position": 0} if status == "IN_QUEUE" else {}))

    def describe(self, job: Job, origin: str) -> dict[str, Any]:
        return {"video": {"url": job.result, "content_type": "video/mp4"}}


class Replicate(Shape):
    """POST and GET /v1/predictions."""

    submits = "/v1/predictions"

    def describe(self, job: Job, origin: str) -> dict[str, Any]:
        return {
            "id": job.id,
            "model": "sim/video",
            "version": "0" * 64,
            "status": "succeeded" if job.ended else "processing" if job.started else "starting",
            "input": {"prompt": f"job-{job.number}"},
            "output": job.result if job.ended else None,
            "logs": "",
            "error": None,
            "metrics": {},
            "created_at": "2026-01-01T00:00:00Z",
            "started_at": None,
            "completed_at": None,
            "urls": {"get": f"{origin}{self.submits}/{job.id}", "cancel": f"{origin}{self.submits}/{job.id}/cancel"},
        }


class OpenAI(Shape):
    """POST and GET /v1/videos."""

    submits = "/v1/videos"

    def describe(self, job: Job, origin: str) -> dict[str, Any]:
        return {
            "id": job.id,
            "object": "video",
            "created_at": job.created,
            "completed_at": job.created if job.ended else None,
            "model": "sora-2",
            "progress": 100 if job.ended else 0,
            "prompt": f"job-{job.number}",
            "seconds": "4",
            "size": "1280x720",
            "status": "completed" if job.ended else "in_progress" if job.started else "queued",
        }


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


OXEN_DESCRIPTION = {
    "id": OXEN_MODEL,
    "object": "model",
    "created": 1760000000,
    "owned_by": "kling",
    "display_name": "Kling Video",
    "model_type": "base",
    "endpoint": "/videos/generate",
    "capabilities": {"input": ["text"], "output": ["video"]},
    "pricing": {"method": "per_video_output_second", "cost_per_second": 0.07},
    "request_schema": {"type": "object", "properties": {"prompt": {"type": "string"}, "duration": {"type": "integer"}}},
}

SHAPES: tuple[Shape, ...] = (Oxen(), Fal(), Replicate(), OpenAI())
