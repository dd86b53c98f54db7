"""The board: running jobs, gallery, player, account and history, drawn in the browser from rows of plain JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from oxenvideo.client.responses import Observation
from oxenvideo.engine.history import HistoryRow
from oxenvideo.engine.service import Service
from oxenvideo.errors import InvalidRequest, OxenVideoError, WaitTimeout
from oxenvideo.jobs.generation import Generation
from oxenvideo.notebook.live_widget import script
from oxenvideo.notebook.panel import job_list, videos
from oxenvideo.notebook.panel.labels import details_of, shown_path
from oxenvideo.notebook.panel.videos import FinishedVideo
from oxenvideo.notebook.panel.widget import HERE, PanelWidget, UpdateThread, in_background
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session

_PAGE = 12  # rows of the history on one page
_JOIN_EVERY = 0.5  # seconds between two reports of a film that is joined
_RETRY_AFTER = 1.5  # seconds for which a second click on Retry is ignored


class Board(PanelWidget):
    """The board's widget. ``open_videos`` are those in the player, at most two."""

    _esm = script(HERE / "board.js")
    _css = HERE / "panel.css"

    def __init__(self, session: Session, names: Mapping[str, str]) -> None:
        self._session = session
        self._names = names
        self._watched = False  # whether a page shows the board, as far as pages tell
        self._sent = 0  # changes of the snapshot that were sent
        self._history: dict[str, Any] = {}
        self._history_rows: dict[str, HistoryRow] = {}
        self._account: dict[str, Any] = {}
        self._retried: dict[str, float] = {}
        self._films: dict[str, FinishedVideo] = {}
        self._stars_file = session.settings.data_dir / "starred.json"
        self._stars = set[str]()
        with suppress(OSError, ValueError):
            self._stars = set(json.loads(self._stars_file.read_text()))
        self.open_videos: list[FinishedVideo] = []
        self.updates = UpdateThread(self._send_rows)
        self.jobs = job_list.JobList(session, names, self.updates.rows_changed)
        self.jobs.changes()  # the first snapshot contains them
        super().__init__()

    def stop(self) -> None:
        """Follow nothing any more, and close the widget."""
        self.jobs.close()
        self.updates.close()
        self.close()

    # What a page shows

    def snapshot(self) -> dict[str, Any]:
        """Everything that the board shows."""
        return {
            "sent": self._sent,  # first: what is sent while the rest is read may not be in it
            "service": self._session.target.host,
            "jobs": self.jobs.rows(),
            "stars": sorted(self._stars),
            "videos": [self._described(video) for video in self.open_videos],
            "history": self._history,
            "account": self._account,
            "code": None,
            "now": time.time(),
        }

    def update(self, **changes: Any) -> None:
        """Send some keys of the snapshot that have changed."""
        self._sent += 1
        super().update(**(changes | {"sent": self._sent}))

    def say(self, text: str, tone: str = "", action: Mapping[str, str] | None = None) -> None:
        """Show one line above the tabs; ``tone`` is empty, good or bad. ``action`` is a button: a label and a message."""
        self.update(said={"text": text, "tone": tone, "action": action})

    def report(self, error: str) -> None:
        """Show an error above the tabs."""
        self.say(error, "bad")

    def show_code(self, request: VideoRequest) -> None:
        """Show the cell and the Python call for a request."""
        self.update(code={"cell": request.as_cell(), "python": request.as_python()})

    def _send_rows(self) -> None:
        if self._watched:  # one whose cell was run again is out of sight, and gets the changes if it comes back
            rows = self.jobs.changes()
            if rows:
                self._sent += 1
                self.send({"is": "rows", "rows": rows, "sent": self._sent, "now": time.time()})

    def _described(self, video: FinishedVideo) -> dict[str, Any]:
        return {
            "key": video.key,
            "title": (video.generation.name if video.generation is not None else None) or "",
            "prompt": video.request.prompt,
            "model": video.request.model,
            "details": " · ".join(details_of(video.request, self._names).values()),
            "file": shown_path(video.path),
            "name": video.path.name,
            "shape": videos.shape(video.path),
        }

    # What the user does

    def receive(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        """Do what a message from the board asks for. The panel handles those that concern the form."""
        key = str(content.get("key", ""))
        match content.get("do"):
            case "hello":
                self._watched = True
                if content.get("sent") != self._sent:  # the page could not hear yet when a change was sent
                    self.update(**self.snapshot())
                self.updates.rows_changed()
            case "away":
                self._watched = False
            case "cancel":
                self._job(key).cancel(None)  # without waiting: the row shows the result
            case "cancel all":
                for generation in self.jobs.generations:
                    if not generation.done:
                        generation.cancel(None)
            case "retry":
                self._retry(key, sure=bool(content.get("sure")))
            case "dismiss":
                for one in content["keys"]:
                    self._dismiss(str(one), delete_file=bool(content.get("file")))
            case "star":
                self._star(key, on=bool(content["on"]))
            case "look":
                self.look_at([str(one) for one in content["keys"]][:2])
            case "join":
                self._join([self.video(str(one)) for one in content["keys"]])
            case "video":
                self._send_pieces(self.video(key))
            case "posters":
                self._send_posters([str(one) for one in content["keys"]])
            case "save":
                target = videos.save_copy(self.video(key), str(content["to"]))
                self.say(f"Saved as {shown_path(target)}.", "good")
            case "history":
                self._read_history(max(1, int(content["page"])))
            case "account":
                self._read_account()
            case "attach":
                self._attach(str(content["id"]), cancel=bool(content.get("cancel")))

    def request_of(self, key: str) -> VideoRequest:
        """The request of a job or of a row of the history, for one video."""
        generation = self.jobs.get(key)
        row = self._history_rows.get(key)
        request = generation.request if generation is not None else row.request if row is not None else None
        if request is None:
            raise InvalidRequest("The settings of this video are not known here.")
        return request.with_(count=1)

    def video(self, key: str) -> FinishedVideo:
        """The finished video of a job or of a row of the history."""
        if key in self._films:
            return self._films[key]
        generation, row = self.jobs.get(key), self._history_rows.get(key)
        if generation is not None and generation.path is not None:
            return FinishedVideo(key, generation.path, generation.request, generation)
        if row is not None and row.path is not None and row.request is not None:
            return FinishedVideo(key, row.path, row.request)
        raise InvalidRequest("The file of this video is not here.")

    def look_at(self, keys: Sequence[str]) -> None:
        """Open one video in the player, or two side by side; none closes it."""
        self.open_videos = [self.video(key) for key in dict.fromkeys(keys)]
        self.update(videos=[self._described(video) for video in self.open_videos])

    def _join(self, parts: Sequence[FinishedVideo]) -> None:
        """Join videos into ``film.mp4`` and open it."""
        film = self._session.join([video.path for video in parts], "film.mp4")

        def follow() -> None:
            while not film.done:
                self.say(f"Joining {len(parts)} videos: {film.progress:.0%}")
                with suppress(WaitTimeout):
                    film.wait(_JOIN_EVERY)
            path = film.wait().path
            assert path is not None  # noqa: S101 - wait raises without one
            made = VideoRequest("joined", {"prompt": " + ".join(video.name for video in parts)})
            self._films[str(path)] = FinishedVideo(str(path), path, made)
            self.say(f"Joined as {shown_path(path)}.", "good")
            self.look_at([str(path)])

        in_background(follow, self.report)

    def _job(self, key: str) -> Generation:
        generation = self.jobs.get(key)
        if generation is None:
            raise InvalidRequest("This video is not in the panel any more.")
        return generation

    def _retry(self, key: str, *, sure: bool) -> None:
        """Download a missing file again, or submit the request again, which is charged again."""
        generation, now = self._job(key), time.monotonic()
        if now - self._retried.get(key, -_RETRY_AFTER) < _RETRY_AFTER:
            return
        group = job_list.group_of(generation)
        if group == "missing":
            generation.download()
        elif group in ("failed", "cancelled") or (group == "unconfirmed" and sure):
            self._session.submit_batch([generation.request.with_(count=1)])
            self.say("Submitted again, as a new video.", "good")
        else:
            return
        self._retried[key] = now

    def _dismiss(self, key: str, *, delete_file: bool) -> None:
        generation = self.jobs.get(key)
        if delete_file and generation is not None and generation.path is not None:
            try:
                generation.path.unlink(missing_ok=True)
            except OSError as error:
                raise OxenVideoError(f"{generation.path} cannot be deleted: {error.strerror or error}.") from None
            self.say(f"Deleted {shown_path(generation.path)}.", "good")
        self.jobs.dismiss(key)
        if any(video.key == key for video in self.open_videos):
            self.look_at([])

    def _star(self, key: str, *, on: bool) -> None:
        self._stars = self._stars | {key} if on else self._stars - {key}
        with suppress(OSError):  # a star that is not kept for the next session is no reason for an error
            self._stars_file.write_text(json.dumps(sorted(self._stars)))
        self.update(stars=sorted(self._stars))

    def _send_pieces(self, video: FinishedVideo) -> None:
        """Send a file piece by piece, each when the one before is out."""
        messages = videos.pieces(video)

        def send_next() -> None:
            message = next(messages, None)
            if message is not None:
                self.send(message[0], buffers=message[1])
                self.updates.add(send_next)

        self.updates.add(send_next)

    def _send_posters(self, keys: Sequence[str]) -> None:
        for key in dict.fromkeys(keys):
            self.updates.add(partial(self._send_poster, key))

    def _send_poster(self, key: str) -> None:
        try:
            picture = videos.poster(self.video(key).path)
        except OxenVideoError:
            picture = None
        self.send({"is": "poster", "key": key}, buffers=[picture or b""])

    # The account

    def _set_history(self, **changes: Any) -> None:
        self._history = {**self._history, **changes}
        self.update(history=self._history)

    def _set_account(self, **changes: Any) -> None:
        self._account = {**self._account, **changes}
        self.update(account=self._account)

    def _read_history(self, page: int) -> None:
        self._set_history(waiting=True)

        def read() -> None:
            free = self._session.target.is_local  # read first: the session may use another server when the page is here
            found = self._session.history(page=page, page_size=_PAGE)
            of_account = {row.id: row for row in found if row.id}
            self._history_rows.update(of_account)
            rows = [job_list.history_row(row, free=free) for row in found]
            more = len(of_account) >= _PAGE
            self._set_history(page=page, rows=rows, more=more, waiting=False, error="")

        in_background(read, lambda why: self._set_history(page=page, rows=[], waiting=False, error=why))

    def _read_account(self) -> None:
        """Read what is running for the whole account, wherever it was submitted."""
        self._set_account(waiting=True)

        async def ask(service: Service) -> list[Observation]:
            return await (await service.open()).queue(media_type="video")

        def read() -> None:
            own = {generation.id: generation for generation in self.jobs.generations}
            seen = self._session.engine.run(ask, self._session.target)
            rows = [job_list.account_row(one, own.get(one.generation_id)) for one in seen]
            self._set_account(rows=rows, waiting=False, error="")

        in_background(read, lambda why: self._set_account(rows=[], waiting=False, error=why))

    def _attach(self, generation_id: str, *, cancel: bool) -> None:
        """Follow a generation of the account here, and cancel it if ``cancel``."""

        def attach() -> None:
            generation = self._session.attach(generation_id)
            if cancel:
                self.say(str(generation.cancel()))
            if self._account:
                self._read_account()

        in_background(attach, self.report)
