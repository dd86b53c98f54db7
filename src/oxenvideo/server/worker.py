"""A worker process: reads jobs as JSON lines, renders one at a time, answers a JSON line each."""

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

NICENESS = 15
MAX_MESSAGE = 2000


def main(spec: str) -> None:
    """Serve jobs until standard input ends, which is also how the death of the server is noticed."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(NICENESS)  # a rendering server must not be felt in the notebook
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    # jsonschema looks for an optional checker of IRIs that takes a second to load and is never asked for here.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    renderer = renderers.load(spec)
    validation.load()
    jobs: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    while True:
        message = json.loads(jobs.get())
        answers.write(json.dumps(_render(renderer, message)) + "\n")


def _read_jobs(jobs: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)  # in the middle of a job too: nobody is left to take the video


def _render(renderer: renderers.Renderer, message: dict[str, Any]) -> dict[str, Any]:
    path = Path(message["path"])
    try:
        job = renderers.Job.from_json(message["job"])
        if problem := validation.run_problem(job.model, job.parameters):
            raise renderers.RenderError(problem)
        done = renderer.render(job, path)
    except renderers.RenderError as error:
        path.unlink(missing_ok=True)
        return {"error": str(error)[:MAX_MESSAGE]}
    except Exception as error:
        traceback.print_exc()
        path.unlink(missing_ok=True)
        return {"error": f"The renderer failed: {type(error).__name__}: {error}"[:MAX_MESSAGE]}
    return {"seconds": done.seconds, "audio": done.audio, "resolution": done.resolution}


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1])
