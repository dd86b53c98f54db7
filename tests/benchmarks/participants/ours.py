"""oxenvideo through its public interface: submit, and a callback on each change.

A last argument is the number of jobs to a request, or "files", which downloads the videos.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

from oxenvideo import Generation, Session

from .course import GIVE_UP_AFTER, Course

MODEL = "kling-video-v2-6-pro-text-to-video"


def main() -> None:
    course = Course.from_arguments()
    files = "files" in sys.argv  # else nothing is downloaded, as the others do: what is measured is the knowing
    to_a_request = int(sys.argv[4]) if len(sys.argv) > 4 and not files else 1
    with (
        tempfile.TemporaryDirectory() as folder,
        Session(
            base_url=course.origin, api_key="key", data_dir=Path(folder), download_dir=Path(folder), download=files
        ) as session,
    ):
        session.submit(course.WARM_UP, model=MODEL, duration=5).wait(30)
        enqueued: set[int] = set()
        all_enqueued = threading.Event()

        def follow(generation: Generation, number: int) -> None:
            def changed(generation: Generation) -> None:
                if generation.done:
                    course.knows(number)
                if generation.id is not None and number not in enqueued:
                    enqueued.add(number)
                    if len(enqueued) == course.count:
                        all_enqueued.set()

            generation.on_change(changed)

        kept = []
        request = {"model": MODEL, "duration": 5, "count": to_a_request}
        course.begin()
        for first in range(0, course.count, to_a_request):
            batch = session.submit_batch([request | {"prompt": course.prompt(first)}])
            for place, generation in enumerate(batch):
                follow(generation, first + place)
            kept.append(batch)
        all_enqueued.wait(GIVE_UP_AFTER)
        course.submitted()
        course.all_known.wait(GIVE_UP_AFTER)
        course.report()


if __name__ == "__main__":
    main()
