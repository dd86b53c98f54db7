"""The faulty service is held against the recorded wire."""

from __future__ import annotations

import json
import re

import httpx
import pytest

import wire
from faulty import FaultyService
from faulty.probe import ended, listening, submit


@pytest.mark.parametrize(
    "name",
    [
        *("queue_enqueue", "queue_enqueue_four", "queue_enqueue_bad_count", "queue_enqueue_unknown_model"),
        *("queue_list_active", "queue_list_empty", "queue_list_succeeded", "queue_get_unknown", "queue_cancel_unknown"),
        *("models_list", "models_search", "models_featured", "models_get", "models_get_unknown", "generations_page"),
        *("generations_get_unknown", "authorize", "repository_create"),
    ],
)
def test_answers_have_the_recorded_shape(name: str, service: FaultyService, http: httpx.Client) -> None:
    """The documented request gets the documented status and every documented field, of its type."""
    recorded = wire.load(name)
    if name not in ("queue_list_empty", "queue_enqueue"):
        submit(http, aspect_ratio="16:9")
        service.finish(submit(http, aspect_ratio="16:9"))
    answer = http.request(recorded.method, recorded.path, params=recorded.query, json=recorded.request_body)
    assert answer.status_code == recorded.status
    assert wire.differences(recorded.body, answer.json()) == []


def end(service: FaultyService, status: str, job_id: str) -> None:
    """Bring a job into this state."""
    match status:
        case "processing":
            service.start(job_id)
        case "succeeded":
            service.finish(job_id)
        case "failed":
            service.fail(job_id, "no")
        case "cancelled":
            service.cancel(job_id)


@pytest.mark.parametrize("status", ["queued", "processing", "succeeded", "failed", "cancelled"])
def test_generations_have_the_recorded_shape(status: str, service: FaultyService, http: httpx.Client) -> None:
    """In every state a generation shows what the documentation says, null where it says null."""
    recorded = wire.load(f"queue_get_{status}")
    job_id = submit(http, aspect_ratio="16:9", seed=7, negative_prompt="blur")
    end(service, status, job_id)
    row = http.get(f"/api/ai/queue/{job_id}").json()
    assert wire.differences(recorded.body, row) == []
    assert row["status"] == status
    for field in ("result_url", "error_message", "started_at", "completed_at"):
        assert (row[field] is None) == (recorded.body[field] is None), field


def test_events_have_the_recorded_form(service: FaultyService, http: httpx.Client) -> None:
    """Success and failure stand on the stream field by field as recorded."""
    for status in ("succeeded", "failed"):
        recorded = re.findall(rb"^event: (\w+)\ndata: (.*)\n\n", wire.stream(f"events_{status}"), re.M)
        with listening(service) as stream:
            end(service, status, submit(http))
            stream.until(ended(b"}\n\n"))
            told_now = re.findall(rb"^event: (\w+)\ndata: (.*)\n\n", stream.body, re.M)
        assert told_now[0][0] == recorded[0][0]
        assert json.loads(told_now[0][1]).keys() == json.loads(recorded[0][1]).keys()


def test_differences_are_found() -> None:
    """A missing field, another type, a bad item of a list; null and further fields are none."""
    recorded = {"count": 1, "rows": [{"id": "a", "url": None}]}
    assert wire.differences(recorded, {"count": 2.0, "rows": [{"id": "b", "url": "x", "more": 1}], "new": 1}) == []
    assert wire.differences(recorded, {"rows": [{"id": "b", "url": None}, {"id": 5}]}) == [
        "count is missing",
        "rows[1].id is number, recorded as str",
        "rows[1].url is missing",
    ]
