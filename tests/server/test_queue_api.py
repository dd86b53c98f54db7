"""The documented queue: enqueue, list, read, cancel."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest

from oxenvideo.server.launcher import launch
from server.conftest import Launch
from server.support import KLING, LONG, OMNI, TINY, TINY_MODEL, Api, children, until_true

NOT_FOUND = {
    "error": {"type": "resource_not_found", "title": "The requested resource could not be found"},
    "status": "error",
    "status_message": "resource_not_found",
}


@pytest.fixture(scope="module")
def delayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Return a server on which every generation stays in the queue, and that also has a model that makes text."""
    directory = tmp_path_factory.mktemp("delayed")
    more = directory / "more.json"
    more.write_text('[{"id": "talker", "capabilities": {"input": ["text"], "output": ["text"]}}]')
    server = launch(directory, options=("--delay", "60", "--models", str(more)))
    yield Api(server)
    server.stop()


def test_enqueue_answers_ids_and_queued(api: Api) -> None:
    """The answer has an id and a status for each generation."""
    answer = api.http.post("/api/ai/queue", json=TINY | {"num_generations": 3})
    assert answer.status_code == 200
    rows = answer.json()["generations"]
    assert [row["status"] for row in rows] == ["queued"] * 3
    assert len({str(uuid.UUID(row["generation_id"])) for row in rows}) == 3
    assert all(row.keys() == {"generation_id", "status"} for row in rows)


@pytest.mark.parametrize("count", [0, 5, -1, "2", 1.5, True, None, []])
def test_enqueue_refuses_a_count_outside_1_to_4(api: Api, count: object) -> None:
    """Any value but an integer from 1 to 4 gets the documented message in the typed envelope."""
    answer = api.http.post("/api/ai/queue", json=TINY | {"num_generations": count})
    assert answer.status_code == 400
    body = answer.json()
    assert body["error"]["detail"] == "num_generations must be an integer between 1 and 4"
    assert (body["error"]["type"], body["status"], body["status_message"]) == (
        "invalid_params", "error", "invalid_params",
    )  # fmt: skip


def test_enqueue_names_a_model_it_does_not_know(api: Api) -> None:
    """An unknown model is refused at once in the documented words."""
    answer = api.http.post("/api/ai/queue", json={"model": "no-such-model", "prompt": "x"})
    assert answer.status_code == 400
    assert answer.json() == {"error": {"message": "Model not found: no-such-model"}}


@pytest.mark.parametrize(
    ("content", "type_"),
    [(b"", "application/json"), (b"{", "application/json"), (b"[]", "application/json"), (b'"x"', "text/plain"),
     (b'{"model": NaN}', "application/json"), (b"\xff\xfe", "application/json"), (b"[" * 9999, "application/json"),
     (b'{"prompt": "no model"}', "application/json"), (b'{"model": 5}', "application/json"),
     (b'{"model": "x", "seed": 1e999}', "application/json"), (b'{"model": "\\ud800"}', "application/json"),
     (b'{"model": "x", "a": ' + b"[" * 500 + b"]" * 500 + b"}", "application/json")],
)  # fmt: skip
def test_enqueue_refuses_what_is_no_request(api: Api, content: bytes, type_: str) -> None:
    """A body that is not a JSON object with a model is a 400 in the envelope."""
    answer = api.http.post("/api/ai/queue", content=content, headers={"Content-Type": type_})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_params"


def test_enqueue_refuses_a_text_model(delayed: Api) -> None:
    """A model that makes only text is an unsupported media type."""
    answer = delayed.http.post("/api/ai/queue", json={"model": "talker", "prompt": "x"})
    assert answer.status_code == 415
    assert answer.json()["status_message"] == "unsupported_media_type"


def test_a_generation_has_every_documented_field(api: Api) -> None:
    """All documented fields are present, parameters are at the top level, times are integer unix seconds."""
    sent = {"seed": 7, "aspect_ratio": "16:9", "style": {"free": ["form"]}, "target_directory": "a/b"}
    before = int(time.time())
    row = api.make(**sent, num_generations=1)
    assert {key: row[key] for key in sent} == sent
    assert row["model_name"] == TINY_MODEL
    assert (row["prompt"], row["media_type"], row["status"]) == ("A red balloon", "video", "succeeded")
    assert row["error_message"] is None
    assert (row["target_namespace"], row["target_repo"]) == ("local", None)
    assert "num_generations" not in row
    times = [row["enqueued_at"], row["started_at"], row["completed_at"]]
    assert all(type(time_) is int for time_ in times)
    assert before <= times[0] <= times[1] <= times[2] <= time.time()


def test_a_failure_has_a_message_and_no_video(api: Api) -> None:
    """A generation that fails when it runs has an error message and no result."""
    row = api.make(num_frames=5000)
    assert row["status"] == "failed"
    assert row["result_url"] is None
    assert row["error_message"] == "num_frames: Input should be less than or equal to 120"


def test_what_the_schema_does_not_know_is_ignored(api: Api) -> None:
    """Unknown parameters are kept and ignored."""
    row = api.make(no_such_parameter=[1, 2])
    assert (row["status"], row["no_such_parameter"]) == ("succeeded", [1, 2])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prompt": "a", "multi_prompt": [{"prompt": "b"}]},
         "Getting model response error: 422 - Value error, Cannot provide both 'prompt' and 'multi_prompt'."),
        ({"prompt": None},
         "Getting model response error: 422 - Value error, Either 'prompt' or 'multi_prompt' must be provided."),
    ],
)  # fmt: skip
def test_prompts_are_checked_when_the_generation_runs(api: Api, body: dict[str, object], message: str) -> None:
    """The queue accepts a request with both prompts or neither and fails it when it runs."""
    row = api.make(**{"model": OMNI, **body})
    assert (row["status"], row["error_message"]) == ("failed", message)


def test_list_shows_active_ones_only_unless_asked(start: Launch) -> None:
    """Without a status the list has queued and running generations."""
    api = start("--workers", "1", "--min-seconds", "20")
    running, queued = api.enqueue(num_generations=2)
    api.wait(running, until=("processing",))
    (gone,) = api.enqueue()
    api.http.delete(f"/api/ai/queue/{gone}")

    def ids(**query: str) -> list[str]:
        body = api.http.get("/api/ai/queue", params=query).json()
        assert body["count"] == len(body["generations"])
        return [row["generation_id"] for row in body["generations"]]

    assert ids() == [running, queued]
    assert ids(status="queued") == [queued]
    assert ids(status="processing") == [running]
    assert ids(status="cancelled") == [gone]
    assert ids(status="succeeded") == ids(status="failed") == []


def test_list_filters(delayed: Api) -> None:
    """Model, namespace, media type, repository and folder filter the list."""
    (plain,) = delayed.enqueue()
    (stored,) = delayed.enqueue(target_namespace="studio", target_repo="films", target_directory="day/1")
    (kling,) = delayed.enqueue(model=KLING)
    for query, wanted in [
        ({"model": KLING}, [kling]),
        ({"model": "other"}, []),
        ({"namespace": "studio"}, [stored]),
        ({"namespace": "local"}, [plain, kling]),
        ({"repo": "films"}, [stored]),
        ({"folder": "day/1"}, [stored]),
        ({"folder": "day"}, []),
        ({"media_type": "video"}, [plain, stored, kling]),
        ({"media_type": "image"}, []),
        ({"model": TINY_MODEL, "repo": "films"}, [stored]),
    ]:
        listed = delayed.http.get("/api/ai/queue", params=query).json()["generations"]
        assert [row["generation_id"] for row in listed] == wanted, query


@pytest.mark.parametrize("query", [{"status": "done"}, {"media_type": "sound"}])
def test_list_refuses_filters_that_do_not_exist(api: Api, query: dict[str, str]) -> None:
    """An unknown status or media type is a 400, not an empty list."""
    answer = api.http.get("/api/ai/queue", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_params"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("id_", ["00000000-0000-4000-8000-000000000000", "nonsense", "..%2f..%2fqueue"])
def test_unknown_ids_are_the_documented_404(api: Api, method: str, id_: str) -> None:
    """An unknown id gets exactly the documented body."""
    answer = api.http.request(method, f"/api/ai/queue/{id_}")
    assert answer.status_code == 404
    assert answer.json() == NOT_FOUND


def test_cancel_of_a_queued_one(delayed: Api) -> None:
    """A queued generation is cancelled at once, and its row remains."""
    (id_,) = delayed.enqueue()
    answer = delayed.http.delete(f"/api/ai/queue/{id_}")
    assert (answer.status_code, answer.json()) == (200, {"status": "success", "generation_id": id_})
    row = delayed.get(id_)
    assert (row["status"], row["result_url"], row["started_at"]) == ("cancelled", None, None)
    assert row["completed_at"] is not None


@pytest.mark.slow
def test_cancel_stops_the_rendering(start: Launch) -> None:
    """Cancelling a long render ends its process at once, and the next video is rendered."""
    api = start("--workers", "1")
    (long,) = api.enqueue(**LONG)
    api.wait(long, until=("processing",))
    until_true(lambda: children(api.server.process.pid))
    time.sleep(0.1)
    (worker,) = children(api.server.process.pid)
    assert api.http.delete(f"/api/ai/queue/{long}").status_code == 200
    assert api.get(long)["status"] == "cancelled"
    until_true(lambda: worker not in children(api.server.process.pid))
    assert api.make()["status"] == "succeeded"
    assert api.get(long)["status"] == "cancelled"


def test_cancel_of_an_ended_one_changes_nothing(api: Api) -> None:
    """Cancelling a finished generation has no effect and is a success."""
    row = api.make()
    answer = api.http.delete(f"/api/ai/queue/{row['generation_id']}")
    assert answer.json() == {"status": "success", "generation_id": row["generation_id"]}
    after = api.get(row["generation_id"])
    assert (after["status"], after["completed_at"]) == ("succeeded", row["completed_at"])


@pytest.mark.slow
def test_minimum_time_is_kept(start: Launch) -> None:
    """A render takes at least the configured time, and a cancellation does not wait for it."""
    api = start("--min-seconds", "3")
    begun = time.monotonic()
    api.make()
    assert time.monotonic() - begun >= 3
    (id_,) = api.enqueue()
    api.wait(id_, until=("processing",))
    api.http.delete(f"/api/ai/queue/{id_}")
    assert until_true(lambda: api.get(id_)["status"] == "cancelled", 2.5)
