"""Many videos from one cell: counts, rows, sweeps, and what a Batch does with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faulty import FaultyService, Job
from oxenvideo import Batch
from shell import Notebook, notebook_in

pytestmark = pytest.mark.slow


@pytest.fixture
def quick() -> Iterator[FaultyService]:
    """A service whose jobs take 20 ms; those that speak of rain fail the first time."""
    seen: Counter[str] = Counter()

    def failure(job: Job) -> str | None:
        prompt = job.body["prompt"]
        seen[prompt] += 1
        return "It rains" if "rain" in prompt and seen[prompt] == 1 else None

    with FaultyService(job_seconds=0.02, failure=failure) as service:
        yield service


@pytest.fixture
def book(quick: FaultyService, tmp_path: Path) -> Iterator[Notebook]:
    """A notebook whose cells go there."""
    with notebook_in(tmp_path, base_url=quick.base_url, api_key=quick.api_key) as opened:
        yield opened


def batch(book: Notebook, line: str, body: str) -> Batch:
    """Run a cell and wait for all of its videos."""
    ran = book.run(f"%%oxenvideo many {line}\n{body}")
    assert ran.error is None, ran.message
    made = book["many"]
    assert isinstance(made, Batch)
    return made.wait(30)


def test_a_count_is_split_into_requests_of_at_most_four(book: Notebook, quick: FaultyService) -> None:
    """Ten videos are three requests, of four, four and two, and ten files."""
    many = batch(book, "-n 10", "A fox")
    assert sorted(body["num_generations"] for body in quick.submits) == [2, 4, 4]
    assert len({g.id for g in many}) == len({g.path for g in many}) == 10
    assert [g.index for g in many] == list(range(10))
    assert many.summary == "10 videos: 10 succeeded"


@pytest.mark.parametrize("kind", ["a list", "a DataFrame"])
def test_each_row_fills_body_and_options(book: Notebook, quick: FaultyService, kind: str) -> None:
    """A row's columns go into the prompt, into options and into the name of the file; numbers stay numbers."""
    rows: Any = [
        {"animal": "fox", "seconds": 5, "shape": "1:1", "strength": 0.5},
        {"animal": "owl", "seconds": 10, "shape": "9:16", "strength": 0.7},
    ]
    if kind == "a DataFrame":
        rows = pytest.importorskip("pandas").DataFrame(rows)
    book["rows"] = rows
    line = "--each rows --duration {seconds} --aspect-ratio {shape} --cfg-scale {strength} --save zoo/{name}-{index}"
    many = batch(book, line, "One {animal} in the snow")
    sent = [{k: b[k] for k in ("prompt", "duration", "aspect_ratio", "cfg_scale")} for b in quick.submits]
    assert sorted(sent, key=lambda body: body["duration"]) == [
        {"prompt": "One fox in the snow", "duration": 5, "aspect_ratio": "1:1", "cfg_scale": 0.5},
        {"prompt": "One owl in the snow", "duration": 10, "aspect_ratio": "9:16", "cfg_scale": 0.7},
    ]
    assert [str(g.path.relative_to(Path.cwd())) for g in many if g.path] == [
        "videos/zoo/many-0.mp4",
        "videos/zoo/many-1.mp4",
    ]


def test_sweeps_give_every_combination(book: Notebook, quick: FaultyService) -> None:
    """Two sweeps of two and two are four requests."""
    many = batch(book, "--sweep seed=1,2 --sweep aspect_ratio=16:9,9:16", "A fox")
    assert len(many) == 4
    assert Counter((b["seed"], b["aspect_ratio"]) for b in quick.submits) == Counter(
        [(1, "16:9"), (1, "9:16"), (2, "16:9"), (2, "9:16")]
    )


def test_rows_sweeps_and_counts_multiply(book: Notebook, quick: FaultyService) -> None:
    """Two rows, two values and a count of three are four requests and twelve videos."""
    book["rows"] = [{"animal": "fox"}, {"animal": "owl"}]
    assert len(batch(book, "--each rows --sweep seed=1,2 -n 3", "A {animal}")) == 12
    assert [b["num_generations"] for b in quick.submits] == [3, 3, 3, 3]


def test_one_row_is_still_a_batch(book: Notebook) -> None:
    """What --each gives is a Batch, however many rows there are."""
    book["rows"] = [{"animal": "fox"}]
    assert len(batch(book, "--each rows", "A {animal}")) == 1


def test_a_wrong_row_sends_nothing(book: Notebook, quick: FaultyService) -> None:
    """One wrong value among the rows refuses the whole cell before anything is sent."""
    book["rows"] = [{"seconds": 5}, {"seconds": 7}]
    ran = book.run("%%oxenvideo many --each rows --duration {seconds}\nA fox")
    assert "duration 7 is not allowed" in ran.message
    assert not quick.submits


def test_the_failed_are_retried_with_their_numbers(book: Notebook, quick: FaultyService) -> None:
    """retry_failed sends those that failed, and only those, once more; names of files go on as they were."""
    book["rows"] = [{"sky": "sun"}, {"sky": "rain"}, {"sky": "snow"}, {"sky": "heavy rain"}]
    many = batch(book, "--each rows --save sky-{index}", "A day of {sky}")
    assert many.summary == "4 videos: 2 succeeded, 2 failed"
    assert {g.error_message for g in many.failed} == {"It rains"}
    again = many.retry_failed().wait(30)
    assert sorted(b["prompt"] for b in quick.submits[4:]) == ["A day of heavy rain", "A day of rain"]
    assert [(g.index, g.path.name) for g in again if g.path] == [(1, "sky-1.mp4"), (3, "sky-3.mp4")]
    assert again.name == "many"
    assert len(again.retry_failed()) == 0


def test_cancelling_all(tmp_path: Path) -> None:
    """Cancel ends what runs and what has not been sent, tells of each, and leaves what had ended."""
    with (
        FaultyService() as service,
        notebook_in(tmp_path, base_url=service.base_url, api_key=service.api_key) as book,
    ):
        assert book.run("%%oxenvideo many --sweep seed=1,2,3,4,5\nA fox").error is None
        many = book["many"]
        service.wait_until(lambda: len(service.jobs) == 5)
        first = next(job for job in service.jobs.values() if job.body["seed"] == 1)
        service.finish(first.id)
        service.wait_until(lambda: many[0].done)
        ran = book.run("%oxenvideo cancel many")
        assert ran.text == "many: 4 of 4 cancelled.\n"
        assert many.summary == "5 videos: 1 succeeded, 4 cancelled"
        assert all(many.cancel() == [] for _ in range(2))
        assert Counter(job.status for job in service.jobs.values()) == {"succeeded": 1, "cancelled": 4}


def test_a_batch_as_a_table(book: Notebook) -> None:
    """to_pandas has a row for each video: status, parameters, file, cost, time, and why one failed."""
    pandas = pytest.importorskip("pandas")
    book["rows"] = [{"sky": "sun", "seed": 1}, {"sky": "rain", "seed": 2}]
    many = batch(book, "--each rows --seed {seed}", "A day of {sky}")
    table = many.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert list(table["status"]) == ["succeeded", "failed"]
    assert list(table["seed"]) == [1, 2]
    assert list(table["prompt"]) == ["A day of sun", "A day of rain"]
    assert list(table["error_message"].fillna("")) == ["", "It rains"]
    assert Path(table["path"][0]).exists()
    assert table["seconds"].between(0, 30).all()
    assert len(set(table["id"])) == 2


def test_a_dry_run_of_many_shows_every_request(book: Notebook, quick: FaultyService) -> None:
    """Every request is printed, and the sum of all."""
    book["rows"] = [{"animal": "fox"}, {"animal": "owl"}]
    ran = book.run("%%oxenvideo --dry-run --each rows --duration 5\nA {animal}")
    bodies = [json.JSONDecoder().raw_decode(part.partition("\n")[2])[0] for part in ran.text.split("POST ")[1:]]
    assert [body["prompt"] for body in bodies] == ["A fox", "A owl"]
    assert "About $0.70 for 2 requests. Nothing was sent." in ran.text
    assert not quick.submits
