"""fal's own client: submit, then its iteration over the status at its default interval."""

from __future__ import annotations

import asyncio

import fal_client
import fal_client.client

from . import tasks
from .course import Course


async def main() -> None:
    course = Course.from_arguments()
    # The client knows no setting for a service without TLS; everything behind this line is as it comes.
    fal_client.client.QUEUE_URL_FORMAT = f"{course.origin}/"
    client = fal_client.AsyncClient(key="key")

    async def submit(prompt: str) -> fal_client.AsyncRequestHandle:
        return await client.submit("fal-ai/video", arguments={"prompt": prompt})

    async def ended(handle: fal_client.AsyncRequestHandle) -> None:
        async for _ in handle.iter_events():
            pass

    await tasks.run(course, submit, ended)


if __name__ == "__main__":
    asyncio.run(main())
