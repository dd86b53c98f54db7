"""The player, the gallery, the history and the account."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faulty import FaultyService, unavailable
from oxenvideo.notebook.panel import Panel
from oxenvideo.notebook.panel.videos import FinishedVideo, pieces, save_copy
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session
from panel.page import IMAGE, TEXT, Wire, board_page, media_of, to_board, to_form, within


def test_an_open_video_is_the_selected_one_and_its_bytes_arrive(panel: Panel, done: Any, wire: Wire) -> None:
    """The whole file arrives in order; closing the player clears the selection."""
    to_board(panel, do="look", keys=[done.key])
    assert panel.selected is done
    assert [video["shape"] for video in board_page(panel)["videos"]] == [(64, 32)]
    to_board(panel, do="video", key=done.key)
    size = done.path.stat().st_size
    assert within(30, lambda: any(part["at"] == size for part in wire.of("piece")))
    to_board(panel, do="look", keys=[])
    assert panel.selected is None


def test_a_large_file_comes_in_parts_of_a_megabyte(tmp_path: Path) -> None:
    """The pieces make up the file, and each tells how much has been sent."""
    path = tmp_path / "large.mp4"
    path.write_bytes(bytes(range(256)) * 10_000)
    messages = list(pieces(FinishedVideo("k", path, VideoRequest(TEXT, {}))))
    assert [message["at"] for message, _ in messages] == [1048576, 2097152, 2560000]
    assert {message["size"] for message, _ in messages} == {2560000}
    assert b"".join(part for _, (part,) in messages) == path.read_bytes()


def test_a_file_that_is_gone_is_said_where_it_would_play(panel: Panel, done: Any, wire: Wire) -> None:
    """The player shows an error and does not wait."""
    to_board(panel, do="look", keys=[done.key])
    done.path.unlink()
    to_board(panel, do="video", key=done.key)
    assert within(30, lambda: wire.of("missing"))


def test_the_last_frame_begins_the_next_video(panel: Panel, done: Any, wire: Wire) -> None:
    """It goes into the model's image parameter; for a model without one, a related model is offered."""
    to_board(panel, do="frame", key=done.key)
    said = wire.said()
    assert "takes no image" in said["text"]
    assert said["action"]["model"] == IMAGE
    to_board(panel, **said["action"])
    assert panel.request.model == IMAGE
    assert panel.request.parameters["input_image"].mime == "image/png"
    assert media_of(panel, "input_image")["items"][0]["label"] == "last frame of clip"
    panel.load(VideoRequest(IMAGE, {"prompt": "p"}))
    to_board(panel, do="frame", key=done.key)
    assert panel.request.parameters["input_image"].mime == "image/png"


def test_settings_are_reused_shown_as_code_and_the_file_saved(
    panel: Panel, done: Any, tmp_path: Path, wire: Wire
) -> None:
    """Settings are loaded, code is shown, and a copy never overwrites a file."""
    to_board(panel, do="use", key=done.key)
    assert panel.request == done.request
    to_board(panel, do="code", key=done.key)
    assert wire.of("update")[-1]["page"]["code"]["cell"] == done.request.as_cell()
    assert wire.of("update")[-1]["page"]["code"]["python"] == done.request.as_python()
    to_board(panel, do="save", key=done.key, to=str(tmp_path / "copies" / "one"))
    assert (tmp_path / "copies" / "one.mp4").read_bytes() == done.path.read_bytes()
    to_board(panel, do="save", key=done.key, to=str(tmp_path / "copies" / "one.mp4"))
    assert "exists already" in wire.said()["text"]


_NO_ROOM = """
import resource, signal, sys
from pathlib import Path
from oxenvideo.errors import OxenVideoError
from oxenvideo.notebook.panel.videos import FinishedVideo, save_copy
from oxenvideo.request.request import VideoRequest
video = FinishedVideo("k", Path(sys.argv[1]), VideoRequest("some-model", {}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails, as on a full disk
for limit in (1_000_000, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        print(save_copy(video, sys.argv[2]).stat().st_size)
    except OxenVideoError as error:
        print(error, [path.name for path in Path(sys.argv[2]).parent.iterdir()])
"""


def test_a_copy_for_which_there_is_no_room_leaves_nothing(tmp_path: Path) -> None:
    """Part of a video never has the name of the copy, which is free for the next try."""
    video, copy = tmp_path / "clip.mp4", tmp_path / "copies" / "copy.mp4"
    video.write_bytes(bytes(3_000_000))
    command = [sys.executable, "-c", _NO_ROOM, str(video), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [f"{copy} cannot be written: File too large. []", "3000000"]


def test_a_copy_never_takes_the_name_of_a_file_that_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another program writes during the copy stays as it is, and the copy gets a name beside it."""
    video, copy = tmp_path / "clip.mp4", tmp_path / "copies" / "copy.mp4"
    video.write_bytes(b"video")

    def copied(source: Path, target: Path, real: Any = shutil.copyfile) -> None:
        copy.write_bytes(b"other")
        real(source, target)

    monkeypatch.setattr(shutil, "copyfile", copied)
    saved = save_copy(FinishedVideo("k", video, VideoRequest("some-model", {})), str(copy))
    assert (copy.read_bytes(), saved.read_bytes()) == (b"other", b"video")
    assert sorted(copy.parent.iterdir()) == sorted([copy, saved])


def test_posters_come_when_they_are_asked_for(panel: Panel, done: Any, wire: Wire) -> None:
    """Each poster is one message, and only requested posters are sent."""
    assert not wire.of("poster")
    to_board(panel, do="posters", keys=[done.key, "unknown"])
    assert within(30, lambda: [p["key"] for p in wire.of("poster")] == [done.key, "unknown"])


def test_the_history_comes_by_page_and_gives_settings_back(panel: Panel, done: Any) -> None:
    """A page of the history lists the account's videos, and their settings can be reused."""
    to_board(panel, do="history", page=1)
    assert within(30, lambda: board_page(panel)["history"].get("rows"))
    (row,) = board_page(panel)["history"]["rows"]
    assert (row["id"], row["prompt"]) == (done.id, "A red balloon")
    to_form(panel, do="clear")
    to_board(panel, do="use", key=done.id)
    assert panel.request.prompt == "A red balloon"


@pytest.mark.slow
def test_a_history_that_cannot_be_had_says_why(panel: Panel, service: FaultyService) -> None:
    """The error is shown in place of the rows."""
    service.always("GET /api/ai/generations", unavailable())
    to_board(panel, do="history", page=1)
    assert within(30, lambda: board_page(panel)["history"].get("error"))


@pytest.mark.parametrize("service", [None], indirect=True)
def test_jobs_of_the_whole_account_can_be_followed_here(
    panel: Panel, service: FaultyService, make_session: Callable[..., Session], tmp_path: Path
) -> None:
    """Jobs of other kernels are listed on request, and become jobs of this kernel when followed."""
    elsewhere = make_session(service, data_dir=tmp_path / "elsewhere").submit("Another balloon")
    assert within(30, lambda: elsewhere.id)
    to_board(panel, do="account")
    assert within(30, lambda: board_page(panel)["account"].get("rows"))
    assert [row["id"] for row in board_page(panel)["account"]["rows"]] == [elsewhere.id]
    to_board(panel, do="attach", id=elsewhere.id, cancel=True)
    assert within(30, lambda: [g.status for g in panel.generations] == ["cancelled"])


@pytest.mark.parametrize("told", [{}, {"do": "nothing"}, {"do": "cancel", "key": "?"}, {"do": "look", "keys": ["?"]}])
def test_a_page_that_asks_for_what_is_not_there_harms_nothing(panel: Panel, told: dict[str, Any]) -> None:
    """The message is ignored or answered with an error."""
    to_board(panel, **told)
    assert panel.selected is None
