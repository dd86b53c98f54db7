"""Runs a cell: reads it, submits its requests, shows the card, and waits if the cell says so."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from oxenvideo import api
from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.jobs import file_names
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.models.pricing import dollars
from oxenvideo.notebook import arguments, cell, waiting
from oxenvideo.notebook.card import Item, one_line, wait_command
from oxenvideo.notebook.display import Card, LiveCards
from oxenvideo.notebook.outputs import HtmlOutput, output_for
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session

_MAX_SHOWN = 24  # requests that a dry run prints


@dataclass(frozen=True)
class Defaults:
    """What a cell uses where it says nothing: ``duration`` in seconds; ``embed`` as in ``--embed``."""

    duration: int | None = None
    aspect_ratio: str | None = None
    embed: str = "auto"
    nested_loops: bool = False


class Runner:
    """Runs the cells of one shell and keeps their cards up to date."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.in_terminal = getattr(shell, "kernel", None) is None  # no front end that shows HTML
        self.defaults = Defaults()
        self._cards = LiveCards()
        self._noted = False
        # A Generation or Batch as the last expression of a cell is shown as a card.
        for type_ in (Generation, Batch):
            shell.display_formatter.ipython_display_formatter.for_type(type_, self.show)
        shell.events.register("post_run_cell", self._after_cell)

    def configure(self, **changes: Any) -> None:
        """Change defaults of cells, and settings of the session. Raises ConfigurationError."""
        own = {field.name for field in fields(Defaults)} & changes.keys()
        self.defaults = replace(self.defaults, **{name: changes.pop(name) for name in own})
        if changes:
            api.configure(**changes)

    def close(self) -> None:
        """Stop drawing, and undo what the constructor registered."""
        self._cards.close()
        self.shell.events.unregister("post_run_cell", self._after_cell)
        for type_ in (Generation, Batch):
            self.shell.display_formatter.ipython_display_formatter.pop(type_, None)

    def run_cell(self, line: str, body: str) -> None:
        """Run a cell with these options and this body."""
        options = arguments.parse_cell(line)
        if options.help:
            print(arguments.help_text())
            return
        session = api.current_session()
        variables = self.shell.user_ns
        requests, warnings = cell.requests(
            options,
            body,
            variables,
            session.catalog,
            model=session.settings.model,
            defaults={"duration": self.defaults.duration, "aspect_ratio": self.defaults.aspect_ratio},
        )
        remarks = [f"Note: {warning}" for warning in warnings]
        if options.dry_run:
            self._dry_run(session, options, requests, remarks)
            return
        name = options.name
        earlier = variables.get(name) if name is not None else None
        if isinstance(earlier, Generation | Batch) and not earlier.done:
            status = earlier.status if isinstance(earlier, Generation) else "running"
            remarks.append(f"The earlier {name} is still {status} and goes on; see %oxenvideo list.")
        target = session.target
        if target.note and not self._noted:
            self._noted = True
            print(target.note)
        batch = session.submit_batch(
            requests, name=name, save_as=options.save, max_cost=options.max_cost, synchronous=options.sync
        )
        item = batch if len(batch) > 1 or options.each or options.sweep else batch[0]
        if name is not None:
            variables[name] = item
        if self.in_terminal:
            self._print(item, remarks)
        else:
            known = [] if target.is_local else [e.total for r in requests if (e := session.estimate(r)) is not None]
            estimate = sum(known, Decimal()) if known else None
            if (options.wait or options.sync) and self._is_captured():
                self.wait([item])  # what captures the output gets it once, with the video
            self.show(item, how=options.embed, remarks=remarks, estimate=estimate)
        if options.wait or options.sync:
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
            print(f"POST {host}{path}")
            print(json.dumps(part.preview(), indent=2, ensure_ascii=False))
        if len(parts) > _MAX_SHOWN:
            print(f"and {len(parts) - _MAX_SHOWN} more requests")
        for remark in remarks:
            print(remark)
        try:
            session.check(requests, options.max_cost)
        except InvalidRequest as error:
            print(f"It would be refused: {error}")
        print(f"{_price(session, requests)} Nothing was sent.")

    # Cards

    def show(
        self,
        item: Item,
        *,
        how: str | None = None,
        remarks: Sequence[str] = (),
        estimate: Decimal | None = None,
    ) -> None:
        """Show an item in the present cell, and keep it up to date. ``estimate`` is US dollars."""
        if self.in_terminal:
            self._print(item, remarks)
            return
        session = api.current_session()
        target = session.target
        is_captured = self._is_captured()
        card = Card(
            item,
            HtmlOutput(self.shell.display_pub) if is_captured else output_for(self.shell, item),
            how or self.defaults.embed,
            Path.cwd(),
            expected=session.journal.typical_seconds(item.request.model, target.base_url)
            if isinstance(item, Generation)
            else None,
            estimate=estimate,
            free=target.is_local,
            remarks=tuple(remarks),
        )
        if is_captured:
            card.draw(first=True)  # what captures the output gets one, not a hundred
        else:
            self._cards.show(card)

    def _print(self, item: Item, remarks: Sequence[str]) -> None:
        print(*remarks, one_line(item), sep="\n")
        if not item.done:
            print(f"It runs in the background: {wait_command(item)} waits for it, %oxenvideo list shows its status.")

    def _is_captured(self) -> bool:
        """Whether the output of the present cell is captured, as by ``%%capture``."""
        from IPython.core.displaypub import CapturingDisplayPublisher

        return isinstance(self.shell.display_pub, CapturingDisplayPublisher)

    def _after_cell(self, _: Any) -> None:
        """Draw what ended, as part of this cell: a headless run takes no message after its last cell."""
        self._cards.flush()

    # Waiting

    def wait(self, items: Sequence[Item], timeout: float | None = None) -> bool:
        """Wait until all are settled and drawn; False if ``timeout`` (seconds) came first."""
        if self.defaults.nested_loops and not self.in_terminal:
            settled = waiting.wait_nested(items, timeout)
        else:
            settled = waiting.wait(items, timeout, in_terminal=self.in_terminal)
        for item in items if settled else ():
            if self.in_terminal:
                print(one_line(item))
            else:
                self._cards.flush(item)
        return settled


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
