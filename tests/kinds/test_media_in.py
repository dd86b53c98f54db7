"""Media in, of every type, through cells: what was given is what the video shows and sounds."""

from __future__ import annotations

import io
import signal
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from kinds import clips
from kinds.conftest import Place
from kinds.shapes import EDIT, IMAGE, REFERENCE, TEXT
from oxenvideo import Generation, GenerationFailed, configure, recall
from oxenvideo.server.launcher import LocalServer
from oxenvideo.settings import Limits
from shell import Notebook

pytestmark = pytest.mark.slow

# A few small frames. The model does not know these three parameters; the embedded server reads them all the same.
FRAMES = f"--model {REFERENCE} --num-frames 8 --width 320 --height 320"
TALK = "ltx-2-3-pro-audio-to-video"
PICTURE = clips.halves(clips.RED, clips.GREEN)
OTHER = clips.halves(clips.BLUE, clips.ORANGE)


def made(book: Notebook, line: str, body: str = "It moves") -> clips.Clip:
    """Run a cell, wait, and read the video back."""
    ran = book.run(f"%%oxenvideo made {line}\n{body}")
    assert ran.error is None, ran.message
    generation = book["made"]
    assert isinstance(generation, Generation)
    path = generation.wait(60).path
    assert path is not None
    return clips.read(path)


def figure() -> Any:
    """A figure that is the same two halves, without axes."""
    pyplot = pytest.importorskip("matplotlib.figure")
    drawn = pyplot.Figure(figsize=(1.6, 1.6), dpi=100)
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.imshow(np.asarray(PICTURE), aspect="auto", interpolation="nearest")
    axes.axis("off")
    return drawn


PICTURES: Mapping[str, Callable[[], Any]] = {
    "bytes": lambda: clips.png(PICTURE),
    "jpeg": lambda: encoded("JPEG"),
    "pil": lambda: PICTURE,
    "pil with a palette": lambda: PICTURE.quantize(8),
    "numpy": lambda: np.asarray(PICTURE),
    "numpy of floats": lambda: np.asarray(PICTURE) / 255.0,
    "numpy with alpha": lambda: np.asarray(PICTURE.convert("RGBA")),
    "matplotlib": figure,
}
"""The same picture, as each type of object that is accepted."""


def encoded(form: str) -> bytes:
    out = io.BytesIO()
    PICTURE.save(out, form, quality=95)
    return out.getvalue()


@pytest.mark.parametrize("kind", PICTURES)
def test_every_type_of_picture_is_the_first_frame(book: Notebook, kind: str) -> None:
    """A picture of each type, in a variable, is what the video begins with."""
    book["picture"] = PICTURES[kind]()
    assert clips.difference(made(book, f"{FRAMES} --start-image picture").frames[0], PICTURE) < 8


@pytest.mark.parametrize("kind", ["url", "text", "path"])
def test_every_way_to_a_picture_leads_to_the_first_frame(
    book: Notebook, place: Place, tmp_path: Path, kind: str
) -> None:
    """An address and a path, in a variable, are as good as the picture."""
    file = tmp_path / "a picture.png"
    file.write_bytes(clips.png(PICTURE))
    book["picture"] = {"url": place("picture.png", file.read_bytes()), "text": str(file), "path": file}[kind]
    assert clips.difference(made(book, f"{FRAMES} --start-image picture").frames[0], PICTURE) < 8


def test_a_path_may_stand_in_the_line(book: Notebook) -> None:
    """A path relative to the notebook, with a space in it, is given as it is, in quotes."""
    Path("my cat.png").write_bytes(clips.png(PICTURE))
    clip = made(book, f"{FRAMES} --start-image 'my cat.png' --end-image 'my cat.png'")
    assert clips.difference(clip.frames[0], PICTURE) < 8
    assert clips.difference(clip.frames[-1], PICTURE) < 8


def test_pictures_of_different_types_go_together(book: Notebook, place: Place) -> None:
    """A list in a variable is as many pictures, and the mentions count them."""
    book["both"] = [clips.png(PICTURE), np.asarray(OTHER)]
    book["bird"] = place("bird.png", clips.png(clips.halves(clips.MAGENTA, clips.MAGENTA)))
    clip = made(book, f"{FRAMES} --image both --image bird", "@Image1, @Image2 and @Image3")
    middle = clip.frames[len(clip.frames) // 2]
    for colour in (clips.GREEN, clips.ORANGE, clips.MAGENTA):
        assert clips.share_of(middle, colour) > 0.005
    ran = book.run(f"%%oxenvideo none {FRAMES} --image both\n@Image3 dances")
    assert ran.message == "The prompt mentions @Image3, but 2 images are given."


def test_the_model_decides_the_slot(book: Notebook) -> None:
    """--image goes by the name that the model has for it, alone or in a list."""
    book["picture"] = PICTURE
    for model, name, many in (
        (IMAGE, "input_image", False),
        (REFERENCE, "input_image", True),
        ("happyhorse-1.1-r2v", "reference_images", True),
        ("flux-3-video", "input_images", True),
    ):
        ran = book.run(f"%%oxenvideo --dry-run --model {model} --image picture\nIt moves")
        assert ran.error is None, ran.message
        short = '"data:image/png;base64,… ('
        assert f'"{name}": {f"[{chr(10)}    {short}" if many else short}' in ran.text


def videos(place: Place, directory: Path) -> dict[str, Any]:
    """The same clip, as each type that is accepted."""
    content = clips.moving_bar()
    file = directory / "bar.mp4"
    file.write_bytes(content)
    return {
        "url": place("moving.mp4", content),
        "text": str(file),
        "path": file,
        "bytes": content,
        "numpy": np.stack([clips.bar_frame(number / 24) for number in range(24)]),
    }


@pytest.mark.parametrize("kind", ["url", "text", "path", "bytes", "numpy"])
def test_every_type_of_video_is_edited(book: Notebook, place: Place, tmp_path: Path, kind: str) -> None:
    """A clip of each type is the picture that is edited, for its own length."""
    book["clip"] = videos(place, tmp_path)[kind]
    clip = made(book, f"--model {EDIT} --video clip", "Make it night")
    assert clip.seconds == pytest.approx(1, abs=1 / 12)
    for share in (0.25, 0.75):
        frame = clip.frames[round(share * len(clip.frames))]
        assert clips.bar_place(frame) == pytest.approx(clips.bar_place(clips.bar_frame(share)), abs=0.1)


def tone(seconds: float) -> bytes:
    """A WAV of a tone."""
    out = io.BytesIO()
    samples = np.sin(np.arange(round(seconds * 44100)) * 2 * np.pi * 440 / 44100) * 12000
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(samples.astype("<i2").tobytes())
    return out.getvalue()


@pytest.mark.parametrize("kind", ["url", "path", "bytes"])
def test_every_type_of_sound_is_heard(book: Notebook, place: Place, tmp_path: Path, kind: str) -> None:
    """A sound of each type is the sound of the video, and its length."""
    file = tmp_path / "tone.wav"
    file.write_bytes(tone(2))
    book["sound"] = {"url": place("tone.wav", tone(2)), "path": file, "bytes": tone(2)}[kind]
    clip = made(book, f"--model {TALK} --width 64 --height 64 --audio-ref sound", "A singer")
    assert clip.sound == pytest.approx(2, abs=0.1)
    assert clip.seconds == pytest.approx(2, abs=0.1)


@pytest.fixture
def small_limit(book: Notebook) -> Iterator[None]:
    """Send little inline, as if files were large; and back."""
    configure(limits=Limits(inline=100_000))
    yield
    configure(limits=Limits(), media_repo=None)


def test_a_large_file_without_a_repository_is_refused_in_the_cell(book: Notebook) -> None:
    """A file above the limit, with nowhere to upload to, is one line that says its size and what to do."""
    Image.fromarray(np.zeros((2100, 2100, 3), np.uint8)).save("large.bmp")
    ran = book.run(f"%%oxenvideo no {FRAMES} --start-image large.bmp\nIt moves")
    assert type(ran.error).__name__ == "UsageError"
    assert ran.message.startswith("data:image/bmp;base64,… (13.2 MB, large.bmp) is larger than the 12 MB")
    assert "media_repo" in ran.message
    assert "no" not in book.shell.user_ns


def test_a_repository_for_uploads_is_checked_when_it_is_set(book: Notebook, caplog: pytest.LogCaptureFixture) -> None:
    """A name that can be none is refused at once, not when the first large file comes."""
    book.run("%config OxenVideo.media_repo = 'uploads'")
    assert (
        "media_repo 'uploads' is not a repository: use namespace/name." in caplog.text
    )  # IPython's %config logs errors
    book.run("%config OxenVideo.media_repo = None")


@pytest.mark.usefixtures("small_limit")
def test_a_large_file_is_uploaded_and_read_from_there(book: Notebook, service: LocalServer) -> None:
    """With a repository configured, the job reads the uploaded file, and the request names its address."""
    assert book.run("%config OxenVideo.media_repo = 'ox/uploads'").error is None
    Image.fromarray(np.tile(np.asarray(PICTURE), (2, 2, 1))[:160, :160]).save("large.bmp")
    Path("large.bmp").write_bytes(Path("large.bmp").read_bytes() + bytes(100_000))
    clip = made(book, f"{FRAMES} --start-image large.bmp")
    assert clips.difference(clip.frames[0], PICTURE) < 8
    headers = {"Authorization": f"Bearer {service.api_key}"}
    row = httpx.get(f"{service.base_url}/api/ai/queue/{book['made'].id}", headers=headers).json()
    assert row["start_image_url"].startswith(f"{service.base_url}/api/repos/ox/uploads/file/main/")
    assert httpx.get(row["start_image_url"], headers=headers).content == Path("large.bmp").read_bytes()


def test_an_input_may_be_deleted_once_it_was_sent(book: Notebook) -> None:
    """What becomes of a file after it was sent holds up neither the video nor the cards that speak of it."""
    Path("brief.png").write_bytes(clips.png(PICTURE))
    ran = book.run(f"%%oxenvideo kept {FRAMES} --start-image brief.png\nIt moves")
    assert ran.error is None
    kept = book["kept"]
    end = time.monotonic() + 10
    while kept.id is None and time.monotonic() < end:
        time.sleep(0.01)
    Path("brief.png").unlink()
    assert "brief.png (no longer there)" in repr(kept.request)
    path = kept.wait(60).path
    assert clips.difference(clips.read(path).frames[0], PICTURE) < 8
    assert recall(path) == kept.request


def test_an_input_that_changes_before_it_is_sent_is_not_sent(
    book: Notebook, service: LocalServer, tmp_path: Path
) -> None:
    """A job that waited for another does not go out with a picture that nobody gave it."""
    file = tmp_path / "changing.png"
    file.write_bytes(clips.png(PICTURE))
    book["changing"] = file
    assert book.run(f"%%oxenvideo slow --model {TEXT} --duration 10 --aspect-ratio 1:1\nA whale").error is None
    service.process.send_signal(signal.SIGSTOP)  # the first does not end before the file of the second has changed
    try:
        ran = book.run(f"%%oxenvideo late {FRAMES} --start-image changing --end-image slow\nIt moves")
        assert ran.error is None
        end = time.monotonic() + 10
        while book["late"].status != "waiting" and time.monotonic() < end:
            time.sleep(0.005)
        file.write_bytes(clips.png(OTHER))
    finally:
        service.process.send_signal(signal.SIGCONT)
    with pytest.raises(GenerationFailed, match="is not the file that the request was made with"):
        book["late"].wait(60)
    assert book["late"].id is None
