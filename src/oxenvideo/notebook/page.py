"""What one shell shows: runs a cell's order, places its card, waits where that is asked for."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from oxenvideo import api, files, price
from oxenvideo.batch import Batch
from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.generation import TICK, Generation
from oxenvideo.notebook import card, embed, grid, options, order
from oxenvideo.notebook.live import Live, OutputPlace, Place, Shown, WidgetPlace
from oxenvideo.notebook.options import Line
from oxenvideo.request import VideoRequest
from oxenvideo.session import Session

if TYPE_CHECKING:
    from oxenvideo.notebook.magics import OxenVideo

Item = Generation | Batch


class Page:
    """The cards of one shell, and the way from a cell to them."""

    def __init__(self, magics: OxenVideo) -> None:
        self._magics = magics
        self._shell = magics.ipython
        self._publisher = self._shell.display_pub
        self._noted = False
        self.live = Live()
        self._formatters(self._shell.display_formatter.formatters, add=True)

    @property
    def session(self) -> Session:
        """The session that the cells use."""
        return api.current_session()

    @property
    def in_terminal(self) -> bool:
        """Whether there is no front end that shows HTML, only a terminal."""
        return getattr(self._shell, "kernel", None) is None

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Pass changed traits on to the session."""
        api.configure(**{name: value for name, value in settings.items() if name != "model" or value is not None})

    def close(self) -> None:
        """Stop drawing, and take the formatters back."""
        self.live.close()
        self._formatters(self._shell.display_formatter.formatters, add=False)

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
        line = options.read(text)
        if "help" in line.flags:
            print(options.help_text())
            return
        names = self.variables
        how = embed.check(line.values.get("embed", self._magics.embed))
        defaults = {"duration": self._magics.duration, "aspect_ratio": self._magics.aspect_ratio}
        session = self.session
        wanted = order.of(line, body, names, session, defaults)
        save_as = line.values.get("save")
        if save_as is not None:
            files.check_pattern(save_as)
        limit = _dollars(line.values.get("max-cost"))
        if "dry-run" in line.flags:
            self._dry_run(wanted, session, synchronous="sync" in line.flags)
            return
        remarks = [f"Note: {warning}" for warning in wanted.warnings]
        if (earlier := self._still_running(line.name)) is not None:
            remarks.append(f"The earlier {line.name} is still {earlier} and goes on; see %oxenvideo list.")
        self._say_where(session)
        item = self._submit(session, wanted.requests, line, save_as, limit)
        if line.name is not None:
            self.push(line.name, item)
        self.show(item, how=how, remarks=remarks, estimate=_total(session, wanted.requests))
        if line.flags & {"wait", "sync"}:
            self.wait([item])
            self.raise_failure(item)

    def _submit(
        self, session: Session, requests: Sequence[VideoRequest], line: Line, save_as: str | None, limit: Decimal | None
    ) -> Item:
        batch = session.submit_batch(
            requests, name=line.name, save_as=save_as, max_cost=limit, synchronous="sync" in line.flags
        )
        several = len(batch) > 1 or "each" in line.values or "sweep" in line.lists
        return batch if several else batch[0]

    def _dry_run(self, wanted: order.Order, session: Session, *, synchronous: bool) -> None:
        path = "/api/ai/videos/generate" if synchronous else "/api/ai/queue"
        for request in wanted.requests:
            for part in request.split(1) if synchronous else request.split():
                print(f"POST {session.target.base_url if not session.target.is_local else ''}{path}")
                print(json.dumps(part.preview(), indent=2, ensure_ascii=False))
        for warning in wanted.warnings:
            print(f"Note: {warning}")
        estimates = [session.estimate(request) for request in wanted.requests]
        known = [e for e in estimates if e is not None]
        if len(known) == 1:
            print(f"About {known[0]}. Nothing was sent.")
        elif known:
            total = price.dollars(sum((e.total for e in known), Decimal()))
            rest = (
                f", and {len(estimates) - len(known)} whose price is not known" if len(known) < len(estimates) else ""
            )
            print(f"About {total} for {len(known)} requests{rest}. Nothing was sent.")
        else:
            print("The price is not known. Nothing was sent.")

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
        first = item if isinstance(item, Generation) else item[0] if len(item) else None
        expected = None
        if isinstance(item, Generation) and first is not None:
            expected = self.session.journal.typical_seconds(first.request.model, self.session.target.base_url)
        self.live.show(
            Shown(
                item,
                self._place(item),
                how or embed.check(self._magics.embed),
                self._magics.directory,
                expected=expected,
                estimate=estimate,
                remarks=tuple(remarks),
            )
        )

    def _place(self, item: Item) -> Place:
        done = item.done
        control = None if done else self._control(item)
        if _is_voila() and _has_widgets():
            return WidgetPlace(self._publisher, control)
        return OutputPlace(self._shell.display_pub, control)

    def _control(self, item: Item) -> Callable[[], Any] | None:
        if not _has_widgets():
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
        print(_one_line(item))
        if not item.done:
            name = f" {item.name}" if item.name else ""
            print(
                f"It runs in the background: %oxenvideo wait{name} waits for it, %oxenvideo list shows how it stands."
            )

    # Waiting

    def wait(self, items: Sequence[Item], timeout: float | None = None) -> bool:
        """Wait until all have settled and are drawn; False when ``timeout`` (seconds) came first."""
        if self._magics.nested_loops and not self.in_terminal:
            return _run_nested(lambda: self._settle(items, timeout))
        end = None if timeout is None else time.monotonic() + timeout
        status = _StatusLine(enabled=self.in_terminal)
        try:
            while not all(_settled(item) for item in items):
                if end is not None and time.monotonic() >= end:
                    return False
                status.show("; ".join(_one_line(item) for item in items if not _settled(item)))
                time.sleep(TICK / 2)
        except KeyboardInterrupt:
            names = ", ".join(item.name or "the video" for item in items if not _settled(item))
            raise KeyboardInterrupt(
                f"Stopped waiting. {names} goes on at the service; cancel with %oxenvideo cancel NAME."
            ) from None
        finally:
            status.end()
        for item in items:
            self.live.flush(item)
            if self.in_terminal:
                print(_one_line(item))
        return True

    async def _settle(self, items: Sequence[Item], timeout: float | None) -> bool:
        for item in items:
            try:
                await item.wait_async(timeout)
            except OxenVideoError:
                if not _settled(item):
                    return False
        for item in items:
            self.live.flush(item)
        return True

    def raise_failure(self, item: Item) -> None:
        """Let the cell fail where its video did, so that a headless run does not pass over it."""
        if isinstance(item, Generation):
            item.wait(0)
            return
        if item.failed:
            first = item.failed[0]
            raise OxenVideoError(f"{len(item.failed)} of {len(item)} videos failed; the first: {first.error_message}")

    # Formatters: what a Generation shows as the last expression of a cell

    def _formatters(self, formatters: Any, *, add: bool) -> None:
        for kind, render in (("text/html", self._html_of),):
            for type_ in (Generation, Batch):
                if add:
                    formatters[kind].for_type(type_, render)
                else:
                    formatters[kind].pop(type_, None)

    def _html_of(self, item: Item) -> str:
        shown = Shown(item, _Nowhere(), embed.check(self._magics.embed), self._magics.directory)
        shown.draw()
        assert isinstance(shown.place, _Nowhere)  # noqa: S101 - made three lines above
        return shown.place.html


class _Nowhere:
    """A place that keeps the HTML for whoever asked for it."""

    html = ""

    def draw(self, html: str, text: str, metadata: dict[str, Any], *, first: bool) -> None:
        self.html = html

    def settle(self) -> None:
        pass


class _StatusLine:
    """One line in a terminal, written over itself."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled and sys.stdout.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        if self._enabled and text != self._shown:
            width = os.get_terminal_size().columns - 1
            sys.stdout.write("\r" + text[:width].ljust(min(len(self._shown), width)))
            sys.stdout.flush()
            self._shown = text[:width]

    def end(self) -> None:
        if self._enabled and self._shown:
            sys.stdout.write("\r" + " " * len(self._shown) + "\r")
            sys.stdout.flush()


def _one_line(item: Item) -> str:
    if isinstance(item, Batch):
        return grid.text(item)
    view = card.view_of(item, time.time())
    words = card.text(view)
    if item.path is not None:
        return f"{words} → {os.path.relpath(item.path)}"
    return words if item.done or view.elapsed is None else f"{words} {card.duration_text(view.elapsed)}"


def _settled(item: Item) -> bool:
    generations = (item,) if isinstance(item, Generation) else item
    return all(g.state.is_settled for g in generations)


def _total(session: Session, requests: Sequence[VideoRequest]) -> Decimal | None:
    if session.target.is_local:
        return None
    known = [e.total for e in map(session.estimate, requests) if e is not None]
    return sum(known, Decimal()) if known else None


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


def _is_voila() -> bool:
    """Voilà ignores display updates and tells kernels that it is there."""
    return "VOILA_REQUEST_URL" in os.environ or "VOILA_KERNEL_ID" in os.environ


def _has_widgets() -> bool:
    from importlib.util import find_spec

    return find_spec("ipywidgets") is not None


def _run_nested(work: Callable[[], Any]) -> bool:
    """Run a coroutine on the kernel's own running loop: what ``nested_loops`` opts in to."""
    import asyncio
    from importlib import import_module
    from importlib.util import find_spec

    patch = import_module("nest_asyncio2" if find_spec("nest_asyncio2") else "nest_asyncio")
    patch.apply()
    return bool(asyncio.get_event_loop().run_until_complete(work()))
