"""The form: every model's fields, requests there and back, shots, and choosing a model."""

from __future__ import annotations

from typing import Any

import pytest

from oxenvideo.notebook.panel import Panel
from oxenvideo.notebook.panel.fields import Field
from oxenvideo.notebook.panel.form_state import NOTHING
from oxenvideo.request.request import VideoRequest
from panel.page import IMAGE, SHOTS, TEXT, Wire, edit, form_page, to_form


def problems(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = form_page(panel)["problems"]
    return found


def test_a_form_of_every_model_can_be_shown(panel: Panel) -> None:
    """Every schema of the catalog becomes fields, and no field sets a value by itself."""
    for model in panel.session.catalog.values():
        panel.form.pick(model.id)
        assert form_page(panel)["model"]["id"] == model.id
        assert panel.request == VideoRequest(model.id, {})


def test_fields_make_the_request_and_its_price(panel: Panel) -> None:
    """A field's value is in the request at once, and the price follows."""
    edit(panel, "prompt", " A red balloon ")
    edit(panel, "duration", 1)
    assert panel.request == VideoRequest(TEXT, {"prompt": "A red balloon", "duration": 10})
    assert form_page(panel)["price"][0] == "$0.70"
    edit(panel, "generate_audio", True)
    edit(panel, "count", 2)
    assert panel.request.count == 2
    assert panel.problem is None
    edit(panel, "prompt", "")
    assert panel.problem == "Describe the video."
    assert problems(panel) == {"prompt": [panel.problem, "missing"]}


def test_text_in_a_number_is_a_problem_beside_it(panel: Panel) -> None:
    """The text is not sent and not lost."""
    panel.load(VideoRequest("google-veo-3-1-fast", {"prompt": "p"}))
    edit(panel, "seed", "many")
    assert problems(panel)["seed"][1] == "wrong"
    edit(panel, "seed", "12")
    assert panel.request.parameters["seed"] == 12
    edit(panel, "seed", "")
    assert "seed" not in panel.request.parameters


@pytest.mark.parametrize(
    "request_",
    [
        VideoRequest(TEXT, {"prompt": "p", "duration": 10, "cfg_scale": 0.7}),
        VideoRequest(SHOTS, {"multi_prompt": [{"prompt": "one", "duration": 3}, {"prompt": "two"}]}, 3),
        VideoRequest(TEXT, {"prompt": "<b>p</b>", "of_tomorrow": [1]}, target_namespace="ox", target_repo="films"),
        VideoRequest("of-tomorrow", {"prompt": "p"}),
    ],
)
def test_a_loaded_request_is_in_the_form_as_it_is(panel: Panel, request_: VideoRequest) -> None:
    """Showing it changes nothing."""
    panel.load(request_)
    form_page(panel)
    to_form(panel, do="hello", n=1)
    assert panel.request == request_


def test_parameters_that_no_schema_has_are_given_as_json(panel: Panel) -> None:
    """A parameter that has its own field is refused here, and so is text that is not JSON."""
    panel.load(VideoRequest(TEXT, {"prompt": "p"}))
    edit(panel, "other parameters", '{"of_tomorrow": 1}')
    assert panel.request.parameters == {"prompt": "p", "of_tomorrow": 1}
    for wrong in ('{"model": "another"}', '{"duration": 10}', "{"):
        edit(panel, "other parameters", wrong)
        assert problems(panel)["other parameters"][1] == "wrong"
        assert panel.request.model == TEXT


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "integer", "minimum": "low", "maximum": "high", "default": 1},
        {"type": "integer", "minimum": 0, "maximum": 10, "default": 2.5},
        {"enum": 5},
        {"type": "string", "enum": []},
        {"type": "number", "minimum": 1, "maximum": 1, "default": 1},
        {"type": ["integer", "null"], "default": None},
        {},
    ],
)
def test_a_schema_that_makes_no_sense_still_gets_a_field(spec: dict[str, Any]) -> None:
    """The service's schemas cannot be trusted: a panel opens whatever they say."""
    field = Field("odd", spec)
    assert field.raw(NOTHING) is None
    assert field.described["control"] in ("text", "area")


def test_a_form_is_cleared_but_for_its_model(panel: Panel) -> None:
    """The number of videos stays too."""
    panel.load(VideoRequest(IMAGE, {"prompt": "p", "duration": 10}, 2))
    to_form(panel, do="clear")
    assert panel.request == VideoRequest(IMAGE, {}, 2)
    assert form_page(panel)["values"]["prompt"] == ""


def test_models_are_listed_with_what_is_needed_to_choose(panel: Panel, wire: Wire) -> None:
    """Name, price and inputs of each; those used last are marked; choosing one changes the form."""
    panel.load(VideoRequest("google-veo-3-1-fast", {}))
    to_form(panel, do="models")
    models = {one["id"]: one for one in wire.of("update")[-1]["page"]["models"]}
    assert set(models) == set(panel.session.catalog)
    assert models["google-veo-3-1-fast"]["recent"] == 0
    assert all(one["rate"] for one in models.values())
    assert models[TEXT]["rate"] == "$0.07/s"
    assert models[TEXT]["provider"] == "Kling"
    to_form(panel, do="pick", id=TEXT)
    assert panel.request.model == TEXT


def test_shots_follow_the_rows_and_the_prompt_becomes_the_first(panel: Panel) -> None:
    """Turning back to one prompt restores the prompt."""
    panel.load(VideoRequest(SHOTS, {"prompt": "one"}))
    to_form(panel, do="style", style="shots")
    assert form_page(panel)["shots"] == [{"prompt": "one"}]
    to_form(panel, do="shots", shots=[{"prompt": "one"}, {"prompt": "two", "duration": 7}])
    assert panel.request.parameters == {"multi_prompt": [{"prompt": "one"}, {"prompt": "two", "duration": 7}]}
    to_form(panel, do="style", style="prompt")
    assert panel.request.parameters == {"prompt": "one"}
