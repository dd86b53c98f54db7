"""Chains: a generation that has not ended is the input of the next, and the cell returns at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from kinds import clips
from kinds.shapes import EDIT, REFERENCE, TEXT, UPSCALE
from oxenvideo import Generation, GenerationCancelled, GenerationFailed
from oxenvideo.server.launcher import LocalServer
from shell import Notebook

pytestmark = pytest.mark.slow

SLOW = f"--model {TEXT} --duration 10 --aspect-ratio 1:1"
NEXT = f"--model {REFERENCE} --duration 3 --aspect-ratio 1:1"


def cell(book: Notebook, line: str, body: str) -> None:
    ran = book.run(f"%%oxenvideo {line}\n{body}")
    assert ran.error is None, ran.message


def sent(service: LocalServer) -> list[str]:
    """The prompts of every job that the service has ever got."""
    answer = httpx.get(
        f"{service.base_url}/api/ai/generations?page_size=1000",
        headers={"Authorization": f"Bearer {service.api_key}"},
    )
    return [row["prompt"] or "" for row in answer.raise_for_status().json()["generations"]]


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def picture(generation: Generation, at: int) -> clips.Pixels:
    path = generation.wait(60).path
    assert path is not None
    return clips.read(path).frames[at]


def test_the_last_frame_of_a_running_video_begins_the_next(book: Notebook) -> None:
    """The cell returns while its input is still made, says for whom it waits, and goes on from the last frame."""
    cell(book, f"first {SLOW}", "A red balloon over the sea")
    cell(book, f"second {NEXT} --start-image first", "It lands")
    first, second = book["first"], book["second"]
    assert not first.done
    until(lambda: second.status == "waiting")
    assert second.state.notice == "Waits for first."
    assert second.id is None
    assert clips.difference(picture(second, 0), picture(first, -1)) < 8
    assert second.status == "succeeded"


def test_a_running_video_is_the_input_of_an_edit_and_of_an_upscale(book: Notebook) -> None:
    """The whole video goes in, and the results have its length; one line after the other, none waits."""
    cell(book, "clip --model wan-ai-wan2-1-t2v-1-3b-diffusers --width 96 --height 96 --num-frames 24", "A fox in snow")
    cell(book, f"edit --model {EDIT} --video clip", "Make it night")
    assert book.run(f"%oxenvideo large --model {UPSCALE} --video edit --resolution 1080p").error is None
    large = clips.read(book["large"].wait(60).path)
    small = clips.read(book["clip"].path)
    assert large.seconds == pytest.approx(small.seconds, abs=1 / 24)
    assert min(large.size) == 1080
    assert book["edit"].path != book["clip"].path


def test_items_of_a_batch_are_inputs(book: Notebook) -> None:
    """clips[1] names the second of a batch."""
    cell(book, "pair --model wan-ai-wan2-1-t2v-1-3b-diffusers --width 96 --height 96 --num-frames 8 -n 2", "A fox")
    cell(book, f"on {NEXT} --start-image pair[1]", "It runs")
    wanted = np.asarray(book["pair"][1].last_frame())
    assert clips.difference(picture(book["on"], 0), wanted) < 8


def test_a_whole_batch_is_as_many_pictures(book: Notebook) -> None:
    """A Batch given as pictures is the last frame of each of its videos."""
    cell(book, "pair --model wan-ai-wan2-1-t2v-1-3b-diffusers --width 96 --height 96 --num-frames 8 -n 2", "A fox")
    cell(book, f"both {NEXT} --image pair", "@Image1 meets @Image2")
    assert [medium.key for medium in book["both"].request.parameters["input_image"]] == [g.key for g in book["pair"]]
    assert book["both"].wait(60).path.exists()


def test_a_failure_upstream_fails_what_builds_on_it_and_sends_nothing(book: Notebook, service: LocalServer) -> None:
    """The reason is told down the whole chain, and the service never hears of the jobs in it."""
    cell(book, "bad --no-check --duration 2", "A fox of no length")
    cell(book, f"after {NEXT} --start-image bad", "never sent, as its input failed")
    cell(book, f"last {NEXT} --start-image after", "never sent, as its input was not sent")
    for name, why in (("after", "Not sent, because bad gave no video"), ("last", "because after gave no video")):
        with pytest.raises(GenerationFailed) as caught:
            book[name].wait(30)
        assert why in str(caught.value)
        assert "duration value '2' is invalid" in str(caught.value)
        assert book[name].id is None
    assert not [prompt for prompt in sent(service) if "never sent" in prompt]


def test_cancelling_upstream_fails_what_builds_on_it(book: Notebook, service: LocalServer) -> None:
    """A cancelled input is a lost input."""
    cell(book, f"early {SLOW}", "A whale")
    cell(book, f"late {NEXT} --start-image early", "never sent, as its input was cancelled")
    assert book["early"].cancel().cancelled
    with pytest.raises(GenerationFailed, match="because early gave no video: early was cancelled"):
        book["late"].wait(30)
    assert "never sent, as its input was cancelled" not in sent(service)


def test_cancelling_what_waits_leaves_its_input_alone(book: Notebook, service: LocalServer) -> None:
    """A job that waits is cancelled here, and nothing of it is sent; the one it waits for goes on."""
    cell(book, f"kept {SLOW}", "An owl")
    cell(book, f"dropped {NEXT} --start-image kept", "never sent, as it was cancelled")
    assert book["dropped"].cancel().cancelled
    with pytest.raises(GenerationCancelled):
        book["dropped"].wait(30)
    assert book["kept"].wait(60).path.exists()
    assert "never sent, as it was cancelled" not in sent(service)


def test_a_video_that_was_made_elsewhere_travels_as_its_file(book: Notebook, tmp_path: Any) -> None:
    """A generation of another service is no address for this one, so its file is sent."""
    from oxenvideo import Session

    with Session(base_url="local", data_dir=tmp_path / "other", download_dir=tmp_path) as other:
        made = other.submit("A fox", model="wan-ai-wan2-1-t2v-1-3b-diffusers", width=96, height=96, num_frames=8)
        book["elsewhere"] = made
        cell(book, f"here --model {EDIT} --video elsewhere", "Make it night")
        assert clips.read(book["here"].wait(60).path).size == (96, 96)
