"""Each of the twelve documented request shapes: as the JSON that --dry-run shows, and as the video that comes of it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kinds import clips
from kinds.clips import Clip
from kinds.shapes import SHAPES
from oxenvideo import Batch, Generation, VideoRequest
from oxenvideo.server.launcher import LocalServer
from server.support import TINY
from shell import Notebook

pytestmark = pytest.mark.slow

FRAME = 1 / 24  # seconds
CLOSE = 8.0  # of 255: what scaling and coding change in a picture of few colours
FAR = 30.0  # of 255: another picture

Made = Mapping[str, Generation | Batch]


@pytest.fixture(scope="module")
def made(book: Notebook, urls: dict[str, str]) -> Made:
    """What running the cell of each shape gave, all of them under way at once."""
    book.shell.push(urls)
    for number, shape in enumerate(SHAPES.values()):
        ran = book.run(shape.cell(f"made{number}"))
        assert ran.error is None, ran.message
    return {kind: book[f"made{number}"] for number, kind in enumerate(SHAPES)}


def clip_of(item: Generation | Batch) -> Clip:
    """The finished video, read back."""
    assert isinstance(item, Generation)
    path = item.wait(60).path
    assert path is not None
    return clips.read(path)


@pytest.fixture(scope="module")
def pictures(urls: dict[str, str], service: LocalServer) -> dict[str, Image.Image]:
    """The pictures as the service reads them."""
    headers = {"Authorization": f"Bearer {service.api_key}"}
    return {
        name: Image.open(io.BytesIO(httpx.get(url, headers=headers).raise_for_status().content))
        for name, url in urls.items()
        if url.endswith(".png")
    }


@pytest.mark.parametrize("kind", SHAPES)
def test_dry_run_shows_exactly_the_documented_json(book: Notebook, urls: dict[str, str], kind: str) -> None:
    """--dry-run prints the endpoint and the body to the letter, and sends nothing."""
    book.shell.push(urls)
    shape = SHAPES[kind]
    ran = book.run(shape.cell("dry", "--dry-run"))
    assert ran.error is None
    head, _, rest = ran.text.partition("\n")
    printed, end = json.JSONDecoder().raw_decode(rest)
    assert head.startswith("POST http")
    assert head.endswith(shape.endpoint)
    assert printed == shape.documented(urls)
    assert rest[end:].strip().endswith("Nothing was sent.")
    assert "dry" not in book.shell.user_ns


# A text that begins like an address of inline data, and is none, as it has spaces, is not to be shortened either.
plain = st.text(max_size=120).filter(lambda text: text[:5].lower() != "data:")
long = st.text(st.characters(codec="utf-8"), min_size=70, max_size=120)
words = plain | long.map(lambda text: f"data:text/plain,{text} and more")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(prompt=words, parameters=st.dictionaries(st.from_regex(r"[a-z]{3,8}_x", fullmatch=True), values, max_size=4))
def test_what_a_dry_run_shows_is_what_is_sent(prompt: str, parameters: dict[str, Any]) -> None:
    """Without local media there is nothing to shorten: what is shown is the body, whatever it holds."""
    request = VideoRequest("any-model", {"prompt": prompt, **parameters})
    assert json.loads(json.dumps(request.preview())) == request.body()


@pytest.mark.parametrize("kind", SHAPES)
def test_the_service_gets_exactly_the_documented_json(
    book: Notebook, made: Made, urls: dict[str, str], service: LocalServer, kind: str
) -> None:
    """The request that was sent has that body, reads back from it, and is what the service wrote down of the job."""
    documented = SHAPES[kind].documented(urls)
    item = made[kind]
    first = item[0] if isinstance(item, Batch) else item
    request = first.request
    assert request.body() == documented
    assert VideoRequest.from_body(documented) == request
    first.wait(60)
    if first.id is not None:
        answer = httpx.get(
            f"{service.base_url}/api/ai/queue/{first.id}", headers={"Authorization": f"Bearer {service.api_key}"}
        ).json()
        sent = {"model_name": documented.pop("model"), **documented}
        sent.pop("num_generations", None)
        assert {name: answer.get(name) for name in sent} == sent


def test_text(made: Made) -> None:
    """A prompt alone gives a video of its length and shape, without sound."""
    clip = clip_of(made["text"])
    assert clip.seconds == pytest.approx(5, abs=FRAME)
    assert clip.size == (720, 720)
    assert clip.sound is None
    assert clips.difference(clip.frames[0], clip.frames[-1]) > 1, "nothing moves"


def test_image(made: Made, pictures: dict[str, Image.Image]) -> None:
    """A single picture is the first frame, and gives the video its shape."""
    clip = clip_of(made["image"])
    assert clip.seconds == pytest.approx(5, abs=FRAME)
    assert clip.size == (720, 720)
    assert clips.difference(clip.frames[0], pictures["cat"]) < CLOSE
    assert clips.difference(clip.frames[0], pictures["dog"]) > FAR
    assert clip.sound is None


def test_image_array(made: Made) -> None:
    """Reference pictures all appear in the video, and do not become its first frame."""
    clip = clip_of(made["image array"])
    assert clip.seconds == pytest.approx(3, abs=FRAME)
    middle = clip.frames[len(clip.frames) // 2]
    assert 0.01 < clips.share_of(middle, clips.MAGENTA) < 0.3
    assert clips.share_of(middle, clips.ORANGE) > 0.005


def test_start_and_end_frame(made: Made, pictures: dict[str, Image.Image]) -> None:
    """The start image is the first frame and the end image the last."""
    clip = clip_of(made["start and end frame"])
    assert clip.seconds == pytest.approx(3, abs=FRAME)
    assert clip.size == (720, 720)
    assert clips.difference(clip.frames[0], pictures["cat"]) < CLOSE
    assert clips.difference(clip.frames[-1], pictures["dog"]) < CLOSE
    assert clips.difference(clip.frames[-1], pictures["cat"]) > FAR


def test_elements(made: Made) -> None:
    """Every view of every element appears."""
    clip = clip_of(made["elements"])
    middle = clip.frames[len(clip.frames) // 2]
    for colour in (clips.MAGENTA, clips.ORANGE, clips.GREEN):
        assert clips.share_of(middle, colour) > 0.005
    assert clip.seconds == pytest.approx(3, abs=FRAME)


def test_multi_shot(made: Made) -> None:
    """Shots follow each other with their lengths: the picture changes once, where the second begins."""
    clip = clip_of(made["multi-shot"])
    assert clip.seconds == pytest.approx(5, abs=FRAME)
    steps = [clips.difference(a, b) for a, b in zip(clip.frames, clip.frames[1:], strict=False)]
    cut = steps.index(max(steps)) + 1
    assert cut / float(clip.fps) == pytest.approx(2, abs=FRAME)
    assert max(steps) > 5 * sorted(steps)[-2]
    assert clip.sound is None


def test_multi_shot_with_references_and_sound(made: Made) -> None:
    """Shots, references, an element and sound all come together."""
    clip = clip_of(made["multi-shot with references and sound"])
    assert clip.seconds == pytest.approx(3, abs=FRAME)
    assert clip.sound == pytest.approx(3, abs=0.1)
    for frame in (clip.frames[12], clip.frames[-12]):
        assert clips.share_of(frame, clips.MAGENTA) > 0.01
        assert clips.share_of(frame, clips.ORANGE) > 0.005


def test_video_edit_with_references(made: Made) -> None:
    """The given video is the picture that is edited, at its length, with its sound, and the references in it."""
    clip = clip_of(made["video edit with references"])
    assert clip.seconds == pytest.approx(1, abs=1 / 12)
    assert clip.size == (128, 128)
    assert clip.sound == pytest.approx(1, abs=0.1)
    for number, frame in enumerate(clip.frames):
        expected = clips.bar_place(clips.bar_frame(number / 12))
        assert clips.bar_place(frame) == pytest.approx(expected, abs=0.1)
    middle = clip.frames[len(clip.frames) // 2]
    assert clips.difference(middle, clips.bar_frame(0.5)) > CLOSE, "nothing was edited"
    assert clips.share_of(middle, clips.MAGENTA, 90) > 0.01


def test_upscale(made: Made) -> None:
    """The given video comes back larger and at the rate that was asked for, with the same picture and sound."""
    clip = clip_of(made["upscale"])
    assert clip.seconds == pytest.approx(1, abs=1 / 12)
    assert min(clip.size) == 1080
    assert clip.fps == 24
    assert clip.sound == pytest.approx(1, abs=0.1)
    middle = clip.frames[len(clip.frames) // 2]
    assert clips.bar_place(middle) == pytest.approx(clips.bar_place(clips.bar_frame(0.5)), abs=0.05)


def test_count_of_four(made: Made) -> None:
    """A count of 4 is one request and gives four videos, each different."""
    batch = made["count of 4"]
    assert isinstance(batch, Batch)
    read = [clip_of(generation) for generation in batch]
    assert len(read) == 4
    assert all(len(clip.frames) == TINY["num_frames"] for clip in read)
    firsts = [clip.frames[0] for clip in read]
    apart = [clips.difference(a, b) for i, a in enumerate(firsts) for b in firsts[:i]]
    assert min(apart) > 1


def test_namespace_and_repository(made: Made, service: LocalServer) -> None:
    """The result can be read from the repository's directory as well as here."""
    generation = made["namespace and repository"]
    clip = clip_of(generation)
    assert isinstance(generation, Generation)
    answer = httpx.get(
        f"{service.base_url}/api/repos/ox/films/file/main/red/balloons/{generation.id}.mp4",
        headers={"Authorization": f"Bearer {service.api_key}"},
    )
    stored = clips.read(answer.raise_for_status().content)
    assert len(stored.frames) == len(clip.frames) == TINY["num_frames"]
    assert clips.difference(stored.frames[0], clip.frames[0]) == 0


def test_b64_json_with_sync(made: Made) -> None:
    """--sync with b64_json returns with the video itself: no id, no address, and the file is whole."""
    generation = made["b64_json"]
    assert isinstance(generation, Generation)
    assert (generation.id, generation.result_url) == (None, None)
    clip = clip_of(generation)
    assert len(clip.frames) == TINY["num_frames"]
    assert clip.size == (TINY["width"], TINY["height"])
