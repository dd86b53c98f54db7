"""Finding out what became of a submit whose answer was lost, without sending it again.

The service has no idempotency key, so the only evidence is its own list: a generation with this model and these
parameters, enqueued since the intent was written down, that stands for nothing else. Where the evidence is not clear,
nobody guesses: a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oxenvideo.jobs.status import Observation

# Parameters of the request that a listed generation does not carry, or may carry in another form.
_NOT_COMPARED = frozenset({"num_generations", "response_format", "model"})


def fingerprint(body: Mapping[str, Any]) -> dict[str, Any]:
    """What tells this submit from others in the service's list: the model and every parameter but embedded media."""
    kept = {name: _comparable(value) for name, value in body.items() if name not in _NOT_COMPARED}
    return {"model": body.get("model"), **{name: value for name, value in sorted(kept.items()) if value is not None}}


def _comparable(value: Any) -> Any:
    """A value without data URIs, which a service may well replace by addresses of its own."""
    if isinstance(value, str):
        return None if value.startswith("data:") else value
    if isinstance(value, Mapping):
        return {k: _comparable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_comparable(v) for v in value]
    return value


def matches(fingerprint: Mapping[str, Any], seen: Observation) -> bool:
    """Whether a listed generation can be the one that was asked for."""
    row = seen.fields
    if row.get("model_name") != fingerprint.get("model"):
        return False
    if not fingerprint.get("multi_prompt") and not _agree(fingerprint.get("prompt") or "", row.get("prompt") or ""):
        return False
    return all(
        _agree(value, row[name])
        for name, value in fingerprint.items()
        if name not in ("model", "prompt") and row.get(name) is not None
    )


def _agree(sent: Any, shown: Any) -> bool:
    if sent is None:  # embedded media, not compared
        return True
    if isinstance(sent, Mapping) and isinstance(shown, Mapping):
        return all(_agree(value, shown[name]) for name, value in sent.items() if name in shown)
    if isinstance(sent, list) and isinstance(shown, list):
        return len(sent) == len(shown) and all(map(_agree, sent, shown))
    if isinstance(sent, bool) or isinstance(shown, bool):
        return str(sent).lower() == str(shown).lower()
    if isinstance(sent, int | float) and isinstance(shown, int | float):
        return abs(sent - shown) < 1e-9
    return str(sent).strip() == str(shown).strip()


@dataclass(frozen=True)
class Lost:
    """A submission whose answer was lost: how many generations it asked for, and since when (service's clock).

    ``within`` is seconds in which the service must have taken it: a later identical one is somebody else's.
    """

    key: str
    fingerprint: Mapping[str, Any]
    count: int
    since: float
    within: float = 900.0


@dataclass(frozen=True)
class Verdict:
    """What one look at the list says of a set of identical lost submissions.

    ``adopted`` maps a submission to the generations it now stands for; ``ambiguous`` names those with more candidates
    than they asked for; the rest has not appeared.
    """

    adopted: Mapping[str, tuple[Observation, ...]]
    ambiguous: frozenset[str]


def judge(lost: Sequence[Lost], listed: Iterable[Observation], claimed: frozenset[str] | set[str]) -> Verdict:
    """Assign listed, unclaimed generations to identical lost submissions, or say that the case is not clear.

    ``lost`` share one fingerprint, so they are interchangeable: any assignment of the found to the asked is right, as
    long as no more were found than asked for. More could mean somebody else's identical generation: ambiguous.
    """
    found = sorted(
        (s for s in listed if s.generation_id not in claimed and any(_fits(one, s) for one in lost)),
        key=lambda s: (s.enqueued_at or 0.0, s.generation_id),
    )
    if len(found) > sum(one.count for one in lost):
        return Verdict({}, frozenset(one.key for one in lost))
    adopted: dict[str, tuple[Observation, ...]] = {}
    for one in sorted(lost, key=lambda item: item.since):
        mine = [s for s in found if _fits(one, s)][: one.count]
        # A request is accepted as a whole: part of a count means that the list is still filling up.
        if len(mine) == one.count:
            adopted[one.key] = tuple(mine)
            found = [s for s in found if s not in mine]
    return Verdict(adopted, frozenset())


def _fits(one: Lost, seen: Observation) -> bool:
    # Without a time the row cannot be told from an older identical one.
    if seen.enqueued_at is None or not one.since <= seen.enqueued_at <= one.since + one.within:
        return False
    return matches(one.fingerprint, seen)
