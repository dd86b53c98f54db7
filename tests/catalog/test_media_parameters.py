"""Media parameters: every model's media go to the parameter that takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oxenvideo.catalog.catalog import Model, bundled
from oxenvideo.catalog.media_parameters import by_name, coerce, for_model, place
from oxenvideo.errors import InvalidRequest
from oxenvideo.media import encode
from oxenvideo.media.media import Media

A, B, C, V, S = (f"https://a.example/{name}" for name in ("a.png", "b.png", "c.png", "v.mp4", "s.wav"))


def placed(model_id: str, **media: Any) -> dict[str, Any]:
    return place(bundled().get(model_id, Model(model_id)), catalog=bundled(), **media)


def model(**properties: Any) -> Model:
    return Model("m", schema={"type": "object", "properties": properties})


URI = {"type": "string", "format": "uri"}


@pytest.mark.parametrize(
    ("model_id", "media", "expected"),
    [
        # one plain image, as text or as a list, by whatever name
        ("kling-video-v2-6-pro-image-to-video", {"images": [A]}, {"input_image": A}),
        ("kling-video-o1-reference-to-video", {"images": [A]}, {"input_image": [A]}),
        ("kling-video-o3-pro-reference-to-video", {"images": [A, B]}, {"input_image": [A, B]}),
        ("bytedance-seedance-2-5-reference-to-video", {"images": [A, B]}, {"input_images": [A, B]}),
        ("happyhorse-1.1-r2v", {"images": [A, B]}, {"reference_images": [A, B]}),
        ("wan-v2-7-edit-video", {"images": [A], "videos": [V]}, {"reference_image_url": A, "input_video": V}),
        ("luma-ray-v3-2-text-to-video", {"images": [A]}, {"reference_image_urls": [A]}),
        # a required single image first, references after it
        ("luma-ray-v3-2-image-to-video", {"images": [A]}, {"input_image": A}),
        ("luma-ray-v3-2-image-to-video", {"images": [A, B, C]}, {"input_image": A, "reference_image_urls": [B, C]}),
        (
            "luma-ray-v3-2-image-to-video",
            {"start_image": A, "images": [B]},
            {"input_image": A, "reference_image_urls": [B]},
        ),
        # references where the single image is the first frame
        ("minimax-h3", {"images": [A]}, {"input_images": [A]}),
        ("minimax-h3", {"start_image": A, "end_image": B}, {"input_image": A, "tail_image_url": B}),
        ("wan-v2-7-reference-to-video", {"images": [A]}, {"input_image": A}),
        # first and last frames
        ("kling-video-o3-omni", {"start_image": A, "end_image": B}, {"start_image_url": A, "tail_image_url": B}),
        ("kling-video-o3-omni", {"images": [C], "start_image": A}, {"start_image_url": A, "input_image": [C]}),
        ("kling-video-o1-image-to-video", {"start_image": A, "end_image": B}, {"input_image": A, "tail_image_url": B}),
        ("kling-video-o1-image-to-video", {"images": [A], "end_image": B}, {"input_image": A, "tail_image_url": B}),
        ("ltx-2-3-pro", {"start_image": A, "end_image": B}, {"input_image": A, "last_frame_image": B}),
        ("wan-v2-7-image-to-video", {"start_image": A, "end_image": B}, {"input_image": A, "end_image_url": B}),
        ("gemini-omni-flash-preview", {"start_image": A, "images": [B]}, {"first_frame_image": A, "input_image": [B]}),
        # keyframes are frames in order
        ("flux-3-video", {"start_image": A, "images": [B], "end_image": C}, {"input_images": [A, B, C]}),
        ("flux-3-video", {"images": [A]}, {"input_images": [A]}),
        # videos and sounds
        ("bytedance-depth-anything-video", {"videos": [V]}, {"video_url": V}),
        ("wan-v2-6-reference-to-video", {"videos": [V, V]}, {"input_videos": [V, V]}),
        (
            "ltx-2-3-quality-reference-video-to-video",
            {"videos": [V], "images": [A]},
            {"input_video": V, "input_image": A},
        ),
        ("ltx-2-3-pro-audio-to-video", {"audios": [S]}, {"input_audio": S}),
        ("wan-v2-6-image-to-video", {"images": [A], "audios": [S]}, {"input_image": A, "audio_url": S}),
        ("minimax-h3", {"audios": [S], "videos": [V]}, {"input_videos": [V], "input_audios": [S]}),
        # elements
        (
            "kling-video-o3-pro-video-to-video-edit",
            {"elements": [A, [B], [A, B, C], {"frontal_image_url": C}]},
            {
                "elements": [
                    {"frontal_image_url": A},
                    {"frontal_image_url": B},
                    {"frontal_image_url": A, "reference_image_urls": [B, C]},
                    {"frontal_image_url": C},
                ]
            },
        ),
        # a model nobody knows: the documented names
        ("unheard-of", {"images": [A]}, {"input_image": A}),
        ("unheard-of", {"images": [A, B]}, {"input_image": [A, B]}),
        ("unheard-of", {"start_image": A, "end_image": B}, {"start_image_url": A, "tail_image_url": B}),
        ("unheard-of", {"videos": [V], "audios": [S]}, {"input_video": V, "input_audios": [S]}),
        ("unheard-of", {"elements": [A]}, {"elements": [{"frontal_image_url": A}]}),
    ],
)
def test_media_find_their_parameter(model_id: str, media: dict[str, Any], expected: dict[str, Any]) -> None:
    """Images, frames, videos, sounds and elements land where the model's schema has room for them."""
    assert placed(model_id, **media) == expected


UNLISTED = {"wan-v3-0-video": {"image", "video", "audio"}, "wan-v2-7-reference-to-video": {"video"}}
"""Models whose documentation promises an input and names no parameter, or no key, for it."""


@pytest.mark.parametrize("kind", ["image", "video", "audio"])
def test_every_model_takes_what_it_says_it_takes(kind: str) -> None:
    """One medium of each promised kind can be placed in all 80 models, and none of another kind."""
    wish = {"image": {"images": [A]}, "video": {"videos": [V]}, "audio": {"audios": [S]}}[kind]
    for known in bundled().values():
        if kind in known.inputs and kind not in UNLISTED.get(known.id, set()):
            assert len(place(known, **wish)) == 1, known.id
        else:
            with pytest.raises(InvalidRequest, match="does not take"):
                place(known, **wish)


def test_only_media_parameters_are_for_model() -> None:
    """Switches, strengths, counts and choices that speak of images or sound are no slots, in all 80 models."""
    names = {slot.name for known in bundled().values() for slot in for_model(known)}
    assert names == {
        "input_image",
        "input_images",
        "input_face_images",
        "reference_images",
        "reference_image_url",
        "reference_image_urls",
        "first_frame_image",
        "start_image_url",
        "tail_image_url",
        "last_frame_image",
        "end_image_url",
        "elements",
        "input_video",
        "input_videos",
        "input_face_videos",
        "reference_videos",
        "video_url",
        "control_video_url",
        "input_audio",
        "input_audios",
        "audio_url",
    }


@pytest.mark.parametrize(
    ("model_id", "media", "message"),
    [
        (
            "kling-video-v2-6-pro-text-to-video",
            {"images": [A]},
            "does not take an image: it has no image parameter. Models that take it: kling-video-v2-6-pro-image-to-video,",
        ),
        (
            "kling-video-v2-6-pro-image-to-video",
            {"images": [A, B]},
            "does not take 2 images: its image parameters are input_image.",
        ),
        (
            "kling-video-o1-reference-to-video",
            {"start_image": A},
            "a start image: its image parameters are input_image (several)",
        ),
        (
            "happyhorse-1.0-i2v",
            {"end_image": A},
            "an end image: its image parameters are input_image. Models that take it:",
        ),
        ("google-veo-3", {"videos": [V]}, "a video: it has no video parameter"),
        ("sam-3-video", {"videos": [V, V]}, "2 videos: its video parameters are input_video."),
        ("google-veo-3", {"audios": [S]}, "an audio file: it has no audio file parameter"),
        (
            "google-veo-3",
            {"elements": [A]},
            "elements: its image parameters are input_image. Models that take it: kling",
        ),
        ("wan-v2-7-reference-to-video", {"images": [A, B]}, "given by name as the model's own objects"),
        ("wan-v3-0-video", {"images": [A]}, "its known schema has no image parameter: give it by its own name."),
    ],
)
def test_no_room_is_said_with_what_would_do(model_id: str, media: dict[str, Any], message: str) -> None:
    """The error names the model, what it takes, and models that would take the medium."""
    with pytest.raises(InvalidRequest) as caught:
        placed(model_id, **media)
    assert str(caught.value).startswith(f"{model_id} does not take ")
    assert message in str(caught.value)


def test_models_named_for_it_do_take_it() -> None:
    """Whatever the error recommends can be followed."""
    with pytest.raises(InvalidRequest) as caught:
        placed("happyhorse-1.0-i2v", end_image=A)
    _, _, names = str(caught.value).partition("Models that take it: ")
    for name in names.rstrip(".").split(", "):
        assert placed(name, start_image=A, end_image=B)


@pytest.mark.parametrize(
    ("spec", "media", "expected"),
    [
        ({"type": ["string", "array"]}, {"images": [A]}, A),
        ({"type": ["string", "array"]}, {"images": [A, B]}, [A, B]),
        ({"anyOf": [{"type": "string"}, {"type": "array"}]}, {"images": [A]}, A),
        ({"anyOf": [URI, {"type": "null"}]}, {"images": [A]}, A),
        ({"type": "array", "items": URI}, {"images": [A]}, [A]),
        ({}, {"images": [A]}, A),
    ],
)
def test_live_schemas_of_other_shapes(spec: dict[str, Any], media: dict[str, Any], expected: Any) -> None:
    """Unions, null and missing types are understood: one URL goes alone wherever that is allowed."""
    assert place(model(input_image=spec), **media) == {"input_image": expected}


def test_a_choice_is_no_slot() -> None:
    """A parameter with fixed choices is no place for a medium, whatever it is called."""
    assert (
        for_model(model(input_video={"type": "string", "enum": ["keep", "drop"]}, image_url=URI))[0].name == "image_url"
    )


def test_objects_with_a_url_inside() -> None:
    """Where a list holds objects whose URL has a known key, the media are wrapped in it."""
    items = {"type": "object", "properties": {"voice": {"type": "string"}, "image_url": URI}}
    known = model(reference_images={"type": "array", "items": items})
    assert place(known, images=[A, B]) == {"reference_images": [{"image_url": A}, {"image_url": B}]}


def test_a_lone_start_slot_takes_a_plain_image() -> None:
    """A model whose only image is its first frame takes a plain image as that."""
    assert place(model(start_image_url=URI), images=[A]) == {"start_image_url": A}


def test_values_under_their_own_name_become_media(tmp_path: Path) -> None:
    """Paths, arrays and lists of them become media under the parameter's own name; URLs and other values stay."""
    path = tmp_path / "cat.png"
    path.write_bytes(encode.png(np.zeros((2, 2), dtype=np.uint8)))
    known = bundled().get("kling-video-o3-pro-reference-to-video")
    parameters = coerce(
        known,
        {
            "prompt": str(path),  # text, not a slot
            "start_image_url": str(path),
            "tail_image_url": A,
            "input_image": [path, B],
            "elements": [{"frontal_image_url": np.zeros((2, 2)), "reference_image_urls": [str(path)]}],
            "generate_audio": True,
            "unknown": str(path),
        },
    )
    medium = Media("image", path=path)
    assert parameters["prompt"] == parameters["unknown"] == str(path)
    assert parameters["start_image_url"] == medium
    assert parameters["tail_image_url"] == A
    assert parameters["input_image"] == [medium, B]
    assert parameters["elements"][0]["frontal_image_url"].mime == "image/png"
    assert parameters["elements"][0]["reference_image_urls"] == [medium]
    assert parameters["generate_audio"] is True


def test_coercion_goes_by_the_name_where_the_schema_knows_nothing(tmp_path: Path) -> None:
    """Without a schema, and for parameters it lacks, a name that ends like a medium's is taken for one."""
    path = tmp_path / "cat.png"
    path.write_bytes(encode.png(np.zeros((2, 2), dtype=np.uint8)))
    for known in (Model("unheard-of"), bundled().get("kling-video-v2-6-pro-text-to-video")):
        found = coerce(
            known, {"mask_url": path, "audio_mode": "fast", "webhook_url": "https://w", "audio_setting": "auto"}
        )
        assert found["mask_url"] == Media("image", path=path)
        assert found["audio_mode"] == "fast"
        assert by_name(known, "input_video") is not None
        assert by_name(known, "image_strength") is None


def test_an_object_that_is_no_medium_is_refused() -> None:
    """A stray object under a medium's name is named before anything is sent."""
    with pytest.raises(InvalidRequest, match="A object cannot be an image"):
        coerce(bundled().get("google-veo-3"), {"input_image": object()})
    with pytest.raises(InvalidRequest, match="An element needs at least its front image"):
        placed("kling-video-o1-reference-to-video", elements=[[]])
