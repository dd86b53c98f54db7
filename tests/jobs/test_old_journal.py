"""A journal that version 0.1 wrote: opened, migrated, and each of its submissions resumed as what it is.

``journal-1.sqlite3`` was left by kernels of version 0.1 that were killed. By name of the video it holds one that was
``delivered``, one ``accepted`` and one ``attached`` without their files, an ``unknown`` and a ``sending`` one, one
``never`` arrived (also ``sending``), two ``planned`` ones, and one that was ``left`` by an attach in the middle.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import faulty as f
from faults.fault import MODEL
from faulty import FaultyService
from oxenvideo.errors import GenerationFailed, OutcomeUnknown
from oxenvideo.jobs.generation import Generation
from oxenvideo.session import Session

POST = "POST /api/ai/queue"
OLD = Path(__file__).with_name("journal-1.sqlite3")
QUERY = "SELECT g.name, s.step, g.generation_id, s.sent_at FROM generation g JOIN submission s ON s.key = g.submission"


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service whose jobs end by hand."""
    with FaultyService(keep_alive=0.1) as running:
        yield running


@pytest.fixture
def journal(service: FaultyService, tmp_path: Path) -> Path:
    """The old journal in the place of this session's, with the service's address."""
    path = tmp_path / "data" / "journal.sqlite3"
    path.parent.mkdir()
    shutil.copyfile(OLD, path)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for table in ("submission", "generation"):
            db.execute(f"UPDATE {table} SET base_url=?", (service.base_url,))  # noqa: S608 - a literal
    return path


def rows(journal: Path) -> dict[str, tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(journal)) as db:
        return {row[0]: row[1:] for row in db.execute(QUERY)}


def at_service(service: FaultyService, journal: Path, *names: str) -> None:
    """Have the service know the generations of these names as of when they were sent."""
    for name, (_, generation_id, sent_at) in rows(journal).items():
        if name in names:
            body = {"model": MODEL, "prompt": f"A balloon, {name}", "duration": 5}
            made = f.Job(generation_id or f"id-of-{name}", body, int(sent_at or time.time()), f.small_video())
            service.jobs[made.id] = made


def resumed(session: Session) -> dict[str, Generation]:
    found = session.resume()
    assert found.notes == []
    return {g.request.prompt.removeprefix("A balloon, "): g for g in found}


def test_the_file_is_what_it_says() -> None:
    """The file is of the first version and holds a submission in each of its steps."""
    with contextlib.closing(sqlite3.connect(f"{OLD.as_uri()}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert "attached" not in [row[1] for row in db.execute("PRAGMA table_info(submission)")]
    assert sorted((name, row[0]) for name, row in rows(OLD).items()) == [
        ("accepted", "accepted"), ("attached", "accepted"), ("delivered", "accepted"), ("left", "planned"),
        ("never", "sending"), ("planned", "planned"), ("sending", "sending"), ("unknown", "unknown"),
    ]  # fmt: skip


@pytest.mark.asks_soon
@pytest.mark.slow
def test_each_submission_is_resumed_as_what_it_is(
    make_session: Callable[..., Session], service: FaultyService, journal: Path
) -> None:
    """What was never sent is sent once; what may have been sent is looked for and not sent; what arrived is fetched."""
    at_service(service, journal, "delivered", "accepted", "attached", "unknown", "sending")
    session = make_session(service)
    found = resumed(session)
    assert found.keys() - {"attached and killed"} == {
        "accepted", "attached", "unknown", "sending", "never arrived", "planned 0", "planned 1",
    }  # fmt: skip
    with pytest.raises(OutcomeUnknown, match="shows no generation like it"):
        found.pop("never arrived").wait(30)
    service.wait_until(lambda: found["planned 0"].id and found["planned 1"].id)
    assert sorted(b["prompt"] for b in service.submits if "planned" in b["prompt"]) == [
        "A balloon, planned 0",
        "A balloon, planned 1",
    ]
    assert not [b for b in service.submits if "planned" not in b["prompt"] and "killed" not in b["prompt"]]
    assert found["unknown"].id == "id-of-unknown"
    assert found["sending"].id == "id-of-sending"
    service.finish()
    for name in ("accepted", "unknown", "sending"):
        path = found[name].wait(30).path
        assert path is not None
        assert path.name == f"{name}.mp4"
    for number in range(2):
        path = found[f"planned {number}"].wait(30).path
        assert path is not None
        assert path.name == f"planned-{number}.mp4"
    assert found["attached"].wait(30).path
    assert session.unfinished() == 0  # the one that never arrived has a live job here


def test_what_an_old_attach_left_is_not_sent(
    make_session: Callable[..., Session], service: FaultyService, journal: Path
) -> None:
    """Version 0.1 wrote an attach in two steps; killed between them it left a row that looks like one to be sent."""
    session = make_session(service)
    session.resume()
    service.wait_until(lambda: len(service.jobs) >= 2)
    time.sleep(0.3)
    assert [b["prompt"] for b in service.submits if "killed" in b["prompt"]] == []
    session.close()
    assert [g for g in make_session(service).resume() if "killed" in g.request.prompt] == []


def test_nothing_that_may_have_been_sent_is_sent_twice_by_two_sessions(
    make_session: Callable[..., Session], service: FaultyService, journal: Path
) -> None:
    """Two sessions open and migrate the old journal at the same time: each submission goes on in one of them."""
    at_service(service, journal, "accepted", "attached", "unknown", "sending")
    sessions: list[Session] = []
    opened = threading.Barrier(2)

    def open_one() -> None:
        opened.wait(30)
        sessions.append(make_session(service))

    threads = [threading.Thread(target=open_one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    found = [g.key for session in sessions for g in session.resume()]
    assert len(sessions) == 2
    assert len(found) == len(set(found)) >= 7
    service.wait_until(lambda: [b for b in service.submits if "planned 1" in b["prompt"]])
    time.sleep(0.3)
    assert len([b for b in service.submits if "killed" not in b["prompt"]]) == 2


@pytest.mark.asks_soon
@pytest.mark.slow
def test_what_was_found_before_the_update_may_not_be_adopted_again(
    make_session: Callable[..., Session], service: FaultyService, journal: Path
) -> None:
    """An old lost submit and an old attached video look the same: the user's attach counts, so the user is asked."""
    at_service(service, journal, "attached", "unknown")
    attached = next(job for name, job in service.jobs.items() if name != "id-of-unknown")
    attached.body["prompt"] = "A balloon, unknown"
    attached.enqueued_at = service.jobs.pop("id-of-unknown").enqueued_at
    generation = resumed(make_session(service))["unknown"]
    with pytest.raises(OutcomeUnknown):
        generation.wait(30)
    assert generation.id is None


def test_the_migrated_file(make_session: Callable[..., Session], service: FaultyService, journal: Path) -> None:
    """Opened once, the file is of the second version with every row in it, private, and opens again."""
    journal.chmod(0o600)
    before = rows(OLD)
    session = make_session(service)
    assert session.journal.typical_seconds(MODEL, service.base_url)
    assert rows(journal).keys() == before.keys()
    session.close()
    with contextlib.closing(sqlite3.connect(journal)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    again = make_session(service)
    assert {e.name for e in again.journal.entries()} == before.keys()


def test_an_old_planned_one_that_is_refused_says_so(
    make_session: Callable[..., Session], service: FaultyService, journal: Path
) -> None:
    """A planned one of the old journal is refused by the service: one clear error, and it does not come back."""
    service.always(POST, f.bad_request("no such model"))
    session = make_session(service)
    found = resumed(session)
    with pytest.raises(GenerationFailed, match="no such model"):
        found["planned 0"].wait(30)
    session.close()
    assert "planned 0" not in resumed(make_session(service))
