"""What every participant runs: a warm-up, the start, the submits, the knowing, and the report of what it cost."""

from __future__ import annotations

import http.client
import json
import resource
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

GIVE_UP_AFTER = 150.0  # seconds from the last submit until what is not known is given up


def resident() -> int:
    """Bytes of memory this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def processor() -> float:
    """Seconds of processor time this process has used, in all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def steer(origin: str, command: str, body: bytes = b"{}") -> dict[str, dict[str, float]]:
    """Tell the simulator something; its state is the answer."""
    connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=30)
    connection.request("POST", f"/bench/{command}", body)
    state: dict[str, dict[str, float]] = json.loads(connection.getresponse().read())
    connection.close()
    return state


class Course:
    """One participant's run. Times are those of the monotonic clock that all processes of the machine share."""

    def __init__(self, origin: str, count: int, gated: bool) -> None:
        self.origin = origin
        self.count = count
        self.gated = gated
        self.known: dict[int, float] = {}
        self.errors: list[str] = []
        self.all_known = threading.Event()
        self._peak = 0

    @classmethod
    def from_arguments(cls) -> Course:
        origin, count, gated = sys.argv[1:4]
        return cls(origin, int(count), gated == "gated")

    def prompt(self, number: int) -> str:
        """The prompt of a job; it names the job to the simulator."""
        return f"job-{number}: a red balloon floating upward through blue sky"

    WARM_UP = "A job before the start, ended at once"

    def begin(self) -> None:
        """The warm-up is over: from here on everything counts."""
        self._asked = steer(self.origin, "state")["requests"]
        self._memory = resident()
        self._processor = processor()
        self._begun = time.monotonic()

    def knows(self, number: int) -> None:
        """The participant has learned at this moment that the job has ended."""
        self.known.setdefault(number, time.monotonic())
        if len(self.known) == self.count:
            self.all_known.set()

    def failed(self, error: BaseException) -> None:
        self.errors.append(f"{type(error).__name__}: {error}")

    def submitted(self) -> None:
        """All jobs are submitted: note the memory, and let those begin that were held back."""
        self._submitted = time.monotonic() - self._begun
        self._peak = resident()
        if self.gated:
            steer(self.origin, "release")

    def report(self) -> None:
        """Print what this run was, as JSON."""
        self._peak = max(self._peak, resident())
        used = processor() - self._processor
        state = steer(self.origin, "state")
        late = [self.known[int(number)] - end for number, end in state["ended"].items() if int(number) in self.known]
        asked = {kind: number - self._asked.get(kind, 0) for kind, number in state["requests"].items()}
        report = {
            "count": self.count,
            "known": len(self.known),
            "late": sorted(late),
            "requests": asked,
            "processor": used,
            "memory": self._peak - self._memory,
            "submitting": self._submitted,
            "errors": self.errors[:5],
        }
        print(json.dumps(report))
