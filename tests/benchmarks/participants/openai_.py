"""OpenAI's own client: a video, and its poll at the default interval."""

from __future__ import annotations

import asyncio

from openai import AsyncOpenAI
from openai.types import Video

from . import tasks
from .course import Course


async def main() -> None:
    course = Course.from_arguments()
    async with AsyncOpenAI(api_key="key", base_url=f"{course.origin}/v1") as client:

        async def submit(prompt: str) -> Video:
            return await client.videos.create(model="sora-2", prompt=prompt)

        async def ended(video: Video) -> None:
            await client.videos.poll(video.id)

        await tasks.run(course, submit, ended)


if __name__ == "__main__":
    asyncio.run(main())
