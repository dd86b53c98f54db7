"""Media: what may stand for a picture, clip or sound, and how it is kept and sent."""

from __future__ import annotations

import base64
import io
import json
import os
import stat
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from oxenvideo.errors import InvalidRequest
from oxenvideo.media import encode, media, mp4, sniff
from oxenvideo.media.media import DEFAULT_INLINE_LIMIT, Media

RED = np.full((4, 6, 3), (255, 0, 0), dtype=np.uint8)


@dataclass
class Upstream:
    """Enough of a Generation for a medium: a key, a name and a wait."""

    key: str
    name: str | None = None

    def wait(self) -> None:
        """Nothing to wait for."""


def decoded(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)))


def png_file(path: Path) -> Path:
    path.write_bytes(encode.png(RED))
    return path


@pytest.mark.parametrize("url", ["https://a.example/cat.png", "HTTP://a.example/x", "data:image/png;base64,AAAA"])
def test_urls_pass_through(url: str) -> None:
    """The service fetches http and https itself, and takes data URIs as they are."""
    medium = Media.from_value(url, "image")
    assert (medium.url, medium.data_uri(), medium.size, medium.sha256) == (url, url, None, None)


def test_a_path_is_read_when_it_is_sent(tmp_path: Path) -> None:
    """A file, as text or Path, becomes a data URI with its type and exact bytes."""
    path = png_file(tmp_path / "cat.bin")
    for value in (path, str(path), f"file://{path}"):
        medium = Media.from_value(value, "image")
        header, _, payload = medium.data_uri().partition(",")
        assert header == "data:image/png;base64"
        assert base64.b64decode(payload) == path.read_bytes()
        assert medium.size == len(path.read_bytes())


def test_relative_paths_survive_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the file it named when the request was made."""
    png_file(tmp_path / "cat.png")
    monkeypatch.chdir(tmp_path)
    medium = Media.from_value("cat.png", "image")
    monkeypatch.chdir("/")
    assert medium.data_uri().startswith("data:image/png")


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("no/such/cat.png", "image", r"^'no/such/cat\.png' does not exist: give an image as a URL or as the path"),
        ("/", "image", r"^'/' is a directory: give an image"),
        ("x" * 10_000, "video", r"^'x{200}…' does not exist: give a video"),
        ("a\0b", "image", "does not exist"),
        (b"not a picture", "image", r"^These 13 bytes: not an image in a known format"),
        (b"", "image", r"^These 0 bytes: not an image"),
        (encode.png(RED), "video", r"image/png, which is not a video"),
        (encode.png(RED), "audio", r"image/png, which is not an audio file"),
        (3, "image", r"^A int cannot be an image: give a URL, a path, bytes, a PIL image, a NumPy array, a matplotlib"),
        (None, "video", r"^A NoneType cannot be a video"),
        ({"url": "x"}, "audio", r"^A dict cannot be an audio file"),
        (RED, "audio", r"^A ndarray cannot be an audio file"),
        (Upstream("k"), "audio", r"not an audio file"),
    ],
)
def test_what_is_no_medium_is_refused_in_one_line(value: Any, kind: media.Kind, message: str) -> None:
    """A missing file, foreign bytes and other objects are named, with what would do instead."""
    with pytest.raises(InvalidRequest, match=message) as caught:
        Media.from_value(value, kind)
    assert "\n" not in str(caught.value)


def test_empty_and_foreign_files_are_refused(tmp_path: Path) -> None:
    """A file is looked at before anything is paid for; one of an unknown format may pass by its name."""
    empty, text, odd = tmp_path / "empty.png", tmp_path / "notes.txt", tmp_path / "clip.mkv"
    empty.touch()
    text.write_text("hello")
    odd.write_bytes(b"????")
    with pytest.raises(InvalidRequest, match=r"empty\.png is empty"):
        Media.from_value(empty, "image")
    with pytest.raises(InvalidRequest, match=r"notes\.txt: text/plain, which is not an image"):
        Media.from_value(text, "image")
    assert Media.from_value(odd, "video").mime in {"video/x-matroska", "video/matroska"}


def test_a_generation_gives_its_last_frame_or_its_video() -> None:
    """Another Generation is an image by its last frame and a video by its video, known by its key."""
    upstream = Upstream("key-1", "clip")
    frame, video = Media.from_value(upstream, "image"), Media.from_value(upstream, "video")
    assert (frame.key, frame.part, frame.generation) == ("key-1", "last_frame", upstream)
    assert video.part == "video"
    assert frame.label == "the last frame of clip"
    assert Media.from_value(Upstream("k"), "video").label == "the video of another generation"
    with pytest.raises(InvalidRequest, match="the last frame of clip exists only once that generation has succeeded"):
        frame.data_uri()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK", "YCbCr", "I;16"])
def test_pil_images_become_png(mode: str) -> None:
    """PIL images of every mode become PNG files of the same size."""
    medium = Media.from_value(Image.new("RGB", (6, 4), "red").convert(mode), "image")
    assert medium.mime == "image/png"
    assert Image.open(io.BytesIO(medium.read())).size == (6, 4)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4), (1, 1, 3)])
def test_arrays_become_png_without_loss(shape: tuple[int, ...]) -> None:
    """Pixels of grey, RGB and RGBA arrays come back exactly from the PNG, as PIL reads it."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    back = decoded(Media.from_value(pixels, "image").read())
    assert np.array_equal(back, pixels[:, :, 0] if shape[-1] == 1 else pixels)


def test_float_and_bool_arrays_are_scaled() -> None:
    """Floats from 0 to 1 and truth values fill the range of a byte."""
    assert decoded(encode.png(np.array([[0.0, 0.5, 1.0]]))).tolist() == [[0, 128, 255]]
    assert decoded(encode.png(np.array([[True, False]]))).tolist() == [[255, 0]]
    assert decoded(encode.png(RED[::-1, ::2])).shape == (4, 3, 3)  # a view with strides


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), r"shape \(3,\) is not an image"),
        (np.zeros((4, 4, 2)), r"shape \(4, 4, 2\) is not an image"),
        (np.zeros((0, 4, 3)), "is not an image"),
        (np.zeros((4, 4, 3), dtype=np.int64), "array of int64 is not an image: use uint8, or floats from 0 to 1"),
        (np.full((2, 2), 255.0), r"from 0 to 1; this array goes from 255 to 255"),
        (np.full((2, 2), np.nan), "goes from nan to nan"),
        (np.full((2, 2), -0.5), "goes from -0.5 to -0.5"),
    ],
)
def test_arrays_that_are_no_picture(array: Any, message: str) -> None:
    """A wrong shape, type or range is named; nothing is clipped or guessed."""
    with pytest.raises(InvalidRequest, match=message):
        Media.from_value(array, "image")


def test_frames_become_an_mp4_that_decodes_again() -> None:
    """A stack of frames becomes an H.264 clip of as many frames; an odd row and column are cut."""
    import av

    frames = np.zeros((5, 17, 33, 3), dtype=np.uint8)
    frames[:, :, :, 2] = 255
    medium = Media.from_value(frames, "video")
    assert medium.mime == "video/mp4"
    with av.open(io.BytesIO(medium.read())) as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 24)
    assert len(pictures) == 5
    assert pictures[0].shape == (16, 32, 3)
    assert np.allclose(pictures[-1].mean(axis=(0, 1)), (0, 0, 255), atol=6)


@pytest.mark.parametrize("shape", [(4, 4, 3), (0, 4, 4, 3), (2, 1, 4, 3), (2, 4, 4, 1)])
def test_arrays_that_are_no_video(shape: tuple[int, ...]) -> None:
    """A single picture, no frames or too few pixels are no video."""
    with pytest.raises(InvalidRequest, match="is not a video: use"):
        Media.from_value(np.zeros(shape, dtype=np.uint8), "video")


@pytest.mark.slow
def test_a_figure_becomes_png() -> None:
    """A matplotlib figure is drawn to a PNG."""
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(1, 1), dpi=50)
    figure.subplots().plot([1, 2])
    medium = Media.from_value(figure, "image")
    assert Image.open(io.BytesIO(medium.read())).size == (50, 50)


def test_foreign_libraries_are_not_imported_to_ask() -> None:
    """Refusing an object imports neither numpy nor PIL nor matplotlib."""
    code = (
        "import sys\nfrom oxenvideo.media.media import Media\nfrom oxenvideo.errors import InvalidRequest\n"
        "try: Media.from_value(object(), 'image')\nexcept InvalidRequest: pass\n"
        "print([m for m in ('numpy', 'PIL', 'matplotlib', 'av') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def sound() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(16))
    return buffer.getvalue()


def in_format(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, format=name)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        *((in_format(name), f"image/{name.lower()}") for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")),
        (sound(), "audio/wav"),
        (b"\0\0\0\x18ftypmp42rest", "video/mp4"),
        (b"\0\0\0\x14ftypqt  rest", "video/quicktime"),
        (b"\0\0\0\x14ftypM4A rest", "audio/mp4"),
        (b"\0\0\0\x14ftypavifrest", "image/avif"),
        (b"\x1aE\xdf\xa3rest", "video/webm"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"OggS", "audio/ogg"),
        (b"RIFF\0\0\0\0AVI LIST", "video/x-msvideo"),
        (b"RIFF\0\0\0\0ACON", None),
        (b"", None),
        (b"plain text", None),
    ],
)
def test_sniff(content: bytes, mime: str | None) -> None:
    """The media type is told by the first bytes, as real encoders write them."""
    assert sniff.sniff(content[: sniff.SNIFF_BYTES]) == mime


def test_storing_bytes_names_them_by_their_hash(tmp_path: Path) -> None:
    """Bytes go to one file for one content; URLs, files and generations stay as they are."""
    os.umask(0o022)
    (tmp_path / "media").mkdir(mode=0o755)  # as an earlier version left it
    medium = Media.from_value(RED, "image")
    stored = medium.store(tmp_path / "media")
    assert stored.path == tmp_path / "media" / f"{medium.sha256}.png"
    assert stored.read() == medium.read()
    assert Media.from_value(RED.copy(), "image").store(tmp_path / "media") == stored
    assert [file.name for file in (tmp_path / "media").iterdir()] == [f"{medium.sha256}.png"]
    assert stored.path is not None
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(stored.path.parent.stat().st_mode) == 0o700
    for other in (stored, Media.from_value("https://a", "image"), Media.from_value(Upstream("k"), "image")):
        assert other.store(tmp_path) is other


def test_a_file_changed_since_is_noticed(tmp_path: Path) -> None:
    """A journalled request sends the file it was made with, or says that it cannot."""
    path = png_file(tmp_path / "cat.png")
    kept = Media.from_json(json.loads(json.dumps(Media.from_value(path, "image").to_json())))
    assert kept.data_uri().startswith("data:image/png")
    path.write_bytes(encode.png(RED[:2]))
    with pytest.raises(
        InvalidRequest, match=r"cat\.png is not the file that the request was made with: give an image again"
    ):
        kept.read()
    path.unlink()
    with pytest.raises(InvalidRequest, match=r"cat\.png cannot be read: No such file"):
        Media.from_json(kept.to_json()).read()


def test_a_large_file_is_journalled_without_reading_it(tmp_path: Path) -> None:
    """Above the inline limit the journal holds the path alone: hashing would hold up the cell."""
    path = tmp_path / "long.mp4"
    with path.open("wb") as stream:
        stream.write(b"\0\0\0\x18ftypmp42")
        stream.truncate(DEFAULT_INLINE_LIMIT + 1)
    assert Media.from_value(path, "video").to_json() == {"$media": {"kind": "video", "path": str(path)}}


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"$media": None},
        {"$media": {"kind": "smell"}},
        {"$media": {"kind": "image"}},
        {"$media": {"kind": "image", "generation": "k"}},
    ],
)
def test_damaged_journal_entries(damaged: dict[str, Any]) -> None:
    """An entry that names no kind or no source is an error with a reason."""
    with pytest.raises(InvalidRequest, match="in this request is damaged"):
        Media.from_json(damaged)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(),
    st.builds(lambda url: Media("image", url=f"https://{url}"), st.text()),
    st.builds(
        lambda name: Media("video", path=Path("/nowhere") / name, recorded_sha256="0"), st.text("abc", min_size=1)
    ),
    st.builds(lambda tail: Media("image", content=b"\x89PNG\r\n\x1a\n" + tail), st.binary()),
    st.builds(lambda key: Media("image", key=key, part="last_frame"), st.text(min_size=1)),
)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@pytest.mark.slow
@given(TREES)
def test_walk_and_replace_agree(tree: Any) -> None:
    """What walk finds is what replace changes, and nothing else."""
    found = [medium for _, medium in media.walk(tree)]
    seen: list[Media] = []
    same = media.replace(tree, lambda medium: seen.append(medium) or medium)
    assert same == tree
    assert seen == found
    for path, medium in media.walk(tree):
        place = tree
        for step in path:
            place = place[step]
        assert place is medium


@given(LEAVES)
def test_media_survive_the_journal(leaf: Any) -> None:
    """Every medium is read back from JSON as an equal one."""
    if isinstance(leaf, Media):
        assert Media.from_json(json.loads(json.dumps(leaf.to_json()))) == leaf


def test_labels_are_short() -> None:
    """A person sees type, size and name; never the payload, never an id."""
    content = encode.png(RED) + bytes(1_200_000)
    assert Media("image", content=content).label == "data:image/png;base64,… (1.2 MB)"
    assert media.shortened("data:image/png;base64," + "A" * 16_000) == "data:image/png;base64,… (12 KB)"
    assert media.shortened("data:text/plain," + "A" * 100) == "data:text/plain,… (100 B)"
    assert media.shortened("https://a.example/" + "x" * 200).endswith("xxx")


def test_metadata_of_a_video(tmp_path: Path) -> None:
    """A record and words for players go into an MP4 and are read again; another file is left as it was."""
    av = pytest.importorskip("av")
    path = tmp_path / "video.mp4"
    path.write_bytes(encode.mp4(np.zeros((2, 16, 16, 3), dtype=np.uint8)))
    with pytest.raises(InvalidRequest, match="does not say how it was made"):
        mp4.read_metadata(path)
    mp4.write_metadata(path, {"a": ["狐", None]}, title="狐", comment="c")
    assert mp4.read_metadata(path) == {"a": ["狐", None]}
    with av.open(str(path)) as container:
        assert container.metadata["title"] == "狐"
    for content in (b"", b"\x1a\x45\xdf\xa3" + bytes(300), path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cannot hold metadata"):
            mp4.write_metadata(path, {}, title="t", comment="c")
        assert path.read_bytes() == content
        with pytest.raises(InvalidRequest, match="does not say how it was made"):
            mp4.read_metadata(path)
    with pytest.raises(InvalidRequest, match="There is no file"):
        mp4.read_metadata(tmp_path / "none.mp4")


_SMALL_FILES = """
import resource, sys
from pathlib import Path
from oxenvideo.media import mp4
path = Path(sys.argv[1])
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, before[1]))
try:
    mp4.write_metadata(path, {"a": "x" * 10_000}, title="t", comment="c")
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, before)  # a measurement of coverage writes a file at the end
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of a file")
def test_a_disk_that_fails_under_the_metadata(tmp_path: Path) -> None:
    """The file may be damaged then, so the error is not the one of a file that stayed as it was."""
    path = tmp_path / "video.mp4"
    path.write_bytes(encode.mp4(np.zeros((2, 16, 16, 3), dtype=np.uint8)))
    done = subprocess.run(
        [sys.executable, "-c", _SMALL_FILES, str(path)],
        env=os.environ | {"PYTHONPATH": str(Path(mp4.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.stderr) == ("[Errno 27] File too large", "")


def test_a_fragmented_video_is_not_written_to(tmp_path: Path) -> None:
    """Its fragments say where their data lie in the file: text in front of them would make all but the first unreadable."""
    av = pytest.importorskip("av")
    whole, path = tmp_path / "whole.mp4", tmp_path / "fragments.mp4"
    whole.write_bytes(encode.mp4(np.zeros((4, 16, 16, 3), dtype=np.uint8)))
    options = {"movflags": "frag_every_frame"}
    with av.open(str(whole)) as source, av.open(str(path), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    before = path.read_bytes()
    assert before.count(b"moof") > 1
    with pytest.raises(ValueError, match="fragments"):
        mp4.write_metadata(path, {"a": 1}, title="x", comment="y")
    assert path.read_bytes() == before
