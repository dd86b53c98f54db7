"""A worker process: reads jobs as JSON lines, renders one at a time, answers each with a JSON line."""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from oxenvideo.server.renderer import InputRules, Job, Renderer, RenderError
from oxenvideo.server.validation import run_problem

_NICENESS = 15
_MAX_MESSAGE = 2000


def main(spec: str) -> None:
    """Render jobs until standard input ends, which also happens when the server dies."""
    os.nice(_NICENESS)  # rendering must not slow the notebook down
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # so that nothing that a renderer prints is taken for an answer
    renderer: Renderer = pkgutil.resolve_name(spec)()
    jobs: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    while True:
        answers.write(json.dumps(_render(renderer, **json.loads(jobs.get()))) + "\n")


def _read_jobs(jobs: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)  # also in the middle of a job: there is no server left to take the video


def _render(renderer: Renderer, *, path: str, inputs: dict[str, Any], **fields: Any) -> dict[str, Any]:
    job = Job(**fields, inputs=InputRules(**inputs))
    try:
        if problem := run_problem(job.model, job.parameters):
            raise RenderError(problem)
        return asdict(renderer.render(job, Path(path)))
    except RenderError as error:
        message = str(error)
    except Exception as error:
        traceback.print_exc()
        message = f"The renderer failed: {type(error).__name__}: {error}"
    return {"error": message[:_MAX_MESSAGE]}


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1])
