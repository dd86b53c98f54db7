"""Previews, rendered and decoded."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from oxenvideo.server.preview import encode, overlay
from oxenvideo.server.preview.render import LocalPreview
from oxenvideo.server.renderer import Job, RenderError
from server.support import data_uri, drawing, frames, likeness, pixels, png

pytestmark = pytest.mark.slow

MODELS = {
    model["id"]: model
    for model in json.loads(resources.files("oxenvideo").joinpath("data/video_models.json").read_text("utf-8"))
}
KLING = "kling-video-v2-6-pro-text-to-video"
OMNI = "kling-video-o3-pro-reference-to-video"
EDIT = "kling-video-o3-pro-video-to-video-edit"
I2V = "kling-video-o3-pro-image-to-video"
STARLIGHT = "topazlabs-upscale-starlight-2-5-video"
BALLOON = "A red balloon floating upward through blue sky"
SMALL = {"width": 320, "height": 180}


@pytest.fixture
def render(tmp_path: Path) -> Any:
    """Return a function that renders a request and returns the file."""
    made = 0

    def render(model: str, *, variation: int = 0, **parameters: Any) -> Path:
        nonlocal made
        made += 1
        path = tmp_path / f"{made}.mp4"
        schema = MODELS.get(model) or {"id": model, "request_schema": None}
        LocalPreview().render(Job("id", schema, {"prompt": BALLOON} | parameters, variation), path)
        return path

    return render


def _clip(
    path: Path, *, seconds: float = 1.0, fps: int = 30, size: tuple[int, int] = (320, 180), sound: bool = False
) -> str:
    """Write a clip whose left half is dark and right half bright, brighter with time; return it as a data URI."""
    width, height = size
    count = round(seconds * fps)

    def pictures() -> Any:
        for number in range(count):
            frame = np.full((height * 3 // 2, width), 128, np.uint8)
            frame[:height, : width // 2] = 40 + number
            frame[:height, width // 2 :] = 180 + number
            yield frame

    tone = np.sin(np.arange(round(seconds * encode.SAMPLE_RATE)) * 0.06).astype(np.float32) * 0.4
    track = np.stack([tone, tone]) if sound else None
    encode.write(path, pictures(), width=width, height=height, fps=Fraction(fps), sound=track, comment="")
    return data_uri(path.read_bytes(), "video/mp4")


def _loudness(path: Path) -> float:
    with av.open(str(path)) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return float(np.abs(np.concatenate(blocks, axis=1)).mean())


def test_the_file_is_what_players_want(render: Any) -> None:
    """H.264 in yuv420p at 24 frames a second, the index at the start, no sound, and a comment."""
    path = render(KLING, duration=5)
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate, stream.frames) == (1280, 720, 24, 120)
        assert float(stream.duration * stream.time_base) == pytest.approx(5.0)
        assert "local preview" in container.metadata["comment"]
    content = path.read_bytes()
    assert content[4:8] == b"ftyp"
    assert content.index(b"moov") < content.index(b"mdat")


def test_the_same_request_gives_the_same_file(render: Any) -> None:
    """Prompt, seed and variation decide every byte, and other values give other pictures."""
    one = render(KLING, duration=1, seed=3, generate_audio=True, **SMALL).read_bytes()
    assert render(KLING, duration=1, seed=3, generate_audio=True, **SMALL).read_bytes() == one
    others = [
        render(KLING, duration=1, seed=4, **SMALL),
        render(KLING, duration=1, seed=3, prompt="A green fish", **SMALL),
        render(KLING, duration=1, seed=3, variation=1, **SMALL),
    ]
    first = pixels(frames(one)[0])
    for other in others:
        assert np.abs(pixels(frames(other)[0]) - first).mean() > 3


def test_it_moves(render: Any) -> None:
    """All neighbouring frames differ, and the last frame differs much from the first."""
    decoded = [pixels(frame) for frame in frames(render(KLING, duration=2, **SMALL))]
    changes = [np.abs(a - b).max() for a, b in itertools.pairwise(decoded)]
    assert min(changes) > 10
    assert np.abs(decoded[0] - decoded[-1]).mean() > 3


@pytest.mark.parametrize("seed", range(12))
def test_text_is_legible(render: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the seed, the text has a contrast of at least 4.5 to 1 with every part of the background near it."""
    marked = pixels(frames(render(KLING, num_frames=1, seed=seed))[0])[450:620, 40:700]
    monkeypatch.setattr(overlay.Overlay, "draw", lambda self, picture, number: None)
    bare = _luminance(pixels(frames(render(KLING, num_frames=1, seed=seed))[0])[450:620, 40:700])
    text = _luminance(marked)[np.abs(_luminance(marked) - bare) > 0.3]
    assert text.size > 1000
    assert max(text.max() / bare.max(), bare.min() / text.min()) > 4.5


def _luminance(picture: Any) -> Any:
    """Return the relative luminance as WCAG defines it, with its offset of 0.05."""
    share = picture / 255
    linear = np.where(share <= 0.04, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722] + 0.05


def test_the_words_of_a_prompt_draw_nothing(render: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the overlay every prompt gives a smooth colour field."""
    monkeypatch.setattr(overlay.Overlay, "draw", lambda self, picture, number: None)
    for prompt in ("A fox in snow", "A city at night", ""):
        picture = pixels(frames(render(KLING, prompt=prompt, duration=1, **SMALL))[12])
        assert np.abs(np.diff(picture, axis=0)).max() < 12
        assert np.abs(np.diff(picture, axis=1)).max() < 12


def test_it_is_marked_as_a_preview(render: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark and the prompt are on the picture from the first frame on."""
    marked = pixels(frames(render(KLING, num_frames=1))[0])
    monkeypatch.setattr(overlay.Overlay, "draw", lambda self, picture, number: None)
    bare = pixels(frames(render(KLING, num_frames=1))[0])
    changed = np.abs(marked - bare).max(axis=2) > 60
    assert changed[40:90, 40:240].sum() > 1000
    assert changed[450:640, 40:700].sum() > 1000
    assert changed[100:440].sum() == 0


@pytest.mark.parametrize("duration", [5, 10])
def test_durations(render: Any, duration: int) -> None:
    """The length is as requested."""
    assert len(frames(render(KLING, duration=duration, width=64, height=64))) == duration * 24


def test_rate_and_frame_count(render: Any) -> None:
    """Frames, rate and size are as requested, and odd sizes are rounded."""
    path = render("ltx-2-3-quality-text-to-video", num_frames=31, frames_per_second=29.97, width=101, height=75)
    decoded = frames(path)
    assert (len(decoded), decoded[0].width, decoded[0].height) == (31, 100, 76)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (2048, 16), (16, 1024), (854, 480), (1080, 606)])
def test_odd_shapes(render: Any, width: int, height: int) -> None:
    """Every shape can be rendered with text and references."""
    reference = data_uri(png(drawing(1)))
    path = render(OMNI, duration=3, num_frames=3, width=width, height=height, input_image=[reference] * 2)
    assert [(frame.width, frame.height) for frame in frames(path)] == [(width, height)] * 3


def test_start_and_end_frames(render: Any) -> None:
    """The first and last frames are the given images, and between them the text is shown."""
    start, end = drawing(1, (640, 360)), drawing(2, (640, 360))
    path = render(
        OMNI, start_image_url=data_uri(png(start)), tail_image_url=data_uri(png(end)), duration=3, width=640, height=360
    )
    decoded = frames(path)
    assert likeness(decoded[0], start) < 3
    assert likeness(decoded[-1], end) < 3
    assert likeness(decoded[20], start) > 3
    assert likeness(decoded[0], end) > 10


def test_a_start_image_of_another_shape_covers_the_frame(render: Any) -> None:
    """An upright image fills a wide frame from its middle."""
    upright = drawing(3, (300, 600))
    first = frames(render(OMNI, start_image_url=data_uri(png(upright)), duration=3, num_frames=4, **SMALL))[0]
    height = 300 * 180 / 320
    assert likeness(first, upright.crop((0, round(300 - height / 2), 300, round(300 + height / 2)))) < 4


def test_an_image_gives_the_video_its_shape(render: Any) -> None:
    """A model that asks for no shape makes a video of the image's."""
    first = frames(
        render("kling-video-v2-6-pro-image-to-video", input_image=data_uri(png(drawing(1, (90, 160)))), num_frames=2)
    )[0]
    assert (first.width, first.height) == (720, 1280)


def test_an_end_frame_alone(render: Any) -> None:
    """A last frame without a first one comes after the background."""
    end = drawing(4, (320, 180))
    decoded = frames(render("minimax-h3", tail_image_url=data_uri(png(end)), num_frames=24, **SMALL))
    assert likeness(decoded[-1], end) < 4
    assert likeness(decoded[0], end) > 10


def test_keyframes(render: Any) -> None:
    """The images of a keyframe model appear in order, at equal distances."""
    images = [drawing(n, (320, 180)) for n in range(3)]
    decoded = frames(render("flux-3-video", input_images=[data_uri(png(i)) for i in images], num_frames=49, **SMALL))
    distances = [[likeness(decoded[at], image) for image in images] for at in (0, 24, 48)]
    assert [row.index(min(row)) for row in distances] == [0, 1, 2]
    assert distances[0][0] < 4
    assert distances[2][2] < 4


def test_references_appear(render: Any) -> None:
    """Each reference image is shown as a small print."""
    loud = [drawing(1).convert("RGB") for _ in range(2)]
    for image, colour in zip(loud, ((250, 0, 250), (0, 250, 0)), strict=True):
        image.paste(colour, (0, 0, *image.size))
    parameters = {"duration": 3, "num_frames": 3, **SMALL}
    shown = pixels(frames(render(OMNI, input_image=[data_uri(png(i)) for i in loud], **parameters))[1])
    in_elements = [{"frontal_image_url": data_uri(png(loud[0])), "reference_image_urls": [data_uri(png(loud[1]))]}]
    shown_elements = pixels(frames(render(OMNI, elements=in_elements, **parameters))[1])
    for picture in (shown, shown_elements):
        magenta = (picture[..., 0] > 200) & (picture[..., 1] < 60) & (picture[..., 2] > 200)
        green = (picture[..., 0] < 60) & (picture[..., 1] > 200) & (picture[..., 2] < 60)
        assert magenta.sum() > 200
        assert green.sum() > 200


def test_shots_follow_each_other(render: Any) -> None:
    """Each shot has its own length and background."""
    shots = [{"prompt": "A ship at sea", "duration": 1}, {"prompt": "A city at night", "duration": 2},
             {"prompt": "A rocket in space", "duration": 1}]  # fmt: skip
    decoded = [pixels(frame) for frame in frames(render(OMNI, prompt=None, multi_prompt=shots, **SMALL))]
    assert len(decoded) == 4 * 24
    jumps = [float(np.abs(a - b).mean()) for a, b in itertools.pairwise(decoded)]
    cuts = sorted(sorted(range(len(jumps)), key=jumps.__getitem__)[-2:])
    assert cuts == [23, 71]
    assert min(jumps[cut] for cut in cuts) > 4 * max(jump for at, jump in enumerate(jumps) if at not in cuts)


def test_sound_when_asked(render: Any) -> None:
    """generate_audio gives a sound track of the length of the video that is not silent."""
    path = render(KLING, duration=2, generate_audio=True, **SMALL)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "aac"
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0, abs=0.05)
    assert _loudness(path) > 0.01
    with av.open(str(render(KLING, duration=1, **SMALL))) as container:
        assert not container.streams.audio


def test_an_edited_clip_is_the_picture(render: Any, tmp_path: Path) -> None:
    """The frames of the clip are shown with its length, size and rate."""
    clip = _clip(tmp_path / "clip.mp4", seconds=1.5)
    path = render(EDIT, prompt="Make it purple", input_video=clip)
    decoded = [pixels(frame) for frame in frames(path)]
    assert (len(decoded), decoded[0].shape) == (45, (180, 320, 3))
    for number in (0, 20, 44):
        middle = decoded[number][60:120]
        dark, bright = middle[:, :100].mean(), middle[:, 220:].mean()
        assert bright - dark > 100
    assert decoded[44][60:120, :100].mean() > decoded[0][60:120, :100].mean() + 20


def test_a_clip_keeps_its_sound_when_asked(render: Any, tmp_path: Path) -> None:
    """keep_audio decides whether the sound of the clip is kept."""
    clip = _clip(tmp_path / "clip.mp4", sound=True)
    kept = render(EDIT, input_video=clip, keep_audio=True)
    assert _loudness(kept) > 0.1
    with av.open(str(render(EDIT, input_video=clip))) as container:
        assert not container.streams.audio
    with av.open(str(render(EDIT, input_video=_clip(tmp_path / "mute.mp4"), keep_audio=True))) as container:
        assert not container.streams.audio


def test_an_upscaled_clip(render: Any, tmp_path: Path) -> None:
    """An upscaler enlarges the clip to the resolution at the requested rate, with its colours and sound."""
    clip = _clip(tmp_path / "clip.mp4", seconds=0.2, sound=True)
    path = render(STARLIGHT, prompt=None, input_video=clip, resolution="1080p", target_fps=60)
    decoded = frames(path)
    assert (len(decoded), decoded[0].width, decoded[0].height) == (12, 1920, 1080)
    shown = pixels(decoded[0])[400:700]
    assert np.abs(shown[..., 0] - shown[..., 1]).mean() < 3
    assert _loudness(path) > 0.1


def test_an_extended_clip(render: Any, tmp_path: Path) -> None:
    """An extension adds its seconds to the clip's end, or before its start."""
    clip = _clip(tmp_path / "clip.mp4", seconds=1.0)
    extend = "ltx-2-3-pro-extend-video"
    end = [pixels(frame)[60:120, :60].mean() for frame in frames(render(extend, input_video=clip, duration=1))]
    start = [
        pixels(frame)[60:120, :60].mean()
        for frame in frames(render(extend, input_video=clip, duration=1, mode="start"))
    ]
    assert len(end) == len(start) == 60
    assert end[25] > end[0] + 15
    assert abs(start[25] - start[0]) < 15


def test_a_given_sound_is_the_sound_track(render: Any, tmp_path: Path) -> None:
    """A model that makes video from sound keeps the sound and its length."""
    _clip(tmp_path / "clip.mp4", seconds=1.5, sound=True)
    sound = data_uri((tmp_path / "clip.mp4").read_bytes(), "audio/mp4")
    path = render("ltx-2-3-pro-audio-to-video", input_audio=sound, width=64, height=64)
    assert len(frames(path)) == pytest.approx(36, abs=2)
    assert _loudness(path) > 0.1


def test_any_model_renders(render: Any, tmp_path: Path) -> None:
    """Every bundled model renders its required parameters."""
    example = {"image": data_uri(png(drawing(1))), "video": _clip(tmp_path / "clip.mp4", seconds=0.2, size=(64, 64)),
               "audio": _clip(tmp_path / "sound.mp4", seconds=0.2, size=(64, 64), sound=True)}  # fmt: skip
    for model in MODELS.values():
        required: dict[str, Any] = {}
        for name in model["request_schema"]["required"]:
            kind = next((kind for kind in ("image", "video", "audio") if kind in name), None)
            schema = model["request_schema"]["properties"][name]
            if kind and "default" not in schema:
                required[name] = [example[kind]] if schema["type"] == "array" else example[kind]
        assert frames(render(model["id"], **required, width=64, height=64, num_frames=2)), model["id"]


def test_a_prompt_of_anything(render: Any) -> None:
    """Long, unusual and empty prompts can be rendered."""
    for prompt in ("", "x" * 5000, "日本の桜 🌸", "a\nb\tc\0d", "%s {x} <b>", "word " * 300):
        assert len(frames(render("no-such-model", prompt=prompt, num_frames=2, **SMALL))) == 2


def test_a_clip_without_frames_is_refused(render: Any, tmp_path: Path) -> None:
    """A file without video is refused with a message."""
    import io
    import wave

    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(b"\0\0" * 800)
    with pytest.raises(RenderError, match="no video in it"):
        render(EDIT, input_video=data_uri(file.getvalue(), "video/mp4"))


def test_a_damaged_clip_shows_what_is_whole(render: Any, tmp_path: Path) -> None:
    """A truncated clip is shown as far as it can be decoded."""
    content = render(KLING, duration=5, **SMALL).read_bytes()
    cut = data_uri(content[: len(content) * 2 // 3], "video/mp4")
    decoded = frames(render(EDIT, prompt=None, input_video=cut))
    assert len(decoded) == 120
    assert np.abs(pixels(decoded[10]) - pixels(decoded[60])).mean() > 0.5
