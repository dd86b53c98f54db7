"""Lost submits: which generations may be theirs, which only the user can assign, and when to try again."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxenvideo.client.responses import Observation
from oxenvideo.client.retry import LONGEST_PACE, Backoff, parse_retry_after, persist
from oxenvideo.engine.recovery import Decision, Lost, could_be, decide, row_parameters
from oxenvideo.engine.submitter import RateLimit
from oxenvideo.errors import BadRequest, OutcomeUnknown, RateLimited, ServiceUnavailable
from oxenvideo.request.request import sent_parameters

MODEL = "some-model"
BODY = {"model": MODEL, "prompt": "a balloon", "duration": 5, "seed": 3}
PICTURE = "data:image/png;base64,AAAA"


def row(number: int, enqueued_at: float | None = 100.0, **fields: Any) -> Observation:
    shown = {"model_name": MODEL, "prompt": "a balloon", "duration": 5, "seed": 3, "media_type": "video"} | fields
    return Observation(f"id-{number}", "queued", enqueued_at=enqueued_at, fields=shown)


def lost(key: str = "a", count: int = 1, since: float = 90.0, **changes: Any) -> Lost:
    return Lost(key, sent_parameters(BODY | changes), count, since)


@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    sinces=st.lists(st.floats(0, 200), min_size=5, max_size=5),
    times=st.lists(st.one_of(st.none(), st.floats(0, 300)), max_size=12),
    attached=st.sets(st.integers(0, 11), max_size=2),
)
def test_never_twice_and_never_a_strangers(
    counts: list[int], sinces: list[float], times: list[float | None], attached: set[int]
) -> None:
    """No generation is given to two submissions, none that was attached to any, and each gets all or nothing."""
    wanted = [lost(str(n), count, since) for n, (count, since) in enumerate(zip(counts, sinces, strict=False))]
    listed = [row(n, at) for n, at in enumerate(times)]
    free = [seen for n, seen in enumerate(listed) if n not in attached]
    decision = decide(wanted, free, [seen for n, seen in enumerate(listed) if n in attached])
    given_out = [seen.generation_id for found in decision.adopted.values() for seen in found]
    assert len(given_out) == len(set(given_out))
    assert not {f"id-{n}" for n in attached} & set(given_out)
    assert not decision.ambiguous & set(decision.adopted)
    for one in wanted:
        found = decision.adopted.get(one.key, ())
        assert len(found) in (0, one.count)
        assert all(seen.enqueued_at is not None and seen.enqueued_at >= (one.since or 0) for seen in found)


@given(count=st.integers(1, 4), number=st.integers(1, 6))
def test_all_that_arrived_is_found(count: int, number: int) -> None:
    """Where each of some equal submits arrived, each gets its own."""
    wanted = [lost(str(n), count, 90.0 + n) for n in range(number)]
    listed = [row(n, 100.0 + n // count) for n in range(count * number)]
    assert set(decide(wanted, reversed(listed)).adopted) == {one.key for one in wanted}


def test_more_than_were_asked_for_is_ambiguous() -> None:
    """Two where one was asked for: the user decides."""
    decision = decide([lost()], [row(1), row(2)])
    assert decision.ambiguous == {"a"}
    assert decision.adopted == {}


def test_what_the_user_attached_may_be_the_lost_one() -> None:
    """Of two candidates the user has attached one: the other is not taken for the lost one."""
    assert decide([lost()], [row(1)], [row(2)]).ambiguous == {"a"}
    assert decide([lost()], [row(1)], [row(2, seed=4)]).adopted == {"a": (row(1),)}


def test_what_other_kernels_look_for() -> None:
    """Equal submits of other kernels are counted; one that could have made the same row without being equal is in doubt."""
    assert decide([lost()], [row(1), row(2)], elsewhere=[lost("b")]).adopted["a"] == (row(1),)
    assert decide([lost()], [row(1), row(2)], elsewhere=[lost("b", since=120.0)]).ambiguous == {"a"}
    assert decide([lost()], [row(1), row(2)]).ambiguous == {"a"}


def test_an_older_submit_of_another_kernel_accounts_for_its_own_generation_first() -> None:
    """Its generation is older than our submit. What is left over beside ours can be a stranger's."""
    older = lost("b", since=20.0)
    assert decide([lost()], [row(1, 25.0), row(2), row(3)], elsewhere=[older]).ambiguous == {"a"}
    assert decide([lost()], [row(1, 25.0), row(2)], elsewhere=[older]).adopted == {"a": (row(2),)}


def test_what_kernels_that_have_ended_lost() -> None:
    """Nobody looks for an equal submit of theirs. While it could be what is left over, nothing is decided."""
    assert decide([lost()], [row(1), row(2)], orphans=[lost("b")]) == Decision({}, frozenset(), frozenset("a"))
    assert decide([lost()], [row(1), row(2)], orphans=[lost("b", since=120.0)]).ambiguous == {"a"}
    assert decide([lost()], [row(1), row(2)], orphans=[lost("b", seed=4)]).ambiguous == {"a"}
    assert decide([lost()], [row(1), row(2), row(3)], orphans=[lost("b")]).ambiguous == {"a"}
    assert decide([lost()], [row(1)], orphans=[lost("b")]).adopted == {"a": (row(1),)}


def test_a_later_submit_accounts_for_no_earlier_generation() -> None:
    """Two generations before the second of two equal submits: one of them is somebody else's."""
    wanted = [lost("a", since=90.0), lost("b", since=110.0)]
    assert decide(wanted, [row(1, 100.0), row(2, 101.0)]).ambiguous == {"a", "b"}
    assert decide(wanted, [row(1, 100.0), row(2, 111.0)]).adopted.keys() == {"a", "b"}


def test_a_refused_synchronous_request_may_have_left_a_generation_that_failed() -> None:
    """What did not succeed may be of the refused one; what succeeded is not."""
    refused = Lost("s", sent_parameters(BODY), 1, 90.0, refused=True)
    failed, succeeded = (dataclasses.replace(row(n), status=status) for n, status in enumerate(("failed", "succeeded")))
    assert decide([lost()], [failed], unnamed=[refused]) == Decision({}, frozenset())
    assert decide([lost()], [succeeded], unnamed=[refused]).adopted == {"a": (succeeded,)}
    assert decide([lost()], [failed, succeeded], unnamed=[refused]).ambiguous == {"a"}


def test_generations_that_run_may_still_show_that_they_are_not_of_a_refused_request() -> None:
    """The user is not asked before they have ended: two that succeed are of the submit that was lost."""
    refused = Lost("s", sent_parameters(BODY), 1, 90.0, refused=True)
    assert decide([lost(count=2)], [row(1), row(2)], unnamed=[refused]) == Decision({}, frozenset())
    both = tuple(dataclasses.replace(row(number), status="succeeded") for number in (1, 2))
    assert decide([lost(count=2)], both, unnamed=[refused]).adopted == {"a": both}


def test_media_that_cannot_be_compared() -> None:
    """A row that shows an address in place of the picture that was sent may be of another picture: the user decides."""
    pictured = lost(image=PICTURE)
    assert decide([pictured], [row(1, image="https://service.example/1.png")]).ambiguous == {"a"}
    assert decide([pictured], [row(1, image=PICTURE)]).adopted == {"a": (row(1, image=PICTURE),)}
    assert decide([pictured], [row(1)]).adopted == {}


def test_requests_that_the_rows_cannot_tell_apart() -> None:
    """Two requests alike but for an embedded picture, whose rows show addresses: neither takes the other's."""
    one, other = lost("a", image=PICTURE), lost("b", image="data:image/png;base64,BBBB")
    shown = [row(n, image=f"https://service.example/{n}.png") for n in (1, 2)]
    assert decide([one, other], shown).ambiguous == {"a", "b"}
    own = [row(1, image=PICTURE), row(2, image="data:image/png;base64,BBBB")]
    assert decide([one, other], own).adopted == {"a": (own[0],), "b": (own[1],)}


def test_part_of_a_request_is_waited_for() -> None:
    """Two of four are in the list: it is still incomplete."""
    decision = decide([lost(count=4)], [row(1), row(2)])
    assert (decision.adopted, decision.ambiguous) == ({}, frozenset())


@pytest.mark.parametrize(
    "seen",
    [
        row(1, 89.0),
        row(1, None),
        row(1, 90.0 + 904.0),
        row(1, seed=4),
        row(1, seed=None),
        row(1, prompt="another balloon"),
        row(1, prompt=None),
        row(1, duration=10),
        row(1, model_name="other-model"),
        row(1, cfg_scale=0.5),
        row(1, multi_prompt=[{"prompt": "a balloon"}]),
    ],
    ids=[
        "older", "undated", "much later", "seed", "no seed", "prompt", "no prompt", "duration", "model", "one more",
        "shots",
    ],
)  # fmt: skip
def test_what_is_not_it(seen: Observation) -> None:
    """An older, undated or different generation is not taken for the lost one, nor one with a parameter more or less."""
    assert decide([lost()], [seen]).adopted == {}


@pytest.mark.parametrize(
    "fields",
    [{}, {"duration": "5"}, {"seed": 3.0}, {"prompt": "a balloon\n"}, {"target_namespace": "ox", "cost": "0.35"}],
    ids=["same", "as text", "as a float", "with a line end", "with the service's own fields"],
)
def test_what_is_it_in_other_words(fields: dict[str, Any]) -> None:
    """A service may show a value in another form, and has fields of its own."""
    assert decide([lost()], [row(1, **fields)]).adopted == {"a": (row(1, **fields),)}


def test_what_is_compared() -> None:
    """Embedded media are kept as a hash; shots, references, flags and the repository are compared."""
    body = {
        "model": MODEL,
        "multi_prompt": [{"prompt": "x", "duration": 3}, {"prompt": "y", "duration": 4}],
        "input_image": [PICTURE, "https://a.example/1.png"],
        "generate_audio": True,
        "num_generations": 4,
        "response_format": "url",
        "target_repo": "films",
    }
    sent = sent_parameters(body)
    assert "num_generations" not in sent
    assert "AAAA" not in str(sent)
    assert could_be(sent, sent)
    shown = {
        "model_name": MODEL,
        "prompt": "x y",
        "multi_prompt": [{"prompt": "x", "duration": 3}, {"prompt": "y", "duration": 4}],
        "input_image": ["https://service.example/upload/1", "https://a.example/1.png"],
        "generate_audio": "true",
        "target_namespace": "ox",
        "target_repo": "films",
    }
    assert could_be(sent, row_parameters(shown))
    for name, other in [
        ("multi_prompt", [{"prompt": "x", "duration": 3}]),
        ("multi_prompt", None),
        ("input_image", ["u", "https://a.example/2.png"]),
        ("generate_audio", False),
        ("target_repo", "other"),
    ]:
        assert not could_be(sent, row_parameters(shown | {name: other}))


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


def test_the_rate_limit() -> None:
    """Together while all is well; after a refusal one at a time and not before the named moment; then together again."""

    async def course() -> None:
        rate_limit = RateLimit(Backoff(first=0.02))
        inside = most = 0

        async def one(seconds: float = 0.02) -> float:
            nonlocal inside, most
            async with rate_limit.turn():
                began = time.monotonic()
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(seconds)
                inside -= 1
            return began

        await asyncio.gather(*[one() for _ in range(5)])
        assert most == 5
        most, told = 0, time.monotonic()
        assert 0.2 <= rate_limit.refused(0.2) <= 0.25
        begun = await asyncio.gather(*[one() for _ in range(5)])
        assert most == 1
        assert min(begun) - told >= 0.2
        rate_limit.passed()
        most = 0
        await asyncio.gather(*[one() for _ in range(5)])
        assert most == 5

    asyncio.run(course())
