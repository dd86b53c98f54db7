"""The measuring instruments are on trial: the simulator's four shapes, a race, and the table."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def race(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package as it is run, from the root of the project."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("tests.benchmarks.race")


@pytest.fixture
def origin(race: ModuleType) -> Iterator[str]:
    with race.simulator() as running:
        yield running


@pytest.mark.parametrize(
    ("submit", "name", "read", "status", "ended"),
    [
        ("/api/ai/queue", "generation_id", "/api/ai/queue/{}", "status", "succeeded"),
        ("/fal-ai/video", "request_id", "/fal-ai/video/requests/{}/status", "status", "COMPLETED"),
        ("/v1/predictions", "id", "/v1/predictions/{}", "status", "succeeded"),
        ("/v1/videos", "id", "/v1/videos/{}", "status", "completed"),
    ],
)
def test_each_shape_tells_of_a_running_and_an_ended_job(
    origin: str, submit: str, name: str, read: str, status: str, ended: str
) -> None:
    """A job submitted in any of the shapes runs for its time and is then ended, in that shape's words."""
    with httpx.Client(base_url=origin) as http:
        http.post("/bench/reset", json={"shortest": 0.2, "longest": 0.2})
        answer = http.post(submit, json={"prompt": "job-3: a balloon"}).json()
        job = answer.get("generations", [answer])[0][name]
        seen = [http.get(read.format(job)).json()[status]]
        deadline = time.monotonic() + 30
        while seen[-1] != ended and time.monotonic() < deadline:
            time.sleep(0.02)
            seen.append(http.get(read.format(job)).json()[status])
        state = http.post("/bench/state").json()
    assert seen[0] != ended
    assert seen[-1] == ended
    assert state["requests"] == {"submit": 1, "read": len(seen)}
    assert 0 <= time.monotonic() - state["ended"]["3"] < 30


def test_a_race_measures_from_the_jobs_own_ends(race: ModuleType, origin: str) -> None:
    """The floor knows of every job soon after its end and never before, with one request a job."""
    found = race.run(origin, "floor", 6, shortest=3, longest=3.2)
    assert found.known == 6
    assert all(0 <= late < 3 for late in found.late)  # 3 and more after its submission
    assert {kind: number for kind, number in found.requests.items() if number} == {"submit": 6}
    assert found.processor > 0


def test_jobs_held_back_begin_when_they_are_released(race: ModuleType, origin: str) -> None:
    """In a gated race no job ends before the release, and then each does."""
    with httpx.Client(base_url=origin) as http:
        http.post("/bench/reset", json={"gated": True, "shortest": 0.01, "longest": 0.02})
        for number in range(3):
            http.post("/api/ai/queue", json={"prompt": f"job-{number}"})
        time.sleep(0.1)
        assert http.post("/bench/state").json()["ended"] == {}
    assert race.run(origin, "floor", 20, gated=True, shortest=0.01, longest=0.02).known == 20


def test_a_participant_that_fails_says_why(race: ModuleType, origin: str) -> None:
    """A race of somebody who cannot run is an error with their last words, not a figure."""
    with pytest.raises(RuntimeError, match="nobody with 1 jobs ended badly"):
        race.run(origin, "nobody", 1)


def test_everybody_has_the_same_jobs(race: ModuleType) -> None:
    """A job's time depends on the seed and its number alone."""
    simulator = importlib.import_module("tests.benchmarks.simulator")
    one, other, third = (simulator.Queue(simulator.Setting(seed=seed), "") for seed in (7, 7, 8))
    times = [one.duration(number) for number in range(50)]
    assert times == [other.duration(number) for number in range(50)]
    assert times != [third.duration(number) for number in range(50)]
    assert all(5 <= seconds <= 15 for seconds in times)
    assert len(set(times)) == 50


def test_the_table_puts_ratios_first_and_says_what_is_missed(race: ModuleType, tmp_path: Path) -> None:
    """What must be reached stands above, ratios before the rest; JSON holds the same rows, and no infinity."""
    rows = importlib.import_module("tests.benchmarks.rows")
    given = [
        rows.figure("somebody, 20 jobs: late", float("inf"), "ms"),
        rows.at_most("requests", 1.5, 1.1),
        rows.at_least("speed", 3, 2, "times"),
    ]
    ordered = rows.ratios_first(given)
    assert [row.name for row in ordered] == ["speed", "requests", "somebody, 20 jobs: late"]
    lines = rows.tables(ordered).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:5]] == ["speed", "3 times", "≥ 2", "yes"]
    assert [cell.strip() for cell in lines[3].split("|")[1:5]] == ["requests", "1.5", "≤ 1.1", "NO"]
    rows.write(tmp_path / "out.json", ordered, seconds=1)
    written = json.loads((tmp_path / "out.json").read_text())
    assert [row["value"] for row in written["rows"]] == [3, 1.5, None]
    assert written["machine"]["processors"] >= 1
