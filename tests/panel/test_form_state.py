"""The state of the form: loading requests, changing models and placing problems, without widgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oxenvideo.catalog.catalog import Model, bundled
from oxenvideo.catalog.pricing import estimate
from oxenvideo.media.media import Media
from oxenvideo.notebook.panel.form_state import (
    GENERAL,
    NOTHING,
    FormState,
    field_names,
    fitting,
    media_parameters_of,
    parameter_for,
    validate,
)
from oxenvideo.notebook.panel.labels import choice_words, details_of, label_of, price_of, rate_of
from oxenvideo.request.request import VideoRequest

TEXT = "kling-video-v2-6-pro-text-to-video"
IMAGE = "kling-video-v2-6-pro-image-to-video"
OMNI = "kling-video-o3-omni"
SHOTS = "kling-video-o3-pro-reference-to-video"
URL = "https://example.org/a.png"


def model(name: str) -> Model:
    return bundled()[name]


def request(name: str, **parameters: Any) -> VideoRequest:
    return VideoRequest(name, parameters)


@pytest.mark.parametrize(
    "made",
    [
        request(TEXT, prompt="A red balloon", duration=10, generate_audio=True),
        request(TEXT, prompt=" spaces stay ", cfg_scale=0.123),
        request(IMAGE, prompt="It rises", input_image=Media("image", content=b"bytes")),
        request(OMNI, prompt="@Element1", input_image=[URL], elements=[{"frontal_image_url": URL}]),
        request(SHOTS, multi_prompt=[{"prompt": "one", "duration": 3}, {"prompt": "two"}], input_image=[URL]),
        request(TEXT, prompt="p", of_tomorrow={"a": [1]}),
        VideoRequest(TEXT, {"prompt": "p"}, 3, target_namespace="ox", target_repo="films"),
        request("nobody-knows", prompt="p", start_image_url=URL, strength=0.5),
        request(TEXT, prompt="p", duration=7),
        request("flux-3-video", prompt="p", input_images=[URL]),
    ],
    ids=lambda made: f"{made.model} {sorted(made.parameters)}",
)
def test_a_request_that_is_loaded_comes_out_as_it_went_in(made: VideoRequest) -> None:
    """The form adds nothing, drops nothing and reorders nothing that matters."""
    assert FormState.from_request(made, bundled().get(made.model, Model(made.model))).request == made


def test_every_model_has_an_empty_state_with_a_place_for_each_parameter() -> None:
    """Prompt, media and fields together cover the schema, each parameter once."""
    for one in bundled().values():
        first, rest = field_names(one)
        slots = [slot.name for slot in media_parameters_of(one)]
        shown = [*first, *rest, *slots]
        assert sorted(shown) == sorted(set(one.parameters) - {"prompt", "multi_prompt"})
        assert FormState(one).request == VideoRequest(one.id, {})


def test_what_applies_stays_when_the_model_changes() -> None:
    """Values that the next model takes stay; the others return with a model that takes them."""
    state = FormState.from_request(
        request(TEXT, prompt="p", duration=10, aspect_ratio="9:16", cfg_scale=0.7), model(TEXT)
    )
    state.change_model(model("google-veo-3-1-fast"))
    assert state.request == request("google-veo-3-1-fast", prompt="p", aspect_ratio="9:16")
    state.change_model(model(TEXT))
    assert state.request == request(TEXT, prompt="p", duration=10, aspect_ratio="9:16", cfg_scale=0.7)


def test_a_picture_moves_to_the_slot_that_the_next_model_has_for_it() -> None:
    """A first frame stays a first frame under the next model's name for it."""
    state = FormState.from_request(request(OMNI, prompt="p", start_image_url=URL), model(OMNI))
    state.change_model(model(IMAGE))
    assert state.request == request(IMAGE, prompt="p", input_image=URL)
    state.change_model(model(TEXT))
    assert "input_image" not in state.request.parameters
    state.change_model(model(IMAGE))
    assert state.request.parameters["input_image"] == URL


def test_a_parameter_for_one_takes_the_first_of_several_and_gives_back_the_rest() -> None:
    """Images beyond the first are kept for a model that takes several."""
    state = FormState.from_request(request(OMNI, prompt="p", input_image=[URL, URL + "?2"]), model(OMNI))
    state.change_model(model(IMAGE))
    assert state.request.parameters["input_image"] == URL
    state.change_model(model(OMNI))
    assert state.request.parameters["input_image"] == [URL, URL + "?2"]


@pytest.mark.parametrize(
    ("spec", "value", "fits"),
    [
        ({"type": "string", "enum": ["5", "10"]}, 5, "5"),
        ({"type": "string", "enum": ["5s", "9s"]}, 5, "5s"),
        ({"type": "integer", "minimum": 3, "maximum": 15}, "10s", 10),
        ({"type": "integer", "minimum": 3, "maximum": 15}, "20", NOTHING),
        ({"type": "string", "enum": ["720P", "1080P"]}, "1080p", "1080P"),
        ({"type": "integer", "enum": [4, 6, 8]}, 5, NOTHING),
        ({"type": "boolean"}, "true", NOTHING),
        ({"type": "number"}, 3, 3),
    ],
)
def test_a_value_fits_another_models_spelling_or_does_not(spec: dict[str, Any], value: Any, fits: Any) -> None:
    """5, "5" and "5s" are one duration; a value out of range is not changed to fit."""
    assert fitting(spec, value) is fits or fitting(spec, value) == fits


def test_a_frame_goes_where_a_film_begins() -> None:
    """The first-frame parameter is preferred to the plain one; a model without images has none."""
    found = {name: parameter_for(model(name), "image") for name in (OMNI, IMAGE, "flux-3-video", TEXT)}
    assert {name: slot and slot.name for name, slot in found.items()} == {
        OMNI: "start_image_url",
        IMAGE: "input_image",
        "flux-3-video": "input_images",
        TEXT: None,
    }


# Validation


def problems(name: str, **parameters: Any) -> dict[str, str]:
    return dict(validate(FormState.from_request(request(name, **parameters), model(name))).problems)


def test_what_is_missing_is_named_beside_its_field() -> None:
    """An empty form names everything that it requires, as missing and not as wrong."""
    result = validate(FormState(model("happyhorse-1.0-i2v")))
    assert set(result.problems) == {"prompt", "input_image"}
    assert result.missing == set(result.problems)
    assert result.first == result.problems["prompt"]


@pytest.mark.parametrize(
    ("name", "parameters", "beside"),
    [
        (TEXT, {"prompt": "p", "duration": 7}, "duration"),
        (TEXT, {"prompt": "p", "cfg_scale": 11}, "cfg_scale"),
        (OMNI, {"prompt": "p", "tail_image_url": URL}, "tail_image_url"),
        (OMNI, {"prompt": "@Image2", "input_image": [URL]}, "prompt"),
        (IMAGE, {"prompt": "p", "input_image": "no/such.png"}, "input_image"),
        ("google-veo-3-1-fast", {"prompt": "p", "resolution": "4k", "duration": 4}, "resolution"),
        (SHOTS, {"multi_prompt": [{"prompt": "a", "duration": 1}]}, "multi_prompt"),
        (SHOTS, {}, "prompt"),
    ],
)
def test_a_fault_stands_beside_the_field_that_it_is_about(name: str, parameters: dict[str, Any], beside: str) -> None:
    """The message comes from the validation; its field is the parameter that it names."""
    assert set(problems(name, **parameters)) == {beside}


def test_shots_without_text_are_numbered() -> None:
    """The problem names the shot by its number."""
    assert problems(SHOTS, multi_prompt=[{"prompt": "a"}, {"prompt": " "}])["multi_prompt"].startswith(
        "Shot 2 is empty"
    )


def test_a_right_request_has_no_fault_and_may_have_a_warning() -> None:
    """A parameter that the schema does not list is a warning and not a problem."""
    result = validate(FormState.from_request(request(TEXT, prompt="p", of_tomorrow=1), model(TEXT)))
    assert result.first is None
    assert "of_tomorrow" in result.warnings[0]


def test_text_that_is_no_value_stands_in_the_way() -> None:
    """Text that cannot be read is a problem and is not sent."""
    state = FormState.from_request(request(TEXT, prompt="p"), model(TEXT))
    state.unreadable["seed"] = "seed 'x' is not a whole number."
    assert validate(state).problems == {"seed": "seed 'x' is not a whole number."}
    assert not validate(state).missing
    state.give("seed", 4)
    assert not validate(state).problems


def test_a_fault_about_nothing_in_particular_is_general() -> None:
    """An invalid count is a problem of the request as a whole."""
    state = FormState.from_request(request(TEXT, prompt="p"), model(TEXT))
    state.count = 0
    assert set(validate(state).problems) <= {GENERAL, "count"}
    assert validate(state).first


# Words


def test_parameters_have_names_for_people() -> None:
    """Common parameters have a label of their own; others get one from their name."""
    assert [label_of(n) for n in ("aspect_ratio", "tail_image_url", "control_video_url", "generate_audio", "x")] == [
        "Aspect ratio",
        "Last frame",
        "Control video",
        "With sound",
        "X",
    ]
    assert [choice_words("duration", c) for c in (5, "10", "5s", -1, "auto")] == ["5 s", "10 s", "5s", "auto", "auto"]
    assert choice_words("fps", 24) == "24"


def test_details_are_short_and_in_words() -> None:
    """Files are shown by name, durations with their unit, a data URI by its size."""
    made = request(
        SHOTS,
        multi_prompt=[{"prompt": "a"}, {"prompt": "b"}],
        duration=5,
        generate_audio=True,
        start_image_url=Media("image", path=Path("/x/harbour.png")),
        input_image=[Media("image", path=Path("/x") / ("a" * 64 + ".png"))],
        tail_image_url="data:image/png;base64," + "A" * 4000,
    )
    assert " · ".join(details_of(made, {}).values()) == (
        "Duration 5 s · With sound on · First frame harbour.png · Image an image "
        "· Last frame data:image/png;base64,… (3 KB) · 2 shots"
    )


def test_prices_are_told_with_how_they_come_about() -> None:
    """The sum and its calculation, or that it is free or unknown."""
    known = estimate(model(TEXT), {"duration": 10}, 2)
    assert price_of(known, local=False) == ("$1.40", "2 × 10 s × $0.07")
    assert price_of(known, local=True)[0] == "Free"
    assert "$1.40" in price_of(known, local=True)[1]
    assert price_of(None, local=False)[0] == "Price unknown"
    assert rate_of(model(TEXT)) == "$0.07/s"
    assert rate_of(Model("m")) == ""


def test_media_of_a_loaded_request_are_its_own(tmp_path: Path) -> None:
    """An added image follows the others; a removed one is gone."""
    state = FormState.from_request(request(OMNI, prompt="p", input_image=[URL]), model(OMNI))
    slot = next(slot for slot in media_parameters_of(state.model) if slot.name == "input_image")
    second = Media("image", path=tmp_path / "b.png")
    state.add(slot, second)
    assert state.request.parameters["input_image"] == [URL, second]
    state.remove(slot, 0)
    assert state.request.parameters["input_image"] == [second]
