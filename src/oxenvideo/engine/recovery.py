"""Finds out what became of submits whose answers were lost, without sending them again.

The service has no idempotency key, so its own lists are the only evidence: a generation with this model and exactly these
parameters, enqueued since the request was sent, that belongs to nothing else. Where the evidence is not clear, the user
decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from oxenvideo.client.credentials import Target
from oxenvideo.client.responses import Observation
from oxenvideo.client.retry import pace_of, persist
from oxenvideo.errors import AuthenticationFailed, OxenVideoError, RateLimited
from oxenvideo.jobs.job import CLOCK_SLACK, Registry, Submission
from oxenvideo.jobs.journal import Entry
from oxenvideo.jobs.status import Status, Step
from oxenvideo.request.request import EMBEDDED, hashed
from oxenvideo.settings import Pace

if TYPE_CHECKING:
    from oxenvideo.client.client import Client

log = logging.getLogger("oxenvideo")

_WITHIN = 900.0  # seconds in which the service must have taken a submit; a later one is somebody else's
_LATEST_LOOK = 900.0  # seconds after which a lost submit is no longer looked for
_LONGEST_PAUSE = 60.0  # seconds between two looks
# Active ones first: one that ends while the lists are read is then in two of them, and never in none.
_STATUSES = (None, "succeeded", "failed", "cancelled")
_PAGE = 50  # rows of the history that are read at once where a list fails
_MOST_PAGES = 20

NOT_FOUND = (
    "The answer to this submit was lost, and the service shows no generation like it. If you run it again and "
    "the first one arrived after all, you pay for both. %oxenvideo resume looks for it again."
)
AMBIGUOUS = (
    "The answer to this submit was lost, and it is not certain which of the service's generations belongs to it. "
    "Find the right one with %oxenvideo history, and bring it back with %oxenvideo attach ID."
)
ORPHANED = (
    "The answer to this submit was lost, and a kernel that has ended lost one like it, so that it is not certain yet which of "
    "the service's generations belongs to it. %oxenvideo resume --all looks for both."
)
UNREADABLE = (
    "The answer to this submit was lost, and the service's lists cannot be read to look for it. It was not sent again. "
    "%oxenvideo resume looks for it again, %oxenvideo history shows what there is."
)

# What a row of the service has besides the parameters that were sent.
_NOT_PARAMETERS = frozenset(
    {
        *("generation_id", "status", "model_name", "media_type", "result_url", "error_message"),
        *("enqueued_at", "started_at", "completed_at", "cost", "user_id", "username"),
        *("num_generations", "response_format", "engine"),
    }
)
_TARGETS = ("target_namespace", "target_repo", "target_directory")


# What is compared


def row_parameters(row: Mapping[str, Any]) -> dict[str, Any]:
    """The model and parameters of a generation as one of the service's rows shows them."""
    shown = {name: value for name, value in row.items() if name not in _NOT_PARAMETERS and value is not None}
    return {"model": row.get("model_name"), **shown}


def could_be(sent: Mapping[str, Any], other: Mapping[str, Any], *, certainly: bool = False) -> bool:
    """Whether ``other``, a row's parameters or those of another request, can be what was sent.

    Every parameter must be there with the same value, and no other may be. Only embedded media can look different, as the
    service may replace a data URI by an address of its own; with ``certainly`` they must be the same too. A row shows a
    prompt beside the shots (``multi_prompt``) from which it was made, and the repository in which a result goes by default.
    """
    other = {name: hashed(value) for name, value in other.items()}
    ignored = {name for name in _TARGETS if name not in sent} | ({"prompt"} if "multi_prompt" in sent else set())
    mine = {name: value for name, value in sent.items() if name not in ignored}
    theirs = {name: value for name, value in other.items() if name not in ignored}
    if not mine.get("prompt") and not theirs.get("prompt"):
        mine.pop("prompt", None)
        theirs.pop("prompt", None)
    return _agree(mine, theirs, certainly)


def _agree(one: Any, other: Any, certainly: bool) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_agree(value, other[name], certainly) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_agree(*both, certainly) for both in zip(one, other, strict=True))
    if one is None:  # embedded media in a journal of the first version
        return isinstance(other, str) and not certainly
    if isinstance(one, Mapping | list) or isinstance(other, Mapping | list):
        return False
    if isinstance(one, str) and one.startswith(EMBEDDED):
        shown = isinstance(other, str) and not other.startswith(EMBEDDED)
        return one == other or (shown and not certainly)
    return _plain(one) == _plain(other)


def _plain(value: Any) -> str:
    """A scalar without the differences that an echo may bring: 5, 5.0 and "5" are the same value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


# What follows from it


@dataclass(frozen=True)
class Lost:
    """A submission whose answer was lost: what it asked for, and since when, in unix seconds by the service's clock.

    ``since`` is None where that is not known, for one that is only compared. A ``refused`` one is synchronous, and may
    have left a generation that failed.
    """

    key: str
    sent: Mapping[str, Any]
    count: int
    since: float | None
    refused: bool = False

    def fits(self, seen: Observation) -> bool:
        """Whether a generation can be of this submission. One without a time cannot be told from an older one."""
        if seen.enqueued_at is None or (self.refused and seen.status == "succeeded"):
            return False
        if self.since is not None and not self.since <= seen.enqueued_at <= self.since + CLOCK_SLACK + _WITHIN:
            return False
        return could_be(self.sent, row_parameters(seen.fields))

    def is_certainly(self, seen: Observation) -> bool:
        """Whether a generation that fits has the very media that were sent."""
        return could_be(self.sent, row_parameters(seen.fields), certainly=True)


def _written(entry: Entry) -> Lost:
    since = None if entry.sent_at_service is None else entry.sent_at_service - CLOCK_SLACK
    return Lost(entry.submission, entry.sent or {}, entry.count, since, refused=entry.step is Step.REFUSED)


@dataclass(frozen=True)
class Decision:
    """What one look says: the generations of the submissions that were found, and which submissions are ambiguous.

    Those in ``beside_orphans`` will be clear when what an ended kernel lost is looked for too.
    """

    adopted: Mapping[str, tuple[Observation, ...]]
    ambiguous: frozenset[str]
    beside_orphans: frozenset[str] = frozenset()


def decide(
    lost: Sequence[Lost],
    free: Iterable[Observation],
    attached: Iterable[Observation] = (),
    elsewhere: Sequence[Lost] = (),
    unnamed: Sequence[Lost] = (),
    orphans: Sequence[Lost] = (),
) -> Decision:
    """Assign generations to lost submissions, or say where that is not clear.

    ``free`` are the generations that belong to nothing; ``attached`` those that the user attached, which may be of a lost
    submission too. ``elsewhere`` is what other kernels look for; each has its share of ``free``, first of what is too old
    for ``lost``. ``unnamed`` are synchronous submissions that were answered, without an id: one of the generations is
    theirs. ``orphans`` were lost by kernels that have ended, and nobody looks for them.
    Submissions that sent the same are interchangeable. A candidate that is left over can mean a stranger's; a
    candidate that other submissions could have made as well can mean theirs, and so can one whose media cannot be compared.
    """
    free = sorted(free, key=lambda seen: (seen.enqueued_at or 0.0, seen.generation_id))
    attached = list(attached)
    adopted: dict[str, tuple[Observation, ...]] = {}
    ambiguous: set[str] = set()
    beside_orphans: set[str] = set()
    groups: dict[str, list[Lost]] = {}
    for one in lost:
        groups.setdefault(json.dumps(one.sent, sort_keys=True), []).append(one)
    for same in groups.values():
        others = [one for group in groups.values() if group is not same for one in group]
        found = [seen for seen in free if any(one.fits(seen) for one in same)]
        theirs = any(other.fits(seen) for seen in found for other in others)
        theirs |= bool(found) and any(o.sent != same[0].sent and could_be(o.sent, same[0].sent) for o in elsewhere)
        decided = bool(found) and any(one.fits(seen) for seen in attached for one in same)
        doubtful = not all(same[0].is_certainly(seen) for seen in found)
        own = sum(any(one.fits(seen) for seen in found) for one in unnamed)
        if found and len(found) <= own:
            continue  # all of them may be of synchronous submissions
        if any(one.refused and one.fits(seen) and seen.status not in _STATUSES for one in unnamed for seen in found):
            continue  # what a refused one left fails: those that succeed will be told from it
        in_turn = sorted(same, key=lambda item: item.since or 0.0)
        shares, left = _share_out(in_turn, free)
        _, left = _share_out([one for one in elsewhere if one.sent == same[0].sent], left)
        left = [seen for seen in left if seen in found]
        _, strangers = _share_out([one for one in orphans if one.sent == same[0].sent], left)
        if theirs or decided or doubtful or own or strangers:
            ambiguous.update(one.key for one in same)
        elif left:
            beside_orphans.update(one.key for one in same)
        else:
            # The service takes a request as a whole: part of its count means that the list is still incomplete.
            adopted |= {one.key: shares[one.key] for one in same if len(shares[one.key]) == one.count}
    return Decision(adopted, frozenset(ambiguous), frozenset(beside_orphans))


def _share_out(
    equal: Iterable[Lost], found: Sequence[Observation]
) -> tuple[dict[str, tuple[Observation, ...]], Sequence[Observation]]:
    """Give each of some equal submissions the first generations that fit it; return the shares and what is left over."""
    shares: dict[str, tuple[Observation, ...]] = {}
    for one in equal:
        shares[one.key] = tuple(seen for seen in found if one.fits(seen))[: one.count]
        found = [seen for seen in found if seen not in shares[one.key]]
    return shares, found


# The search


class Recovery:
    """Looks for lost submissions of one service, all of them together; ``in_flight`` are those that may not be lost."""

    def __init__(
        self,
        open_client: Callable[[], Awaitable[Client]],
        registry: Registry,
        pace: Pace,
        target: Target,
        in_flight: Sequence[Submission],
    ) -> None:
        self._open = open_client
        self._registry = registry
        self._pace = pace
        self._target = target
        self._lost: dict[Submission, tuple[float, asyncio.Future[None]]] = {}  # with since when, by the loop's clock
        self._another = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._own_name: str | None = None
        self._owners: dict[str, str | None] = {}  # user names by generation id, as far as they were asked for
        self._in_flight = in_flight
        self._shown: dict[str, Observation] = {}
        self._beside_orphans: frozenset[str] = frozenset()

    @property
    def lost(self) -> Collection[Submission]:
        """The submissions that are looked for."""
        return self._lost.keys()

    async def find(self, submission: Submission) -> None:
        """Look for a submission until it is found, or until only the user can say what became of it."""
        submission.advance(Step.UNKNOWN)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._lost[submission] = loop.time(), future
        self._another.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._search())
        await future

    def look_again(self, submission: Submission) -> bool:
        """Start the time of a search anew; False where there is no search for this one."""
        if submission not in self._lost:
            return False
        self._lost[submission] = asyncio.get_running_loop().time(), self._lost[submission][1]
        self._another.set()
        return True

    def fits(self, submission: Submission, seen: Observation, service_time: float | None) -> bool:
        """Whether a submission whose answer was lost could have become this generation.

        Where the media cannot be compared, the user must have been asked which generation it is.
        """
        if submission.step not in (Step.UNKNOWN, Step.AMBIGUOUS) or submission.sent is None:
            return False
        one = self._describe(submission, service_time)
        return one.fits(seen) and (submission.step is Step.AMBIGUOUS or one.is_certainly(seen))

    def note(self, seen: Observation) -> None:
        """Remember a generation in a list that could be of an open submission: the next list may come from an older copy."""
        fields = {name: hashed(value) for name, value in seen.fields.items()}
        row = row_parameters(fields)
        if any(could_be(s.sent or {}, row) for s in (*self._lost, *self._in_flight)):
            self._shown[seen.generation_id] = replace(seen, fields=fields)

    def settle(self, submission: Submission) -> None:
        """End the search for a submission."""
        if (entry := self._lost.pop(submission, None)) is not None and not entry[1].done():
            entry[1].set_result(None)

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _search(self) -> None:
        first = min(0.5, self._pace.confirm / 4)
        pause, failures = first, 0
        while self._lost:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._another.wait()
            if self._another.is_set():
                self._another.clear()
                pause = first  # a new loss is looked for quickly, also after long pauses for others
                await asyncio.sleep(pause)
            why = NOT_FOUND
            try:
                await self._look(await self._open())
            except OxenVideoError as error:  # a look that failed is no evidence
                failures, why = failures + 1, UNREADABLE
                pause = self._pace.backoff.delay(failures, retry_after=pace_of(error))
                self._tell(f"{error} Looking for it again soon; it is not sent again.")
            except Exception:
                failures, why = failures + 1, UNREADABLE
                pause = self._pace.backoff.most
                log.exception("A search for a lost submit failed in an unforeseen way")
            else:
                failures, pause = 0, first if failures else min(pause * 2, _LONGEST_PAUSE)
            self._ask_about_old_ones(why)
        if not self._in_flight:
            self._shown.clear()

    def _tell(self, notice: str) -> None:
        for submission in self._lost:
            if submission.jobs and submission.jobs[0].state.status is not Status.UNCONFIRMED:
                submission.tell(notice=notice)

    def _ask_about_old_ones(self, why: str) -> None:
        now = asyncio.get_running_loop().time()
        for submission, (since, _) in list(self._lost.items()):
            if now - since >= self._pace.confirm:
                submission.ask_user(ORPHANED if submission.key in self._beside_orphans and why == NOT_FOUND else why)
            if now - since >= _LATEST_LOOK:
                self.settle(submission)

    async def _look(self, client: Client) -> None:
        looked_for = list(self._lost)
        for namespace in dict.fromkeys(s.request.target_namespace for s in looked_for):
            await self._read_lists(client, namespace)
        ahead = client.service_time()
        candidates = {s: self._describe(s, ahead) for s in looked_for}
        shared = any(s.request.target_namespace for s in self._lost)
        while True:
            shown = dict(self._shown)
            fitting = [seen for seen in shown.values() if any(one.fits(seen) for one in candidates.values())]
            strangers = await self.strangers(client, fitting) if shared else set()
            if shown == self._shown:  # else the watcher has read others while owners were asked for
                break
        # What is claimed is read after the lists: a submit that was answered meanwhile has claimed what is its own.
        try:
            self._registry.write_postponed()
        except sqlite3.Error as error:
            raise OxenVideoError(f"The journal cannot be written ({error}).") from None
        claimed = self._registry.journal.claimed(self._target.base_url, shown)
        taken = {i for i, attached in claimed.items() if not attached} | self._registry.unwritten_ids() | strangers
        free = [seen for i, seen in shown.items() if i not in taken and i not in claimed]
        attached = [seen for seen in fitting if claimed.get(seen.generation_id) and seen.generation_id not in taken]
        elsewhere, ended = self._registry.journal.unsettled_elsewhere(self._target.base_url)
        # The lists may be older than what was lost while they were read: the next look is for that.
        waiting = [s.sent or {} for s in (*self._in_flight, *(s for s in self._lost if s not in looked_for))]
        waiting += [entry.sent or {} for entry in elsewhere if entry.step is Step.SENDING]
        lost = [one for s, one in candidates.items() if s in self._lost]  # some may have been settled meanwhile
        # What the list shows may belong to a submit whose answer is still to come: that answer is waited for.
        awaited = [seen for seen in free if any(could_be(sent, row_parameters(seen.fields)) for sent in waiting)]
        lost = [one for one in lost if not any(one.fits(seen) for seen in awaited)]
        looking = [_written(entry) for entry in elsewhere if entry.step is Step.UNKNOWN]
        # One that is no longer looked for, because the user was asked, still has its share.
        own = {job.submission: None for job in self._registry.jobs() if job.submission.target == self._target}
        looking += [self._describe(s, ahead) for s in own if s.step is Step.UNKNOWN and s.sent and s not in self._lost]
        unnamed = [_written(entry) for entry in self._registry.journal.answered_without_id(self._target.base_url)]
        self._carry_out(decide(lost, free, attached, looking, unnamed, [_written(entry) for entry in ended]))

    def _carry_out(self, decision: Decision) -> None:
        self._beside_orphans = decision.beside_orphans
        for submission in list(self._lost):
            found = decision.adopted.get(submission.key)
            if found is not None:
                # Another kernel may have claimed them between our look and now: then the next look knows.
                if submission.accept([seen.generation_id for seen in found], found=True):
                    self.settle(submission)  # first, so that it is followed whatever happens below
                    for job, seen in zip(submission.jobs, found, strict=True):
                        job.see(seen)
            elif submission.key in decision.ambiguous:
                submission.advance(Step.AMBIGUOUS)
                submission.ask_user(AMBIGUOUS)
                self.settle(submission)

    def _describe(self, submission: Submission, service_time: float | None) -> Lost:
        since = submission.sent_at
        if since is None:  # the service's clock was not known when it was sent
            now = self._registry.clock() if service_time is None else service_time
            since = now - (asyncio.get_running_loop().time() - submission.sent_monotonic)
        return Lost(submission.key, submission.sent or {}, len(submission.jobs), since - CLOCK_SLACK)

    async def _read_lists(self, client: Client, namespace: str | None) -> None:
        for status in _STATUSES:
            try:
                rows = await persist(partial(client.queue, status=status, namespace=namespace), attempts=3)
            except (RateLimited, AuthenticationFailed):
                raise
            except OxenVideoError:
                await self._read_history(client, namespace)
                break
            for seen in rows:
                self.note(seen)

    async def _read_history(self, client: Client, namespace: str | None) -> None:
        """The history page by page, where a list fails or is too long; back to the oldest submission that is lost."""
        oldest = min(self._describe(s, client.service_time()).since or 0.0 for s in self._lost)
        for number in range(1, _MOST_PAGES + 1):
            ask = partial(client.history, page=number, page_size=_PAGE, media_type="video", namespace=namespace)
            page = await persist(ask, attempts=3)
            for seen in page.generations:
                self.note(seen)
            times = [seen.enqueued_at for seen in page.generations if seen.enqueued_at is not None]
            if number >= page.total_pages or (times and min(times) < oldest):
                break

    async def strangers(self, client: Client, seen: Sequence[Observation]) -> set[str]:
        """The ids of those generations in a shared namespace that another user enqueued."""
        if seen and self._own_name is None:
            self._own_name = (await persist(client.authorize, attempts=3)).name
        owners = {row.generation_id: await self._owner(client, row.generation_id) for row in seen}
        return {i for i, owner in owners.items() if owner is not None and self._own_name not in ("", owner)}

    async def _owner(self, client: Client, generation_id: str) -> str | None:
        if generation_id not in self._owners:
            row = await persist(lambda: client.history_entry(generation_id), attempts=3)
            name = row.fields.get("username")
            self._owners[generation_id] = str(name) if name else None
        return self._owners[generation_id]
