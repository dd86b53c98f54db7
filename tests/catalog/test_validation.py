"""Checks: what is refused before it costs money, in one line that says what would do."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from oxenvideo.catalog import schema
from oxenvideo.catalog.catalog import Model, bundled
from oxenvideo.catalog.validation import check
from oxenvideo.errors import InvalidRequest
from oxenvideo.media.media import Media

TEXT = "kling-video-v2-6-pro-text-to-video"
REFERENCE = "kling-video-o3-pro-reference-to-video"
EDIT = "kling-video-o3-pro-video-to-video-edit"
UPSCALE = "topazlabs-upscale-starlight-2-5-video"
A = "https://a.example/a.png"
V = "https://a.example/v.mp4"
PIXEL = Media("image", content=b"\x89PNG\r\n\x1a\n")


def checked(model_id: str, **parameters: Any) -> list[str]:
    return check(bundled().get(model_id), parameters)


def refused(model: Model | str, **parameters: Any) -> str:
    known = bundled().get(model) if isinstance(model, str) else model
    with pytest.raises(InvalidRequest) as caught:
        check(known, parameters)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("model_id", "parameters", "message"),
    [
        (TEXT, {"prompt": "x", "duration": 7}, f"duration 7 is not allowed for {TEXT}: use 5 or 10."),
        (TEXT, {"prompt": "x", "duration": "five"}, f"duration 'five' is not allowed for {TEXT}: use 5 or 10."),
        (TEXT, {"prompt": "x", "duration": True}, f"duration true is not allowed for {TEXT}: use 5 or 10."),
        (
            TEXT,
            {"prompt": "x", "aspect_ratio": "4:3"},
            f"aspect_ratio '4:3' is not allowed for {TEXT}: use 9:16, 16:9 or 1:1.",
        ),
        (TEXT, {"prompt": "x", "cfg_scale": 12}, f"cfg_scale 12 is not allowed for {TEXT}: use 0 to 10."),
        (TEXT, {"prompt": "x", "cfg_scale": "high"}, "cfg_scale 'high' is not a number: use 0 to 10."),
        (TEXT, {"prompt": "x", "generate_audio": "yes"}, "generate_audio 'yes' is not true or false."),
        (TEXT, {"prompt": "x", "negative_prompt": 3}, "negative_prompt 3 is not text."),
        (TEXT, {}, f"{TEXT} needs a prompt."),
        (TEXT, {"prompt": "  "}, f"The prompt is empty: {TEXT} needs one."),
        (TEXT, {"prompt": 3}, "prompt 3 is not text."),
        (
            "openai-sora-2-pro",
            {"prompt": "x", "seconds": 8},
            "seconds 8 is not allowed for openai-sora-2-pro: use '4', '8' or '12'.",
        ),
        (UPSCALE, {}, f"{UPSCALE} needs input_video."),
        (UPSCALE, {"input_video": V, "target_fps": 61}, f"target_fps 61 is not allowed for {UPSCALE}: use 1 to 60."),
        (UPSCALE, {"input_video": [V]}, f'input_video ["{V}"] is not text.'),
        (UPSCALE, {"input_video": "clip.mp4"}, "input_video 'clip.mp4' is neither a URL nor the path of a file here."),
        (
            UPSCALE,
            {"input_video": PIXEL},
            f"input_video of {UPSCALE} takes video media, not image: data:image/png;base64,… (8 B).",
        ),
        (REFERENCE, {"prompt": "x" * 513}, f"prompt is 513 characters long; {REFERENCE} takes at most 512."),
        (
            REFERENCE,
            {"prompt": "x", "elements": [{"frontal_image_url": A, "reference_image_urls": [A] * 4}]},
            f"elements[0].reference_image_urls has 4 items; {REFERENCE} takes at most 3.",
        ),
        (REFERENCE, {"prompt": "x", "elements": [{}]}, "elements[0] needs frontal_image_url."),
        (
            REFERENCE,
            {"prompt": "x", "elements": [{"frontal_image_url": "cat"}]},
            "elements 'cat' is neither a URL nor the path of a file here.",
        ),
    ],
)
def test_schema_faults_in_words(model_id: str, parameters: dict[str, Any], message: str) -> None:
    """Parameter, value and what is allowed stand in one line."""
    assert refused(model_id, **parameters) == message


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        ({"type": "integer", "minimum": 2}, 1, "x 1 is not allowed for m: use at least 2."),
        ({"type": "number", "maximum": 2}, 3, "x 3 is not allowed for m: use at most 2."),
        ({"exclusiveMinimum": 0}, 0, "x 0 is not allowed for m: use more than 0."),
        ({"exclusiveMaximum": 9}, 9, "x 9 is not allowed for m: use less than 9."),
        ({"type": "integer"}, 1.5, "x 1.5 is not a whole number."),
        ({"type": "object"}, [], "x [] is not an object."),
        ({"type": ["integer", "null"]}, "a", "x 'a' is not a whole number or null."),
        ({"const": 3}, 4, "x 4 is not allowed for m: use 3."),
        (
            {"anyOf": [{"enum": ["auto"]}, {"type": "integer", "minimum": 4, "maximum": 30}]},
            2,
            "x 2 is not allowed for m: use auto or 4 to 30.",
        ),
        ({"type": "array", "minItems": 2}, [1], "x has 1 items; m takes at least 2."),
        ({"type": "string", "pattern": "^a"}, "b", "x 'b' is not allowed for m: it must match pattern ^a."),
    ],
)
def test_other_schema_words(spec: dict[str, Any], value: Any, message: str) -> None:
    """Whatever JSON Schema a live model uses, the fault is said in words."""
    assert refused(Model("m", schema={"properties": {"x": spec}}), x=value) == message


@pytest.mark.parametrize(
    ("model_id", "parameters", "message"),
    [
        (REFERENCE, {"prompt": "x", "multi_prompt": [{"prompt": "y"}]}, "has both a prompt and shots"),
        (REFERENCE, {}, f"{REFERENCE} needs a prompt or shots (multi_prompt)."),
        (REFERENCE, {"multi_prompt": []}, "The list of shots (multi_prompt) is empty."),
        (REFERENCE, {"multi_prompt": [{"prompt": "x"}, {"duration": 3}]}, "Shot 2 needs a prompt."),
        (
            REFERENCE,
            {"multi_prompt": [{"prompt": "x", "duration": 20}]},
            f"Shot 1: duration 20 is not allowed for {REFERENCE}: use 1 to 15.",
        ),
        (REFERENCE, {"multi_prompt": ["x"]}, "Shot 1 'x' is not an object."),
        (
            REFERENCE,
            {"multi_prompt": [{"prompt": "x", "duration": 8}] * 2},
            f"The shots (multi_prompt) last 16 s in all; {REFERENCE} takes 3 to 15 s.",
        ),
        (REFERENCE, {"multi_prompt": [{"prompt": "x", "duration": 2}]}, "last 2 s in all"),
        (TEXT, {"multi_prompt": [{"prompt": "x"}]}, f"{TEXT} takes one prompt, not shots (multi_prompt)."),
        (REFERENCE, {"prompt": "x", "tail_image_url": A}, "tail_image_url needs start_image_url"),
        ("kling-video-o3-omni", {"prompt": "x", "tail_image_url": A}, "tail_image_url needs start_image_url"),
        (REFERENCE, {"prompt": "x", "input_image": [A] * 5}, "at most 4 images and elements in all; 5 were given"),
        (
            REFERENCE,
            {"prompt": "x", "input_image": [A] * 3, "elements": [{"frontal_image_url": A}] * 2},
            "in all; 5 were given",
        ),
        ("kling-video-o3-omni", {"prompt": "x", "input_image": [A] * 8}, "at most 7 images and elements"),
        (
            "kling-video-o3-omni",
            {"prompt": "x", "input_image": [A] * 5, "input_video": V},
            "at most 4 images and elements in all beside a video",
        ),
        ("kling-video-o3-omni", {"prompt": "x", "input_video": V, "generate_audio": True}, "leave generate_audio off"),
        (
            "kling-video-v3-pro-motion-control",
            {"prompt": "x", "input_image": A, "input_video": V, "character_orientation": "video", "elements": [{}, {}]},
            "at most 1 element; 2 were given",
        ),
        (
            "kling-video-v3-pro-motion-control",
            {"prompt": "x", "input_image": A, "input_video": V, "character_orientation": "image", "elements": [{}]},
            "an element only with character_orientation video",
        ),
        (
            "bytedance-seedance-2-0-reference-to-video",
            {"prompt": "x", "input_images": [A] * 6, "input_face_images": [A] * 4},
            "at most 9 images; 10",
        ),
        (
            "bytedance-seedance-2-0-mini-reference-to-video",
            {"prompt": "x", "input_videos": [V] * 4},
            "at most 3 videos; 4",
        ),
        (
            "bytedance-seedance-2-0-fast-reference-to-video",
            {
                "prompt": "x",
                "input_images": [A] * 9,
                "input_videos": [V] * 3,
                "input_audios": [V] * 3,
                "input_face_videos": [],
            },
            None,
        ),
        (
            "bytedance-seedance-2-5-reference-to-video",
            {"prompt": "x", "input_audios": [V] * 11},
            "at most 10 audio files; 11",
        ),
        (
            "flux-3-video",
            {"prompt": "x", "input_images": [A], "input_video": V},
            "input_images and input_video exclude each other",
        ),
        ("flux-3-video", {"prompt": "x", "input_images": [A] * 11}, "at most 10 keyframes; 11"),
        (
            "google-veo-3-1",
            {"prompt": "x", "duration": 4},
            "resolution 1080p (its default) only with duration 8, not 4",
        ),
        ("google-veo-3-1", {"prompt": "x", "duration": 4, "resolution": "720p"}, None),
        (
            "google-veo-3-1-fast",
            {"prompt": "x", "duration": 6, "resolution": "4k"},
            "resolution 4k only with duration 8, not 6",
        ),
        ("google-veo-3-1-lite", {"prompt": "x", "duration": 6}, None),
        ("google-veo-3", {"prompt": "x", "duration": 4}, None),
        ("happyhorse-1.1-r2v", {"prompt": "x", "reference_images": [A] * 10}, "at most 9 reference images; 10"),
        ("happyhorse-1.0-video-edit", {"prompt": "x" * 2501, "input_video": V}, "prompt is 2501 characters long"),
        (
            "ltx-2-3-fast-text-to-video",
            {"prompt": "x", "duration": 12, "fps": 50},
            "more than 10 s only at fps 25 and resolution 1080p, not 50",
        ),
        ("ltx-2-3-fast-text-to-video", {"prompt": "x", "duration": 12}, None),
        ("ltx-2-3-pro-audio-to-video", {"input_audio": V}, "needs a prompt when it is given no image"),
        ("ltx-2-3-pro-audio-to-video", {"input_audio": V, "input_image": A}, None),
        (
            "ltx-2-3-quality-reference-video-to-video",
            {"prompt": "x", "input_video": V, "skip_control_preprocess": True},
            "skip_control_preprocess needs control_video_url",
        ),
        (
            "ltx-2-3-quality-reference-video-to-video",
            {"prompt": "x", "input_video": V, "preserve_original_video": True},
            "preserve_original_video needs skip_control_preprocess",
        ),
        (
            "ltx-2-3-quality-reference-video-to-video",
            {"prompt": "x", "input_video": V, "skip_control_preprocess": False},
            None,
        ),
        ("luma-ray-v3-2-text-to-video", {"prompt": "x", "loop": True, "duration": "10s"}, "no loop of 10s"),
        (
            "luma-ray-v3-2-video-to-video",
            {"prompt": "x", "input_video": V, "edit_strength": "flex_1", "auto_controls": True},
            "edit_strength and auto_controls exclude each other",
        ),
        ("luma-ray-v3-2-video-to-video", {"prompt": "x", "input_video": V, "exr_export": True}, "exr_export needs hdr"),
        (
            "luma-ray-v3-2-video-to-video",
            {"prompt": "x", "input_video": V, "hdr": True},
            "hdr only with resolution 720p or 1080p, not 540p",
        ),
        (
            "minimax-h3",
            {"prompt": "x", "input_image": A, "input_audios": [V]},
            "input_image and input_audios exclude each other",
        ),
        ("minimax-h3", {"prompt": "x", "input_image": A, "tail_image_url": A}, None),
        ("wan-v2-7-image-to-video", {"prompt": "x", "input_image": A, "input_video": V}, "exclude each other"),
        (
            "wan-v2-7-image-to-video",
            {"prompt": "x", "negative_prompt": "y" * 501},
            "negative_prompt is 501 characters long",
        ),
        (
            "wan-v2-7-reference-to-video",
            {"prompt": "x", "reference_images": [{}] * 3, "reference_videos": [{}] * 3},
            "at most 5 images and videos; 6",
        ),
    ],
)
def test_documented_rules(model_id: str, parameters: dict[str, Any], message: str | None) -> None:
    """Rules across parameters hold before anything is sent; None marks a neighbour that is allowed."""
    if message is None:
        assert checked(model_id, **parameters) == []
    else:
        assert message in refused(model_id, **parameters)


def test_local_files_above_a_documented_size(tmp_path: Any) -> None:
    """The size of a local file is known, so the documented limit is checked; a URL's is not."""
    path = tmp_path / "big.png"
    with path.open("wb") as stream:
        stream.truncate(10_000_001)
    big = Media("image", path=path)
    message = refused("happyhorse-1.0-r2v", prompt="x", reference_images=[A, big])
    assert message == "reference_images is a file of 10.0 MB; happyhorse-1.0-r2v takes at most 10 MB."


@pytest.mark.parametrize(
    ("model_id", "parameters", "warning"),
    [
        (
            TEXT,
            {"prompt": "x", "durations": 5},
            "'durations'; it is sent as it is. Did you mean duration?",
        ),
        (TEXT, {"prompt": "x", "zzz": 5}, "no known parameter 'zzz'; it is sent as it is."),
        (UPSCALE, {"input_video": V, "prompt": "x"}, "no known parameter 'prompt'"),
        (REFERENCE, {"multi_prompt": [{"prompt": "x"}], "duration": 5}, "the lengths of the shots are used"),
        (
            REFERENCE,
            {
                "prompt": "x",
                "elements": [{"frontal_image_url": A, "reference_image_urls": [A] * 3}],
                "input_image": [A],
            },
            "these are 5",
        ),
        (
            "wan-ai-wan2-2-t2v-a14b-diffusers",
            {"prompt": "x", "num_frames": 40},
            "num_frames 40 should be one more than a multiple of 4 for wan-ai-wan2-2-t2v-a14b-diffusers, such as 37.",
        ),
        ("wan-v2-7-text-to-video", {"prompt": "x" * 501}, "prompt is 501 characters long"),
    ],
)
def test_what_is_not_certain_is_a_warning(model_id: str, parameters: dict[str, Any], warning: str) -> None:
    """Unknown parameters and unsure rules warn, and the request goes on."""
    (found,) = checked(model_id, **parameters)
    assert warning in found


def test_a_schema_that_forbids_unknown_parameters_still_only_warns() -> None:
    """Schemas lag behind the service, so ``additionalProperties: false`` is not taken at its word."""
    strict = Model("m", schema={"properties": {"a": {"type": "integer"}}, "additionalProperties": False})
    assert len(check(strict, {"a": 1, "b": 2})) == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"prompt": "@Image3 runs", "input_image": [A, A]}, "The prompt mentions @Image3, but 2 images are given."),
        ({"prompt": "@Image1"}, "The prompt mentions @Image1, but no images are given."),
        ({"prompt": "@Image0", "input_image": [A]}, "The prompt mentions @Image0, but 1 image is given."),
        ({"prompt": "@Image1", "start_image_url": A}, "but no images are given"),
        ({"prompt": "@Element2", "elements": [{"frontal_image_url": A}]}, "@Element2, but 1 element is given."),
        ({"prompt": "@Video1 again"}, "@Video1, but no videos are given."),
        ({"prompt": "@Audio1"}, "@Audio1, but no audio files are given."),
        ({"multi_prompt": [{"prompt": "x"}, {"prompt": "(@Image1)"}]}, "@Image1, but no images"),
        (
            {
                "prompt": "@Image1, @Image2 and @Element1",
                "input_image": [A, PIXEL],
                "elements": [{"frontal_image_url": A}],
            },
            None,
        ),
        ({"prompt": "mail me@Image7.example or @Imagery or @@Image9"}, None),
    ],
)
def test_mentions_have_something_behind_them(parameters: dict[str, Any], message: str | None) -> None:
    """A numbered mention without its medium would be paid for and ignored."""
    if message is None:
        assert checked(REFERENCE, **parameters) == []
    else:
        assert message in refused(REFERENCE, **parameters)


def test_mentions_count_every_list_of_a_kind() -> None:
    """Pictures with real faces are numbered along with the others of their kind."""
    model_id = "bytedance-seedance-2-0-reference-to-video"
    assert checked(model_id, prompt="@Image2 @Video1", input_images=[A], input_face_images=[A], input_videos=[V]) == []
    assert "@Image3" in refused(model_id, prompt="@Image3", input_images=[A], input_face_images=[A])


def test_a_model_without_a_schema() -> None:
    """Of a model nobody knows only the API's own rules hold: a prompt or shots, unless a video may be enough."""
    unknown = Model("unheard-of")
    assert check(unknown, {"prompt": "x", "anything": 1}) == []
    assert check(unknown, {"input_video": V}) == []
    assert refused(unknown) == "unheard-of needs a prompt or shots (multi_prompt)."
    assert refused(unknown, prompt=" ") == "The prompt is empty: unheard-of needs one."
    assert "both a prompt and shots" in refused(unknown, prompt="x", multi_prompt=[{"prompt": "y"}])


@pytest.mark.parametrize("count", [0, -1, 1.0, "2", True, None])
def test_count_is_a_whole_number_from_one(count: Any) -> None:
    """Counts that are no whole number from 1 are refused."""
    with pytest.raises(InvalidRequest, match=r"is not allowed: use a whole number from 1\.$"):
        check(bundled().get(TEXT), {"prompt": "x"}, count)


def test_media_count_as_urls() -> None:
    """A local picture passes wherever the schema wants a URL, patterns included."""
    assert checked("google-veo-3", prompt="x", input_image=PIXEL) == []
    strict = Model("m", schema={"properties": {"input_image": {"type": "string", "pattern": "^https?://"}}})
    assert check(strict, {"input_image": PIXEL}) == []


VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, 5, 7, 10, -1, 5.0, 0.5, 1e9, "5", "auto", "", "x" * 600, "16:9", "720p", A]
    ),
    st.lists(st.sampled_from([A, 1, "b"]), max_size=5),
    st.lists(
        st.fixed_dictionaries({}, optional={"prompt": st.text(max_size=3), "duration": st.integers(-1, 20)}), max_size=3
    ),
    st.fixed_dictionaries({}, optional={"frontal_image_url": st.just(A), "reference_image_urls": st.just([A])}),
)


@given(st.sampled_from(list(bundled().values())), st.data())
def test_the_schema_check_agrees_with_jsonschema(model: Model, data: st.DataObject) -> None:
    """The compiled schemas of all models accept and refuse what a full JSON Schema validator does."""
    names = data.draw(st.lists(st.sampled_from([*model.parameters, "unknown"]), unique=True, max_size=6))
    instance: dict[str, Any] = {}
    for name in names:
        choices = model.parameters.get(name, {}).get("enum", [0])
        instance[name] = data.draw(VALUES | st.sampled_from(choices))
    judge = Draft202012Validator({**(model.schema or {}), "additionalProperties": True})
    assert schema.accepts(model.schema or {}, instance) == judge.is_valid(instance)


def test_every_model_compiles() -> None:
    """No documented model's schema falls back to accepting everything."""
    for model in bundled().values():
        assert not schema.accepts(model.schema or {}, []), model.id


def test_an_ordinary_request_loads_nothing_heavy() -> None:
    """A check loads no jsonschema, whose import may take a second."""
    code = (
        "import sys\nfrom oxenvideo.catalog.catalog import bundled\nfrom oxenvideo.catalog.validation import check\n"
        f"model = bundled().get({REFERENCE!r})\n"
        f"print(check(model, {{'multi_prompt': [{{'prompt': 'a', 'duration': 5}}], 'input_image': ['{A}']}}))\n"
        "print('jsonschema' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["[]", "False"]


@pytest.mark.parametrize(
    ("spec", "value", "accepted"),
    [
        ({"minimum": 3}, 2, False),
        ({"enum": [1]}, True, False),
        ({"type": "integer"}, True, False),
        ({"type": "integer"}, 5.0, True),
        ({"multipleOf": 2}, 4, True),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": 2}, False),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {}, False),
        ({"properties": {"format": {"type": "string"}}}, {"format": 1}, False),
        ({"properties": {"id": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "number"}}}, {"id": "x"}, False),
        ({"additionalProperties": False, "properties": {}}, {"new": 1}, True),
        ({"type": "string", "format": "uri"}, "no uri", True),
        ({"default": 3, "properties": {"a": {"default": 3}}}, {}, True),
        ({"type": "dragon"}, 1, True),
        ({"minimum": "0 or print(1)"}, 1, True),
        ({"pattern": "("}, "x", True),
        ({"$id": "https://a.example/", "$ref": "https://a.example/schema.json"}, 1, True),
        ({"properties": {"x": {"$ref": "file:///etc/passwd"}}}, {"x": 1}, True),
    ],
)
def test_schemas_of_any_kind(spec: Any, value: Any, accepted: bool) -> None:
    """Booleans are no numbers; a broken schema checks nothing; other documents are not fetched."""
    assert schema.accepts(spec, value) == accepted


@pytest.mark.parametrize(
    "name", ['a"', "a\\", '\\" in [print("run")] or "x', "{x}", "a\n    print('run')", '"' * 3, "\u2028"]
)
def test_names_in_a_schema_are_not_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A schema is compiled to Python: whatever its names and values hold stays text."""
    for spec in (
        {"properties": {name: {"type": "string"}}, "required": [name]},
        {"properties": {name: {"enum": [name], "pattern": name, "const": name, "minLength": name}}},
        {"properties": {name: {"items": {"properties": {name: {"maximum": 1}}}}}, "dependencies": {name: [name]}},
    ):
        for value in ({name: 1}, {name: name}, {name: [{name: 5}]}, {}):
            schema.accepts(spec, value)
    assert capsys.readouterr().out == ""


def test_a_warm_check_is_fast() -> None:
    """A check takes a processor under 2 ms once the model is known (best of 20), good or bad."""
    model = bundled().get(REFERENCE)
    good = {"prompt": "@Image1", "input_image": [A], "elements": [{"frontal_image_url": A}], "duration": 5}
    bad = {"prompt": "@Image1", "input_image": [A], "duration": 99}

    def seconds(parameters: dict[str, Any]) -> float:
        start = time.thread_time()
        with contextlib.suppress(InvalidRequest):
            check(model, parameters)
        return time.thread_time() - start

    assert min(seconds(good) for _ in range(20)) < 0.002
    assert min(seconds(bad) for _ in range(20)) < 0.002
