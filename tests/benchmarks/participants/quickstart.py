"""The quick start's own loop: enqueue, then read the generation every 10 s until it has ended; a thread a job."""

from __future__ import annotations

import threading
import time

import httpx

from .course import Course

MODEL = "kling-video-v2-6-pro-text-to-video"
INTERVAL = 10.0  # seconds, as the documentation advises for videos


def one(http: httpx.Client, prompt: str, submitted: threading.Semaphore) -> None:
    answer = http.post("/api/ai/queue", json={"model": MODEL, "prompt": prompt, "duration": 5})
    generation_id = answer.json()["generations"][0]["generation_id"]
    submitted.release()
    while http.get(f"/api/ai/queue/{generation_id}").json()["status"] not in ("succeeded", "failed", "cancelled"):
        time.sleep(INTERVAL)


def main() -> None:
    course = Course.from_arguments()
    submitted = threading.Semaphore(0)
    with httpx.Client(base_url=course.origin, headers={"Authorization": "Bearer key"}, timeout=30) as http:

        def run(number: int) -> None:
            try:
                one(http, course.prompt(number), submitted)
                course.knows(number)
            except Exception as error:
                course.failed(error)
                submitted.release()

        one(http, course.WARM_UP, threading.Semaphore(0))
        course.begin()
        threads = [threading.Thread(target=run, args=(number,)) for number in range(course.count)]
        for thread in threads:
            thread.start()
        for _ in threads:
            submitted.acquire()
        course.submitted()
        for thread in threads:
            thread.join()
        course.report()


if __name__ == "__main__":
    main()
