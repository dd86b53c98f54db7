"""Lost submits: what may be taken for them, what is nobody's to guess, and when to try again."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxenvideo.engine.rate_limit import Gate
from oxenvideo.engine.recovery_match import Lost, fingerprint, judge, matches
from oxenvideo.errors import BadRequest, OutcomeUnknown, RateLimited, ServiceUnavailable
from oxenvideo.client.responses import Observation
from oxenvideo.retry import LONGEST_PACE, Backoff, parse_retry_after, persist

MODEL = "some-model"
BODY = {"model": MODEL, "prompt": "a balloon", "duration": 5, "seed": 3}


def row(number: int, enqueued_at: float | None = 100.0, **fields: Any) -> Observation:
    shown = {"model_name": MODEL, "prompt": "a balloon", "duration": 5, "seed": 3} | fields
    return Observation(f"id-{number}", "queued", enqueued_at=enqueued_at, fields=shown)


def lost(key: str = "a", count: int = 1, since: float = 90.0) -> Lost:
    return Lost(key, fingerprint(BODY), count, since)


@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    sinces=st.lists(st.floats(0, 200), min_size=5, max_size=5),
    times=st.lists(st.one_of(st.none(), st.floats(0, 300)), max_size=12),
    taken=st.sets(st.integers(0, 11)),
)
def test_never_twice_and_never_anothers(
    counts: list[int], sinces: list[float], times: list[float | None], taken: set[int]
) -> None:
    """No generation becomes two submissions', none that is claimed becomes anybody's, and each gets all or nothing."""
    wanted = [lost(str(n), count, since) for n, (count, since) in enumerate(zip(counts, sinces, strict=False))]
    listed = [row(n, at) for n, at in enumerate(times)]
    claimed = {f"id-{n}" for n in taken}
    verdict = judge(wanted, listed, claimed)
    given_out = [seen.generation_id for found in verdict.adopted.values() for seen in found]
    assert len(given_out) == len(set(given_out))
    assert not claimed & set(given_out)
    assert not verdict.ambiguous & set(verdict.adopted)
    for one in wanted:
        found = verdict.adopted.get(one.key, ())
        assert len(found) in (0, one.count)
        assert all(seen.enqueued_at is not None and seen.enqueued_at >= one.since for seen in found)


@given(count=st.integers(1, 4), number=st.integers(1, 6))
def test_all_that_arrived_is_found(count: int, number: int) -> None:
    """Where each of some equal submits arrived, each gets its own."""
    wanted = [lost(str(n), count, 90.0 + n) for n in range(number)]
    listed = [row(n, 100.0 + n // count) for n in range(count * number)]
    verdict = judge(wanted, reversed(listed), set())
    assert set(verdict.adopted) == {one.key for one in wanted}


def test_more_than_were_asked_for_is_nobodys_to_guess() -> None:
    """Two where one was asked for: a person decides."""
    verdict = judge([lost()], [row(1), row(2)], set())
    assert verdict.ambiguous == {"a"}
    assert verdict.adopted == {}
    assert judge([lost()], [row(1), row(2)], {"id-2"}).adopted["a"] == (row(1),)


def test_part_of_a_request_is_waited_for() -> None:
    """Two of four are in the list: it is still filling up."""
    verdict = judge([lost(count=4)], [row(1), row(2)], set())
    assert (verdict.adopted, verdict.ambiguous) == ({}, frozenset())


@pytest.mark.parametrize(
    "seen",
    [
        row(1, 89.0),
        row(1, None),
        row(1, 90.0 + 901.0),
        row(1, seed=4),
        row(1, prompt="another balloon"),
        row(1, prompt=None),
        row(1, duration=10),
        row(1, model_name="other-model"),
    ],
    ids=["older", "undated", "much later", "seed", "prompt", "no prompt", "duration", "model"],
)
def test_what_is_not_it(seen: Observation) -> None:
    """An older, undated or different generation is not taken for the lost one."""
    assert judge([lost()], [seen], set()).adopted == {}


@pytest.mark.parametrize(
    "fields",
    [{}, {"duration": "5"}, {"seed": 3.0}, {"seed": None}, {"prompt": "a balloon\n"}, {"extra": "default"}],
    ids=["same", "as text", "as a float", "not shown", "with a line end", "with a default"],
)
def test_what_is_it_in_other_words(fields: dict[str, Any]) -> None:
    """A service may show parameters in another form, leave some out and add defaults."""
    assert judge([lost()], [row(1, **fields)], set()).adopted == {"a": (row(1, **fields),)}


def test_fingerprints() -> None:
    """Embedded media and what is not shown are left out; shots, references and flags are compared."""
    body = {
        "model": MODEL,
        "multi_prompt": [{"prompt": "x", "duration": 3}, {"prompt": "y", "duration": 4}],
        "input_image": ["data:image/png;base64,AAAA", "https://a.example/1.png"],
        "generate_audio": True,
        "num_generations": 4,
        "response_format": "url",
    }
    kept = fingerprint(body)
    assert "num_generations" not in kept
    assert "AAAA" not in str(kept)
    shown = {
        "model_name": MODEL,
        "prompt": None,
        "multi_prompt": [{"prompt": "x", "duration": 3}, {"prompt": "y", "duration": 4}],
        "input_image": ["https://service.example/upload/1", "https://a.example/1.png"],
        "generate_audio": "true",
    }
    assert matches(kept, Observation("i", "queued", fields=shown))
    for name, other in [
        ("multi_prompt", [{"prompt": "x", "duration": 3}]),
        ("input_image", ["u", "https://a.example/2.png"]),
        ("generate_audio", False),
    ]:
        assert not matches(kept, Observation("i", "queued", fields=shown | {name: other}))


# --- when to try again -----------------------------------------------------------------------------------------------


@given(
    st.integers(0, 10_000),
    st.floats(0, 1),
    st.floats(0.01, 10),
    st.floats(1, 4),
    st.floats(10, 100),
    st.one_of(st.none(), st.floats(0, 1e9)),
)
def test_backoff_bounds(
    attempt: int, chance: float, first: float, factor: float, most: float, named: float | None
) -> None:
    """A pause is never nothing and never without end; a pace that was named is not shortened."""
    pause = Backoff(first, factor, most).delay(attempt, retry_after=named, chance=chance)
    assert first / 2 <= pause <= max(most, LONGEST_PACE * 1.1)
    if named is None:
        assert pause <= most
    else:
        assert pause >= min(named, LONGEST_PACE)


@given(st.integers(1, 200))
def test_backoff_grows(attempt: int) -> None:
    """Each step is at least as long as the one before."""
    backoff = Backoff(0.5, 2.0, 30.0)
    assert backoff.delay(attempt, chance=1.0) <= backoff.delay(attempt + 1, chance=1.0)


def test_retry_after() -> None:
    """Seconds, a date by the clock that made it, and nonsense."""
    now = 1_760_000_000.0
    assert parse_retry_after("7", now) == 7.0
    assert parse_retry_after("0.5", now) == 0.5
    assert parse_retry_after("-3", now) == 0.0
    assert parse_retry_after(formatdate(now + 90, usegmt=True), now) == 90.0
    assert parse_retry_after(formatdate(now - 90, usegmt=True), now) == 0.0
    for nonsense in (None, "", "soon", "nan", "inf", "Mon, 99 Foo 2020 99:99:99 GMT"):
        assert parse_retry_after(nonsense, now) is None


def test_persist_asks_again_for_passing_failures_only() -> None:
    """A passing failure is asked about again, at the pace that was named; any other is raised at once."""
    asked: list[float] = []

    async def ask(*failures: Exception) -> str:
        async def once() -> str:
            asked.append(time.monotonic())
            if len(asked) <= len(failures):
                raise failures[len(asked) - 1]
            return "answer"

        return await persist(once, attempts=3, backoff=Backoff(first=0.01))

    assert asyncio.run(ask(ServiceUnavailable("503"), RateLimited("429", retry_after=0.1))) == "answer"
    assert asked[2] - asked[1] >= 0.1
    asked.clear()
    with pytest.raises(OutcomeUnknown):
        asyncio.run(ask(*[OutcomeUnknown("?")] * 5))
    assert len(asked) == 3
    asked.clear()
    with pytest.raises(BadRequest):
        asyncio.run(ask(BadRequest("no")))
    assert len(asked) == 1


def test_the_gate() -> None:
    """Together while all is well; after a refusal one at a time and not before the named moment; then together again."""

    async def course() -> None:
        gate = Gate(Backoff(first=0.02))
        inside = most = 0

        async def one(seconds: float = 0.02) -> float:
            nonlocal inside, most
            async with gate.turn():
                began = time.monotonic()
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(seconds)
                inside -= 1
            return began

        await asyncio.gather(*[one() for _ in range(5)])
        assert most == 5
        most, told = 0, time.monotonic()
        assert 0.2 <= gate.refused(0.2) <= 0.25
        begun = await asyncio.gather(*[one() for _ in range(5)])
        assert most == 1
        assert min(begun) - told >= 0.2
        gate.passed()
        most = 0
        await asyncio.gather(*[one() for _ in range(5)])
        assert most == 5

    asyncio.run(course())
