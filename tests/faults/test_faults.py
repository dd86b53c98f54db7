"""Each fault of the table, over real sockets: nothing is submitted twice, and nothing finished stays away."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import pytest

from faults.fault import MODEL, PROMPT, End, Fault
from faults.table import FAULTS, with_table
from faulty import (
    DOWNLOAD_FAULTS,
    READ_FAULTS,
    RESUME_FAULTS,
    STREAM_FAULTS,
    UNTOLD_SUBMITS,
    Behaviour,
    FaultyService,
    ok,
    rate_limited,
)
from oxenvideo.errors import DownloadFailed, GenerationCancelled, GenerationFailed, OutcomeUnknown, OxenVideoError
from oxenvideo.jobs.file_names import is_file_of
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.journal import Entry, Journal
from oxenvideo.request.request import VideoRequest, recall
from oxenvideo.session import Session

pytestmark = pytest.mark.slow

POST = "POST /api/ai/queue"
PATIENCE = 60.0  # seconds for everything of one fault; the slowest takes three on an idle machine
ERRORS = {
    End.REFUSED: GenerationFailed,
    End.UNCONFIRMED: OutcomeUnknown,
    End.FAILED: GenerationFailed,
    End.CANCELLED: GenerationCancelled,
    End.FETCHED_LATER: DownloadFailed,
}


def _id(fault: Fault) -> str:
    return f"{fault.group}: {fault.does}"


@pytest.mark.parametrize("fault", FAULTS, ids=_id)
def test_fault(
    fault: Fault, make_session: Callable[..., Session], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the service does has the end that the table says, by the service's own counters."""
    options = {"job_seconds": 0.05, "keep_alive": 0.1} | dict(fault.service)
    with FaultyService(**options) as service:
        session = make_session(service, **fault.session)
        fault.arrange(service)
        begun = time.monotonic()
        request = VideoRequest(MODEL, {"prompt": PROMPT, "duration": 5}, count=fault.together)
        batch = session.submit_batch([request] * fault.jobs)
        fault.meanwhile(service)
        errors = [_end_of(generation) for generation in batch]
        _check(fault, service, list(batch), errors)
        if fault.end is End.FETCHED_LATER:
            for route in ("GET /files/{file}", "GET /api/ai/queue/{id}"):
                service.clear(route)
            brought = session.resume()
            assert [g.wait(PATIENCE).status for g in brought] == ["succeeded"] * len(batch)
            _check_delivered(service, list(batch))
        session.close()
        assert bool(_unfinished(session)) == (fault.end is End.UNCONFIRMED)
        posts = fault.posts if fault.posts is not None else fault.jobs
        assert service.counts[POST] <= posts, "a submit was sent again"
        most = 120 * fault.jobs + 10 * (time.monotonic() - begun)  # a busy machine takes longer, and polls longer
        assert sum(service.counts.values()) < most, f"too many requests: {service.counts}"
    assert not list(tmp_path.rglob("*.part"))
    assert not [r for r in caplog.records if r.name == "oxenvideo" and r.levelno >= logging.WARNING]


@pytest.mark.parametrize("seed", range(3))
def test_all_at_once(seed: int, make_session: Callable[..., Session], caplog: pytest.LogCaptureFixture) -> None:
    """Forty videos, a third of all requests going wrong in any way that loses no submit: each is made and brought once."""
    chance = random.Random(seed)

    def mixed(*tables: Mapping[str, Callable[[], Behaviour]], number: int) -> list[Behaviour]:
        faults = [make for table in tables for name, make in table.items() if name not in _TOO_SLOW]
        return [chance.choice(faults)() if chance.random() < 0.3 else ok() for _ in range(number)]

    with FaultyService(job_seconds=lambda job: chance.uniform(0.05, 0.6), keep_alive=0.1) as service:
        service.script(POST, *mixed(UNTOLD_SUBMITS, {"429": rate_limited}, number=60))
        service.script("GET /api/ai/queue", *mixed(READ_FAULTS, number=200))
        service.script("GET /api/ai/queue/{id}", *mixed(READ_FAULTS, number=200))
        service.script("GET /api/events", *mixed(STREAM_FAULTS, number=20))
        service.script("GET /files/{file}", *mixed(DOWNLOAD_FAULTS, RESUME_FAULTS, number=200))
        session = make_session(service, timeout=2.0)  # some answers end too early
        prompts = [PROMPT if n % 4 else f"{PROMPT} {n}" for n in range(40)]  # many alike
        batch = session.submit_batch([VideoRequest(MODEL, {"prompt": prompt}) for prompt in prompts])
        deadline = time.monotonic() + 90
        while not all(g.path for g in batch) and time.monotonic() < deadline:
            session.resume()  # what was given to a person, or failed for good, is tried again as a person would
            time.sleep(0.3)
        left = [str(g.state.error or g.state.notice) for g in batch if not g.path]
        assert left == [], f"{batch}; the service has {len(service.jobs)} jobs of {service.counts[POST]} submits"
        assert len(service.jobs) == 40, "a submit was sent again"
        assert {g.id for g in batch} == set(service.jobs)
        assert sorted(recall(g.path).prompt for g in batch if g.path) == sorted(prompts)
        session.close()
        assert _unfinished(session) == []
    assert not [r for r in caplog.records if r.name == "oxenvideo" and r.levelno >= logging.WARNING]


_TOO_SLOW = ("never answered", "stalled midway", "a line without end", "huge length", "slow", "page")


def test_the_table_in_the_readme_is_current() -> None:
    """The README of this directory lists exactly these faults."""
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    assert text.count("<!-- faults -->") == 1
    assert with_table(text) == text


def test_each_fault_is_told_once() -> None:
    """No two rows of the table have the same name, and there are enough of them."""
    names = [_id(fault) for fault in FAULTS]
    assert len(names) == len(set(names)) >= 30


def _end_of(generation: Generation) -> OxenVideoError | None:
    try:
        generation.wait(PATIENCE)
    except OxenVideoError as error:
        return error
    return None


def _check(fault: Fault, service: FaultyService, batch: list[Generation], errors: list[OxenVideoError | None]) -> None:
    there = fault.jobs * fault.together if fault.jobs_there is None else fault.jobs_there
    assert len(service.jobs) == (0 if fault.end is End.REFUSED else there), "jobs made and jobs asked for differ"
    wrong = [error for error in errors if error is not None]
    if fault.end is End.DELIVERED:
        assert wrong == []
        _check_delivered(service, batch)
        return
    assert wrong, "it ended well"
    for error in wrong:
        assert isinstance(error, ERRORS[fault.end])
        assert fault.says in str(error)
    _check_delivered(service, [g for g, error in zip(batch, errors, strict=True) if error is None])


def _check_delivered(service: FaultyService, batch: list[Generation]) -> None:
    """Each is a whole video on disk, the one that it says it is, and no two are the same."""
    assert len({g.id for g in batch}) == len({g.path for g in batch}) == len(batch)
    for generation in batch:
        assert generation.id in service.jobs
        assert generation.path is not None
        assert is_file_of(generation.path, generation.id)
        assert _pictures(generation.path.read_bytes()) == _pictures(service.jobs[generation.id].content)
        assert recall(generation.path).prompt == PROMPT
        with av.open(str(generation.path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 24


def _unfinished(session: Session) -> list[Entry]:
    journal = Journal(session.journal.path)
    try:
        return journal.open_entries()
    finally:
        journal.close()


def _pictures(mp4: bytes) -> bytes:
    """What the video shows: the content of its mdat box, which labelling a file leaves alone."""
    at = 0
    while mp4[at + 4 : at + 8] != b"mdat":
        at += int.from_bytes(mp4[at : at + 4])
    return mp4[at + 8 : at + int.from_bytes(mp4[at : at + 4])]
