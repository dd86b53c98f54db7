"""The course of the asynchronous polling clients: a task a job, all at once, as their documentation shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .course import GIVE_UP_AFTER, Course

Handle = TypeVar("Handle")


async def run(
    course: Course, submit: Callable[[str], Awaitable[Handle]], ended: Callable[[Handle], Awaitable[object]]
) -> None:
    """Take the course with a client's way to submit a prompt and its way to wait for the end."""
    await ended(await submit(course.WARM_UP))
    left = course.count
    all_submitted = asyncio.Event()

    async def one(number: int) -> None:
        nonlocal left
        try:
            handle = await submit(course.prompt(number))
        except Exception as error:
            course.failed(error)
            return
        finally:
            left -= 1
            if left == 0:
                all_submitted.set()
        try:
            await ended(handle)
            course.knows(number)
        except Exception as error:
            course.failed(error)

    course.begin()
    tasks = [asyncio.create_task(one(number)) for number in range(course.count)]
    await all_submitted.wait()
    course.submitted()
    await asyncio.wait(tasks, timeout=GIVE_UP_AFTER)
    course.report()
