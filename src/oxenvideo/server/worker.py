"""A worker process: reads jobs as JSON lines, renders one at a time, answers each with a JSON line."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from oxenvideo.server import renderer as renderers
from oxenvideo.server import validation

_NICENESS = 15
_MAX_MESSAGE = 2000


def main(spec: str) -> None:
    """Render jobs until standard input ends, which also happens when the server dies."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_NICENESS)  # rendering must not slow the notebook down
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # so that nothing that a renderer prints is taken for an answer
    renderer = renderers.load(spec)
    validation.load()
    jobs: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    while True:
        answers.write(json.dumps(_render(renderer, json.loads(jobs.get()))) + "\n")


def _read_jobs(jobs: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)  # also in the middle of a job: there is no server left to take the video


def _render(renderer: renderers.Renderer, message: dict[str, Any]) -> dict[str, Any]:
    path = Path(message["path"])
    try:
        job = renderers.Job.from_json(message["job"])
        if problem := validation.run_problem(job.model, job.parameters):
            raise renderers.RenderError(problem)
        done = renderer.render(job, path)
    except renderers.RenderError as error:
        path.unlink(missing_ok=True)
        return {"error": str(error)[:_MAX_MESSAGE]}
    except Exception as error:
        traceback.print_exc()
        path.unlink(missing_ok=True)
        return {"error": f"The renderer failed: {type(error).__name__}: {error}"[:_MAX_MESSAGE]}
    return {"seconds": done.seconds, "audio": done.audio, "resolution": done.resolution}


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1])
