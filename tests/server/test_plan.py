"""How parameters are interpreted: roles of media, length, size, rate."""

from __future__ import annotations

import json
from fractions import Fraction
from importlib import resources
from typing import Any

import pytest

from oxenvideo.server.preview.plan import Facts, Media, Plan, Request
from oxenvideo.server.renderer import Job, RenderError

MODELS = {
    model["id"]: model
    for model in json.loads(resources.files("oxenvideo").joinpath("data/video_models.json").read_text("utf-8"))
}
KLING = "kling-video-v2-6-pro-text-to-video"
OMNI = "kling-video-o3-pro-reference-to-video"
EDIT = "kling-video-o3-pro-video-to-video-edit"
STARLIGHT = "topazlabs-upscale-starlight-2-5-video"
TINY = "wan-ai-wan2-1-t2v-1-3b-diffusers"
NO_INPUTS = Facts()
CLIP = Facts(picture=(640, 360), seconds=4.0, fps=Fraction(30))


def plan(model: str, facts: Facts = NO_INPUTS, variation: int = 0, **parameters: Any) -> Plan:
    """Plan a request."""
    return Request(Job("id", MODELS[model], {"prompt": "a"} | parameters, variation)).plan(facts)


def media(model: str, **parameters: Any) -> Media:
    """Sort the media of a request."""
    return Request(Job("id", MODELS[model], {"prompt": "a"} | parameters)).media()


@pytest.mark.parametrize(
    ("model", "parameters", "size"),
    [
        (KLING, {}, (1280, 720)),
        (KLING, {"aspect_ratio": "9:16"}, (720, 1280)),
        (KLING, {"aspect_ratio": "1:1"}, (720, 720)),
        (KLING, {"resolution": "480p"}, (854, 480)),
        (KLING, {"resolution": "1080P"}, (1920, 1080)),
        (KLING, {"resolution": "2k"}, (2560, 1440)),
        (KLING, {"resolution": "4k"}, (3840, 2160)),
        (KLING, {"width": 500, "height": 301}, (500, 300)),
        (KLING, {"height": 360}, (640, 360)),
        ("google-veo-3-1", {}, (1920, 1080)),
        ("google-veo-3-1", {"resolution": "720p", "aspect_ratio": "9:16"}, (720, 1280)),
        ("bytedance-seedance-2-0-text-to-video", {"aspect_ratio": "21:9"}, (1680, 720)),
        ("openai-sora-2-pro", {}, (1280, 720)),
        ("openai-sora-2-pro", {"aspect_ratio": "portrait", "resolution": "high"}, (1080, 1920)),
        ("ltx-2-3-quality-text-to-video", {}, (1024, 576)),
        ("ltx-2-3-quality-text-to-video", {"resolution": "square_hd"}, (1024, 1024)),
        (TINY, {}, (640, 480)),
    ],
)
def test_sizes(model: str, parameters: dict[str, Any], size: tuple[int, int]) -> None:
    """The size comes from the parameters, else the schema, else it is 720p and 16:9."""
    made = plan(model, **parameters)
    assert (made.width, made.height) == size


@pytest.mark.parametrize(
    ("model", "facts", "parameters", "size"),
    [
        ("bytedance-seedance-2-5-image-to-video", Facts(picture=(900, 1600)), {}, (720, 1280)),
        ("kling-video-o1-image-to-video", Facts(picture=(1000, 1000)), {}, (720, 720)),
        ("google-veo-3-1-fast", Facts(picture=(900, 1600)), {}, (1280, 720)),
        (EDIT, CLIP, {}, (640, 360)),
        (STARLIGHT, CLIP, {}, (3840, 2160)),
        (STARLIGHT, Facts(picture=(360, 640), seconds=2.0), {"resolution": "1080p"}, (1080, 1920)),
        ("topazlabs-video-upscale", CLIP, {"target_resolution": "720p"}, (1280, 720)),
    ],
)
def test_sizes_that_follow_the_input(
    model: str, facts: Facts, parameters: dict[str, Any], size: tuple[int, int]
) -> None:
    """Without a shape in the parameters or schema the input decides, and an edited clip keeps its size."""
    made = plan(model, facts, **parameters)
    assert (made.width, made.height) == size


@pytest.mark.parametrize(
    ("model", "facts", "parameters", "seconds", "fps"),
    [
        (KLING, Facts(), {}, 5, 24),
        (KLING, Facts(), {"duration": 10}, 10, 24),
        (KLING, Facts(), {"duration": 2.5}, 2.5, 24),
        ("bytedance-seedance-2-0-text-to-video", Facts(), {}, 5, 24),
        ("bytedance-seedance-2-5-text-to-video", Facts(), {"duration": "auto"}, 5, 24),
        ("luma-ray-v3-2-text-to-video", Facts(), {"duration": "10s"}, 10, 24),
        ("openai-sora-2-pro", Facts(), {"seconds": "8"}, 8, 24),
        ("google-veo-3", Facts(), {}, 8, 24),
        ("ltx-2-3-pro-text-to-video", Facts(), {"fps": 50}, 6, 50),
        ("ltx-2-3-pro-text-to-video", Facts(), {}, 6, 25),
        (TINY, Facts(), {"num_frames": 48}, 2, 24),
        (TINY, Facts(), {"duration": 3}, 3, 24),
        ("ltx-2-3-quality-text-to-video", Facts(), {"num_frames": 60, "frames_per_second": 30}, 2, 30),
        (EDIT, CLIP, {}, 4, 30),
        (STARLIGHT, CLIP, {}, 4, 24),
        (STARLIGHT, CLIP, {"target_fps": 60}, 4, 60),
        ("wan-v2-7-edit-video", CLIP, {"duration": 0}, 4, 30),
        ("wan-v2-7-edit-video", CLIP, {"duration": 2}, 2, 30),
        ("ltx-2-3-pro-extend-video", CLIP, {"duration": 3}, 7, 30),
        ("lightricks-ltx-2-retake", CLIP, {"duration": 2}, 4, 30),
        ("ltx-2-3-pro-audio-to-video", Facts(sound_seconds=7.0), {}, 7, 24),
        ("ltx-2-3-quality-audio-to-video", Facts(sound_seconds=7.0), {}, 7, 24),
        ("ltx-2-3-quality-audio-to-video", Facts(sound_seconds=7.0), {"match_audio_length": False}, 121 / 24, 24),
    ],
)
def test_lengths_and_rates(model: str, facts: Facts, parameters: dict[str, Any], seconds: float, fps: int) -> None:
    """Length and rate come from the parameters, else the model, else the input."""
    made = plan(model, facts, **parameters)
    assert made.seconds == pytest.approx(seconds)
    assert made.fps == fps


def test_television_rates() -> None:
    """23.976 and similar rates are exact fractions."""
    assert plan("topazlabs-rhea-video", CLIP, target_fps=23.976).fps == Fraction(24000, 1001)
    assert plan("topazlabs-rhea-video", CLIP, target_fps=59.94).fps == Fraction(60000, 1001)
    assert plan("topazlabs-rhea-video", CLIP, target_fps=25).fps == 25


def test_shots() -> None:
    """Each shot has its own frames. The default is 5 s."""
    made = plan(OMNI, prompt=None, multi_prompt=[{"prompt": "a", "duration": 2}, {"prompt": "b"}])
    assert [(shot.prompt, shot.frames) for shot in made.shots] == [("a", 48), ("b", 120)]
    assert len(plan(STARLIGHT, CLIP, prompt=None, multi_prompt=5.5).shots) == 1


@pytest.mark.parametrize(
    "parameters",
    [{"width": 10**9}, {"height": "tall"}, {"duration": 10**6}, {"duration": "soon"}, {"fps": 0}, {"fps": 10**6},
     {"fps": "nan"}, {"aspect_ratio": "0:1"}, {"aspect_ratio": "9999:1"}, {"num_frames": 10**9}, {"width": float("inf")}],
)  # fmt: skip
def test_what_cannot_be_made(parameters: dict[str, Any]) -> None:
    """Impossible sizes and lengths are refused before anything is drawn."""
    with pytest.raises(RenderError):
        plan(KLING, **parameters)


def test_seeds() -> None:
    """Prompt, seed and variation change the seed of the video. The URLs of inputs do not."""
    seeds = [
        plan(KLING).seed, plan(KLING, prompt="b").seed, plan(KLING, seed=1).seed, plan(KLING, variation=1).seed,
        plan("google-veo-3").seed,
    ]  # fmt: skip
    assert len(set(seeds)) == len(seeds)
    one = plan("kling-video-o1-image-to-video", Facts((9, 9)), input_image="http://a/x?signature=1")
    other = plan("kling-video-o1-image-to-video", Facts((9, 9)), input_image="http://a/x?signature=2")
    assert one == other


@pytest.mark.parametrize(
    ("model", "parameters", "expected"),
    [
        ("kling-video-o1-image-to-video", {"input_image": "i", "tail_image_url": "t"}, {"first": "i", "last": "t"}),
        (OMNI, {"start_image_url": "s", "tail_image_url": "t", "input_image": ["a", "b"]},
         {"first": "s", "last": "t", "references": ("a", "b")}),
        (OMNI, {"elements": [{"frontal_image_url": "http://f", "reference_image_urls": ["http://g"]}]},
         {"references": ("http://f", "http://g")}),
        ("gemini-omni-flash-preview", {"first_frame_image": "f", "input_image": ["a"]},
         {"first": "f", "references": ("a",)}),
        ("ltx-2-3-pro", {"input_image": "i", "last_frame_image": "l"}, {"first": "i", "last": "l"}),
        ("wan-v2-7-image-to-video", {"input_image": "i", "end_image_url": "l"}, {"first": "i", "last": "l"}),
        ("minimax-h3", {"input_images": ["a", "b"], "input_videos": ["v"], "input_audios": ["s"]},
         {"references": ("a", "b"), "video": "v", "sound": "s"}),
        ("bytedance-seedance-2-0-reference-to-video", {"input_face_images": ["f"], "input_images": ["a"]},
         {"references": ("f", "a")}),
        ("happyhorse-1.0-r2v", {"reference_images": ["a"]}, {"references": ("a",)}),
        ("luma-ray-v3-2-text-to-video", {"reference_image_urls": ["a"]}, {"references": ("a",)}),
        ("wan-v2-7-edit-video", {"input_video": "v", "reference_image_url": "a"}, {"video": "v", "references": ("a",)}),
        ("wan-v2-7-reference-to-video", {"reference_images": [{"url": "http://a", "voice": "deep"}]},
         {"references": ("http://a",)}),
        ("bytedance-depth-anything-video", {"video_url": "v"}, {"video": "v"}),
        ("kling-video-v3-pro-motion-control", {"input_image": "i", "input_video": "v"},
         {"video": "v", "references": ("i",)}),
        ("flux-3-video", {"input_images": ["a", "b", "c", "d"]}, {"first": "a", "between": ("b", "c"), "last": "d"}),
        ("flux-3-video", {"input_images": ["a"]}, {"first": "a"}),
        ("wan-v2-6-image-to-video", {"input_image": "i", "audio_url": "s"}, {"first": "i", "sound": "s"}),
        ("ltx-2-3-pro-audio-to-video", {"input_audio": "s"}, {"sound": "s"}),
        (KLING, {}, {}),
    ],
)  # fmt: skip
def test_media_by_part(model: str, parameters: dict[str, Any], expected: dict[str, Any]) -> None:
    """Every media parameter gets its role."""
    nothing = {"first": None, "last": None, "between": (), "references": (), "video": None, "sound": None}
    assert media(model, **parameters) == Media(**(nothing | expected))


@pytest.mark.parametrize(
    ("model", "parameters", "kept"),
    [
        (EDIT, {}, False), (EDIT, {"keep_audio": True}, True), ("kling-video-o1-video-to-video-edit", {}, True),
        ("kling-video-o1-video-to-video-edit", {"keep_audio": False}, False), (STARLIGHT, {}, True),
        ("kling-video-v3-pro-motion-control", {}, True), ("wan-v2-7-edit-video", {"audio_setting": "origin"}, True),
        ("wan-v2-7-edit-video", {}, False),
    ],
)  # fmt: skip
def test_whether_a_clip_keeps_its_sound(model: str, parameters: dict[str, Any], kept: bool) -> None:
    """The sound of a clip is kept if it was requested, or if the model changes only the picture."""
    assert plan(model, CLIP, **parameters).keep_audio is kept
