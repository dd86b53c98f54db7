"""What fails a generation when it runs, in the words of the service."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from oxenvideo.server.validation import run_problem

MODELS = {
    model["id"]: model
    for model in json.loads(resources.files("oxenvideo").joinpath("data/video_models.json").read_text("utf-8"))
}
OMNI = "kling-video-o3-pro-reference-to-video"
KLING = "kling-video-v2-6-pro-text-to-video"
VALUE_ERROR = "Getting model response error: 422 - Value error, "
ONE_TO_15 = "Input should be '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', '13', '14' or '15'"
TRY_5 = "is invalid. Try using duration='5' instead, as duration support may vary by model and mode."


@pytest.mark.parametrize(
    ("model", "parameters", "problem"),
    [
        (OMNI, {"prompt": "a"}, None),
        (OMNI, {"multi_prompt": [{"prompt": "a"}, {"prompt": "b", "duration": 10}]}, None),
        (OMNI, {"prompt": "a", "multi_prompt": [{"prompt": "a"}]},
         VALUE_ERROR + "Cannot provide both 'prompt' and 'multi_prompt'."),
        (OMNI, {}, VALUE_ERROR + "Either 'prompt' or 'multi_prompt' must be provided."),
        (KLING, {}, VALUE_ERROR + "Either 'prompt' or 'multi_prompt' must be provided."),
        (OMNI, {"multi_prompt": [{"prompt": "a", "duration": 8}, {"prompt": "b", "duration": 8}]},
         "Total shot duration (16s) exceeds maximum allowed (15s)."),
        (OMNI, {"multi_prompt": [{"prompt": "a"}] * 4}, "Total shot duration (20s) exceeds maximum allowed (15s)."),
        (OMNI, {"multi_prompt": [{"duration": 5}]}, "Field required"),
        (OMNI, {"multi_prompt": [{"prompt": "a", "duration": 16}]}, ONE_TO_15),
        (OMNI, {"multi_prompt": [{"prompt": "a", "duration": 0}]}, ONE_TO_15),
        (OMNI, {"multi_prompt": [{"prompt": "a", "duration": 2}]}, f"duration value '2' {TRY_5}"),
        (OMNI, {"prompt": "a", "duration": 2}, f"duration value '2' {TRY_5}"),
        (OMNI, {"prompt": "a", "duration": 16}, ONE_TO_15),
        (OMNI, {"prompt": "x" * 513}, "prompt: String should have at most 512 characters"),
        (OMNI, {"prompt": "a", "tail_image_url": "u"}, VALUE_ERROR + "tail_image_url requires start_image_url."),
        (OMNI, {"prompt": "a", "tail_image_url": "u", "start_image_url": "v"}, None),
        (OMNI, {"prompt": "a", "input_image": ["u"] * 4}, None),
        (OMNI, {"prompt": "a", "input_image": ["u"] * 2,
                "elements": [{"frontal_image_url": "u", "reference_image_urls": ["v", "w"]}]},
         VALUE_ERROR + "At most 4 images are allowed, those of elements included; got 5."),
        (OMNI, {"prompt": "a", "elements": [{"frontal_image_url": "u", "reference_image_urls": ["v"] * 4}]},
         "elements.0.reference_image_urls: List should have at most 3 items"),
        (OMNI, {"prompt": "a", "input_image": "one"}, "input_image: Input should be a valid list"),
        (KLING, {"prompt": "a", "duration": 7}, f"duration value '7' {TRY_5}"),
        (KLING, {"prompt": "a", "duration": "long"}, "duration: Input should be a valid integer"),
        (KLING, {"prompt": "a", "aspect_ratio": "4:3"}, "aspect_ratio: Input should be '9:16', '16:9' or '1:1'"),
        (KLING, {"prompt": "a", "cfg_scale": 11}, "cfg_scale: Input should be less than or equal to 10"),
        (KLING, {"prompt": "a", "cfg_scale": -1}, "cfg_scale: Input should be greater than or equal to 0"),
        (KLING, {"prompt": "a", "duration": None, "unknown": object}, None),
        ("kling-video-o3-pro-video-to-video-edit", {"prompt": "a"}, "input_video: Field required"),
        ("topazlabs-upscale-starlight-2-5-video", {"input_video": "u"}, None),
        ("topazlabs-upscale-starlight-2-5-video", {"input_video": "u", "prompt": "ignored"}, None),
        ("google-veo-3-1", {"prompt": "a", "resolution": "4k", "duration": 6},
         VALUE_ERROR + "resolution '4k' requires duration 8."),
        ("google-veo-3-1", {"prompt": "a", "resolution": "4k"}, None),
        ("flux-3-video", {"prompt": "a", "input_images": ["u"], "input_video": "v"},
         VALUE_ERROR + "Cannot provide both 'input_images' and 'input_video'."),
    ],
)  # fmt: skip
def test_run_problems(model: str, parameters: dict[str, object], problem: str | None) -> None:
    """Each broken rule fails the generation in the documented words. Valid parameters pass."""
    assert run_problem(MODELS[model], parameters) == problem


def test_a_model_without_schema_takes_anything() -> None:
    """Without a schema only the prompts are checked."""
    model = {"id": "new", "request_schema": None}
    assert run_problem(model, {"prompt": "a", "duration": "long"}) is None
    assert run_problem(model, {}) == VALUE_ERROR + "Either 'prompt' or 'multi_prompt' must be provided."


@pytest.mark.parametrize("id_", MODELS)
def test_every_model_can_be_asked(id_: str) -> None:
    """Every bundled model accepts its required parameters and its defaults."""
    schema = MODELS[id_]["request_schema"]
    defaults = {name: p["default"] for name, p in schema["properties"].items() if "default" in p}
    example: dict[str, object] = {"string": "https://example.com/x", "number": 1, "array": ["https://example.com/x"]}
    required = {
        name: (schema["properties"][name].get("enum") or [example[schema["properties"][name]["type"]]])[0]
        for name in schema["required"]
        if name not in defaults
    }
    assert run_problem(MODELS[id_], {"prompt": "a"} | defaults | required) is None
