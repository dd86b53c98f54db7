"""Looking at the service for submits whose answers were lost, until it is clear what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import Protocol

from oxenvideo.client.client import Client
from oxenvideo.engine import recovery_match
from oxenvideo.errors import OutcomeUnknown, OxenVideoError
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.journal_writer import Ledger
from oxenvideo.jobs.status import Observation, State, Status
from oxenvideo.jobs.submission import Submission, put
from oxenvideo.pace import Pace
from oxenvideo.retry import pace_of, persist

log = logging.getLogger("oxenvideo")

_CLOCK_SLACK = 3.0  # seconds by which the service's whole-second clock and ours may differ unnoticed
# Active ones first: one that ends while the lists are read is then in two of them, and never in none.
_STATUSES = (None, "succeeded", "failed", "cancelled")
_LATEST_LOOK = 900.0  # seconds after which a lost submit is no longer looked for by itself
_LONGEST_PAUSE = 60.0  # seconds between two looks

_NOT_FOUND = (
    "The answer to this submit was lost, and the service shows no generation like it. If it is run again and "
    "the first one arrived after all, both are paid. %oxenvideo resume looks for it again."
)
_AMBIGUOUS = (
    "The answer to this submit was lost, and the service has more than one generation that could be it. "
    "See %oxenvideo history, and bring the right one back with %oxenvideo attach ID."
)


class Home(Protocol):
    """What a Search needs of its channel."""

    base_url: str
    ledger: Ledger
    pace: Pace

    async def open(self) -> Client: ...  # noqa: D102
    def change(self, generation: Generation, state: State) -> None: ...  # noqa: D102
    def accepted(self, submission: Submission, ids: Sequence[str], *, told: bool) -> bool: ...  # noqa: D102


class Search:
    """Settles lost submissions; ``sending`` are those of this kernel that still wait for their answers."""

    def __init__(self, home: Home, sending: Collection[Submission]) -> None:
        self._home = home
        self._sending = sending
        self._lost: list[Submission] = []
        self._task: asyncio.Task[None] | None = None
        self._another = asyncio.Event()

    def begin(self, submission: Submission) -> None:
        """Look for a submission from now on."""
        submission.lost_at = time.monotonic()
        submission.settled.clear()
        if submission not in self._lost:
            self._lost.append(submission)
        self._another.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._search())

    def holds(self, submission: Submission) -> bool:
        """Whether it is being looked for."""
        return submission in self._lost

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _search(self) -> None:
        first = min(0.5, self._home.pace.confirm / 4)
        pause, failures = first, 0
        while self._lost:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._another.wait(), pause)
            if self._another.is_set():
                self._another.clear()
                pause = first  # a fresh loss is looked for quickly, after the others' long pauses too
                await asyncio.sleep(pause)
            try:
                await self._look(await self._home.open())
            except OxenVideoError as error:  # a failed look is no evidence
                failures += 1
                pause = self._home.pace.backoff.delay(failures, retry_after=pace_of(error))
                self._say(f"{error} Looking for it again soon; it is not sent again.")
            except Exception:
                failures += 1
                pause = self._home.pace.backoff.most
                log.exception("A look for a lost submit failed in an unforeseen way")
            else:
                failures, pause = 0, first if failures else min(pause * 2, _LONGEST_PAUSE)
                self._give_up_old_ones()

    def _say(self, notice: str) -> None:
        for submission in self._lost:
            for generation in submission.generations:
                if generation.status is not Status.UNCONFIRMED:
                    put(self._home.change, generation, notice=notice)

    def _give_up_old_ones(self) -> None:
        now = time.monotonic()
        for submission in list(self._lost):
            age = now - (submission.lost_at or now)
            if age >= self._home.pace.confirm:
                self._give_to_person(submission, _NOT_FOUND)
            if age >= _LATEST_LOOK:
                self._lost.remove(submission)

    async def _look(self, client: Client) -> None:
        listed: dict[str, Observation] = {}
        for namespace in {s.request.target_namespace for s in self._lost}:
            for status in _STATUSES:
                for seen in await persist(partial(client.queue, status=status, namespace=namespace), attempts=3):
                    listed[seen.generation_id] = seen
        # What is claimed is read after the lists: a submit that was answered meanwhile has claimed what is its own.
        claimed = self._home.ledger.journal.claimed(self._home.base_url, listed)
        claimed |= self._home.ledger.unwritten_ids()
        groups: dict[str, list[Submission]] = {}
        for submission in self._lost:
            groups.setdefault(json.dumps(submission.fingerprint, sort_keys=True), []).append(submission)
        for same in groups.values():
            if not self._identical_is_on_its_way(same[0]):
                self._settle(same, listed, claimed, client.clock_offset or 0.0)

    def _identical_is_on_its_way(self, submission: Submission) -> bool:
        """Whether what the list shows could belong to a submit that is still waiting for its answer."""
        mine = any(other.fingerprint == submission.fingerprint for other in self._sending)
        return mine or self._home.ledger.journal.in_flight_elsewhere(self._home.base_url, submission.fingerprint)

    def _settle(
        self, same: Sequence[Submission], listed: dict[str, Observation], claimed: set[str], ahead: float
    ) -> None:
        lost = [
            recovery_match.Lost(s.key, s.fingerprint, len(s.generations), s.since + ahead - _CLOCK_SLACK) for s in same
        ]
        verdict = recovery_match.judge(lost, listed.values(), claimed)
        for submission in same:
            found = verdict.adopted.get(submission.key)
            if found is not None:
                # Another kernel may have claimed them between our look and now: then the next look knows.
                if self._home.accepted(submission, [seen.generation_id for seen in found], told=False):
                    self._lost.remove(submission)
            elif submission.key in verdict.ambiguous:
                self._give_to_person(submission, _AMBIGUOUS)

    def _give_to_person(self, submission: Submission, why: str) -> None:
        for generation in submission.generations:
            if str(generation.state.error) != why:
                put(self._home.change, generation, local=Status.UNCONFIRMED, error=OutcomeUnknown(why), notice=None)
        submission.settled.set()
