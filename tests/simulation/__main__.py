"""``python -m tests.simulation``: play lives, and print every seed in which an invariant does not hold."""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import os
import secrets
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator

if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets belongs to what a seed must reproduce
    again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
    os.execve(sys.executable, again, os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606 - this very program

from . import defects
from .life import Outcome, play
from .shrink import kind, shrink

_SHOWN = 3  # failures of one run that are made smaller and printed whole


def main() -> int:
    """Parse the command line and play; the exit status is 1 if an invariant was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--lives", type=int, metavar="N", help="2,000; with --defects at most 20,000 for each")
    parser.add_argument("--first-seed", type=int, metavar="N", help="the default is a fresh one")
    parser.add_argument(
        "--seed", type=int, nargs="+", metavar="N", help="play these lives alone, and print their histories"
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes")
    parser.add_argument("--seconds", type=float, metavar="S", help="begin no life after so many seconds")
    parser.add_argument("--keep", action="store_true", help="with --seed: do not make a failing life smaller")
    parser.add_argument("--defect", metavar="TEXT", help="put a known defect back, named by how its description begins")
    parser.add_argument("--defects", action="store_true", help="count the lives until each known defect is found")
    given = parser.parse_args()
    _quiet()
    if given.defects:
        return defects.prove(given.lives or 20_000, given.first_seed or 1, given.jobs)
    if given.defect:
        defects.put_back(given.defect)
    if given.seed is not None:
        return max([_play_one(seed, given.keep) for seed in given.seed])
    first = secrets.randbits(31) if given.first_seed is None else given.first_seed
    return _play_many(range(first, first + (given.lives or 2000)), given.jobs, given.seconds)


def _quiet() -> None:
    """What is said about dead kernels, whose coroutines are left as they were, is no news."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda unraisable: None
    gc.freeze()


def _play_one(seed: int, keep: bool) -> int:
    outcome = play(seed)
    if outcome.failure is not None and not keep:
        suppressed, outcome = shrink(outcome, play)
        print(f"without {sorted(map(str, suppressed))}")
    print("\n".join(outcome.history))
    print(f"seed {seed}: {outcome.failure or 'all invariants hold'}")
    return 1 if outcome.failure else 0


def _play_many(seeds: range, jobs: int, seconds: float | None) -> int:
    print(f"seeds {seeds.start} to {seeds.stop - 1}", flush=True)
    began = time.monotonic()
    figures: Counter[str] = Counter()
    failures: dict[str, list[Outcome]] = {}
    for outcome in _outcomes(seeds, jobs, None if seconds is None else began + seconds):
        figures["lives"] += 1
        figures.update(outcome.figures)
        if outcome.failure is not None:
            failures.setdefault(kind(outcome.failure), []).append(outcome)
            print(f"broken, seed {outcome.seed}: {outcome.failure[:150]}", flush=True)
        if figures["lives"] % 1000 == 0:
            print(f"{figures['lives']:,} lives", flush=True)
    print(", ".join(f"{count:,} {what}" for what, count in figures.items()) + f"; {time.monotonic() - began:.0f} s")
    for name, broken in sorted(failures.items(), key=lambda item: -len(item[1])):
        print(f"{len(broken)} times: {name}; seeds {', '.join(str(one.seed) for one in broken[:8])}")
    for broken in list(failures.values())[:_SHOWN]:
        _, smallest = shrink(broken[0], play)
        print(f"\nseed {smallest.seed}, made smaller:")
        print("\n".join(smallest.history))
    return 1 if failures else 0


def _outcomes(seeds: range, jobs: int, end: float | None) -> Iterator[Outcome]:
    """The outcomes of lives, as they end; histories only of those that failed."""
    if jobs < 2:
        for seed in seeds:
            if end is None or time.monotonic() < end:
                yield play(seed)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for outcome in pool.imap_unordered(_play_briefly, seeds, chunksize=20):
            yield outcome
            if end is not None and time.monotonic() > end:
                return


def _play_briefly(seed: int) -> Outcome:
    outcome = play(seed)
    if outcome.failure is None:
        outcome.history, outcome.taken = [], []
    return outcome


if __name__ == "__main__":
    sys.exit(main())
