"""The event stream."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from oxenvideo.server.events import Endings
from oxenvideo.server.queue import Queue
from server.conftest import Launch
from server.support import Api, until_true


class Listener:
    """Everything that was received on one stream."""

    def __init__(self) -> None:
        self.text = ""
        self.ended = False

    def events(self) -> list[dict[str, Any]]:
        """Return the data of the completion events so far."""
        blocks = [block.splitlines() for block in self.text.split("\n\n")[:-1]]
        return [
            json.loads(block[1].removeprefix("data: "))
            for block in blocks
            if block[0] == "event: media_generation_completed"
        ]

    def of(self, id_: str) -> list[dict[str, Any]]:
        """Return the events of a generation."""
        return [event for event in self.events() if event["generation_id"] == id_]


@contextmanager
def listening(api: Api) -> Iterator[Listener]:
    """Listen until the end of the block."""
    listener = Listener()
    with httpx.stream("GET", f"{api.url}/api/events", headers=api.http.headers, timeout=10) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].partition(";")[0] == "text/event-stream"
        assert "no" in stream.headers["x-accel-buffering"]

        def read() -> None:
            try:
                for text in stream.iter_text():
                    listener.text += text
            except (httpx.HTTPError, httpx.StreamError):
                pass
            listener.ended = True

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield listener


def test_one_event_for_each_end(api: Api) -> None:
    """A success and a failure are each reported once with the documented fields."""
    with listening(api) as heard:
        good, bad = api.enqueue()[0], api.enqueue(num_frames=500)[0]
        until_true(lambda: heard.of(good) and heard.of(bad))
        time.sleep(0.1)
        (success,), (failure,) = heard.of(good), heard.of(bad)
    assert success.pop("url").startswith(f"{api.url}/results/{good}.mp4?")
    assert success == {
        "generation_id": good, "status": "succeeded", "media_type": "video", "model": "wan-ai-wan2-1-t2v-1-3b-diffusers",
    }  # fmt: skip
    assert failure == {
        "generation_id": bad, "status": "failed", "media_type": "video",
        "error": "num_frames: Input should be less than or equal to 120",
    }  # fmt: skip


def test_the_url_of_an_event_plays(api: Api) -> None:
    """The URL in an event returns the video at once."""
    with listening(api) as heard:
        (id_,) = api.enqueue()
        until_true(lambda: heard.of(id_))
        assert httpx.get(heard.of(id_)[0]["url"]).content[4:8] == b"ftyp"


@pytest.mark.slow
def test_nothing_is_said_of_a_cancelled_one(start: Launch) -> None:
    """A cancelled generation causes no event."""
    api = start("--workers", "1", "--min-seconds", "1.5")
    with listening(api) as heard:
        running, queued = api.enqueue(num_generations=2)
        api.wait(running, until=("processing",))
        for id_ in (running, queued):
            api.http.delete(f"/api/ai/queue/{id_}")
        (last,) = api.enqueue()
        until_true(lambda: heard.of(last))
        assert [event["generation_id"] for event in heard.events()] == [last]


def test_keep_alive_when_idle(api: Api) -> None:
    """An idle stream has keep-alive comments at the configured interval."""
    with listening(api) as heard:
        until_true(lambda: heard.text.count(": keep-alive\n") >= 2, 3)


def test_what_happened_before_is_lost(api: Api) -> None:
    """The stream does not report what ended before it was opened."""
    before = api.make()["generation_id"]
    with listening(api) as heard:
        after = api.enqueue()[0]
        until_true(lambda: heard.of(after))
        assert heard.of(before) == []


def test_every_stream_of_the_user_hears(api: Api) -> None:
    """Two streams both get the event."""
    with listening(api) as one, listening(api) as other:
        (id_,) = api.enqueue()
        until_true(lambda: one.of(id_) and other.of(id_))


def test_a_stopping_server_ends_its_streams(start: Launch) -> None:
    """An open stream does not delay the end of the server."""
    api = start()
    with listening(api) as heard:
        api.server.stop()
        assert api.server.process.returncode == 0, "it was killed"
        until_true(lambda: heard.ended)


def test_a_generation_may_end_as_its_wait_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A synchronous request whose wait times out at the moment of the end gets the ended generation."""
    queue, endings = Queue(tmp_path / "queue.sqlite3", "me"), Endings()
    (row,) = queue.enqueue("m", {}, namespace="local")
    queue.claim()

    async def both_at_once(stream: Any) -> None:
        ended = queue.succeed(row.id, "0.00")
        assert ended is not None
        endings.publish(ended)
        raise TimeoutError

    monkeypatch.setattr(asyncio.Queue, "get", both_at_once)
    assert asyncio.run(endings.wait(row, queue)).status == "succeeded"
    queue.close()
