"""A process killed with SIGKILL at each step of a video's way; another one resumes, and nothing is paid for twice."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import faulty as f
import oxenvideo
from faults.fault import MODEL, PROMPT
from faulty import FaultyService
from oxenvideo.errors import OutcomeUnknown
from oxenvideo.jobs.file_names import is_file_of
from oxenvideo.jobs.generation import Generation
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session

pytestmark = pytest.mark.slow

POST = "POST /api/ai/queue"
FILE = "GET /files/{file}"
HERE = Path(__file__).parents[1]
PATIENCE = 60.0


@dataclass
class Scene:
    """A service whose jobs end by hand, a victim, and the journal that outlives it."""

    service: FaultyService
    tmp_path: Path
    make_session: Callable[..., Session]
    victims: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *requests: VideoRequest, synchronous: bool = False, save_as: str | None = None) -> None:
        told = {
            "base_url": self.service.base_url,
            "api_key": self.service.api_key,
            "data_dir": str(self.tmp_path / "data"),
            "download_dir": str(self.tmp_path / "videos"),
            "requests": [r.to_json() for r in requests or (request(),)],
            "synchronous": synchronous,
            "save_as": save_as,
        }
        paths = [str(HERE), str(Path(oxenvideo.__file__).parent.parent)]
        self.victims.append(
            subprocess.Popen(
                [sys.executable, "-m", "faults.victim", json.dumps(told)],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def kill(self) -> None:
        """Now, without a word."""
        victim = self.victims[-1]
        assert victim.poll() is None, "it ended before it was killed"
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.journal, timeout=5)) as db:
            try:
                return db.execute(query).fetchall()
            except sqlite3.OperationalError:
                return []  # not made yet

    @property
    def journal(self) -> Path:
        path = self.tmp_path / "data" / "journal.sqlite3"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def wait_until(self, holds: Callable[[], object]) -> None:
        self.service.wait_until(holds, PATIENCE)

    def until_step(self, *steps: str) -> None:
        """Until the journal has as many submissions in these steps, in order."""
        self.wait_until(lambda: [r[0] for r in self.rows("SELECT step FROM submission ORDER BY position")] == [*steps])

    def until_status(self, status: str) -> None:
        self.wait_until(lambda: {r[0] for r in self.rows("SELECT status FROM generation")} == {status})

    def resume(self) -> list[Generation]:
        """What another process does; its videos are done as soon as they are asked for."""
        return self.make_session(self.service).resume()

    def deliver(self) -> list[Generation]:
        """Resume, let all jobs end well, and wait for the videos."""
        generations = self.resume()
        deadline = time.monotonic() + PATIENCE
        while not all(g.state.is_settled for g in generations) and time.monotonic() < deadline:
            self.service.finish()
            time.sleep(0.02)
        for generation in generations:
            generation.wait(1)
            assert generation.path is not None
            assert generation.id is None or is_file_of(generation.path, generation.id)
        assert not list(self.tmp_path.rglob("*.part"))
        return generations


def request(prompt: str = PROMPT, count: int = 1) -> VideoRequest:
    return VideoRequest(MODEL, {"prompt": prompt, "duration": 5}, count=count)


@pytest.fixture
def scene(tmp_path: Path, make_session: Callable[..., Session]) -> Iterator[Scene]:
    with FaultyService(keep_alive=0.1) as service:
        made = Scene(service, tmp_path, make_session)
        yield made
        for victim in made.victims:
            if victim.poll() is None:
                victim.kill()
            victim.communicate()


@contextlib.contextmanager
def journal_held(scene: Scene) -> Iterator[None]:
    """Nobody else can write to the journal within the block."""
    with contextlib.closing(sqlite3.connect(scene.journal, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def test_before_the_intent(scene: Scene) -> None:
    """Killed before anything was written down: nothing was sent, and there is nothing to resume."""
    scene.make_session(scene.service).close()  # makes the journal
    with journal_held(scene):
        scene.start()
        time.sleep(0.5)
        scene.kill()
    assert scene.resume() == []
    assert scene.service.counts[POST] == 0


def test_after_the_intent(scene: Scene) -> None:
    """Killed with the intent on disk and no connection made: sent once, by the one who resumes."""
    with scene.service.down():
        scene.start()
        scene.until_step("planned")
        scene.wait_until(lambda: scene.rows("SELECT 1 FROM submission WHERE sent_at IS NOT NULL AND step='planned'"))
        scene.kill()
    assert len(scene.deliver()) == 1
    assert scene.service.counts[POST] == len(scene.service.jobs) == 1


def test_in_the_pause_after_429(scene: Scene) -> None:
    """Killed while the service's own pause runs: sent once more, by the one who resumes."""
    scene.service.script(POST, f.rate_limited(30))
    scene.start()
    scene.wait_until(lambda: scene.rows("SELECT 1 FROM submission WHERE sent_at IS NOT NULL AND step='planned'"))
    scene.kill()
    assert len(scene.deliver()) == 1
    assert (scene.service.counts[POST], len(scene.service.jobs)) == (2, 1)


def test_after_the_request_left_and_arrived(scene: Scene) -> None:
    """Killed before the answer came, the service having it: found there, not sent again."""
    scene.service.script(POST, f.act_then_never_answer())
    scene.start()
    scene.wait_until(lambda: scene.service.jobs)
    scene.kill()
    assert len(scene.deliver()) == 1
    assert scene.service.counts[POST] == len(scene.service.jobs) == 1


@pytest.mark.asks_soon
def test_after_the_request_left_and_was_lost(scene: Scene) -> None:
    """Killed before the answer came, the service not having it: not sent again by itself, a person decides."""
    scene.service.script(POST, f.never_answer())
    scene.start()
    scene.wait_until(lambda: scene.service.counts[POST])
    scene.kill()
    (generation,) = scene.resume()
    with pytest.raises(OutcomeUnknown, match="shows no generation like it"):
        generation.wait(PATIENCE)
    assert (scene.service.counts[POST], len(scene.service.jobs)) == (1, 0)


def test_after_the_answer_before_its_journal(scene: Scene) -> None:
    """Killed with the answer in memory only: found at the service, not sent again."""
    scene.service.script(POST, f.act_after(0.5))
    scene.start()
    scene.wait_until(lambda: scene.service.counts[POST])
    with journal_held(scene):
        scene.wait_until(lambda: scene.service.jobs)
        time.sleep(0.2)  # the answer is on its way to a client that cannot write
        scene.kill()
    assert len(scene.deliver()) == 1
    assert scene.service.counts[POST] == len(scene.service.jobs) == 1


def test_while_queued(scene: Scene) -> None:
    """Killed with the id in the journal: watched on."""
    scene.start()
    scene.until_step("accepted")
    scene.kill()
    assert len(scene.deliver()) == 1
    assert scene.service.counts[POST] == len(scene.service.jobs) == 1


def test_while_processing(scene: Scene) -> None:
    """Killed while the service works: watched on."""
    scene.start()
    scene.wait_until(lambda: scene.service.jobs)
    scene.service.start(next(iter(scene.service.jobs)))
    scene.until_status("processing")
    scene.kill()
    assert len(scene.deliver()) == 1
    assert scene.service.counts[POST] == len(scene.service.jobs) == 1


def test_ended_with_nobody_there(scene: Scene) -> None:
    """The video is finished while no process lives: fetched by the next one."""
    scene.start()
    scene.until_step("accepted")
    scene.kill()
    scene.service.finish()
    assert len(scene.deliver()) == 1
    assert scene.service.counts[POST] == len(scene.service.jobs) == 1


@pytest.mark.parametrize("keep", [0.1, 0.999])
def test_while_downloading(scene: Scene, keep: float) -> None:
    """Killed in the middle of the download, or a byte before the rename: fetched anew, nothing left beside it."""
    scene.service.script(FILE, f.stall_midway(keep))
    scene.start()
    scene.wait_until(lambda: scene.service.jobs)
    scene.service.finish()
    scene.wait_until(lambda: list((scene.tmp_path / "videos").glob(".*.part")))
    scene.wait_until(lambda: sum(scene.service.delivered.values()))
    scene.until_status("downloading")
    scene.kill()
    assert len(scene.deliver()) == 1
    assert scene.service.counts[POST] == len(scene.service.jobs) == 1
    assert len(list((scene.tmp_path / "videos").iterdir())) == 1


@pytest.mark.parametrize("named_twice", [False, True], ids=["renamed", "also with its temporary name"])
def test_after_the_rename(scene: Scene, named_twice: bool) -> None:
    """Killed with the file in place and the journal not knowing it: recognized, not fetched a second time."""
    held = threading.Event()
    scene.service.script(FILE, f.pause_midway(held.is_set))
    scene.start()
    scene.wait_until(lambda: scene.service.jobs)
    scene.service.finish()
    scene.until_status("downloading")
    with journal_held(scene):
        held.set()
        scene.wait_until(lambda: list((scene.tmp_path / "videos").glob("*.mp4")))
        scene.kill()
    (video,) = (scene.tmp_path / "videos").glob("*.mp4")
    if named_twice and not (partial := video.with_name(f".{video.name}.part")).exists():
        os.link(video, partial)  # as if it was killed a moment earlier
    assert len(scene.deliver()) == 1
    assert scene.service.counts[POST] == scene.service.counts[FILE] == 1
    assert len(list((scene.tmp_path / "videos").iterdir())) == 1


def test_batch_half_way(scene: Scene) -> None:
    """Killed with three of eight accepted and one on its way: that one is found, the other four are sent."""
    scene.service.script(POST, f.ok(), f.ok(), f.ok(), f.act_then_never_answer())
    scene.start(*[request(f"{PROMPT} {n}") for n in range(8)], save_as="take-{index}.mp4")
    scene.wait_until(lambda: len(scene.service.jobs) == 4)
    scene.until_step(*["accepted"] * 3, "sending", *["planned"] * 4)
    scene.kill()
    generations = scene.deliver()
    assert len(generations) == 8
    assert scene.service.counts[POST] == len(scene.service.jobs) == 8
    assert sorted(job.body["prompt"] for job in scene.service.jobs.values()) == [f"{PROMPT} {n}" for n in range(8)]
    assert sorted(p.name for p in (scene.tmp_path / "videos").iterdir()) == [f"take-{n}.mp4" for n in range(8)]


def test_four_in_one_request_and_two_delivered(scene: Scene) -> None:
    """Killed with half of a request's videos here: only the open half is resumed."""
    scene.start(request(count=4))
    scene.until_step("accepted")
    first, second, *_ = scene.service.jobs
    scene.service.finish(first, second)
    scene.wait_until(lambda: scene.rows("SELECT count(*) FROM generation WHERE delivered=1") == [(2,)])
    scene.kill()
    generations = scene.deliver()
    assert {g.id for g in generations} == set(scene.service.jobs) - {first, second}
    assert scene.service.counts[POST] == 1
    assert scene.service.counts[FILE] == 4


def test_four_in_one_request_and_no_answer(scene: Scene) -> None:
    """Killed before the answer that would have named four: all four are found."""
    scene.service.script(POST, f.act_then_never_answer())
    scene.start(request(count=4))
    scene.wait_until(lambda: len(scene.service.jobs) == 4)
    scene.kill()
    assert {g.id for g in scene.deliver()} == set(scene.service.jobs)
    assert scene.service.counts[POST] == 1


def test_synchronous_while_it_downloads(scene: Scene) -> None:
    """Killed with the synchronous answer's link in the journal: fetched by that link."""
    scene.service.script(FILE, f.stall_midway(0.1))
    scene.start(synchronous=True)
    scene.wait_until(lambda: scene.service.jobs)
    scene.service.finish()
    scene.until_status("downloading")
    scene.wait_until(lambda: sum(scene.service.delivered.values()))
    scene.kill()
    assert len(scene.deliver()) == 1
    assert scene.service.counts["POST /api/ai/videos/generate"] == len(scene.service.jobs) == 1


def start_with_the_video_in_the_answer(scene: Scene) -> None:
    scene.start(VideoRequest(MODEL, {"prompt": PROMPT}, response_format="b64_json"), synchronous=True)
    scene.wait_until(lambda: scene.service.jobs)
    (job,) = scene.service.jobs.values()
    job.content += struct.pack(">I4s", 4_000_000, b"free") + bytes(4_000_000 - 8)


def is_delivered_whole(scene: Scene) -> bool:
    (generation,) = scene.deliver()
    assert generation.path is not None
    assert scene.service.counts["POST /api/ai/videos/generate"] == len(scene.service.jobs) == 1
    return generation.path.stat().st_size > 4_000_000


def test_while_the_video_in_the_answer_is_kept(scene: Scene) -> None:
    """Killed while the only copy is written to the data directory: half of it is not taken for a video."""
    start_with_the_video_in_the_answer(scene)
    resource.prlimit(scene.victims[-1].pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    scene.service.finish()
    assert scene.victims[-1].wait(PATIENCE) == -signal.SIGXFSZ
    assert is_delivered_whole(scene)


def test_after_the_video_in_the_answer_was_saved(scene: Scene) -> None:
    """Killed with the file in place and the journal not knowing it: what was kept is saved again."""
    start_with_the_video_in_the_answer(scene)
    full = "CREATE TRIGGER full BEFORE UPDATE OF path ON generation WHEN NEW.path NOTNULL BEGIN SELECT RAISE(ABORT, ''); END"
    with contextlib.closing(sqlite3.connect(scene.journal, isolation_level=None)) as db:
        db.execute(full)
        scene.service.finish()
        scene.wait_until(lambda: list((scene.tmp_path / "videos").glob("*.mp4")))
        time.sleep(0.3)
        scene.kill()
        db.execute("DROP TRIGGER full")
    assert is_delivered_whole(scene)


def test_killed_twice(scene: Scene) -> None:
    """The one who resumes is killed too: the third delivers, and still one submit was made."""
    scene.service.script(POST, f.act_then_never_answer())
    scene.start()
    scene.wait_until(lambda: scene.service.jobs)
    scene.kill()
    second = scene.make_session(scene.service)
    (generation,) = second.resume()
    scene.wait_until(lambda: generation.id)
    second.close()
    assert len(scene.deliver()) == 1
    assert scene.service.counts[POST] == len(scene.service.jobs) == 1
