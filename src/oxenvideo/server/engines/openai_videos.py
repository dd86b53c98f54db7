"""Engines with OpenAI's `/v1/videos`: vLLM-Omni, SGLang, LiteLLM and others.

Their dialects differ. A job that failed is an answer of status 200, or an error status with the job as its body. A job
that is deleted is stopped by some engines and only forgotten by others. Some engines repeat the prompt in their lists,
and only there can a job be found whose answer was lost.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx

from oxenvideo.server.engines.engine import (
    ConfigurationError,
    EngineConfig,
    EngineDied,
    EngineError,
    EngineUnavailable,
    Host,
    Job,
    JobFailed,
    ModelConfig,
    ModelUnavailable,
    is_mp4,
)
from oxenvideo.server.engines.http import AnswerLost, EngineHttp, cleaned

_POLL_SECONDS = 0.5
_ATTEMPTS = 4  # of a request that changes nothing
_PENDING = "?"  # before the time of a submit whose answer has not arrived
_CLOCK_SECONDS = 2.0  # an engine's times are whole seconds
_LOST_STATUSES = (500, 502, 504)  # maybe of a proxy, behind which the engine has the job
_DONE = ("completed", "succeeded")
_FAILED = ("failed", "error")
_ENDED = ("cancelled", "canceled", "expired", "deleted")
_UNKNOWN = (404, 410)
_PASSING = (401, 403, 408, 425, 429, 502, 503, 504)  # say nothing about a list or a file, and may pass
_LIST_ROWS = 100
_LISTED_SECONDS = 600.0  # a job is in the list for that long at least
_KEPT_SECONDS = 3600.0  # a job and its video are kept for that long at least, unless the engine is restarted
_ANEW = "submit the request again for a new one."
_IMAGES = ("input_image", "start_image_url", "first_frame_image", "image_url")
_TEXTS = ("prompt", "negative_prompt")
_URI = re.compile(r"\s*[a-z][a-z0-9+.-]*:\S+\s*", re.IGNORECASE)
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string", "description": "What the video should show"},
        "negative_prompt": {"type": "string", "description": "What to avoid"},
        "input_image": {"type": "string", "format": "uri", "description": "Image to start from"},
        "duration": {"type": "integer", "minimum": 1, "maximum": 60, "description": "Length in seconds"},
        "width": {"type": "integer", "minimum": 16, "maximum": 4096, "description": "Frame width in pixels"},
        "height": {"type": "integer", "minimum": 16, "maximum": 4096, "description": "Frame height in pixels"},
        "num_frames": {"type": "integer", "minimum": 1, "description": "Number of frames to make"},
        "fps": {"type": "integer", "minimum": 1, "maximum": 120, "description": "Frames per second"},
        "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 200, "description": "Diffusion steps"},
        "guidance_scale": {"type": "number", "minimum": 0, "maximum": 20, "description": "Prompt guidance strength"},
        "seed": {"type": "integer", "minimum": 0, "description": "Random seed"},
    },
    "required": ["prompt"],
    "additionalProperties": True,
}


class _Lost(JobFailed):
    """The engine may have the job, and it cannot be found there."""


class OpenAIVideos:
    """The adapter. The option ``body = "json"`` of an engine is for servers that take no forms."""

    def __init__(self, config: EngineConfig) -> None:
        self._name = config.name
        self._body = config.options.get("body", "form")
        if self._body not in ("form", "json"):
            raise ConfigurationError(f"Engine {config.name}: body must be 'form' or 'json', not {self._body!r}.")
        self._http = EngineHttp(config)
        self._root = "" if (config.url or "").endswith("/v1") else "v1/"
        self._ids: dict[str, float] = {}  # of all jobs that were accepted, with when; 0 if by an earlier process
        self._submits: dict[str, asyncio.Task[str]] = {}  # by id of the job

    def describe(self, model: ModelConfig) -> Mapping[str, Any]:
        """Return the schema of the catalog for its models, and one with common parameters for others."""
        self._served(model)
        if model.catalog is not None:
            return {"request_schema": model.catalog["request_schema"]}
        return {"request_schema": _SCHEMA, "capabilities": {"input": ["text", "image"], "output": ["video"]}}

    async def ping(self) -> None:
        """Ask for the list of models."""
        await self._models()

    async def check(self, model: ModelConfig) -> Sequence[str]:
        """Ask whether the engine serves the model and has `/v1/videos`."""
        problems = [problem] if (problem := await self._not_served(model)) else []
        answer = await self._read("videos", params={"limit": 1})
        if answer.status_code in (404, 405):
            problems.append(f"{self._name} has no /v1/videos.")
        elif answer.status_code != 200:
            problems.append(f"{self._name} answered {answer.status_code} to GET /v1/videos.")
        return problems

    async def run(self, job: Job, host: Host) -> None:
        """Submit the job unless it was submitted, follow it, and download the video."""
        remote_id = job.remote_id
        if remote_id is None:
            submit = asyncio.create_task(self._submit(job, host, await self._fields(job, host)))
            self._submits[job.id] = submit
            submit.add_done_callback(lambda _: submit.cancelled() or submit.exception())
            try:
                remote_id = await asyncio.shield(submit)
            finally:
                if submit.done():  # else `stop` waits for it
                    del self._submits[job.id]
        elif remote_id.startswith(_PENDING):
            remote_id = await self._recover(job, float(remote_id.removeprefix(_PENDING)))
            host.accepted(remote_id)
        self._ids.setdefault(remote_id, 0.0)
        await self._follow(remote_id, host)
        await self._download(remote_id, job)

    async def stop(self, job: Job) -> str | None:
        """Delete the job."""
        remote_id = job.remote_id
        if submit := self._submits.pop(job.id, None):
            try:
                remote_id = await submit
            except (EngineDied, _Lost) as error:
                return str(error)
            except AnswerLost:
                raise
            except (JobFailed, EngineError):
                return None
        if remote_id is not None and remote_id.startswith(_PENDING):
            try:
                remote_id = await self._recover(job, float(remote_id.removeprefix(_PENDING)))
            except (EngineDied, _Lost) as error:
                return str(error)
        return None if remote_id is None else await self._delete(remote_id)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _fields(self, job: Job, host: Host) -> dict[str, Any]:
        """Return the fields of the request. An image is its content, and no URI is among them."""
        fields: dict[str, Any] = {"seed": job.seed}
        if served := self._served(job.model):
            fields["model"] = served
        for name, value in job.parameters.items():
            if value is None or name == "seed":
                continue
            if name in _IMAGES and isinstance(value, str) and "input_reference" not in fields:
                fields["input_reference"] = await host.fetch(value)
            elif isinstance(value, (dict, list)) or (name not in _TEXTS and _URI.fullmatch(str(value))):
                raise JobFailed(f"{self._name} takes texts, numbers and one image: leave {name} out.")
            else:
                fields[{"duration": "seconds"}.get(name, name)] = value
        if "width" in fields and "height" in fields:
            fields["size"] = f"{fields.pop('width')}x{fields.pop('height')}"
        return fields

    async def _submit(self, job: Job, host: Host, fields: dict[str, Any]) -> str:
        sent = time.time()
        host.accepted(f"{_PENDING}{sent}")
        try:
            answer = await self._post(fields)
            if answer.status_code == 415:  # certainly not accepted
                self._body = "json" if self._body == "form" else "form"
                answer = await self._post(fields)
            remote_id = self._accepted_id(answer)
        except AnswerLost:
            try:
                remote_id = await self._recover(job, sent)
            except EngineUnavailable as error:  # it is still not known
                raise AnswerLost(str(error)) from None
        except EngineUnavailable:  # nothing was sent
            host.rejected()
            raise
        else:
            if remote_id is None:
                host.rejected()
                await self._refused(job.model, answer)
                raise EngineError(f"{self._name} answered {answer.status_code}: {_message(answer)}")
        self._ids[remote_id] = time.time()
        host.accepted(remote_id)
        return remote_id

    async def _post(self, fields: dict[str, Any]) -> httpx.Response:
        image = fields.get("input_reference")
        if self._body == "json":
            uri = {"input_reference": _data_uri(image)} if image is not None else {}
            return await self._http.request("POST", f"{self._root}videos", json=fields | uri)
        # Parts without a file name are fields. A form without files must be multipart too.
        parts: list[tuple[str, Any]] = [
            (name, (None, _text(value))) for name, value in fields.items() if name != "input_reference"
        ]
        if image is not None:
            parts.append(("input_reference", (f"image.{_kind(image)}", image, f"image/{_kind(image)}")))
        return await self._http.request("POST", f"{self._root}videos", files=parts)

    def _accepted_id(self, answer: httpx.Response) -> str | None:
        """Return the id in an answer to a submit, None if the job was refused; raise AnswerLost if it is unclear."""
        remote_id = _body(answer).get("id")
        if answer.is_success and isinstance(remote_id, str) and remote_id:
            return remote_id
        if answer.is_success or (answer.status_code in _LOST_STATUSES and not _is_explained(answer)):
            raise AnswerLost(f"{self._name} answered {answer.status_code} without an id.")
        return None

    async def _refused(self, model: ModelConfig, answer: httpx.Response) -> None:
        """Raise the error of a refused submit, unless the engine is at fault."""
        status = answer.status_code
        if status in (401, 403):
            raise EngineError(f"{self._name} refuses the request ({status}): check its headers.")
        if status in (400, 404) and (problem := await self._not_served(model)):
            raise ModelUnavailable(problem)
        if status == 404:
            raise ModelUnavailable(f"{self._name} has no /v1/videos.")
        if 400 <= status < 500 and status not in (408, 409, 425, 429):
            raise JobFailed(f"{self._name} refuses the request: {_message(answer)}")

    async def _recover(self, job: Job, sent: float) -> str:
        """Find the job that was sent at a time and whose answer was lost. Nobody else's job may be taken for it.

        EngineDied lets the job be sent again. It is raised only if no job at the engine can be this one.
        """
        may_make = f"The answer of {self._name} was lost, and it may make a video that cannot be found again"
        lost = _Lost(f"{may_make}: look there before you submit the request again.")
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_POLL_SECONDS)
            answer = await self._read("videos", params={"limit": _LIST_ROWS, "order": "desc"})
            if answer.status_code in _PASSING:
                raise EngineUnavailable(f"{self._name} answered {answer.status_code}: {_message(answer)}")
            if answer.status_code != 200:
                continue
            since = sent + _clock(answer) - time.time() - _CLOCK_SECONDS
            rows = [row for row in _body(answer).get("data") or () if isinstance(row, dict)]
            times = [_number(row.get("created_at")) for row in rows]
            foreign = [(row, at) for row, at in zip(rows, times, strict=True) if row.get("id") not in self._ids]
            recent = [row for row, at in foreign if at >= since]
            found = [str(row["id"]) for row in recent if row.get("prompt") == job.parameters.get("prompt")]
            if len(found) == 1:
                return found[0]
            if found:
                raise lost
        if answer.status_code != 200:  # it has no list
            raise lost
        # Any new job may be this one, because an engine may leave the prompt out or show a revised one. So may a job of
        # which no time is known. It may be missing in a list that is cut and does not begin with the newest, or because
        # it was made, and removed, long ago.
        is_cut = bool(_body(answer).get("has_more")) or len(rows) >= _LIST_ROWS
        is_partial = (is_cut and times[:1] <= times[-1:]) or time.time() - sent > _LISTED_SECONDS
        if recent or not all(at for _, at in foreign) or is_partial:
            raise lost
        raise EngineDied(f"{self._name} did not receive the request.")

    async def _follow(self, remote_id: str, host: Host) -> None:
        """Wait until the job is done."""
        reported = unknown = 0
        while True:
            answer = await self._read(_path(remote_id))
            body = _body(answer)
            status = str(body.get("status")).lower()
            if status in _FAILED:
                raise self._failure(body.get("error"))
            if status in _ENDED:
                raise JobFailed(f"{self._name} ended the job without a video: its status is {status}.")
            if answer.status_code in _UNKNOWN:
                unknown += 1  # maybe it is only not shown yet
                if unknown < _ATTEMPTS:
                    await asyncio.sleep(_POLL_SECONDS)
                    continue
                words = f"{self._name} does not know the job any more"
                if time.time() - self._ids[remote_id] < _KEPT_SECONDS:  # the engine was restarted
                    raise EngineDied(f"{words}.")
                raise JobFailed(f"{words}, and a video that it may have made is gone: {_ANEW}")
            unknown = 0
            if answer.status_code != 200:
                raise EngineUnavailable(f"{self._name} answered {answer.status_code}: {_message(answer)}")
            if status in _DONE:
                return
            progress = body.get("progress")
            if isinstance(progress, (int, float)) and reported < progress < 100:
                reported = int(progress)
                host.report(reported, 100)
            await asyncio.sleep(_POLL_SECONDS)

    def _failure(self, error: object) -> Exception:
        """Return the exception for a job that failed at the engine."""
        found = error if isinstance(error, dict) else {"message": error}
        code, message = str(found.get("code") or ""), cleaned(found.get("message") or found.get("code") or "no reason")
        text = f"The video failed at {self._name}: {message}"
        is_engine = code.startswith("5") if code.isdigit() else not code or code.lower().endswith("error")
        return EngineDied(text) if is_engine else JobFailed(text)

    async def _download(self, remote_id: str, job: Job) -> None:
        problem: EngineError | JobFailed = JobFailed(f"{self._name} has no video.")
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_POLL_SECONDS)
            try:
                status = await self._http.download(f"{self._root}{_path(remote_id)}/content", job.path)
            except AnswerLost as lost:
                job.path.unlink(missing_ok=True)
                problem = lost
                continue
            if status == 400:  # SGLang with a cloud storage
                text = f"{self._name} does not serve the video itself. Configure it to keep its videos."
                raise ModelUnavailable(text)
            if status != 200:
                words = f"The job is done, but {self._name} answers {status} instead of the video"
                # Others say that there is no file; 500 is FastAPI's answer for one that is not on its disk.
                problem = EngineUnavailable(f"{words}.") if status in _PASSING else JobFailed(f"{words}: {_ANEW}")
                continue
            if is_mp4(job.path):
                return
            job.path.unlink()
            raise JobFailed(f"The job is done, but {self._name} sent a file that is not an MP4: {_ANEW}")
        raise problem

    async def _delete(self, remote_id: str) -> str | None:
        try:
            answer = await self._http.request("DELETE", self._root + _path(remote_id))
        except AnswerLost as error:
            raise EngineUnavailable(str(error)) from None
        status, body = answer.status_code, _body(answer)
        if status in (404, 410):
            return None
        if status in (400, 405, 501):
            return f"{self._name} cannot stop a job: it makes the video to its end."
        if status >= 300:
            raise EngineUnavailable(f"{self._name} answered {status} to the cancellation: {_message(answer)}")
        if body.get("deleted") is False:
            raise EngineUnavailable(f"{self._name} has not stopped the job yet.")
        if body.get("object") == "video" or body.get("status") == "deleted":  # SGLang forgets the job and goes on
            return f"{self._name} has deleted the job, but may compute it to the end."
        return None

    async def _read(self, path: str, **options: Any) -> httpx.Response:
        """GET; a lost answer or a bare error of the server is tried again a few times."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = await self._http.request("GET", self._root + path, **options)
            except EngineUnavailable:
                if attempt == _ATTEMPTS:
                    raise
            else:
                is_bare = answer.status_code >= 500 and answer.status_code != 501 and "status" not in _body(answer)
                is_garbled = answer.status_code == 200 and not _body(answer)
                if not (is_bare or is_garbled):
                    return answer
                if attempt == _ATTEMPTS:
                    raise EngineUnavailable(f"{self._name} answered {answer.status_code}: {_message(answer)}")
            await asyncio.sleep(_POLL_SECONDS)
        raise AssertionError

    async def _models(self) -> list[str]:
        body = await self._http.json("GET", f"{self._root}models")
        rows = body.get("data") if isinstance(body, dict) else None
        return [str(row["id"]) for row in rows or () if isinstance(row, dict) and "id" in row]

    async def _not_served(self, model: ModelConfig) -> str | None:
        served, known = self._served(model), await self._models()
        if served is None or served in known or not known:
            return None
        return f"{self._name} does not serve {served}. It serves {', '.join(known[:5])}."

    def _served(self, model: ModelConfig) -> str | None:
        """Return the name of a model at the engine; None for the only model that the engine has."""
        served = model.options.get("served")
        if served is not None and not isinstance(served, str):
            raise ConfigurationError(f"Model {model.id}: served must be the model's name at the engine.")
        return served


def _path(remote_id: str) -> str:
    return f"videos/{quote(remote_id, safe='')}"


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _is_explained(answer: httpx.Response) -> bool:
    return bool(_body(answer).get("error") or _body(answer).get("detail"))


def _message(answer: httpx.Response) -> str:
    """Return the reason in an error answer: OpenAI's `error.message`, FastAPI's `detail`, else its text."""
    body = _body(answer)
    error, detail = body.get("error"), body.get("detail")
    if isinstance(error, dict):
        error = error.get("message")
    if isinstance(detail, list):
        detail = "; ".join(
            f"{'.'.join(map(str, row.get('loc') or ()))}: {row.get('msg')}" for row in detail if isinstance(row, dict)
        )
    if found := error or detail or body.get("message"):
        return cleaned(found)
    is_text = not answer.headers.get("content-type", "").startswith("text/html")
    return (cleaned(answer.text) if is_text else "") or "no reason."


def _clock(answer: httpx.Response) -> float:
    """Return the time of the engine's clock."""
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return time.time()


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _kind(image: bytes) -> str:
    return "jpeg" if image.startswith(b"\xff\xd8") else "webp" if image[8:12] == b"WEBP" else "png"


def _data_uri(image: bytes) -> str:
    return f"data:image/{_kind(image)};base64,{base64.b64encode(image).decode()}"
