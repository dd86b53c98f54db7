"""Replicate's own client: a prediction, and its wait at the default interval."""

from __future__ import annotations

import asyncio

from replicate.client import Client
from replicate.prediction import Prediction

from . import tasks
from .course import Course


async def main() -> None:
    course = Course.from_arguments()
    client = Client(api_token="key", base_url=course.origin)

    async def submit(prompt: str) -> Prediction:
        return await client.predictions.async_create(version="0" * 64, input={"prompt": prompt})

    async def ended(prediction: Prediction) -> None:
        await prediction.async_wait()

    await tasks.run(course, submit, ended)


if __name__ == "__main__":
    asyncio.run(main())
