"""The panel: form, queue and gallery together, for one session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets as widgets

from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.notebook.panel.actions import Actions
from oxenvideo.notebook.panel.board import Board, Stage
from oxenvideo.notebook.panel.form import Form
from oxenvideo.notebook.panel.generate_button import GenerateButton
from oxenvideo.notebook.panel.job_list import Jobs
from oxenvideo.notebook.panel.labels import class_of, price_of
from oxenvideo.notebook.panel.media_input import Inlet
from oxenvideo.notebook.panel.updates import Courier
from oxenvideo.notebook.panel.validation import GENERAL, Verdict
from oxenvideo.notebook.panel.videos import Clip
from oxenvideo.notebook.panel.widgets import Kit
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session

_MOST = 999  # videos that one press may ask for


class Panel:
    """A workbench in the notebook. Show it as the last expression of a cell, or by ``%oxenvideo panel``.

    ``request`` is what the form says, ``selected`` the video that is open, ``generations`` everything that the panel
    shows; ``load(request)`` fills the form, ``generate()`` does what the button does. ``widget`` is the whole as an
    ipywidgets object, for layouts of one's own.
    """

    def __init__(self, session: Session, *, names: Callable[[], Mapping[str, Any]] | None = None) -> None:
        self.session = session
        self._names = names or _notebook_names
        self._kit = kit = Kit()
        self._clips: list[Clip] = []
        self._settling: Callable[[], None] | None = None
        self._settles = 0
        self.actions = Actions(self)
        self.jobs = Jobs(session)
        rows = {key: row for key, row in self.jobs.news().items() if row is not None}
        self.board: Board = kit.adopt(
            Board(self.actions.hear, service=session.target.host, jobs=rows, layout=kit.layout)
        )
        self.stage: Stage | None = None
        self._stage_place = kit.column()
        self.courier = Courier(self._tell)
        self.jobs.notify(self.courier.stir)
        self._price = kit.html(classes="oxv-price")
        self._line = kit.html(classes="oxv-line")
        self._count = kit.make(
            widgets.BoundedIntText, "oxv-field oxv-count oxv-f-count", description="Videos", value=1, min=1, max=_MOST
        )
        self._count.observe(lambda change: self._set_count(change["new"]), "value")
        self._button = GenerateButton(kit, self._settle, self._generate_pressed, lambda: self.request)
        self.form = Form(kit, session, self._make_inlet, self._changed)
        self.widget = self._laid_out()
        self._changed()

    def _laid_out(self) -> Any:
        kit = self._kit
        code = kit.button("Show as code", "oxv-quiet", then=lambda: self.actions.hear({"do": "code", "key": ""}))
        clear = kit.button("Clear", "oxv-quiet", hint="Empty the form; the model stays", then=self.form.clear)
        send = kit.row([self._count, self._button.widget], "oxv-send")
        foot = kit.column([self._price, send, self._line, kit.row([code, clear], "oxv-links")], "oxv-foot oxv-section")
        form = kit.column([self.form.widget, foot], "oxv-form")
        board = kit.column([self._stage_place, self.board], "oxv-board-column")
        return kit.column([kit.column([form, board], "oxv-columns")], "oxv-panel")

    # From code

    @property
    def request(self) -> VideoRequest:
        """What the form says now; not checked, see ``problem``."""
        return self.form.draft.request

    @property
    def problem(self) -> str | None:
        """Why the form cannot be sent as it stands, or None."""
        return self.form.verdict.first

    @property
    def selected(self) -> Generation | None:
        """The generation that is open in the panel, the first of two; None where none of this kernel is."""
        return next((clip.generation for clip in self._clips if clip.generation is not None), None)

    @property
    def generations(self) -> list[Generation]:
        """Everything of this session that the panel shows, oldest first."""
        return self.jobs.generations

    def load(self, request: VideoRequest) -> None:
        """Fill the form with a request, such as ``generation.request``."""
        self.form.load(request)
        self._count.value = min(request.count, _MOST)

    def generate(self) -> Batch:
        """Submit what the form says and return at once. Raises InvalidRequest with the first thing that is wrong."""
        verdict = self.form.verdict
        if verdict.first is not None:
            raise InvalidRequest(verdict.first)
        return self.session.submit_batch([verdict.request])

    def close(self) -> None:
        """Take the panel away; what it submitted goes on."""
        self.jobs.close()
        self.courier.close()
        self._kit.close()

    def __repr__(self) -> str:
        return "<Panel>"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        shown = self.widget._repr_mimebundle_(**options)
        data, metadata = shown if isinstance(shown, tuple) else (shown, {})
        return {**data, "text/plain": repr(self)}, metadata

    # The form

    def _make_inlet(self) -> Inlet:
        store = self.session.settings.data_dir / "media"
        inlet: Inlet = self._kit.adopt(Inlet(self._names, store, self._changed, layout=self._kit.layout))
        return inlet

    def _set_count(self, count: int) -> None:
        self.form.draft.count = count
        self._changed()

    def _changed(self) -> None:
        """The form says something else: judge it anew, price it anew."""
        verdict = self.form.verdict
        self._show_price(verdict)
        tone = "need" if verdict.only_missing else "fault"
        self.board.faults = {class_of(name): [text, tone] for name, text in verdict.faults.items() if name != GENERAL}
        self._say_below(verdict)
        self._button.refresh()

    def _show_price(self, verdict: Verdict) -> None:
        total, how = price_of(self.session.estimate(verdict.request), local=self.session.target.is_local)
        self._price.value = f"<b>{escape(total)}</b> <span class='oxv-faint'>{escape(how)}</span>"

    def _say_below(self, verdict: Verdict) -> None:
        text = verdict.faults.get(GENERAL, "")
        notes = [f"<div class='oxv-faint'>{escape(note)}</div>" for note in verdict.warnings]
        self._line.value = (f"<div class='oxv-bad'>{escape(text)}</div>" if text else "") + "".join(notes)

    # Generate

    def _settle(self, then: Callable[[], None]) -> None:
        """Have the browser hand over what was typed last, then go on; at once where no browser was heard of."""
        if not self.board.watched:
            then()
            return
        self._settling = then
        self._settles += 1
        self.board.send({"is": "settle", "n": self._settles})

    def settled(self, number: Any) -> None:
        """The browser has handed over everything."""
        if number == self._settles and self._settling is not None:
            then, self._settling = self._settling, None
            then()

    def _generate_pressed(self) -> bool:
        verdict = self.form.verdict
        if verdict.first is not None:
            self.board.say(verdict.first, "bad")
            self.board.focus(next(iter(verdict.faults)))
            return False
        try:
            batch = self.session.submit_batch([verdict.request])
        except OxenVideoError as error:
            self.board.say(str(error), "bad")
            return False
        self.board.say("")
        self._line.value = (
            f"<div class='oxv-good'>{'One video' if len(batch) == 1 else f'{len(batch)} videos'} submitted.</div>"
        )
        return True

    # Board and stage

    def _tell(self) -> None:
        if self.board.watched:  # a panel whose cell was run again is out of sight, and catches up if it comes back
            self.board.tell(self.jobs.news())

    def look_at(self, clips: Sequence[Clip]) -> None:
        """Open these videos on the stage, or close it."""
        self._clips = list(clips)
        if self.stage is None:
            if not clips:
                return
            self.stage = self._kit.adopt(Stage(self.actions.hear, layout=self._kit.layout))
            self._stage_place.children = (self.stage,)
        self.stage.clips = [clip.described for clip in clips]
        self.board.shown = [clip.key for clip in clips]


def _notebook_names() -> Mapping[str, Any]:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return shell.user_ns if shell is not None else {}


def panel() -> Panel:
    """The panel to make, watch and compare videos without writing code."""
    from oxenvideo.session import current_session

    return Panel(current_session())
