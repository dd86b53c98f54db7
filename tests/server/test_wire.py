"""The server compared with the recorded exchanges, which are written from the documentation."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import wire
from server.support import TINY, Api, data_uri, launch_small, until_true
from wire import Exchange

# Answers of the service when it is overloaded or fails, and of an older version. This server does not give them.
NOT_SERVED = {
    "generate_older_shape",
    "models_get_older_name",
    "queue_enqueue_rate_limited",
    "queue_enqueue_unknown_error",
}
# Rows contain the parameters of the recorded requests; other rows have other parameters.
PARAMETERS = {"duration", "aspect_ratio", "seed", "negative_prompt"}
SHARED_ID = "7f4d9c1e-5b6a-4b0e-9a3c-2f1d8e6b7a90"


@pytest.fixture(scope="module")
def ox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Return a server that also has a model that makes text. Only the videos that it makes are small."""
    directory = tmp_path_factory.mktemp("wire")
    more = directory / "more.json"
    more.write_text('[{"id": "gpt-5", "capabilities": {"input": ["text"], "output": ["text"]}}]')
    api = launch_small(directory, "--models", str(more), "--workers", "2")
    yield api
    api.server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in wire.names() if name not in NOT_SERVED])
def test_recorded_exchange(ox: Api, name: str) -> None:
    """The recorded request gets the recorded status and all recorded fields with their types."""
    exchange = wire.load(name)
    path = _prepared(ox, exchange)
    answer = _sent(ox, exchange, path)
    assert answer.status_code == exchange.status, answer.text
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    assert wire.differences(_without_parameters(exchange.body), answer.json()) == []
    if exchange.status >= 400 and exchange.name != "queue_enqueue_bad_count":  # there both envelopes are sent
        assert _without_words(answer.json()) == _without_words(exchange.body)


def _prepared(ox: Api, exchange: Exchange) -> str:
    """Create what the recording assumes; return the path with an existing id."""
    name = exchange.name
    if name in ("file_upload", "repository_exists"):
        ox.http.post("/api/repos", json={"namespace": "ox", "name": "inputs"})
    if name in ("queue_list_active", "queue_list_of_repository"):  # more than the workers finish before they are listed
        ox.enqueue(num_generations=4, target_namespace="ox", target_repo="films", target_directory="balloons")
    if SHARED_ID not in exchange.path:
        return exchange.path
    status = name.removeprefix("queue_get_") if name.startswith("queue_get_") else "succeeded"
    return exchange.path.replace(SHARED_ID, _one_that_is(ox, status))


def _one_that_is(ox: Api, status: str) -> str:
    if status == "failed":
        return str(ox.make(num_frames=500)["generation_id"])
    (id_,) = ox.enqueue()
    if status == "cancelled":
        ox.http.delete(f"/api/ai/queue/{id_}")
    elif status == "succeeded":
        ox.wait(id_)
    return id_


def _sent(ox: Api, exchange: Exchange, path: str) -> httpx.Response:
    key = "no key of anybody" if exchange.status == 401 else ox.key
    headers = {"Authorization": f"Bearer {key}"}
    if exchange.name == "file_upload":
        form = {"message": "Add it", "name": "ox", "email": "ox@example.com"}
        return httpx.put(ox.url + path, headers=headers, files={"file": b"content"}, data=form)
    body = exchange.request_body
    if exchange.name == "repository_create":
        body = body | {"name": f"inputs-{uuid.uuid4()}"}
    if exchange.name == "generate_upscale":
        body = body | {"input_video": data_uri(ox.video(**TINY), "video/mp4")}
    return ox.http.request(exchange.method, path, params=exchange.query or None, headers=headers, json=body, timeout=60)


def _without_parameters(body: Any) -> Any:
    if isinstance(body, list):
        return [_without_parameters(item) for item in body]
    if isinstance(body, dict):
        return {name: _without_parameters(value) for name, value in body.items() if name not in PARAMETERS}
    return body


def _without_words(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out the texts of an error that are not documented word for word."""
    error = {name: value for name, value in body["error"].items() if name not in ("title", "detail")}
    if "type" in error:
        error.pop("message", None)
    return body | {"error": error}


@pytest.mark.parametrize("name", ["events_succeeded", "events_failed"])
def test_recorded_events(ox: Api, name: str) -> None:
    """An event on the stream has the recorded name and fields."""
    recorded = _events(wire.stream(name).decode())[0]
    with ox.http.stream("GET", "/api/events", timeout=20) as stream:
        (id_,) = ox.enqueue(**({"num_frames": 500} if name == "events_failed" else {}))
        text, lines = "", stream.iter_text()

        def found() -> dict[str, Any] | None:
            nonlocal text
            text += next(lines)
            return next((e for e in _events(text) if e["data"]["generation_id"] == id_), None)

        event = until_true(found)
    assert event["event"] == recorded["event"]
    assert wire.differences(recorded["data"], event["data"]) == []
    assert recorded["data"].keys() == event["data"].keys()


def _events(text: str) -> list[dict[str, Any]]:
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append({"event": fields["event"], "data": json.loads(fields["data"])})
    return found
