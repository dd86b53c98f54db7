"""VideoRequest and build: the documented bodies, and requests kept and written without loss."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxenvideo.catalog.catalog import Model, bundled
from oxenvideo.catalog.media_parameters import for_model
from oxenvideo.catalog.schema import from_text
from oxenvideo.errors import InvalidRequest, UnknownModel
from oxenvideo.media.media import Media
from oxenvideo.request.build import Built, build
from oxenvideo.request.request import VideoRequest

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


def least(model: Model) -> dict[str, Any]:
    """The smallest parameters that a model takes, its own defaults aside."""
    wishes: dict[str, Any] = {}
    media = {slot.name: slot for slot in for_model(model)}
    for name in model.required or ("prompt",):
        spec = model.parameters[name]
        if name in media:
            wishes[name] = [CAT] if media[name].many else CAT
        else:
            wishes[name] = spec.get("default", spec.get("enum", ["x"])[0])
    return {"prompt": "x", **wishes} if "prompt" in model.parameters else wishes


@pytest.mark.parametrize("with_defaults", [False, True])
def test_every_model_takes_its_least_request(with_defaults: bool) -> None:
    """For each of the 80 models the smallest request, and one that spells out every default, pass without a word."""
    for model in bundled().values():
        wishes = least(model)
        if with_defaults:
            defaults = {name: spec["default"] for name, spec in model.parameters.items() if "default" in spec}
            wishes = defaults | wishes
        built = make(model=model.id, **wishes)
        assert not [w for w in built.warnings if "starts from an image" not in w], model.id
        assert VideoRequest.from_body(built.request.body()) == built.request


@dataclass
class Upstream:
    """Enough of a Generation for a medium."""

    key: str
    name: str | None = None

    def wait(self) -> None:
        """Nothing to wait for."""


PNG = b"\x89PNG\r\n\x1a\n"


def test_local_media_become_data_uris_in_the_body(tmp_path: Path) -> None:
    """A file and bytes travel as data URIs; the preview shows them by type, size and name."""
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    request = make("x", model=REFERENCE, start_image=path, end_image=PNG).request
    uri = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert request.body()["start_image_url"] == request.body()["tail_image_url"] == uri
    assert request.preview()["start_image_url"] == "data:image/png;base64,… (8 B, cat.png)"
    assert request.preview()["tail_image_url"] == "data:image/png;base64,… (8 B)"
    assert request.body(resolve=lambda medium: f"https://up/{medium.size}")["start_image_url"] == "https://up/8"


def test_data_uris_given_as_text_are_shortened_in_the_preview_only() -> None:
    """A long data URI fills no screen and is sent whole."""
    uri = "data:image/png;base64," + "A" * 4000
    request = make("x", model=IMAGE, image=uri).request
    assert request.body()["input_image"] == uri
    assert request.preview()["input_image"] == "data:image/png;base64,… (3 KB)"


def test_a_generation_that_is_not_done_has_no_body_yet() -> None:
    """A chain can be previewed and journalled, and says what it waits for."""
    upstream = Upstream("key-1", "clip")
    request = make("x", model=REFERENCE, start_image=upstream, images=[upstream, CAT]).request
    assert request.depends_on == ("key-1",)
    assert request.preview()["start_image_url"] == "the last frame of clip"
    with pytest.raises(InvalidRequest, match="exists only once that generation has succeeded"):
        request.body()
    kept = VideoRequest.from_json(json.loads(json.dumps(request.to_json())))
    assert kept == request
    assert kept.depends_on == ("key-1",)
    assert make("x", model=IMAGE, image=CAT).request.depends_on == ()


def test_stored_puts_bytes_into_files(tmp_path: Path) -> None:
    """Bytes move into files, so that the journal stays small; the body stays the same."""
    request = make("x", model=REFERENCE, images=[PNG, CAT]).request
    stored = request.stored(tmp_path / "media")
    (file,) = (tmp_path / "media").iterdir()
    assert file.read_bytes() == PNG
    assert stored.body() == request.body()
    assert "data" not in json.dumps(stored.to_json())
    assert VideoRequest.from_json(stored.to_json()) == stored


@pytest.mark.parametrize(("count", "parts"), [(1, [1]), (4, [4]), (5, [4, 1]), (10, [4, 4, 2])])
def test_split_keeps_to_the_limit_of_a_request(count: int, parts: list[int]) -> None:
    """More videos than one POST may ask for become several requests that add up."""
    request = make("x", model=TEXT, count=count).request
    assert [part.count for part in request.split()] == parts
    assert all(part.with_(count=count) == request for part in request.split())


def test_only_what_was_given_is_sent() -> None:
    """No default is added: not the schema's, not a count of 1, not an empty target; None and blank count as absent."""
    request = make("x", model=TEXT, seed=None, negative_prompt=None).request
    assert request.body() == {"model": TEXT, "prompt": "x"}
    assert make("  ", model=UPSCALE, video=CLIP).request.body() == {"model": UPSCALE, "input_video": CLIP}
    assert request.body(count=3)["num_generations"] == 3
    assert "num_generations" not in request.with_(count=4).body(count=1)


def test_parameters_follow_the_schema() -> None:
    """The body is in one stable order, however the wishes were ordered; unknown parameters come last."""
    one = make("x", model=TEXT, zeta=1, duration=5, aspect_ratio="1:1", cfg_scale=1)
    two = make("x", model=TEXT, cfg_scale=1, aspect_ratio="1:1", duration=5, zeta=1)
    assert list(one.request.body()) == list(two.request.body())
    assert list(one.request.body())[:2] == ["model", "prompt"]
    assert list(one.request.body())[-1] == "zeta"


def test_the_apis_own_names_are_understood() -> None:
    """``num_generations`` and ``target_repo`` mean the same as ``count`` and ``repo``."""
    request = make("x", model=TEXT, num_generations=3, target_namespace="ox", target_repo="v").request
    assert (request.count, request.target_namespace, request.target_repo) == (3, "ox", "v")
    assert make("x", model=TEXT, namespace="ox").request.body() == {
        "model": TEXT,
        "prompt": "x",
        "target_namespace": "ox",
    }


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"repo": "videos"}, "repo 'videos' names no repository: use namespace/name or namespace/name/directory"),
        ({"response_format": "mp4"}, "response_format 'mp4' is not allowed: use url or b64_json"),
        ({"count": 0}, "count 0 is not allowed: use a whole number from 1"),
        ({"num_generations": "2"}, "count '2' is not allowed"),
        ({"seed": object()}, "seed is a object, which cannot be sent"),
        ({"seed": float("nan")}, "seed nan is not a number that can be sent"),
        ({"seed": b"1"}, "seed is a bytes, which cannot be sent"),
        ({"seed": np.arange(3)}, "seed is a ndarray, which cannot be sent"),
        ({"extra": {"deep": [{1, 2}]}}, "extra is a set, which cannot be sent"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_what_cannot_be_sent_is_refused_even_unchecked(wishes: dict[str, Any], message: str, check: bool) -> None:
    """Some faults are not a matter of the model's schema."""
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        make("x", model=TEXT, check=check, **wishes)


def test_a_slot_is_not_given_twice() -> None:
    """A medium by its role and the parameter it belongs in exclude each other."""
    with pytest.raises(InvalidRequest, match="input_image is given twice"):
        make("x", model=IMAGE, image=CAT, input_image=DOG)


def test_checks_can_be_left_out() -> None:
    """``check=False`` sends what the schema refuses, unknown models included; without a catalogue little is checked."""
    assert make("x", model=TEXT, duration=7, check=False) == (VideoRequest(TEXT, {"prompt": "x", "duration": 7}), ())
    assert make("x", model="brand-new", image=CAT, check=False).request.body()["input_image"] == CAT
    with pytest.raises(UnknownModel):
        make("x", model="brand-new")
    assert build("x", model="brand-new", duration=7).warnings == ()
    with pytest.raises(InvalidRequest, match="brand-new needs a prompt"):
        build(model="brand-new")


def test_numbers_of_numpy_are_numbers() -> None:
    """A column of a DataFrame gives NumPy numbers; the service sees plain ones."""
    request = make(
        "x", model=TEXT, duration=np.int64(5), cfg_scale=np.float32(0.5), generate_audio=np.bool_(True)
    ).request
    assert (request.body()["duration"], request.body()["cfg_scale"]) == (5, 0.5)
    assert [type(request.body()[key]) for key in ("duration", "cfg_scale", "generate_audio")] == [int, float, bool]


def test_with_changes_fields_and_parameters() -> None:
    """Fields and parameters change by name, None drops one, and a prompt and shots replace each other."""
    request = make("x", model=TEXT, duration=5, seed=1).request
    changed = request.with_(prompt="y", seed=None, count=2, target_namespace="ox")
    assert changed.body() == {
        "model": TEXT,
        "prompt": "y",
        "duration": 5,
        "num_generations": 2,
        "target_namespace": "ox",
    }
    assert request.parameters["seed"] == 1
    shots = request.with_(multi_prompt=[{"prompt": "a"}])
    assert "prompt" not in shots.parameters
    assert shots.with_(prompt="z").parameters == request.with_(prompt="z").parameters
    assert request.with_(parameters={"prompt": "only"}).body() == {"model": TEXT, "prompt": "only"}


def test_a_request_does_not_change_with_its_source() -> None:
    """Lists and dictionaries are copied, so that a later change in the notebook changes nothing."""
    images = [CAT]
    request = make("x", model=REFERENCE, input_image=images).request
    images.append(DOG)
    assert request.body()["input_image"] == [CAT]
    body = request.body()
    body["input_image"].append(DOG)
    assert request.body()["input_image"] == [CAT]
    assert hash(request) == hash(make("x", model=REFERENCE, input_image=[CAT]).request)


def test_prompt_is_a_text_for_every_request() -> None:
    """Shots read as lines; a request without any words is empty."""
    assert make(model=REFERENCE, shots=[("a", 5), "b"]).request.prompt == "a\nb"
    assert make(model=UPSCALE, video=CLIP).request.prompt == ""
    assert VideoRequest("m", {"multi_prompt": "odd"}).prompt == ""


def test_repr_is_short_and_holds_no_payload() -> None:
    """What a cell shows of a request is one line without bytes."""
    request = make("A red balloon " * 20, model=REFERENCE, start_image=PNG * 1000, duration=5, count=2).request
    text = repr(request)
    assert text.startswith("VideoRequest('A red balloon A red")
    assert "start_image_url='data:image/png;base64,… (8 KB)'" in text
    assert "duration=5, " in text
    assert text.endswith("count=2)")
    assert len(text) < 300


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": None}, {"prompt": "x"}])
def test_a_body_without_a_model(body: dict[str, Any]) -> None:
    """A body must name its model."""
    with pytest.raises(InvalidRequest, match="names no model"):
        VideoRequest.from_body(body)


def test_from_body_keeps_nulls_of_targets_out() -> None:
    """A recorded body with null targets is a request without them."""
    request = VideoRequest.from_body({"model": "m", "prompt": "x", "target_repo": None, "num_generations": 2})
    assert (request.target_repo, request.count) == (None, 2)


@pytest.mark.parametrize(
    ("model", "name", "text", "value"),
    [
        (TEXT, "duration", "5", 5),
        (TEXT, "cfg_scale", "0.7", 0.7),
        (TEXT, "cfg_scale", "1", 1),
        (TEXT, "generate_audio", "yes", True),
        (TEXT, "generate_audio", "False", False),
        (TEXT, "generate_audio", "0", False),
        (TEXT, "aspect_ratio", "9:16", "9:16"),
        (TEXT, "negative_prompt", "5", "5"),
        (TEXT, "negative_prompt", '"5"', "5"),
        (TEXT, "unheard", "5", 5),
        (TEXT, "unheard", "true", True),
        (TEXT, "unheard", "NaN", "NaN"),
        (TEXT, "unheard", "plain", "plain"),
        (TEXT, "unheard", '{"a": [1]}', {"a": [1]}),
        (None, "duration", "5", 5),
        ("openai-sora-2-pro", "seconds", "4", "4"),
        ("bytedance-seedance-2-5-text-to-video", "duration", "auto", "auto"),
        ("bytedance-seedance-2-5-text-to-video", "duration", "10", 10),
        ("bytedance-seedance-2-5-text-to-video", "duration", "7", 7),
        ("happyhorse-1.0-t2v", "resolution", "720p", "720P"),
        ("topazlabs-upscale-starlight-2-5-video", "target_fps", "23.976", 23.976),
        (REFERENCE, "input_image", "cat.png", ["cat.png"]),
        (REFERENCE, "input_image", '["a", "b"]', ["a", "b"]),
        (REFERENCE, "multi_prompt", '[{"prompt": "a"}]', [{"prompt": "a"}]),
        ("luma-ray-v3-2-reframe", "source_position", '{"x": 0.5}', {"x": 0.5}),
    ],
)
def test_text_becomes_the_type_of_the_schema(model: str | None, name: str, text: str, value: Any) -> None:
    """An option's text is a number, a switch, a list or text, as the model wants it."""
    found = from_text(bundled().get(model).parameters.get(name, {}) if model else {}, name, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("model", "name", "text", "message"),
    [
        (TEXT, "duration", "5x", "duration '5x' is not a whole number: use 5 or 10."),
        (TEXT, "duration", "5.5", "duration '5.5' is not a whole number: use 5 or 10."),
        (TEXT, "duration", "true", "duration 'true' is not a whole number: use 5 or 10."),
        (TEXT, "cfg_scale", "strong", "cfg_scale 'strong' is not a number: use 0 to 10."),
        (TEXT, "cfg_scale", "NaN", "cfg_scale 'NaN' is not a number: use 0 to 10."),
        (TEXT, "generate_audio", "maybe", "generate_audio 'maybe' is not true or false."),
        ("luma-ray-v3-2-reframe", "source_position", "left", "source_position 'left' is not an object."),
    ],
)
def test_text_of_another_type_is_refused(model: str, name: str, text: str, message: str) -> None:
    """Text that cannot be the parameter's type is named, with what could."""
    with pytest.raises(InvalidRequest) as caught:
        from_text(bundled().get(model).parameters[name], name, text)
    assert str(caught.value) == message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
MEDIA = st.one_of(
    st.builds(lambda tail: Media("image", content=PNG + tail), st.binary(max_size=20)),
    st.builds(lambda key: Media("video", key=key, part="video"), st.text(min_size=1)),
    st.builds(lambda name: Media("image", path=Path("/nowhere", name), recorded_sha256="0"), st.text("ab", min_size=1)),
)


@pytest.mark.slow
@given(
    st.dictionaries(st.text(), JSON | MEDIA | st.lists(JSON | MEDIA, max_size=3)),
    st.integers(1, 9),
    st.none() | st.text(),
)
def test_journal_round_trip(parameters: dict[str, Any], count: int, target: str | None) -> None:
    """A request is read back from the journal as an equal one, media, count, targets and all."""
    request = VideoRequest("m", parameters, count=count, target_namespace=target)
    kept = VideoRequest.from_json(json.loads(json.dumps(request.to_json())))
    assert kept == request
    assert kept.to_json() == request.to_json()


@pytest.mark.slow
@given(
    st.dictionaries(
        st.text().filter(
            lambda name: name not in {"model", "num_generations", "response_format"} and not name.startswith("target_")
        ),
        JSON,
    ),
    st.integers(1, 9),
)
def test_body_round_trip(parameters: dict[str, Any], count: int) -> None:
    """A body of plain JSON is read back as an equal request."""
    request = VideoRequest("m", parameters, count=count)
    assert VideoRequest.from_body(json.loads(json.dumps(request.body()))) == request
