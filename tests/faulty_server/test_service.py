"""The faulty service answers properly where nothing else is scripted, and counts what it is asked."""

from __future__ import annotations

import contextlib
import io
import time

import av
import httpx
import pytest

from faulty import (
    FaultyService,
    altered,
    bad_gateway,
    not_found,
    ok,
    ok_then_close,
    reset_at_accept,
    server_error,
    small_video,
)
from faulty.probe import BODY, FILE, KEY, LIST, READ, SUBMIT, client_of, ended, finished, listening, submit


def test_a_job_goes_the_documented_way(service: FaultyService, http: httpx.Client) -> None:
    """Enqueue, read, list, finish, download: the documented states and fields, and a film that decodes."""
    job_id = submit(http, seed=7)
    queued = http.get(f"/api/ai/queue/{job_id}").json()
    assert (queued["status"], queued["seed"], queued["result_url"]) == ("queued", 7, None)
    service.start(job_id)
    assert http.get("/api/ai/queue").json()["generations"][0]["status"] == "processing"
    service.finish(job_id)
    assert http.get("/api/ai/queue").json() == {"count": 0, "generations": []}
    done = http.get("/api/ai/queue", params={"status": "succeeded"}).json()["generations"][0]
    assert done["completed_at"] >= done["started_at"] >= done["enqueued_at"]
    content = httpx.get(done["result_url"]).content
    with av.open(io.BytesIO(content), "r") as film:
        frames = [frame.to_ndarray(format="rgb24").shape for frame in film.decode(video=0)]
    assert frames == [(32, 64, 3)] * 24
    assert service.delivered[job_id] == len(content)


def test_jobs_end_by_themselves_after_their_time() -> None:
    """With a job time given, jobs succeed or fail on their own, as scripted."""
    with FaultyService(job_seconds=0.02, failure=lambda job: "no" if job.body["prompt"] == "bad" else None) as service:
        http = client_of(service)
        good, bad = submit(http), submit(http, prompt="bad")
        service.wait_until(lambda: all(job.completed_at for job in service.jobs.values()))
        assert http.get(f"/api/ai/queue/{good}").json()["status"] == "succeeded"
        assert http.get(f"/api/ai/queue/{bad}").json()["error_message"] == "no"


def test_cancelling_keeps_the_row_and_comes_too_late_for_an_ended_job(
    service: FaultyService, http: httpx.Client
) -> None:
    """DELETE answers success either way and changes only what had not ended."""
    first, second = submit(http), submit(http)
    service.finish(second)
    for job_id in (first, second):
        assert http.delete(f"/api/ai/queue/{job_id}").json() == {"status": "success", "generation_id": job_id}
    assert [service.jobs[first].status, service.jobs[second].status] == ["cancelled", "succeeded"]


def test_several_generations_in_one_request(service: FaultyService, http: httpx.Client) -> None:
    """num_generations makes so many jobs; out of its range it is refused."""
    answer = http.post("/api/ai/queue", json=BODY | {"num_generations": 3}).json()
    assert [row["generation_id"] for row in answer["generations"]] == list(service.jobs)
    refusal = http.post("/api/ai/queue", json=BODY | {"num_generations": 5})
    assert refusal.status_code == 400
    assert "between 1 and 4" in refusal.text
    assert len(service.jobs) == 3


def test_a_wrong_key_and_an_unknown_model_are_refused(service: FaultyService, http: httpx.Client) -> None:
    """401 without the key, and nothing is enqueued for a model nobody knows."""
    assert httpx.post(f"{service.base_url}/api/ai/queue", json=BODY).json()["error"]["type"] == "unauthenticated"
    refusal = http.post("/api/ai/queue", json=BODY | {"model": "nope"})
    assert refusal.json() == {"error": {"message": "Model not found: nope"}}
    assert service.jobs == {}


def test_the_synchronous_endpoint_answers_when_the_video_is_ready(service: FaultyService) -> None:
    """The answer holds a link, or the file itself in base 64, and not before the job's end."""
    with FaultyService(job_seconds=0.05) as quick, client_of(quick) as http:
        begun = time.monotonic()
        answer = http.post("/api/ai/videos/generate", json=BODY).json()
        assert time.monotonic() - begun >= 0.05
        assert httpx.get(answer["videos"][0]["url"]).content == small_video()
        both = http.post("/api/ai/videos/generate", json=BODY | {"multi_prompt": [{"prompt": "x"}]})
        assert "Cannot provide both" in both.json()["error"]["message"]


def test_history_models_and_files(service: FaultyService, http: httpx.Client) -> None:
    """The other endpoints answer in the documented shapes."""
    for _ in range(3):
        service.finish(submit(http))
    page = http.get("/api/ai/generations", params={"page": 2, "page_size": 2}).json()
    assert (page["count"], page["total_pages"], page["total_entries"], page["total_cost"]) == (1, 2, 3, "1.0500")
    assert http.get(f"/api/ai/generations/{next(iter(service.jobs))}").json()["generation"]["cost"] == "0.3500"
    found = http.get("/api/ai/models/search", params={"search": "o3"}).json()["data"]
    assert [model["id"] for model in found] == ["kling-video-o3-pro-reference-to-video"]
    assert "prompt" in http.get(f"/api/ai/models/{BODY['model']}").json()["request_schema"]["properties"]
    assert http.get("/api/authorize").json()["user"]["name"] == "tester"
    path = "/api/repos/tester/inputs/file/main/cat.png"
    assert http.put(path, files={"file": b"picture"}).status_code == 201
    assert b"picture" in http.get(path).content
    assert [http.post("/api/repos", json={"name": "inputs"}).status_code for _ in range(2)] == [201, 409]


def test_counts_connections_and_keys_are_kept_by_origin(service: FaultyService, http: httpx.Client) -> None:
    """Requests are counted by route, connections as open and ever, keys by the origin that saw them."""
    job_id, url = finished(service, http)
    httpx.get(url)
    assert service.counts == {SUBMIT: 1, READ: 1, FILE: 1}
    assert service.submits == [BODY]
    assert service.authorizations == {service.base_url: {"Bearer test-key"}}
    assert service.connections_ever == 2
    service.wait_until(lambda: service.connections_open == 1)
    assert [request.acted for request in service.requests(READ)] == [True]
    assert service.requests(FILE)[0].path == f"/files/{job_id}.mp4"


def test_a_route_nobody_has_cannot_be_scripted(service: FaultyService) -> None:
    """A slip in a route's name is an error, not a fault that never comes."""
    with pytest.raises(ValueError, match="no such route"):
        service.script("POST /api/queue", ok())


def test_scripts_are_used_up_in_order_and_standing_behaviours_are_not(
    service: FaultyService, http: httpx.Client
) -> None:
    """Scripted behaviours come first, one a request; then the standing one, until it is cleared."""
    service.script(LIST, server_error(), bad_gateway())
    service.always(LIST, not_found())
    assert [http.get("/api/ai/queue").status_code for _ in range(4)] == [500, 502, 404, 404]
    assert service.scripted(LIST) == 0
    service.clear(LIST)
    assert http.get("/api/ai/queue").status_code == 200


def test_the_servers_own_mistakes_end_the_test() -> None:
    """An exception within the service is raised when its block ends."""
    service = FaultyService()
    with pytest.raises(ZeroDivisionError), service, contextlib.suppress(httpx.HTTPError):  # noqa: PT012
        service.script(LIST, altered(lambda data: 1 / 0))
        httpx.get(f"{service.base_url}/api/ai/queue", headers=KEY)


def test_down_refuses_and_comes_back_at_the_same_port(service: FaultyService, http: httpx.Client) -> None:
    """While down nothing connects and open connections are reset; afterwards all is as before."""
    job_id = submit(http)
    with service.down():
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{service.base_url}/api/authorize", headers=KEY)
    assert http.get(f"/api/ai/queue/{job_id}").json()["status"] == "queued"


def test_reset_at_accept_reads_nothing(service: FaultyService) -> None:
    """The connection is reset before a request counts, and the next one is served."""
    service.script("connection", reset_at_accept())
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{service.base_url}/api/ai/queue", headers=KEY, json=BODY)
    assert (service.counts.total(), service.submits) == (0, [])
    assert httpx.get(f"{service.base_url}/api/authorize", headers=KEY).status_code == 200


def test_connections_can_be_dropped_from_outside(service: FaultyService) -> None:
    """drop_connections resets what is open, streams included."""
    with listening(service) as stream:
        service.drop_connections()
        with pytest.raises(ConnectionResetError):
            stream.until(ended(b"never"))
    service.wait_until(lambda: service.streams_open == 0)


def test_a_connection_is_reused_unless_it_is_closed(service: FaultyService, http: httpx.Client) -> None:
    """Requests share a connection; after ok_then_close the next one needs its own."""
    for _ in range(3):
        http.get("/api/ai/queue")
    assert service.connections_ever == 1
    service.script(LIST, ok_then_close())
    assert http.get("/api/ai/queue").status_code == 200
    service.wait_until(lambda: service.connections_open == 0)
    assert http.get("/api/ai/queue").status_code == 200
    assert service.connections_ever == 2
