"""Jobs survive the end of a server or of a worker."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from server.conftest import Launch
from server.support import LONG, children, frames, until_true

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="processes are killed the POSIX way"),
]


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_jobs_survive_a_restart(start: Launch, how: str) -> None:
    """Running and queued jobs are rendered by the next server, which may have another key."""
    first = start("--workers", "1", "--min-seconds", "60")
    ids = first.enqueue(num_generations=3)
    first.wait(ids[0], until=("processing",))
    if how == "killed":
        os.kill(first.server.process.pid, signal.SIGKILL)
        first.server.process.wait()
    else:
        first.server.stop()
    second = start("--workers", "1")
    assert second.key != first.key
    rows = [second.wait(id_) for id_ in ids]
    assert [row["status"] for row in rows] == ["succeeded"] * 3
    assert sorted(row["completed_at"] for row in rows) == [row["completed_at"] for row in rows]


def test_what_ended_stays_ended(start: Launch) -> None:
    """Finished, failed and cancelled rows are the same after a restart, and the video is available."""
    first = start()
    (cancelled,) = first.enqueue(model="google-veo-3-1", num_frames=None)
    first.http.delete(f"/api/ai/queue/{cancelled}")
    ids = [first.make()["generation_id"], first.make(num_frames=500)["generation_id"], cancelled]

    def told(api: object) -> list[dict[str, object]]:
        return [{k: v for k, v in api.get(id_).items() if k != "result_url"} for id_ in ids]  # type: ignore[attr-defined]

    before = told(first)
    first.server.stop()
    second = start()
    assert told(second) == before
    assert second.get(ids[0])["result_url"].startswith(second.url)


def test_two_servers_share_a_directory(start: Launch, tmp_path: Path) -> None:
    """A second server does not take the jobs of the first one, shows them, and can cancel them."""
    first = start("--workers", "1", "--min-seconds", "60")
    running, queued = first.enqueue(num_generations=2)
    first.wait(running, until=("processing",))
    second = start("--workers", "1")
    time.sleep(0.3)
    assert second.get(running)["status"] == "processing"
    assert second.get(queued)["status"] == "queued"
    second.http.delete(f"/api/ai/queue/{running}")
    until_true(lambda: first.get(queued)["status"] == "processing")
    assert first.get(running)["status"] == "cancelled"


def test_a_running_server_takes_over_from_a_dead_one(start: Launch) -> None:
    """The jobs of a server that was killed are rendered by another one that was already running."""
    first, second = start("--workers", "1", "--min-seconds", "60"), start("--workers", "1")
    ids = first.enqueue(num_generations=2)
    first.wait(ids[0], until=("processing",))
    os.kill(first.server.process.pid, signal.SIGKILL)
    first.server.process.wait()
    assert [second.wait(id_)["status"] for id_ in ids] == ["succeeded"] * 2


def test_workers_survive_errors_of_the_database(start: Launch, tmp_path: Path) -> None:
    """After an error of the database when a job is taken from the queue, the job is rendered later."""
    api = start("--workers", "1", data_dir=tmp_path)
    database = sqlite3.connect(tmp_path / "queue.sqlite3", isolation_level=None)
    refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON generations BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
    database.execute(refuse)
    (id_,) = api.enqueue()
    until_true(lambda: "disk I/O error" in (tmp_path / "server.log").read_text())
    database.execute("DROP TRIGGER refuse")
    assert api.wait(id_)["status"] == "succeeded"
    database.close()


def test_a_preview_succeeds_although_the_database_refuses_it_for_a_moment(start: Launch, tmp_path: Path) -> None:
    """After an error of the database when the video is there, the job is completed later and has not failed."""
    api = start("--workers", "1", data_dir=tmp_path)
    database = sqlite3.connect(tmp_path / "queue.sqlite3", isolation_level=None)
    when = "WHEN NEW.status = 'succeeded' BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
    database.execute(f"CREATE TRIGGER refuse BEFORE UPDATE ON generations {when}")
    (id_,) = api.enqueue()
    until_true(lambda: "disk I/O error" in (tmp_path / "server.log").read_text())
    database.execute("DROP TRIGGER refuse")
    assert api.wait(id_)["status"] == "succeeded"
    assert list((tmp_path / "tmp").iterdir()) == []
    database.close()


def test_a_killed_worker_is_replaced(start: Launch, tmp_path: Path) -> None:
    """A job whose worker dies is rendered again. After a second death it fails with the reason."""
    api = start("--workers", "1", data_dir=tmp_path)
    (id_,) = api.enqueue(**LONG)
    for _ in range(2):
        api.wait(id_, until=("processing",))
        until_true(lambda: list((tmp_path / "tmp").iterdir()))
        before = children(api.server.process.pid)
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        until_true(lambda before=before: not set(before) & set(children(api.server.process.pid)))
    row = api.wait(id_)
    assert (row["status"], row["error_message"]) == ("failed", "The rendering process ended unexpectedly, 2 times.")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert len(frames(api.video())) == 8
