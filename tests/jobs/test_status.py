"""The pure state machine: any order, loss or repetition of what is seen ends in what the service says last."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxenvideo.errors import DownloadFailed
from oxenvideo.jobs.status import Observation, State, Status, advance

ID = "one"
URL = "https://files.example/one.mp4?signature="
ENDS = ("succeeded", "failed", "cancelled")


def read(status: str, at: int = 0, **more: object) -> Observation:
    """What a list or a get shows of a generation in this state."""
    shown = {
        "result_url": f"{URL}{at}" if status == "succeeded" else None,
        "error_message": "no luck" if status == "failed" else None,
        "enqueued_at": 100.0,
        "started_at": 104.0 if status != "queued" else None,
        "completed_at": 160.0 if status in ENDS else None,
    }
    return Observation(ID, status, **(shown | more))  # type: ignore[arg-type]


def event(status: str) -> Observation:
    """What the stream tells of an end."""
    url = f"{URL}event" if status == "succeeded" else None
    error = "no luck" if status == "failed" else None
    return Observation(ID, status, authoritative=False, result_url=url, error_message=error)


@st.composite
def sightings(draw: st.DrawFn) -> tuple[list[Observation], Observation]:
    """Whatever may be seen of one course of events, mixed up, with losses and repetitions; and the list after all."""
    course = ["queued", "processing", draw(st.sampled_from(ENDS))][: draw(st.integers(1, 3))]
    possible = [read(status, at) for at, status in enumerate(course)]
    possible += [event(course[-1])] if course[-1] in ("succeeded", "failed") else []
    seen = draw(st.lists(st.sampled_from(possible), max_size=12))
    return seen, read(course[-1], 99)


def known(state: State) -> tuple[object, ...]:
    return (
        state.status, state.remote, state.result_url, state.error_message,
        state.enqueued_at, state.started_at, state.completed_at,
    )  # fmt: skip


@given(sightings())
def test_converges(mixed: tuple[list[Observation], Observation]) -> None:
    """Any interleaving, loss or repetition of observations, ended by one list, gives what that list alone gives."""
    seen, last = mixed
    state = State(generation_id=ID, remote="queued")
    for one in seen:
        state = advance(state, one, now=1.0)
    straight = advance(State(generation_id=ID, remote="queued"), last, now=1.0)
    assert known(advance(state, last, now=2.0)) == known(straight)


@given(st.lists(st.sampled_from([*map(read, ("queued", "processing", *ENDS)), *map(event, ENDS[:2])]), max_size=12))
def test_an_end_is_never_taken_back(seen: list[Observation]) -> None:
    """Once an end was seen, nothing but another end follows."""
    state = State(generation_id=ID, remote="queued")
    ended = False
    for one in seen:
        state = advance(state, one, now=1.0)
        ended = ended or one.status in ENDS
        assert (state.remote in ENDS) == ended


@given(sightings(), st.integers(0, 11))
def test_taken_in_twice_is_taken_in_once(mixed: tuple[list[Observation], Observation], at: int) -> None:
    """Repeating an observation at once changes nothing."""
    seen, last = mixed
    state = State(generation_id=ID, remote="queued")
    for one in [*seen[:at], last]:
        state = advance(state, one, now=1.0)
        assert advance(state, one, now=2.0) == state


@pytest.mark.parametrize(
    ("before", "after"), [("processing", "queued"), ("succeeded", "processing"), ("failed", "queued")]
)
def test_stale_words_are_ignored(before: str, after: str) -> None:
    """A read that was overtaken by another does not take a generation back."""
    state = advance(State(remote="queued"), read(before), 1.0)
    assert advance(state, read(after), 2.0) == state


def test_a_read_corrects_the_stream_about_the_end() -> None:
    """Where stream and list disagree about the end the list is believed, and the other's details go."""
    state = advance(State(remote="queued"), event("failed"), 1.0)
    assert (state.status, state.error_message) == (Status.FAILED, "no luck")
    state = advance(state, read("succeeded"), 2.0)
    assert (state.status, state.error_message, state.result_url) == (Status.DOWNLOADING, None, f"{URL}0")
    assert advance(state, event("failed"), 3.0) == state


def test_a_word_that_is_not_documented() -> None:
    """An unknown word of a read is shown as unknown, and followed by any that is known; the stream cannot bring one."""
    strange = Observation(ID, "moderating")
    state = advance(State(remote="processing"), strange, 1.0)
    assert state.status is Status.UNKNOWN
    assert not state.is_settled
    assert advance(state, read("processing"), 1.0).status is Status.PROCESSING
    queued = State(remote="queued")
    assert advance(queued, replace(strange, authoritative=False), 1.0) == queued
    ended = advance(queued, read("cancelled"), 1.0)
    assert advance(ended, strange, 2.0) == ended


def test_details_are_kept_and_renewed() -> None:
    """A renewed link replaces the old one, a cost comes late, and what an observation does not tell stays."""
    state = advance(State(remote="queued"), event("succeeded"), 1.0)
    state = advance(state, read("succeeded", 2), 1.0)
    state = advance(state, Observation(ID, "succeeded", cost=Decimal("0.35")), 1.0)
    assert (state.result_url, state.cost, state.started_at) == (f"{URL}2", Decimal("0.35"), 104.0)


def test_the_end_is_the_files() -> None:
    """A success is not over before the file is here; a failure and a cancellation are over at once."""
    assert advance(State(remote="queued"), read("succeeded"), 7.0).finished_at is None
    assert advance(State(remote="queued"), read("failed"), 7.0).finished_at == 7.0
    assert advance(State(remote="queued"), read("cancelled"), 7.0).finished_at == 7.0


def test_when_a_wait_is_over() -> None:
    """A wait ends with an end, with a failed download, and where only a person can say how it goes on."""
    assert State(local=Status.UNCONFIRMED).is_settled
    assert State(remote="succeeded", fetching=False, error=DownloadFailed("x")).is_settled
    assert not State(remote="succeeded").is_settled
    assert not any(State(local=s).is_settled for s in (Status.WAITING, Status.SUBMITTING))


def test_elapsed() -> None:
    """The time it took is known when both ends are, and never negative."""
    assert State(submitted_at=1.0).elapsed is None
    assert State(submitted_at=1.0, finished_at=4.5).elapsed == 3.5
    assert State(submitted_at=9.0, finished_at=4.5).elapsed == 0.0
