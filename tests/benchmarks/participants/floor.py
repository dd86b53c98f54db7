"""The floor: a bare listener to the event stream, the submits, and nothing around them; with "files", the downloads too."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx

from .course import GIVE_UP_AFTER, Course

MODEL = "kling-video-v2-6-pro-text-to-video"
AT_ONCE = 8
DOWNLOADS_AT_ONCE = 4


async def listen(http: httpx.AsyncClient, stands: asyncio.Event, ended: Callable[[str, str], object]) -> None:
    async with http.stream("GET", "/api/events", timeout=None) as response:
        stands.set()
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                event = json.loads(line[5:])
                ended(event["generation_id"], event["url"])


async def main() -> None:
    course = Course.from_arguments()
    downloads: list[asyncio.Task[None]] = []
    turns = asyncio.Semaphore(DOWNLOADS_AT_ONCE)
    folder = tempfile.TemporaryDirectory()
    numbers: dict[str, int] = {}
    early: dict[str, str] = {}  # what ended before the answer to its submit was read
    all_known = asyncio.Event()
    async with httpx.AsyncClient(base_url=course.origin, headers={"Authorization": "Bearer key"}) as http:
        stands = asyncio.Event()

        async def download(url: str) -> None:
            async with turns, http.stream("GET", url) as answer:
                with (Path(folder.name) / f"{len(downloads)}-{url.rpartition('/')[2]}").open("wb") as file:
                    async for chunk in answer.aiter_bytes():
                        file.write(chunk)

        def ended(generation_id: str, url: str) -> None:
            number = numbers.get(generation_id)
            if number is None:
                early[generation_id] = url
                return
            course.knows(number)
            if "files" in sys.argv:
                downloads.append(asyncio.create_task(download(url)))
            if len(course.known) == course.count:
                all_known.set()

        listener = asyncio.create_task(listen(http, stands, ended))
        await stands.wait()

        async def submit(prompt: str) -> str:
            answer = await http.post("/api/ai/queue", json={"model": MODEL, "prompt": prompt, "duration": 5})
            generation_id: str = answer.json()["generations"][0]["generation_id"]
            return generation_id

        async def work() -> None:
            for number in left:
                generation_id = await submit(course.prompt(number))
                numbers[generation_id] = number
                if generation_id in early:
                    ended(generation_id, early[generation_id])

        await submit(course.WARM_UP)
        left = iter(range(course.count))
        course.begin()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        course.submitted()
        await asyncio.wait_for(all_known.wait(), GIVE_UP_AFTER)
        listener.cancel()
        await asyncio.gather(*downloads)
        course.report()
    folder.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
