"""Where a video goes, what its file is called, and what it says of itself."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import av
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from generations import generation
from kinds import clips
from kinds.shapes import REFERENCE, TEXT
from oxenvideo import Generation, VideoRequest, recall
from oxenvideo.errors import InvalidRequest
from oxenvideo.jobs import file_names
from oxenvideo.jobs.status import State
from shell import Notebook

pytestmark = pytest.mark.slow

TINY = "--model wan-ai-wan2-1-t2v-1-3b-diffusers --width 96 --height 96 --num-frames 8"


def saved(book: Notebook, line: str, body: str = "A fox") -> Generation:
    ran = book.run(f"%%oxenvideo {line}\n{body}")
    assert ran.error is None, ran.message
    made: Generation = book[line.split()[0]].wait(60)
    return made


def boxes(content: bytes) -> list[str]:
    """The names of an MP4's outermost boxes, in order."""
    found, at = [], 0
    while at < len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        found.append(name.decode())
        at += size
    return found


def test_a_pattern_names_the_file(book: Notebook) -> None:
    """Name, model and seed are filled in, folders are made, and the ending is added."""
    made = saved(book, f"owl {TINY} --seed 7 --save zoo/{{name}}/{{model}}-{{seed}}")
    assert made.path == Path("videos/zoo/owl/wan-ai-wan2-1-t2v-1-3b-diffusers-7.mp4").absolute()


@pytest.mark.parametrize("pattern", [".", "zoo/", "./"])
def test_a_directory_gets_the_usual_name(book: Notebook, pattern: str) -> None:
    """A pattern without a file name is a directory."""
    made = saved(book, f"owl {TINY} --save {pattern}")
    assert made.path is not None
    assert made.path.parent == Path("videos", pattern).absolute()
    assert made.path.name.startswith("owl-")


def test_an_absolute_pattern_goes_where_it_says(book: Notebook, tmp_path: Path) -> None:
    """A whole path is the person's choice."""
    made = saved(book, f"owl {TINY} --save {tmp_path}/of/{{name}}.mp4")
    assert made.path == tmp_path / "of" / "owl.mp4"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("'{animal}'", "no field {animal}: use {name}, {model}, {seed}, {index}, {id}"),
        ("../{name}", "leads upwards"),
        ("a/../../b", "leads upwards"),
        ("'{name'", "a brace without its partner"),
        ("' '", "names no file"),
    ],
)
def test_a_wrong_pattern_sends_nothing(book: Notebook, pattern: str, said: str) -> None:
    """A pattern that cannot be kept to is one line."""
    ran = book.run(f"%%oxenvideo wrong {TINY} --save {pattern}\nA fox")
    assert said in ran.message
    assert "wrong" not in book.shell.user_ns


pieces = st.sampled_from(
    ["{name}", "{model}", "{seed}", "{index}", "{id}", "/", ".", "..", "~", "\\", "a", " ", ".mp4"]
)
patterns = st.lists(pieces, min_size=1, max_size=8).map("".join) | st.text(max_size=20)
values = st.text(max_size=30) | st.sampled_from(
    ["..", "../..", "/etc", "~", "~root", "C:\\x", "nul", "\0", "a/../../b"]
)


@settings(max_examples=300)
@example(pattern="/.", name="", model="", seed="", index=0)
@example(pattern="~/.", name="", model="", seed="", index=0)
@example(pattern="a/.", name="", model="", seed="", index=0)
@example(pattern="~//~/", name="", model="", seed="", index=0)
@given(pattern=patterns, name=values, model=values, seed=values, index=st.integers(0, 9))
def test_no_pattern_leaves_its_directory(pattern: str, name: str, model: str, seed: str, index: int) -> None:
    """Whatever stands in the fields, the file lies below the folders that the pattern itself spells out."""
    try:
        file_names.check_pattern(pattern)
    except InvalidRequest:
        return
    request = VideoRequest(model, {"prompt": "A fox", "seed": seed})
    made = generation(
        request, name=name, index=index, key="0123456789abcdef", save_as=pattern, directory=Path("/data/videos")
    )
    path = file_names.destination(made._job)
    fixed = pattern.partition("{")[0].rpartition("/")[0]
    base = Path("/data/videos", fixed)
    if pattern == "~" or pattern.startswith("~/"):
        base = Path.home() / fixed[2:].lstrip("/")
    elif pattern.startswith("/"):
        base = Path("/", fixed.lstrip("/"))
    assert Path(os.path.normpath(path)) == path
    assert path.is_relative_to(Path(os.path.normpath(base)))
    assert path != Path(os.path.normpath(base))
    assert path.suffix.lower() in (".mp4", ".webm", ".mov")
    assert max(len(part.encode()) for part in path.parts) <= 255
    assert "\0" not in str(path)


def test_a_file_tells_how_it_was_made(book: Notebook) -> None:
    """recall gives the very request that was sent, whatever it holds, and the file names it for players too."""
    book["cat"] = clips.png(clips.halves(clips.RED, clips.GREEN))
    made = saved(
        book,
        f"told --model {REFERENCE} --start-image cat --aspect-ratio 1:1 --audio --repo ox/told/here -p 'odd=[1,{{\"a\":null}}]'",
        "[1s] A fox, “quoted” – 狐\n---\n[2s] It runs",
    )
    assert made.path is not None
    assert recall(made.path) == made.request
    assert recall(str(made.path)).body() == made.request.body()
    with av.open(str(made.path)) as container:
        metadata = dict(container.metadata)
    assert metadata["title"] == "A fox, “quoted” – 狐\nIt runs"
    assert str(made.id) in metadata["comment"]
    assert REFERENCE in metadata["comment"]
    assert "狐" in metadata["comment"]
    assert metadata["encoder"] == "oxenvideo"


def test_a_recalled_request_can_be_sent_again(book: Notebook) -> None:
    """What a file tells is an order: sent again it gives the same video."""
    made = saved(book, f"once {TINY} --seed 3")
    book["file"] = str(made.path)
    assert book.run("import oxenvideo; twice = oxenvideo.submit(oxenvideo.recall(file)).wait(60)").error is None
    assert made.path is not None
    again = clips.read(book["twice"].path)
    assert all((a == b).all() for a, b in zip(again.frames, clips.read(made.path).frames, strict=True))


def test_one_of_several_tells_of_one(book: Notebook) -> None:
    """Each file of a count of two is the order for one video."""
    assert book.run(f"%%oxenvideo two {TINY} -n 2\nA fox").error is None
    for made in book["two"].wait(60):
        assert recall(made.path) == made.request.with_(count=1)


@pytest.mark.parametrize("sound", ["", "--audio"])
def test_a_stamped_file_still_plays_from_its_start(book: Notebook, sound: str) -> None:
    """After its metadata was written the file is whole: index in front, every frame and the sound as they were."""
    import httpx

    made = saved(book, f"whole --model {TEXT} --aspect-ratio 1:1 {sound}")
    assert made.path is not None
    assert made.result_url is not None
    content = made.path.read_bytes()
    order = boxes(content)
    assert order.index("moov") < order.index("mdat")
    assert sum(order.count(name) for name in ("moov", "mdat")) == 2
    sent, kept = clips.read(httpx.get(made.result_url).content), clips.read(content)
    assert len(kept.frames) == len(sent.frames) == 120
    assert all((a == b).all() for a, b in zip(sent.frames, kept.frames, strict=True))
    assert kept.sound == sent.sound
    assert (kept.sound is not None) == bool(sound)


def test_what_tells_nothing_is_said_in_one_line(tmp_path: Path) -> None:
    """A file that is none of ours, or none at all, is one line."""
    plain = tmp_path / "plain.mp4"
    plain.write_bytes(clips.moving_bar())
    for path, said in ((plain, "does not say how it was made"), (tmp_path / "gone.mp4", "There is no file")):
        with pytest.raises(InvalidRequest, match=said):
            recall(path)


def test_a_file_that_cannot_be_stamped_is_kept(tmp_path: Path) -> None:
    """A video in another container stays as it came."""
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(300))
    request = VideoRequest(TEXT, {"prompt": "A fox"})
    file_names.stamp(odd, generation(request, State(generation_id="one"))._job)
    assert odd.read_bytes() == b"\x1a\x45\xdf\xa3" + bytes(300)
