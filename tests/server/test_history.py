"""The synchronous endpoint and the history with its costs."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator

import httpx
import pytest

from oxenvideo.server import models
from oxenvideo.server.launcher import launch
from server.conftest import Launch
from server.support import KLING, OMNI, TINY, TINY_MODEL, Api, frames


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Return a server with a history: five free videos, one with a price, and a failed one."""
    server = launch(tmp_path_factory.mktemp("history"), options=("--workers", "2"))
    api = Api(server)
    ids = api.enqueue(num_generations=4) + api.enqueue(target_repo="films", target_directory="day")
    ids += api.enqueue(model=KLING, num_frames=None, duration=5)
    ids += api.enqueue(num_frames=500)
    for id_ in ids:
        api.wait(id_)
    yield api
    server.stop()


def test_generate_answers_a_link(api: Api) -> None:
    """The synchronous endpoint answers with a URL when the video is ready."""
    before = int(time.time())
    answer = api.http.post("/api/ai/videos/generate", json=TINY)
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"model", "created", "videos"}
    assert body["model"] == TINY_MODEL
    assert before <= body["created"] <= time.time()
    (video,) = body["videos"]
    assert video.keys() == {"url"}
    assert len(frames(httpx.get(video["url"]).content)) == 8


def test_generate_answers_the_file_itself(api: Api) -> None:
    """With b64_json the answer contains the video."""
    body = api.http.post("/api/ai/videos/generate", json=TINY | {"response_format": "b64_json"}).json()
    (video,) = body["videos"]
    assert video.keys() == {"b64_json"}
    assert len(frames(base64.b64decode(video["b64_json"], validate=True))) == 8


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": OMNI, "prompt": "a", "multi_prompt": [{"prompt": "b"}]},
         "Getting model response error: 422 - Value error, Cannot provide both 'prompt' and 'multi_prompt'."),
        ({"model": OMNI},
         "Getting model response error: 422 - Value error, Either 'prompt' or 'multi_prompt' must be provided."),
        ({"model": "nobody"}, "Model not found: nobody"),
        ({"model": OMNI, "multi_prompt": [{"prompt": "a", "duration": 8}, {"prompt": "b", "duration": 8}]},
         "Total shot duration (16s) exceeds maximum allowed (15s)."),
    ],
)  # fmt: skip
def test_generate_fails_at_once(api: Api, body: dict[str, object], message: str) -> None:
    """The synchronous endpoint answers with an error where the queue fails the generation."""
    answer = api.http.post("/api/ai/videos/generate", json=body)
    assert answer.status_code == 400
    assert answer.json() == {"error": {"message": message}}


def test_generate_refuses_an_unknown_format(api: Api) -> None:
    """An unknown response format is refused."""
    answer = api.http.post("/api/ai/videos/generate", json=TINY | {"response_format": "gif"})
    assert answer.status_code == 400


def test_a_generation_cancelled_under_the_synchronous_call(start: Launch) -> None:
    """The call ends with an error when its generation is cancelled."""
    from concurrent.futures import ThreadPoolExecutor

    api = start("--delay", "60")
    with ThreadPoolExecutor() as threads:
        call = threads.submit(httpx.post, f"{api.url}/api/ai/videos/generate", json=TINY, headers=api.http.headers)
        while not (rows := api.http.get("/api/ai/queue").json()["generations"]):
            time.sleep(0.01)
        api.http.delete(f"/api/ai/queue/{rows[0]['generation_id']}")
        answer = call.result(30)
    assert (answer.status_code, answer.json()) == (400, {"error": {"message": "The generation was cancelled."}})


@pytest.mark.slow
def test_history_pages(full: Api) -> None:
    """Pages have the right rows, newest first, and the right totals."""
    pages = [full.http.get("/api/ai/generations", params={"page": n, "page_size": 3}).json() for n in (1, 2, 3, 4)]
    assert [page["count"] for page in pages] == [3, 3, 1, 0]
    for number, page in enumerate(pages, 1):
        assert page["count"] == len(page["generations"])
        assert (page["page_number"], page["page_size"], page["total_pages"], page["total_entries"]) == (number, 3, 3, 7)
    rows = [row for page in pages for row in page["generations"]]
    assert len({row["generation_id"] for row in rows}) == 7
    assert [row["status"] for row in rows] == ["failed"] + ["succeeded"] * 6


@pytest.mark.slow
def test_history_defaults(full: Api) -> None:
    """The default is the first 50 rows, and the maximum is 1000."""
    body = full.http.get("/api/ai/generations").json()
    assert (body["page_number"], body["page_size"], body["total_pages"], body["count"]) == (1, 50, 1, 7)
    assert full.http.get("/api/ai/generations?page_size=5000").json()["page_size"] == 1000


@pytest.mark.slow
@pytest.mark.parametrize("query", ["page=0", "page=x", "page_size=0", "page_size=-1", "page=1e3", "status=odd"])
def test_history_refuses_odd_pages(full: Api, query: str) -> None:
    """A page or size that is not a positive integer is refused."""
    answer = full.http.get(f"/api/ai/generations?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_params"


@pytest.mark.slow
def test_history_costs(full: Api) -> None:
    """A cost is decimal text, or null if nothing was charged, and the total is their sum."""
    body = full.http.get("/api/ai/generations").json()
    costs = {(row["model_name"], row["status"]): row["cost"] for row in body["generations"]}
    assert costs == {(TINY_MODEL, "failed"): None, (TINY_MODEL, "succeeded"): "0.00", (KLING, "succeeded"): "0.35"}
    assert body["total_cost"] == "0.35"
    assert full.http.get("/api/ai/generations", params={"model": TINY_MODEL}).json()["total_cost"] == "0.00"


@pytest.mark.slow
def test_history_filters(full: Api) -> None:
    """Rows name the user, and filters apply."""
    body = full.http.get("/api/ai/generations", params={"repo": "films", "folder": "day"}).json()
    (row,) = body["generations"]
    assert (row["username"], row["target_repo"], row["target_directory"]) == ("local", "films", "day")
    assert row["user_id"]
    assert full.http.get("/api/ai/generations?status=failed").json()["total_entries"] == 1
    assert full.http.get("/api/ai/generations?namespace=nobody").json()["total_entries"] == 0


@pytest.mark.slow
def test_one_generation_in_full(full: Api) -> None:
    """One generation of the history is in the success envelope."""
    (row,) = full.http.get("/api/ai/generations", params={"model": KLING}).json()["generations"]
    body = full.http.get(f"/api/ai/generations/{row['generation_id']}").json()
    assert (body["status"], body["status_message"]) == ("success", "resource_found")
    assert body["generation"]["cost"] == "0.35"
    assert body["generation"]["username"] == "local"


@pytest.mark.parametrize(
    ("price", "seconds", "audio", "resolution", "cost"),
    [
        (None, 5.0, False, None, "0.00"),
        ({"cost_per_second": 0.07}, 5.0, False, None, "0.35"),
        ({"cost_per_second": 0.07}, 121 / 24, False, None, "0.35"),
        ({"cost_per_second": 0.07, "cost_per_second_with_audio": 0.14}, 10.0, True, None, "1.40"),
        ({"cost_per_second": 0.1, "cost_per_second_high_res": 0.3}, 2.0, False, "4k", "0.60"),
        ({"cost_per_second_by_resolution": {"1080p": 0.0374, "4k": 0.1494}}, 5.0, False, "1080p", "0.187"),
        ({"cost_per_second_by_resolution": {"1080p": 0.0374}}, 5.0, False, "8k", "0.00"),
    ],
)
def test_prices(
    price: dict[str, object] | None, seconds: float, audio: bool, resolution: str | None, cost: str
) -> None:
    """The most specific price per second is used."""
    assert float(models.cost(price, seconds=seconds, audio=audio, resolution=resolution)) == float(cost)
    assert models.total(["0.35", None, "0.1870"]) == "0.5370"
