"""What one shell shows: runs a cell's order, places its card, waits where that is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oxenvideo.catalog import pricing
from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.jobs import file_names
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.notebook import arguments, cell, embed, front_end, waiting
from oxenvideo.notebook.arguments import Line
from oxenvideo.notebook.display import Live, Shown
from oxenvideo.notebook.outputs import OutputPlace, Place, WidgetPlace
from oxenvideo.notebook.waiting import Item
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session, configure, current_session

if TYPE_CHECKING:
    from oxenvideo.notebook.magics import OxenVideo

_MOST_SHOWN = 24  # requests that a dry run prints


class Page:
    """The cards of one shell, and the way from a cell to them."""

    def __init__(self, magics: OxenVideo) -> None:
        self._magics = magics
        self._shell = magics.ipython
        self._noted = False
        self.live = Live()
        self._format(add=True)
        self._shell.events.register("post_run_cell", self._after_cell)

    @property
    def session(self) -> Session:
        """The session that the cells use."""
        return current_session()

    @property
    def in_terminal(self) -> bool:
        """Whether there is no front end that shows HTML, only a terminal."""
        return getattr(self._shell, "kernel", None) is None

    @property
    def directory(self) -> Path:
        """The notebook's directory."""
        return self._magics.directory

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Pass changed traits on to the session."""
        configure(**settings)

    def close(self) -> None:
        """Stop drawing, and take the formatter and the event back."""
        self.live.close()
        self._shell.events.unregister("post_run_cell", self._after_cell)
        self._format(add=False)

    @property
    def variables(self) -> Mapping[str, Any]:
        """The notebook's variables."""
        names: Mapping[str, Any] = self._shell.user_ns
        return names

    def push(self, name: str, value: Item) -> None:
        """Set a variable of the notebook."""
        self._shell.push({name: value})

    # Cells

    def run_cell(self, text: str, body: str) -> None:
        """Do what a cell says."""
        line = arguments.read(text)
        if "help" in line.flags:
            print(arguments.help_text())
            return
        names = self.variables
        how = embed.check(line.values.get("embed", self._magics.embed))
        defaults = {"duration": self._magics.duration, "aspect_ratio": self._magics.aspect_ratio}
        session = self.session
        wanted = cell.of(line, body, names, session, defaults)
        save_as = line.values.get("save")
        if save_as is not None:
            file_names.check_pattern(save_as)
        limit = _dollars(line.values.get("max-cost"))
        if "dry-run" in line.flags:
            self._dry_run(wanted, session, limit, synchronous="sync" in line.flags)
            return
        remarks = [f"Note: {warning}" for warning in wanted.warnings]
        if (earlier := self._still_running(line.name)) is not None:
            remarks.append(f"The earlier {line.name} is still {earlier} and goes on; see %oxenvideo list.")
        self._say_where(session)
        item = self._submit(session, wanted.requests, line, save_as, limit)
        if line.name is not None:
            self.push(line.name, item)
        waits = bool(line.flags & {"wait", "sync"})
        if waits and _is_captured(self._shell):
            self.wait([item])
            self.show(item, how=how, remarks=remarks, estimate=_total(session, wanted.requests))
        else:
            self.show(item, how=how, remarks=remarks, estimate=_total(session, wanted.requests))
            if waits:
                self.wait([item])
        if waits:
            self.raise_failure(item)

    def _submit(
        self, session: Session, requests: Sequence[VideoRequest], line: Line, save_as: str | None, limit: Decimal | None
    ) -> Item:
        batch = session.submit_batch(
            requests, name=line.name, save_as=save_as, max_cost=limit, synchronous="sync" in line.flags
        )
        several = len(batch) > 1 or "each" in line.values or "sweep" in line.lists
        return batch if several else batch[0]

    def _dry_run(self, wanted: cell.Order, session: Session, limit: Decimal | None, *, synchronous: bool) -> None:
        path = "/api/ai/videos/generate" if synchronous else "/api/ai/queue"
        host = "" if session.target.is_local else session.target.base_url
        parts = [part for r in wanted.requests for part in (r.split(1) if synchronous else r.split())]
        for part in parts[:_MOST_SHOWN]:
            print(f"POST {host}{path}")
            print(json.dumps(part.preview(), indent=2, ensure_ascii=False))
        if len(parts) > _MOST_SHOWN:
            print(f"and {len(parts) - _MOST_SHOWN} more requests")
        for warning in wanted.warnings:
            print(f"Note: {warning}")
        try:
            session.check(wanted.requests, limit)
        except InvalidRequest as error:
            print(f"It would be refused: {error}")
        print(f"{_price_of([session.estimate(request) for request in wanted.requests])} Nothing was sent.")

    def _still_running(self, name: str | None) -> str | None:
        previous = self.variables.get(name) if name is not None else None
        if isinstance(previous, Generation) and not previous.done:
            return str(previous.status)
        return "running" if isinstance(previous, Batch) and not previous.done else None

    def _say_where(self, session: Session) -> None:
        if session.target.note and not self._noted:
            self._noted = True
            print(session.target.note)

    # Cards

    def show(
        self,
        item: Item,
        *,
        how: embed.How | None = None,
        remarks: Sequence[str] = (),
        estimate: Decimal | None = None,
    ) -> None:
        """Show an item in the present cell, and keep it up to date."""
        if self.in_terminal:
            self._show_in_terminal(item, remarks)
            return
        captured = _is_captured(self._shell)
        shown = Shown(
            item,
            OutputPlace(self._shell.display_pub) if captured else self._place(item),
            how or embed.check(self._magics.embed),
            self._magics.directory,
            expected=self._expected(item),
            estimate=estimate,
            free=self.session.target.is_local,
            remarks=tuple(remarks),
        )
        if captured:
            shown.draw(first=True)  # once: whoever captured it gets one output, not a hundred
        else:
            self.live.show(shown)

    def _expected(self, item: Item) -> float | None:
        if isinstance(item, Batch):
            return None
        return self.session.journal.typical_seconds(item.request.model, self.session.target.base_url)

    def _place(self, item: Item) -> Place:
        publisher = self._shell.display_pub
        control = None if item.done else self._control(item)
        if front_end.in_voila() and _has_widgets():
            return WidgetPlace(publisher, control)
        return OutputPlace(publisher, control)

    def _control(self, item: Item) -> Callable[[], Any] | None:
        if not (_has_widgets() and front_end.in_front_end()):
            return None

        def make() -> Any:
            import ipywidgets

            what = item.name or "this video"
            several = isinstance(item, Batch)
            button = ipywidgets.Button(
                description="Cancel all" if several else "Cancel",
                tooltip=f"Ask the service to cancel {what}",
                layout=ipywidgets.Layout(width="auto", height="28px"),
            )

            def clicked(_: Any) -> None:
                button.disabled = True
                button.description = "Cancelling"
                item.cancel(None)

            button.on_click(clicked)
            return button

        return make

    def _show_in_terminal(self, item: Item, remarks: Sequence[str]) -> None:
        for remark in remarks:
            print(remark)
        print(waiting.one_line(item))
        if not item.done:
            name = f" {item.name}" if item.name else ""
            print(
                f"It runs in the background: %oxenvideo wait{name} waits for it, %oxenvideo list shows how it stands."
            )

    # Waiting

    def wait(self, items: Sequence[Item], timeout: float | None = None) -> bool:
        """Wait until all have settled and are drawn; False when ``timeout`` (seconds) came first."""
        if self._magics.nested_loops and not self.in_terminal:
            settled = waiting.until_settled_nested(items, timeout)
        else:
            settled = waiting.until_settled(items, timeout, in_terminal=self.in_terminal)
        if settled:
            for item in items:
                self.live.flush(item)
                if self.in_terminal:
                    print(waiting.one_line(item))
        return settled

    def raise_failure(self, item: Item) -> None:
        """Let the cell fail where its video did, so that a headless run does not pass over it."""
        if isinstance(item, Generation):
            item.wait(0)
            return
        if item.failed:
            first = item.failed[0]
            raise OxenVideoError(f"{len(item.failed)} of {len(item)} videos failed; the first: {first.error_message}")

    def _after_cell(self, _: Any) -> None:
        """Show what ended meanwhile, as part of this cell: a headless run takes in no message after its last one."""
        self.live.flush_ended()

    # A Generation or Batch as the last expression of a cell is shown as a card, live as any other.

    def _format(self, *, add: bool) -> None:
        formatter = self._shell.display_formatter.ipython_display_formatter
        for type_ in (Generation, Batch):
            if add:
                formatter.for_type(type_, self.show)
            else:
                formatter.pop(type_, None)


def _total(session: Session, requests: Sequence[VideoRequest]) -> Decimal | None:
    if session.target.is_local:
        return None
    known = [e.total for e in map(session.estimate, requests) if e is not None]
    return sum(known, Decimal()) if known else None


def _price_of(estimates: Sequence[pricing.Estimate | None]) -> str:
    """What is known of the price, as a sentence."""
    known = [e for e in estimates if e is not None]
    if not known:
        return "The price is not known."
    if len(estimates) == 1:
        return f"About {known[0]}."
    total = pricing.dollars(sum((e.total for e in known), Decimal()))
    open_ = len(estimates) - len(known)
    noun = "request" if len(known) == 1 else "requests"
    return f"About {total} for {len(known)} {noun}{f', and {open_} whose price is not known' if open_ else ''}."


def _dollars(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text.removeprefix("$"))
    except ArithmeticError:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise InvalidRequest(f"--max-cost {text!r} is no amount of US dollars.")
    return amount


def _is_captured(shell: Any) -> bool:
    """Whether the present cell's outputs are kept back, as by ``%%capture``."""
    from IPython.core.displaypub import CapturingDisplayPublisher

    return isinstance(shell.display_pub, CapturingDisplayPublisher)


def _has_widgets() -> bool:
    from importlib.util import find_spec

    return find_spec("ipywidgets") is not None
