"""One race: a participant in its own process, against the simulator in its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .participants.course import steer

ROOT = Path(__file__).resolve().parents[2]
TIME_LIMIT = 400.0  # seconds that a participant may take in all


@dataclass(frozen=True)
class Run:
    """What one participant did. Lateness in seconds, processor time in milliseconds a job, memory in KiB a job."""

    name: str
    count: int
    known: int
    late: list[float]
    requests: dict[str, int]
    processor: float
    memory: float
    submitting: float
    errors: list[str]

    def quantile(self, share: float) -> float:
        """The lateness that this share of the jobs does not exceed; infinite where not all became known."""
        place = min(self.count - 1, round(share * (self.count - 1)))
        return self.late[place] if place < len(self.late) else float("inf")

    @property
    def median(self) -> float:
        return self.quantile(0.5)

    @property
    def p95(self) -> float:
        return self.quantile(0.95)

    @property
    def requests_a_job(self) -> float:
        return sum(self.requests.values()) / self.count


def simulator() -> AbstractContextManager[str]:
    """The origin of a running simulator."""
    return process("simulator")


@contextlib.contextmanager
def process(module: str, *arguments: str) -> Iterator[str]:
    """A module of this package as a process that says its address and lives until its input is closed."""
    command = [sys.executable, "-m", f"{__package__}.{module}", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        try:
            yield running.stdout.readline().strip()
        finally:
            running.stdin.close()


def run(origin: str, name: str, count: int, *arguments: str, **setting: Any) -> Run:
    """Let a participant take part with so many jobs; RuntimeError with its last words where it fails."""
    steer(origin, "reset", json.dumps(setting).encode())
    gated = "gated" if setting.get("gated") else "free"
    command = [sys.executable, "-m", f"{__package__}.participants.{name}", origin, str(count), gated, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} with {count} jobs ended badly: {done.stderr.strip()[-800:]}")
    report = json.loads(done.stdout.strip().splitlines()[-1])
    report["processor"] = 1000 * report["processor"] / count
    report["memory"] = report["memory"] / 1024 / count
    return Run(name=name, **report)
