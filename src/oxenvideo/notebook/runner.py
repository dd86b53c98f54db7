"""Runs a cell: reads it, submits its requests, shows the card, and waits if the cell says so."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from oxenvideo.catalog.pricing import dollars
from oxenvideo.engine.film import Film
from oxenvideo.environment import front_end
from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.jobs import file_names
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import TICK, Generation
from oxenvideo.notebook import arguments, cell
from oxenvideo.notebook.card import Item, generations, one_line, wait_command
from oxenvideo.notebook.display import LiveCards
from oxenvideo.notebook.film_card import make_card
from oxenvideo.notebook.outputs import Output, output_for
from oxenvideo.notebook.renditions import Renditions
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session, configure, current_session

_SHOWN = (Generation, Batch, Film)
_MAX_SHOWN = 24  # requests that a dry run prints


class Runner:
    """Runs the cells of one shell and keeps their cards up to date."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.in_terminal = getattr(shell, "kernel", None) is None  # no front end that shows HTML
        # What a cell uses if it gives no option: ``duration`` in seconds, ``embed`` as in ``--embed``.
        self.defaults: dict[str, Any] = {
            "duration": None,
            "aspect_ratio": None,
            "embed": "auto",
            "nested_loops": False,
            "notify": False,
        }
        self._cards = LiveCards()
        self._noted = False
        # One of these as the last expression of a cell is shown as a card.
        for type_ in _SHOWN:
            shell.display_formatter.ipython_display_formatter.for_type(type_, self.show)
        shell.events.register("post_run_cell", self._after_cell)

    def configure(self, **changes: Any) -> None:
        """Change defaults of cells, and settings of the session. Raises ConfigurationError."""
        self.defaults |= {name: changes.pop(name) for name in self.defaults.keys() & changes.keys()}
        if changes:
            configure(**changes)

    def close(self) -> None:
        """Stop drawing, and undo what the constructor registered."""
        self._cards.close()
        self.shell.events.unregister("post_run_cell", self._after_cell)
        for type_ in _SHOWN:
            self.shell.display_formatter.ipython_display_formatter.pop(type_, None)

    def run_cell(self, line: str, body: str) -> None:
        """Run a cell with these options and this body."""
        options = arguments.parse_cell(line)
        if options.help:
            print(arguments.help_text())
            return
        variables = self.shell.user_ns
        defaults = {name: self.defaults[name] for name in ("duration", "aspect_ratio")}
        session = current_session()
        requests, warnings = cell.requests(options, body, variables, session.catalog, session.settings.model, defaults)
        remarks = [f"Note: {warning}" for warning in warnings]
        if options.dry_run:
            self._dry_run(session, options, requests, remarks)
            return
        name, waits = options.name, options.wait or options.sync
        earlier = variables.get(name) if name is not None else None
        if isinstance(earlier, Generation | Batch) and not earlier.done:
            status = earlier.status if isinstance(earlier, Generation) else "running"
            remarks.append(f"The earlier {name} is still {status} and goes on; see %oxenvideo list.")
        target = session.target
        if target.note and not self._noted:
            self._noted = True
            print(target.note)
        limits = {"name": name, "save_as": options.save, "max_cost": options.max_cost}
        item: Item
        if options.each or options.sweep or requests[0].count > 1:
            item = session.submit_batch(requests, **limits, synchronous=options.sync)
        elif options.sync:
            item = session.generate(requests[0], wait=False, **limits)
        else:
            item = session.submit(requests[0], **limits)
        if name is not None:
            variables[name] = item
        if self.in_terminal:
            self._print(item, remarks)
        else:
            known = [] if target.is_local else [e.total for r in requests if (e := session.estimate(r)) is not None]
            estimate = sum(known, Decimal()) if known else None
            if waits and self._is_captured():
                self.wait([item])  # what captures the output gets it once, with the video
            self.show(
                item,
                how=options.embed,
                remarks=remarks,
                estimate=estimate,
                notify=self.defaults["notify"] or options.notify,
            )
        if waits:
            self.wait([item])
            raise_failure(item)

    def _dry_run(
        self, session: Session, options: Namespace, requests: Sequence[VideoRequest], remarks: Sequence[str]
    ) -> None:
        if options.save is not None:
            file_names.check_pattern(options.save)
        path = "/api/ai/videos/generate" if options.sync else "/api/ai/queue"
        host = "" if session.target.is_local else session.target.base_url
        parts = [part for r in requests for part in (r.split(1) if options.sync else r.split())]
        for part in parts[:_MAX_SHOWN]:
            print(f"POST {host}{path}", json.dumps(part.preview(), indent=2, ensure_ascii=False), sep="\n")
        more = [f"and {len(parts) - _MAX_SHOWN} more requests"] if len(parts) > _MAX_SHOWN else []
        for words in [*more, *remarks]:
            print(words)
        try:
            session.check(requests, options.max_cost)
        except InvalidRequest as error:
            print(f"It would be refused: {error}")
        print(f"{_price(session, requests)} Nothing was sent.")

    # Cards

    def show(
        self,
        item: Item | Film,
        *,
        how: str | None = None,
        remarks: Sequence[str] = (),
        estimate: Decimal | None = None,
        notify: bool | Callable[[Any], object] = False,
    ) -> None:
        """Show an item in the present cell, and keep it up to date. ``estimate`` is US dollars; ``notify`` as in Card."""
        if self.in_terminal:
            if isinstance(item, Film):
                print(f"{item.name}: {item.summary}")
            else:
                self._print(item, remarks)
            return
        session = current_session()
        is_captured = self._is_captured()
        expected = None
        if isinstance(item, Generation):
            expected = session.journal.typical_seconds(item.request.model, item.target.base_url)
        front = front_end()
        publisher = self.shell.display_pub
        card = make_card(
            item,
            Output(publisher) if is_captured else output_for(item, front, publisher, notify=notify is True),
            how or self.defaults["embed"],
            Path.cwd(),
            front,
            session.settings.embed_limit or front.embed_limit,
            None if is_captured else Renditions(session.settings.data_dir / "renditions"),
            expected=expected,
            estimate=estimate,
            remarks=tuple(remarks),
            notify=notify,
        )
        if is_captured:
            card.draw(first=True)  # what captures the output gets one, not a hundred
        else:
            self._cards.show(card)

    def _print(self, item: Item, remarks: Sequence[str]) -> None:
        done, name = item.done, item.name
        print(*remarks, one_line(item), sep="\n")
        if not done:
            print(f"It runs in the background: {wait_command(name)} waits for it, %oxenvideo list shows its status.")

    def _is_captured(self) -> bool:
        """Whether the output of the present cell is captured, as by ``%%capture``."""
        from IPython.core.displaypub import CapturingDisplayPublisher

        return isinstance(self.shell.display_pub, CapturingDisplayPublisher)

    def _after_cell(self, _: Any) -> None:
        """Draw what ended, as part of this cell: a headless run takes no message after its last cell."""
        self._cards.flush()

    # Waiting

    def wait(self, items: Sequence[Item], timeout: float | None = None) -> bool:
        """Wait until all are settled and drawn; False if ``timeout`` (seconds) came first.

        An interrupt raises KeyboardInterrupt with a message: the videos are still made.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pause = _nested_sleep() if self.defaults["nested_loops"] and not self.in_terminal else time.sleep
        status = _StatusLine(enabled=self.in_terminal)
        try:
            while running := [item for item in items if not is_settled(item)]:
                if end is not None and time.monotonic() >= end:
                    return False
                everything = Batch([g for item in running for g in generations(item)])
                status.show(f"Waiting for {everything.summary}" if len(running) > 1 else one_line(running[0]))
                pause(TICK / 2)
        except KeyboardInterrupt:
            names = ", ".join(item.name or "the video" for item in items if not is_settled(item))
            raise KeyboardInterrupt(
                f"Stopped waiting. {names} goes on at the service; cancel with %oxenvideo cancel NAME."
            ) from None
        finally:
            status.show("")
        for item in items:
            if self.in_terminal:
                print(one_line(item))
            else:
                self._cards.flush(item)
        return True


def is_settled(item: Item) -> bool:
    """Whether waiting for an item has ended."""
    return all(g.state.is_settled for g in generations(item))


def raise_failure(item: Item) -> None:
    """Raise an error if a video failed, so that a headless run stops there."""
    if isinstance(item, Generation):
        item.wait(0)
    elif failed := item.failed:
        raise OxenVideoError(f"{len(failed)} of {len(item)} videos failed; the first: {failed[0].error_message}")


def _price(session: Session, requests: Sequence[VideoRequest]) -> str:
    """What is known of the price, as a sentence."""
    estimates = [session.estimate(request) for request in requests]
    known = [estimate for estimate in estimates if estimate is not None]
    if not known:
        return "The price is not known."
    if len(estimates) == 1:
        return f"About {known[0]}."
    total = dollars(sum((e.total for e in known), Decimal()))
    unknown = len(estimates) - len(known)
    more = f", and {unknown} whose price is not known" if unknown else ""
    return f"About {total} for {len(known)} {'request' if len(known) == 1 else 'requests'}{more}."


def _nested_sleep() -> Callable[[float], None]:
    """A sleep during which the tasks of the kernel's own event loop run.

    Button clicks are still delayed with ipykernel 7.4: it handles all messages in one context, which the cell holds.
    """
    import_module("nest_asyncio2" if find_spec("nest_asyncio2") else "nest_asyncio").apply()
    loop = asyncio.get_event_loop()
    return lambda seconds: loop.run_until_complete(asyncio.sleep(seconds))


class _StatusLine:
    """One line in a terminal that overwrites itself."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled and sys.stdout.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        """Replace the line; an empty text removes it."""
        if self._enabled and text != self._shown:
            width = os.get_terminal_size().columns - 1
            sys.stdout.write("\r" + text[:width].ljust(len(self._shown)) + ("" if text else "\r"))
            sys.stdout.flush()
            self._shown = text[:width]
