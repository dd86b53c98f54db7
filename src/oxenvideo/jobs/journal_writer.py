"""Writing to the journal while the work goes on: in batches, in order, and again where the disk refused."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from oxenvideo.jobs.journal import Journal
from oxenvideo.jobs.records import Step
from oxenvideo.jobs.status import State

log = logging.getLogger("oxenvideo")

# Seconds for which writes are gathered. Ids soon: until then a killed kernel has to search for them. States on the way
# less soon: the service tells them again.
_ANSWERS = 0.05
_STATES = 0.5
# An end at the next turn of the loop; where many come, this long after the write before, or as soon as they are as many as
# the loop can write without being late for anything.
_ENDS = 0.2
_TOGETHER = 4
_SLICE = 20  # states that are written in one turn of the loop: about a millisecond
_RETRY = 2.0  # seconds after which a refused write is tried again


class Ledger:
    """The journal as the engine's loop writes it. What happened at the service stays true where it cannot be written.

    Only ``claim`` raises: nothing may be sent that is not written down before.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._changes: dict[str, State] = {}
        self._answers: list[tuple[str, Sequence[tuple[str, str]]]] = []
        self._refused: deque[Callable[[], object]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._complained = False
        self._flushed_at = -_ENDS

    def note(self, key: str, state: State) -> None:
        """Have a generation's present state written before long."""
        self._changes[key] = state
        if not state.is_settled:
            self._schedule(_STATES)
        elif len(self._changes) >= _TOGETHER:
            self._schedule(0.0)
        else:
            self._schedule(max(0.0, self._flushed_at + _ENDS - asyncio.get_running_loop().time()))

    def step(self, submission: str, step: Step) -> None:
        """Write how far a submission has come."""
        self._write(lambda: self.journal.step(submission, step))

    def withdraw(self, key: str) -> None:
        """Write that a generation was taken out before its submission was sent."""
        self._write(lambda: self.journal.withdraw(key))

    def answered(self, submission: str, key: str, result_url: str) -> None:
        """Write the synchronous endpoint's answer."""
        self._write(lambda: self.journal.answered(submission, key, result_url))

    def accept(self, submission: str, ids: Sequence[tuple[str, str]], *, told: bool) -> bool:
        """Write the service's ids; False where one that was only found is claimed by another already.

        Those that the service told us wait for the next flush: a kernel that dies before it leaves "sending" behind, and
        is helped by finding them in the list, as one that died just before the answer.
        """
        if told:
            self._answers.append((submission, ids))
            self._schedule(_ANSWERS)
            return True
        return self._write(lambda: self.journal.accept(submission, ids, told=False)) is not False

    def unwritten_ids(self) -> set[str]:
        """Ids that the service told us and that the journal does not know yet."""
        return {generation_id for _, ids in self._answers for _, generation_id in ids}

    def claim(self, submission: str, fingerprint: dict[str, Any]) -> bool:
        """See Journal.claim_sending; raises sqlite3.Error where it cannot be written."""
        self._write_refused()
        return self.journal.claim_sending(submission, fingerprint)

    def flush(self, most: int | None = None) -> None:
        """Write what is still unwritten, as far as the disk takes it; at ``most`` so many states, and more soon."""
        self._timer = None
        self._flushed_at = asyncio.get_running_loop().time()
        try:
            self._write_refused()
            self._write_answers()
            if self._changes:
                written = list(islice(self._changes.items(), most))
                self.journal.record(written)
                for key, _ in written:
                    del self._changes[key]
            if self._changes:
                self._schedule(0.0)
            self._complained = False
        except sqlite3.Error as error:
            self._complain(error)

    def _write(self, work: Callable[[], object]) -> object:
        try:
            self._write_refused()  # in order
            self._write_answers()
            return work()
        except sqlite3.Error as error:
            self._refused.append(work)
            self._complain(error)
            return None

    def _write_answers(self) -> None:
        if not self._answers:
            return
        try:
            self.journal.accept_all(self._answers)
        except sqlite3.IntegrityError:  # somebody attached to one of them meanwhile
            for submission, ids in self._answers:
                self.journal.accept(submission, ids, told=True)
        self._answers = []

    def _write_refused(self) -> None:
        while self._refused:
            self._refused[0]()
            self._refused.popleft()

    def _complain(self, error: sqlite3.Error) -> None:
        if not self._complained:
            self._complained = True
            log.warning(
                "The journal %s cannot be written (%s). Trying again; until then a restart loses track of running videos.",
                self.journal.path,
                error,
            )
        self._schedule(_RETRY)

    def _schedule(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self.flush, _SLICE)
