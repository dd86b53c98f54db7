"""Batch: a sequence of generations that are waited for, cancelled and looked at together."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self, overload

from oxenvideo import errors
from oxenvideo.jobs.displayed import Displayed
from oxenvideo.jobs.generation import Cancellation, Generation
from oxenvideo.jobs.status import Status

if TYPE_CHECKING:
    import pandas

# How a generation can end without a video here; a wait for a batch goes on to the next one.
_ENDINGS = (errors.GenerationEnded, errors.DownloadFailed, errors.OutcomeUnknown)


class Batch(Displayed, Sequence[Generation]):
    """Generations that were submitted together, in order."""

    def __init__(
        self,
        generations: Iterable[Generation],
        *,
        name: str | None = None,
        again: Callable[[Sequence[Generation]], Batch] | None = None,
    ) -> None:
        self._generations = tuple(generations)
        self.name = name
        self._again = again

    @overload
    def __getitem__(self, index: int) -> Generation: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: int | slice) -> Generation | Batch:
        if isinstance(index, slice):
            return Batch(self._generations[index], name=self.name, again=self._again)
        return self._generations[index]

    def __len__(self) -> int:
        return len(self._generations)

    def __repr__(self) -> str:
        return f"<Batch {f'{self.name}: ' if self.name else ''}{self.summary}>"

    @property
    def counts(self) -> Counter[Status]:
        """How many stand where."""
        return Counter(g.status for g in self._generations)

    @property
    def summary(self) -> str:
        """One line: how many there are and how they stand."""
        counts = self.counts
        parts = [f"{counts[status]} {status}" for status in Status if counts[status]]
        return f"{len(self)} {'video' if len(self) == 1 else 'videos'}: {', '.join(parts)}" if parts else "no videos"

    @property
    def done(self) -> bool:
        """Whether every one has ended, well or not."""
        return all(g.done for g in self._generations)

    @property
    def cost(self) -> Decimal | None:
        """US dollars charged so far, for those whose cost is known; None where none is."""
        known = [g.cost for g in self._generations if g.cost is not None]
        return sum(known, Decimal()) if known else None

    @property
    def succeeded(self) -> list[Generation]:
        """Those with a video."""
        return [g for g in self._generations if g.status is Status.SUCCEEDED]

    @property
    def failed(self) -> list[Generation]:
        """Those that ended without one, cancelled ones aside."""
        return [g for g in self._generations if g.status is Status.FAILED]

    def wait(self, timeout: float | None = None) -> Self:
        """Block until every one has ended; ``timeout`` in seconds, for all together.

        Raises WaitTimeout. That some failed raises nothing: see ``failed``, and ``summary``.
        """
        end = None if timeout is None else time.monotonic() + timeout
        try:
            for generation in self._generations:
                try:
                    generation.wait(None if end is None else max(0.0, end - time.monotonic()))
                except errors.WaitTimeout as error:
                    raise self._timed_out(timeout, error) from None
                except _ENDINGS:
                    continue
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"Stopped waiting. {self.summary}. They go on; cancel them with .cancel()."
            ) from None
        return self

    def _timed_out(self, timeout: float | None, error: errors.WaitTimeout) -> errors.WaitTimeout:
        return error if timeout is None else errors.WaitTimeout(f"{self.summary} after {timeout:g} s. They go on.")

    def __await__(self) -> Generator[None, None, Self]:
        return self.wait_async().__await__()

    async def wait_async(self, timeout: float | None = None) -> Self:
        """The same as ``wait`` for coroutines."""
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        for generation in self._generations:
            try:
                await generation.wait_async(None if end is None else max(0.0, end - loop.time()))
            except errors.WaitTimeout as error:
                raise self._timed_out(timeout, error) from None
            except _ENDINGS:
                continue
        return self

    def cancel(self, timeout: float | None = 10.0) -> list[Cancellation]:
        """Ask the service to cancel each that has not ended; the answers in order.

        ``timeout`` is in seconds for all together; None asks without waiting.
        """
        running = [g for g in self._generations if not g.done]
        for generation in running:
            generation.cancel(None)
        if timeout is None:
            return [Cancellation("Asked the service to cancel.", cancelled=False) for _ in running]
        end = time.monotonic() + timeout
        return [_cancellation(g, end - time.monotonic()) for g in running]

    def on_change(self, callback: Callable[[Generation], object]) -> None:
        """Call ``callback(generation)`` on each change of status of each."""
        for generation in self._generations:
            generation.on_change(callback)

    def retry_failed(self) -> Batch:
        """Submit those that failed once more, as a new Batch, with their numbers and their pattern of file names.

        Each is a new generation, and is charged as one. CostLimitExceeded where the setting ``max_cost`` forbids it.
        """
        if self._again is None:
            raise errors.OxenVideoError("This Batch does not know where it was submitted: submit its requests again.")
        return self._again(self.failed)

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame with a row for each: status, model, parameters, file, cost in US dollars, seconds it took."""
        try:
            import pandas
        except ImportError:
            raise errors.ConfigurationError("to_pandas needs: pip install pandas") from None
        return pandas.DataFrame([_row(g) for g in self._generations])


def _cancellation(generation: Generation, left: float) -> Cancellation:
    """What became of the request to cancel, waited for while there is time."""
    if generation.status is Status.CANCELLED:
        return Cancellation("Cancelled.", cancelled=True)
    return generation.cancel(left if left > 0 else None)


def _row(generation: Generation) -> dict[str, Any]:
    return {
        "id": generation.id,
        "status": str(generation.status),
        "model": generation.request.model,
        **generation.request.preview(count=1),
        "path": str(generation.path) if generation.path else None,
        "error_message": generation.error_message,
        "cost": float(generation.cost) if generation.cost is not None else None,
        "seconds": generation.state.elapsed,
    }
