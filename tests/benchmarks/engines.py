"""The user's own engines: stubs of ComfyUI with fixed render times, behind the embedded server in a process of its own."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from oxenvideo.server.launcher import launch

from .rows import Row, at_least, at_most, figure

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from server.engines.comfy_stub import ComfyStub, movie  # noqa: E402

WORKFLOW = TESTS / "server" / "engines" / "workflows" / "text-to-video.json"


@dataclass
class Run:
    """What was measured: seconds in all, and for each job from its end at the engine to the event at the client."""

    seconds: float
    late: list[float]
    submits: int
    distinct: int
    succeeded: int


def rows() -> Iterator[Row]:
    movie(1)
    with_events, polling = run([0.2], 40), run([0.2], 40, events=False)
    note = "40 jobs of 0.2 s, one after the other"
    yield at_most("own engine, end to succeeded, p95", 1000 * p95(with_events.late), 50, "ms", note)
    yield at_most("own engine, end to succeeded, p95, polling", p95(polling.late), 1.2, "s", note)
    yield figure("own engine, end to succeeded, median", 1000 * statistics.median(with_events.late), "ms", note)
    one, two = run([0.5], 20), run([0.5, 0.5], 20)
    yield at_least("two equal engines over one", one.seconds / two.seconds, 1.9, "times", "20 jobs of 0.5 s")
    slow, fast = run([1.0], 10), run([0.5], 20)
    both = run([1.0, 0.5], 60)
    rate = 60 / both.seconds / (10 / slow.seconds + 20 / fast.seconds)
    yield at_least("a fast and a slow engine over their sum", rate, 0.9, "times", "60 jobs of 1 s or 0.5 s")
    many = run([0.02] * 8, 500)
    lost_or_doubled = abs(500 - many.succeeded) + abs(500 - many.distinct) + abs(many.submits - many.distinct)
    yield at_most("jobs lost or doubled of 500 on 8 engines", lost_or_doubled, 0, "", f"in {many.seconds:.1f} s")


def p95(values: Sequence[float]) -> float:
    """The 95th percentile."""
    return sorted(values)[int(0.95 * (len(values) - 1))]


def run(render: Sequence[float], jobs: int, *, events: bool = True) -> Run:
    """Queue ``jobs`` on one engine for each render time, and wait until all have succeeded."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        stubs = [stack.enter_context(ComfyStub(seconds=seconds)) for seconds in render]
        for stub in stubs:
            stub.socket_closed = not events
        path = Path(directory) / "engines.toml"
        tables = [f'[engines.gpu{n}]\nkind = "comfyui"\nurl = "{stub.url}"\n' for n, stub in enumerate(stubs)]
        names = [f"gpu{n}" for n in range(len(stubs))]
        path.write_text(f"{''.join(tables)}[models.m]\nengines = {names}\nworkflow = {json.dumps(str(WORKFLOW))}\n")
        server = launch(Path(directory) / "data", options=("--engines", str(path)))
        stack.callback(server.stop)
        headers = {"Authorization": f"Bearer {server.api_key}"}
        http = stack.enter_context(httpx.Client(base_url=server.base_url, headers=headers, timeout=60))
        known: dict[str, float] = {}
        listening, all_known = threading.Event(), threading.Event()

        def listen() -> None:
            with contextlib.suppress(httpx.HTTPError), http.stream("GET", "/api/events") as stream:
                listening.set()
                for line in stream.iter_lines():
                    if line.startswith("data:") and (seen := json.loads(line[5:]))["status"] == "succeeded":
                        known[seen["generation_id"]] = time.monotonic()
                        if len(known) == jobs:
                            all_known.set()
                            return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        listening.wait(30)
        begun = time.monotonic()
        for n in range(jobs // 4):
            http.post("/api/ai/queue", json={"model": "m", "prompt": "A fox", "seed": n, "num_generations": 4})
        for n in range(jobs % 4):
            http.post("/api/ai/queue", json={"model": "m", "prompt": "A fox", "seed": n})
        all_known.wait(300)
        seconds = max(known.values(), default=begun) - begun
        ended = {id_: at for stub in stubs for id_, at in stub.ended_at.items()}
        submits = [body["prompt_id"] for stub in stubs for body in stub.prompts]
        late = [at - ended[id_] for id_, at in known.items() if id_ in ended]
        return Run(seconds, late, len(submits), len(set(submits)), len(known))
