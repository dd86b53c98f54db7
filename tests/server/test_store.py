"""The table of the queue: claims, order, recovery."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from oxenvideo.server.queue import Presence, Queue


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    """Return an empty queue."""
    return Queue(tmp_path / "queue.sqlite3", "me")


_together: Any = None


def _meet_at(barrier: Any) -> None:
    global _together  # a barrier can be passed to a pool's processes only like this
    _together = barrier


def _claim_all(path: Path) -> list[str]:
    queue = Queue(path, "me")
    _together.wait(30)
    claimed = []
    while (generation := queue.claim()) is not None:
        claimed.append(generation.id)
    return claimed


@pytest.mark.slow
def test_claims_of_several_processes_never_meet(queue: Queue, tmp_path: Path) -> None:
    """Four processes that claim at the same time take every generation exactly once."""
    wanted = [g.id for _ in range(100) for g in queue.enqueue("m", {}, count=4, namespace="ann")]
    context = multiprocessing.get_context("spawn")
    with context.Pool(4, _meet_at, (context.Barrier(4),)) as pool:
        shares = pool.map(_claim_all, [tmp_path / "queue.sqlite3"] * 4, chunksize=1)
    claimed = [id_ for share in shares for id_ in share]
    assert len(claimed) == len(wanted)
    assert set(claimed) == set(wanted)
    assert sum(1 for share in shares if share) > 1


def test_claims_are_first_in_first_out(queue: Queue) -> None:
    """The oldest generation is claimed first."""
    ids = [queue.enqueue("m", {"n": n}, namespace="ann")[0].id for n in range(5)]
    assert [generation.id for _ in ids if (generation := queue.claim())] == ids
    assert queue.claim() is None


def test_a_delayed_generation_is_not_claimed_early(queue: Queue) -> None:
    """A delayed generation is not claimed, and the queue says when it is due."""
    queue.enqueue("m", {}, namespace="ann", delay=600)
    assert queue.claim() is None
    due = queue.next_due()
    assert due is not None
    assert 540 < due - time.time() <= 600


def test_a_cancelled_generation_takes_no_result(queue: Queue) -> None:
    """A generation that was cancelled while it ran stays cancelled."""
    (row,) = queue.enqueue("m", {}, namespace="ann")
    queue.claim()
    cancelled = queue.cancel(row.id)
    assert cancelled is not None
    assert queue.succeed(row.id, "0.10") is None
    assert queue.fail(row.id, "late") is None
    queue.release(row.id)
    assert queue.get(row.id) == cancelled
    assert cancelled.status == "cancelled"


def test_two_servers_may_begin_a_queue(tmp_path: Path) -> None:
    """A change of the journal mode, which SQLite refuses while another server begins, is tried again."""
    path = tmp_path / "queue.sqlite3"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.executescript("CREATE TABLE other (id); BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    queue = Queue(path, "me")
    assert len(queue.enqueue("m", {}, namespace="ann")) == 1
    timer.join()
    queue.close()
    other.close()


_FULL_DISK = """
import resource, signal, sys, time
from pathlib import Path
from oxenvideo.server.queue import Queue
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
began = time.monotonic()
try:
    Queue(Path(sys.argv[1]), "me")
except Exception as error:
    print(error, time.monotonic() - began < 5)
resource.setrlimit(resource.RLIMIT_FSIZE, before)  # a measurement of coverage writes a file at the end
"""


def test_a_full_disk_is_reported_at_once(tmp_path: Path) -> None:
    """Only another server is worth waiting for when a queue begins."""
    command = [sys.executable, "-c", _FULL_DISK, str(tmp_path / "queue.sqlite3")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "disk I/O error True\n"


def test_enqueue_is_all_or_nothing(queue: Queue, tmp_path: Path) -> None:
    """If an insertion fails in the middle of a request, none of its generations is stored."""
    other = sqlite3.connect(tmp_path / "queue.sqlite3")
    other.execute(
        "CREATE TRIGGER full BEFORE INSERT ON generations WHEN NEW.variation = 2"
        " BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    other.commit()
    with pytest.raises(sqlite3.IntegrityError, match="disk full"):
        queue.enqueue("m", {}, count=4, namespace="ann")
    assert queue.select() == []
    other.execute("DROP TRIGGER full")
    other.commit()
    assert len(queue.enqueue("m", {}, count=4, namespace="ann")) == 4


def test_take_over_leaves_the_living_alone(queue: Queue, tmp_path: Path) -> None:
    """Only unfinished generations of dead servers come back into the queue."""
    living, dead = Presence(tmp_path), Presence(tmp_path)
    of_living, of_dead = (Queue(tmp_path / "queue.sqlite3", presence.id) for presence in (living, dead))
    (kept,) = of_living.enqueue("m", {}, namespace="ann")
    of_living.claim()
    (ended,) = of_dead.enqueue("m", {}, namespace="ann")
    of_dead.claim()
    of_dead.succeed(ended.id, "0.00")
    (lost,) = of_dead.enqueue("m", {}, namespace="ann")
    of_dead.claim()
    me = Presence(tmp_path)
    dead._file.close()  # as the system does when a process ends
    assert queue.take_over(me.is_alive) == 1
    assert [(row.id, row.status) for row in queue.select()] == [
        (kept.id, "processing"),
        (ended.id, "succeeded"),
        (lost.id, "queued"),
    ]
    claimed = queue.claim()
    assert claimed is not None
    assert (claimed.id, claimed.attempts) == (lost.id, 2)
