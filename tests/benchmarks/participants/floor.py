"""The floor: a bare listener to the event stream, the submits, and nothing around them."""

from __future__ import annotations

import asyncio
import json

import httpx

from .course import GIVE_UP_AFTER, Course

MODEL = "kling-video-v2-6-pro-text-to-video"
AT_ONCE = 8


async def listen(http: httpx.AsyncClient, course: Course, numbers: dict[str, int], stands: asyncio.Event) -> None:
    early = set()
    async with http.stream("GET", "/api/events", timeout=None) as response:
        stands.set()
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                generation_id = json.loads(line[5:])["generation_id"]
                number = numbers.get(generation_id)
                if number is None:
                    early.add(generation_id)
                else:
                    course.knows(number)
                if len(course.known) == course.count:
                    return


async def main() -> None:
    course = Course.from_arguments()
    numbers: dict[str, int] = {}
    async with httpx.AsyncClient(base_url=course.origin, headers={"Authorization": "Bearer key"}) as http:
        stands = asyncio.Event()
        listener = asyncio.create_task(listen(http, course, numbers, stands))
        await stands.wait()

        async def submit(prompt: str) -> str:
            answer = await http.post("/api/ai/queue", json={"model": MODEL, "prompt": prompt, "duration": 5})
            generation_id: str = answer.json()["generations"][0]["generation_id"]
            return generation_id

        async def work() -> None:
            for number in left:
                numbers[await submit(course.prompt(number))] = number

        await submit(course.WARM_UP)
        left = iter(range(course.count))
        course.begin()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        course.submitted()
        await asyncio.wait_for(listener, GIVE_UP_AFTER)
        course.report()


if __name__ == "__main__":
    asyncio.run(main())
