"""Batches: many videos waited for, cancelled and looked at together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal

import pytest

import faulty as f
from faults.fault import MODEL, PROMPT
from faulty import FaultyService
from oxenvideo.errors import OxenVideoError, WaitTimeout
from oxenvideo.jobs.batch import Batch
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service whose jobs end by hand."""
    with FaultyService(keep_alive=0.1) as running:
        yield running


def batch_of(session: Session, count: int, service: FaultyService | None = None) -> Batch:
    requests = [VideoRequest(MODEL, {"prompt": PROMPT, "seed": n}) for n in range(count)]
    batch = session.submit_batch(requests, name="takes")
    if service is not None:
        service.wait_until(lambda: all(g.id for g in batch))
    return batch


@pytest.mark.slow
def test_waits_for_all_that_end_as_they_may(session: Session, service: FaultyService) -> None:
    """A wait is over when each has ended; that some failed or were cancelled raises nothing and is told."""
    batch = batch_of(session, 4, service)
    one, two, three, four = (g.id or "" for g in batch)
    service.finish(one, two)
    service.fail(three, "no luck")
    service.cancel(four)
    assert batch.wait(30) is batch
    assert batch.done
    assert (len(batch.succeeded), len(batch.failed)) == (2, 1)
    assert batch.summary == "4 videos: 2 succeeded, 1 failed, 1 cancelled"
    assert repr(batch) == "<Batch takes: 4 videos: 2 succeeded, 1 failed, 1 cancelled>"
    service.wait_until(lambda: batch.cost == Decimal("0.70"))


def test_a_wait_that_is_given_up(session: Session) -> None:
    """One timeout holds for all together, from code and from coroutines; the videos go on."""
    batch = batch_of(session, 3)
    with pytest.raises(WaitTimeout, match=r"3 videos: .* after 0.2 s\. They go on\."):
        batch.wait(0.2)
    with pytest.raises(WaitTimeout, match=r"after 0.2 s"):
        asyncio.run(batch.wait_async(0.2))
    assert not batch.done


def test_awaited(session: Session, service: FaultyService) -> None:
    """A Batch can be awaited."""

    async def course() -> Batch:
        batch = batch_of(session, 3, service)
        service.finish()
        return await batch

    assert len(asyncio.run(course()).succeeded) == 3


def test_a_closed_session_ends_the_wait(session: Session, service: FaultyService) -> None:
    """A wait for what nobody follows any more ends, and says so."""
    batch = batch_of(session, 2, service)
    session.close()
    with pytest.raises(WaitTimeout, match="shut down"):
        batch.wait()
    with pytest.raises(WaitTimeout, match="shut down"):
        asyncio.run(batch.wait_async())


def test_cancelled_together(session: Session, service: FaultyService) -> None:
    """Each that has not ended is cancelled, a few at a time, with an answer for each; those that ended are left."""
    batch = batch_of(session, 30, service)
    service.finish(batch[0].id or "")
    batch[0].wait(30)
    service.always("DELETE /api/ai/queue/{id}", f.answer_after(0.02))
    before = service.connections_open
    answers = batch.cancel()
    assert len(answers) == 29
    assert all(answer.cancelled for answer in answers)
    assert service.counts["DELETE /api/ai/queue/{id}"] == 29
    assert service.connections_open <= before + 10
    assert batch.counts == {"succeeded": 1, "cancelled": 29}


def test_a_sequence(session: Session) -> None:
    """A Batch is a sequence whose slices are Batches, and an empty one is no trouble."""
    batch = batch_of(session, 3)
    assert [g.index for g in batch] == [0, 1, 2]
    assert isinstance(batch[1:], Batch)
    assert len(batch[1:]) == 2
    assert batch[-1] in batch
    empty = Batch([])
    assert empty.wait(0) is empty
    assert (empty.done, empty.cost, empty.cancel(), empty.summary) == (True, None, [], "no videos")
    with pytest.raises(OxenVideoError, match="does not know where it was submitted"):
        empty.retry_failed()


def test_failed_ones_once_more(session: Session, service: FaultyService) -> None:
    """Those that failed are submitted once more, as new videos; the others are not."""
    batch = batch_of(session, 3, service)
    service.fail(batch[1].id or "", "no luck")
    service.finish()
    batch.wait(30)
    again = batch.retry_failed()
    service.wait_until(lambda: len(service.jobs) == 4)
    assert [g.request.parameters["seed"] for g in again] == [1]
    service.finish()
    again.wait(30)
    assert len(again.succeeded) == 1


def test_told_of_each(session: Session, service: FaultyService) -> None:
    """A callback hears of every change of each, those that have ended included."""
    batch = batch_of(session, 2, service)
    service.finish(batch[0].id or "")
    batch[0].wait(30)
    heard: list[tuple[int | None, str]] = []
    batch.on_change(lambda g: heard.append((g.index, str(g.status))))
    service.finish()
    service.wait_until(lambda: (1, "succeeded") in heard and (0, "succeeded") in heard)
