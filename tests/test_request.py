"""VideoRequest and build: the documented bodies, and requests kept and written without loss."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oxenvideo.catalog import bundled
from oxenvideo.request import Built, VideoRequest, build

TEXT = "kling-video-v2-6-pro-text-to-video"
IMAGE = "kling-video-v2-6-pro-image-to-video"
REFERENCE = "kling-video-o3-pro-reference-to-video"
EDIT = "kling-video-o3-pro-video-to-video-edit"
UPSCALE = "topazlabs-upscale-starlight-2-5-video"
CAT, DOG, BIRD = "https://example.com/cat.png", "https://example.com/dog.png", "https://example.com/bird.png"
CLIP = "https://example.com/clip.mp4"


def make(prompt: str | None = None, **wishes: Any) -> Built:
    return build(prompt, catalog=bundled(), **wishes)


SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": (
        {"prompt": "A red balloon", "model": TEXT, "duration": 5, "aspect_ratio": "16:9"},
        {"model": TEXT, "prompt": "A red balloon", "duration": 5, "aspect_ratio": "16:9"},
    ),
    "image": (
        {"prompt": "It purrs", "model": IMAGE, "image": CAT},
        {"model": IMAGE, "prompt": "It purrs", "input_image": CAT},
    ),
    "image array": (
        {"prompt": "@Image1 meets @Image2", "model": REFERENCE, "images": [CAT, DOG]},
        {"model": REFERENCE, "prompt": "@Image1 meets @Image2", "input_image": [CAT, DOG]},
    ),
    "start and end frame": (
        {"prompt": "They change", "model": REFERENCE, "start_image": CAT, "end_image": DOG, "duration": 5},
        {
            "model": REFERENCE,
            "prompt": "They change",
            "duration": 5,
            "start_image_url": CAT,
            "tail_image_url": DOG,
        },
    ),
    "elements": (
        {"prompt": "@Element1 jumps", "model": REFERENCE, "elements": [[CAT, DOG]]},
        {
            "model": REFERENCE,
            "prompt": "@Element1 jumps",
            "elements": [{"frontal_image_url": CAT, "reference_image_urls": [DOG]}],
        },
    ),
    "multi-shot": (
        {"model": REFERENCE, "shots": [("A door opens", 5), ("A cat walks in", 3)]},
        {
            "model": REFERENCE,
            "multi_prompt": [{"prompt": "A door opens", "duration": 5}, {"prompt": "A cat walks in", "duration": 3}],
        },
    ),
    "multi-shot with references and sound": (
        {
            "model": REFERENCE,
            "shots": [("@Image1 wakes", 4), ("@Element1 barks", 4)],
            "image": CAT,
            "elements": [DOG],
            "generate_audio": True,
        },
        {
            "model": REFERENCE,
            "multi_prompt": [{"prompt": "@Image1 wakes", "duration": 4}, {"prompt": "@Element1 barks", "duration": 4}],
            "input_image": [CAT],
            "elements": [{"frontal_image_url": DOG}],
            "generate_audio": True,
        },
    ),
    "video edit with references": (
        {
            "prompt": "Put @Image1 in",
            "model": EDIT,
            "video": CLIP,
            "image": [CAT],
            "elements": [DOG],
            "keep_audio": True,
        },
        {
            "model": EDIT,
            "prompt": "Put @Image1 in",
            "input_video": CLIP,
            "input_image": [CAT],
            "elements": [{"frontal_image_url": DOG}],
            "keep_audio": True,
        },
    ),
    "upscale": (
        {"model": UPSCALE, "video": CLIP, "resolution": "4k", "target_fps": 60},
        {"model": UPSCALE, "input_video": CLIP, "resolution": "4k", "target_fps": 60},
    ),
    "count of 4": (
        {"prompt": "A red balloon", "model": TEXT, "count": 4},
        {"model": TEXT, "prompt": "A red balloon", "num_generations": 4},
    ),
    "namespace and repository": (
        {"prompt": "A red balloon", "model": TEXT, "repo": "ox/videos/red/balloons"},
        {
            "model": TEXT,
            "prompt": "A red balloon",
            "target_namespace": "ox",
            "target_repo": "videos",
            "target_directory": "red/balloons",
        },
    ),
    "b64_json": (
        {"prompt": "A red balloon", "model": TEXT, "response_format": "b64_json"},
        {"model": TEXT, "prompt": "A red balloon", "response_format": "b64_json"},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_documented_shapes(shape: str) -> None:
    """Each documented kind of request is exactly the documented JSON, without a warning, and reads back from it."""
    wishes, body = SHAPES[shape]
    built = make(**wishes)
    assert built.request.body() == body
    assert json.loads(json.dumps(built.request.body())) == body
    assert built.warnings == ()
    assert next(iter(built.request.body())) == "model"
    assert VideoRequest.from_body(body) == built.request
    assert VideoRequest.from_json(json.loads(json.dumps(built.request.to_json()))) == built.request
