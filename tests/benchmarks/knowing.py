"""Knowing that a job ended: how late, with how many requests, for how much processor time and memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from .race import Run, run, simulator
from .rows import Row, at_least, at_most, figure

PEERS = ("quickstart", "fal", "replicate_", "openai_")
SHOWN = {"floor": "the floor", "ours": "oxenvideo", "quickstart": "quick start's loop", "fal": "fal-client",
         "replicate_": "replicate", "openai_": "openai"}  # fmt: skip
POLL_INTERVAL = 10.0  # seconds between lists where there is no stream: the package's default
REPEATS = 3  # of the floor and of ours at 200 jobs, for they are compared most closely


@dataclass(frozen=True)
class Several:
    """Runs of one participant with the same jobs. The least of a figure counts: whatever else runs only adds to it."""

    runs: list[Run]

    @property
    def best(self) -> Run:
        return min(self.runs, key=lambda run: run.p95)

    def figure(self, of: Callable[[Run], float]) -> float:
        return min(of(run) for run in self.runs)


def rows() -> Iterator[Row]:
    """All races, and the rows that come of them."""
    with simulator() as origin:
        few = {name: _race(origin, name, 20) for name in ("floor", "ours", *PEERS)}
        peers = {name: _race(origin, name, 200) for name in PEERS}
        pairs = [(_race(origin, "floor", 200), _race(origin, "ours", 200)) for _ in range(REPEATS)]
        floor, ours = (Several(list(runs)) for runs in zip(*pairs, strict=True))
        downloading = [tuple(_race(origin, name, 200, "files") for name in ("floor", "ours")) for _ in range(REPEATS)]
        floor_files, files = (Several(list(runs)) for runs in zip(*downloading, strict=True))
        four = _race(origin, "ours", 200, "4")
        crowd_floor, crowd = (_race(origin, name, 5000, gated=True) for name in ("floor", "ours"))
    yield from _compared(floor, ours, peers)
    cost = files.figure(lambda run: run.processor) / floor_files.figure(lambda run: run.processor)
    note = f"200 jobs, the floor downloads the files too, best of {REPEATS} runs each"
    yield at_most("processor time a job, over the floor", cost, 1.8, "times", note)
    yield at_most("requests a job, four jobs to a request", four.requests_a_job, 0.35, note="200 jobs")
    yield from _crowd(crowd_floor, crowd, ours)
    yield from _without_stream()
    for found in (*few.values(), *peers.values(), floor.best, ours.best):
        yield from _figures(found)


def _race(origin: str, name: str, count: int, *arguments: str, gated: bool = False) -> Run:
    print(f"  {SHOWN[name]}, {count} jobs", file=sys.stderr, flush=True)
    return run(origin, name, count, *arguments, gated=gated)


def _compared(floor: Several, ours: Several, peers: dict[str, Run]) -> Iterator[Row]:
    p95 = ours.figure(lambda run: run.p95)
    lateness = p95 / floor.figure(lambda run: run.p95)
    yield at_most("lateness, p95, over the floor", lateness, 2, "times", f"200 jobs, best of {REPEATS} runs each")
    best = min(peers.values(), key=lambda run: run.p95)
    yield at_least("best polling peer's p95 over ours", best.p95 / p95, 25, "times", f"200 jobs; {SHOWN[best.name]}")
    yield at_most("requests a job", ours.figure(lambda run: run.requests_a_job), 1.1, note="200 jobs, downloads aside")


def _crowd(floor: Run, crowd: Run, ours: Several) -> Iterator[Row]:
    at_200 = ours.figure(lambda run: run.processor)
    yield at_least("known of 5,000 jobs in flight", crowd.known, 5000)
    yield at_most("lateness, p95, over the floor, 5,000 jobs", crowd.p95 / floor.p95, 3, "times")
    yield at_most("processor time a job, 5,000 jobs over 200", crowd.processor / at_200, 1.0, "times")
    yield at_most(
        "memory a job over the start, 5,000 jobs", crowd.memory, 16, "KiB", f"the floor: {floor.memory:.1f} KiB"
    )
    yield figure("processor time a job, 5,000 jobs", crowd.processor, "ms", f"the floor: {floor.processor:.2f} ms")


def _without_stream() -> Iterator[Row]:
    print("  oxenvideo without the stream, 20 and 200 jobs", file=sys.stderr, flush=True)
    with ThreadPoolExecutor() as pool:
        few, many = pool.map(_one_without_stream, (20, 200))
    yield at_most("lateness, p95, without the stream", many.p95, POLL_INTERVAL, "s", "200 jobs; the poll interval")
    reads = [found.requests.get("read", 0) for found in (few, many)]
    note = f"{reads[1]} at 200 jobs, {reads[0]} at 20: bounded by time, not by jobs"
    yield at_most("reads without the stream, 200 jobs over 20", reads[1] / max(1, reads[0]), 2, "times", note)


def _one_without_stream(count: int) -> Run:
    with simulator() as origin:
        return run(origin, "ours", count, stream=False)


def _figures(found: Run) -> Iterator[Row]:
    named = partial("{0}, {1} jobs: {2}".format, SHOWN[found.name], found.count)
    unknown = f"{found.count - found.known} never known" if found.known < found.count else ""
    note = "; ".join(filter(None, [unknown, *found.errors[:1]]))
    yield figure(named("lateness, median"), 1000 * found.median, "ms", note)
    yield figure(named("lateness, p95"), 1000 * found.p95, "ms")
    yield figure(named("requests a job"), found.requests_a_job)
    yield figure(named("processor time a job"), found.processor, "ms")
