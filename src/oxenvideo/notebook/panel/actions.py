"""What a click on the board or the stage does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from oxenvideo.client.responses import Observation
from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.jobs.generation import Generation
from oxenvideo.media.media import Media
from oxenvideo.notebook.panel import serialize, videos
from oxenvideo.notebook.panel.form_state import slot_for
from oxenvideo.notebook.panel.generate_button import REST
from oxenvideo.notebook.panel.thumbnails import poster
from oxenvideo.notebook.panel.videos import Clip
from oxenvideo.request.request import VideoRequest

if TYPE_CHECKING:
    from oxenvideo.engine.history import HistoryRow
    from oxenvideo.engine.service import Service
    from oxenvideo.notebook.panel.panel import Panel

log = logging.getLogger("oxenvideo")

_PAGE = 12  # rows of the history on one page


class Actions:
    """One method for each thing that the browser can ask for; ``hear`` finds it and says what went wrong."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._rows: dict[str, HistoryRow] = {}
        self._retried: dict[str, float] = {}
        self._acts: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
            "account": lambda _: self.account(),
            "attach": lambda told: self.attach(str(told["id"]), cancel=bool(told.get("cancel"))),
            "cancel": lambda told: self.cancel(str(told["key"])),
            "cancel all": lambda _: self.cancel_all(),
            "close": lambda _: self.look_at([]),
            "code": lambda told: self.code(str(told["key"])),
            "dismiss": lambda told: panel.jobs.dismiss(str(told["key"])),
            "frame": lambda told: self.use_frame(str(told["key"])),
            "hello": lambda _: panel.courier.stir(),
            "history": lambda told: self.history(int(told["page"])),
            "look": lambda told: self.look_at([str(key) for key in told["keys"]][:2]),
            "posters": lambda told: self.posters([str(key) for key in told["keys"]]),
            "retry": lambda told: self.retry(str(told["key"]), sure=bool(told.get("sure"))),
            "save": lambda told: self.save(str(told["key"]), str(told["to"])),
            "settled": lambda told: panel.settled(told.get("n")),
            "use": lambda told: self.use(str(told["key"])),
            "video": lambda told: self.send_video(str(told["key"])),
            "picked": lambda told: panel.form.picker.pick(str(told.get("line") or "")),
        }

    def hear(self, told: Mapping[str, Any]) -> None:
        """Do what a message from the browser asks for."""
        act = self._acts.get(str(told.get("do")))
        if act is None:
            return
        try:
            act(told)
        except OxenVideoError as error:
            self._panel.board.say(str(error), "bad")

    # Jobs

    def _job(self, key: str) -> Generation:
        generation = self._panel.jobs.get(key)
        if generation is None:
            raise InvalidRequest("This video is not in the panel any more.")
        return generation

    def cancel(self, key: str) -> None:
        """Ask the service to cancel, without waiting; the row tells what became of it."""
        self._job(key).cancel(None)

    def cancel_all(self) -> None:
        """Cancel everything of this kernel that has not ended."""
        for generation in self._panel.jobs.generations:
            if not generation.done:
                generation.cancel(None)

    def retry(self, key: str, *, sure: bool) -> None:
        """Fetch a file that did not arrive, or submit the request once more, which is charged once more."""
        generation, now = self._job(key), time.monotonic()
        if now - self._retried.get(key, -REST) < REST:
            return
        match serialize.group_of(generation):
            case "lost":
                generation.download()
            case "failed" | "cancelled":
                self._again(generation)
            case "unsure" if sure:
                self._again(generation)
            case _:
                return
        self._retried[key] = now

    def _again(self, generation: Generation) -> None:
        self._panel.session.submit_batch([generation.request.with_(count=1)])
        self._panel.board.say("Submitted once more, as a new video.", "good")

    # Looking at videos

    def clip(self, key: str) -> Clip:
        """The finished video behind a key of the gallery or an id of the history."""
        generation = self._panel.jobs.get(key)
        if generation is not None and generation.path is not None:
            return Clip(key, generation.path, generation.request, generation)
        row = self._rows.get(key)
        if row is not None and row.path is not None and row.request is not None:
            return Clip(key, row.path, row.request)
        raise InvalidRequest("There is no file of this video here.")

    def look_at(self, keys: list[str]) -> None:
        """Open one video large, or two side by side; none closes the stage."""
        found = [self.clip(key) for key in dict.fromkeys(keys)]
        self._panel.look_at(found)

    def send_video(self, key: str) -> None:
        """Bring a video's file to the browser, in parts."""
        stage = self._panel.stage
        if stage is not None:
            videos.send_all(self._panel.courier.post, stage.send, self.clip(key))

    def posters(self, keys: list[str]) -> None:
        """Bring small pictures of these videos to the browser."""

        def step() -> None:
            key = left.pop(0)
            try:
                picture = poster(self.clip(key).path)
            except OxenVideoError:
                picture = None
            self._panel.board.send({"is": "poster", "key": key}, buffers=[picture or b""])
            if left:
                self._panel.courier.post(step)

        left = list(dict.fromkeys(keys))
        if left:
            self._panel.courier.post(step)

    def use_frame(self, key: str) -> None:
        """Put the last picture of a video into the form, as what the next one begins with."""
        clip, form = self.clip(key), self._panel.form
        slot = slot_for(form.draft.model, "image")
        if slot is None:
            form.picker.open("image")
            name = form.draft.model.display_name or form.draft.model.id
            raise InvalidRequest(f"{name} takes no image: choose one of the models that do, then use the frame again.")
        from oxenvideo.media.frames import last_frame

        form.put(slot.name, Media.from_value(last_frame(clip.path), "image"))
        self._panel.board.say("The last frame is in the form.", "good")
        self._panel.board.focus(slot.name)

    def use(self, key: str) -> None:
        """Put the parameters of a job or of a line of the history into the form."""
        self._panel.load(self.request_of(key).with_(count=1))
        self._panel.board.say("The form has these settings now.", "good")
        self._panel.board.focus("prompt")

    def request_of(self, key: str) -> VideoRequest:
        """The request behind a key of the queue or gallery, or an id of the history; "" is the form's."""
        generation = self._panel.jobs.get(key)
        if generation is not None:
            return generation.request
        row = self._rows.get(key)
        if row is not None and row.request is not None:
            return row.request
        if key:
            raise InvalidRequest("How this video was made is not known here.")
        return self._panel.request

    def code(self, key: str) -> None:
        """Show the cell and the call that make a video again."""
        request = self.request_of(key)
        request = request.with_(count=1) if key else request
        self._panel.board.code = {"cell": request.as_cell(), "python": request.as_python(), "at": time.time()}

    def save(self, key: str, to: str) -> None:
        """Copy a video's file to another name."""
        target = videos.save_copy(self.clip(key), to)
        self._panel.board.say(f"Saved as {serialize.shown_path(target)}.", "good")

    # The account

    def history(self, page: int) -> None:
        """Show a page of everything that the account has made."""
        page = max(1, page)
        self._panel.board.history = {**self._panel.board.history, "busy": True}

        def ask() -> None:
            found = self._panel.session.history(page=page, page_size=_PAGE)
            self._rows.update({row.id: row for row in found if row.id})
            of_account = [row for row in found if row.id]
            self._panel.board.history = {
                "page": page,
                "rows": [serialize.history_row(row) for row in found],
                "more": len(of_account) >= _PAGE,
                "busy": False,
            }

        self._in_background(
            ask,
            lambda why: setattr(self._panel.board, "history", {"page": page, "rows": [], "busy": False, "error": why}),
        )

    def account(self) -> None:
        """Show what runs for the whole account, wherever it was submitted."""
        board, session = self._panel.board, self._panel.session
        board.account = {**board.account, "busy": True}

        async def look(service: Service) -> list[Observation]:
            return await (await service.open()).queue(media_type="video")

        def ask() -> None:
            own = {generation.id: generation for generation in self._panel.jobs.generations}
            seen = session.engine.run(look, session.target)
            board.account = {
                "rows": [serialize.account_row(s, own.get(s.generation_id)) for s in seen],
                "at": time.time(),
                "busy": False,
            }

        self._in_background(ask, lambda why: setattr(board, "account", {"rows": [], "busy": False, "error": why}))

    def attach(self, generation_id: str, *, cancel: bool) -> None:
        """Follow a generation of the account here, and cancel it where that was asked for."""

        def bring() -> None:
            generation = self._panel.session.attach(generation_id)
            if cancel:
                self._panel.board.say(str(generation.cancel()))
            if self._panel.board.account:
                self.account()

        self._in_background(bring, lambda why: self._panel.board.say(why, "bad"))

    def _in_background(self, work: Callable[[], object], failed: Callable[[str], object]) -> None:
        """Wait for the service on a thread of its own: the kernel stays free for cells."""

        def run() -> None:
            try:
                work()
            except OxenVideoError as error:
                failed(str(error))
            except Exception:
                log.exception("The panel's question to the service failed.")
                failed("This did not work; the log says why.")

        threading.Thread(target=run, name="oxenvideo-panel-ask", daemon=True).start()
