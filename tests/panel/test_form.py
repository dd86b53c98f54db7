"""The form on real widgets: every model's fields, requests there and back, shots, and finding a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ipywidgets
import pytest

from oxenvideo.catalog.catalog import Model
from oxenvideo.notebook.panel import Panel
from oxenvideo.notebook.panel.fields import make
from oxenvideo.notebook.panel.form_state import NOTHING
from oxenvideo.request.request import VideoRequest
from panel.page import IMAGE, SHOTS, TEXT, field, hear


def test_a_form_of_every_model_can_be_shown(panel: Panel) -> None:
    """Every schema of the catalogue becomes fields, folded ones included, and none of them gives a value by itself."""
    panel.form._toggle_more()
    for model in panel.session.catalog.values():
        panel.form._pick(model)
        assert panel.request == VideoRequest(model.id, {})


def test_fields_make_the_request_and_its_price(panel: Panel) -> None:
    """What is set in a field is in the request at once, and the price follows."""
    panel.form._prompt.value = " A red balloon "
    field(panel, "duration").value = 10
    assert panel.request == VideoRequest(TEXT, {"prompt": "A red balloon", "duration": 10})
    assert "$0.70" in panel._price.value
    field(panel, "generate_audio").value = True
    panel._count.value = 2
    assert panel.request.count == 2
    assert panel.problem is None
    panel.form._prompt.value = ""
    assert panel.problem == "Write what the video should show."
    assert panel.board.faults == {"oxv-f-prompt": [panel.problem, "need"]}


def test_text_in_a_number_is_a_fault_beside_it(panel: Panel) -> None:
    """It is neither sent nor forgotten."""
    panel.load(VideoRequest("google-veo-3-1-fast", {"prompt": "p"}))
    panel.form._toggle_more()
    field(panel, "seed").value = "many"
    assert panel.board.faults["oxv-f-seed"][1] == "fault"
    field(panel, "seed").value = "12"
    assert panel.request.parameters["seed"] == 12
    field(panel, "seed").value = ""
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
def test_a_loaded_request_stands_in_the_form_as_it_is(panel: Panel, request_: VideoRequest) -> None:
    """And no widget changes it by being filled in, folded out or in."""
    panel.load(request_)
    panel.form._toggle_more()
    assert panel.request == request_
    panel.form._toggle_more()
    assert panel.request == request_


def test_parameters_that_no_schema_has_are_given_as_json(panel: Panel) -> None:
    """A name that has a field of its own is not taken twice, and text that is no JSON is a fault."""
    panel.load(VideoRequest(TEXT, {"prompt": "p"}))
    panel.form._toggle_more()
    assert panel.form._other is not None
    other = panel.form._other.widget
    other.value = '{"of_tomorrow": 1}'
    assert panel.request.parameters == {"prompt": "p", "of_tomorrow": 1}
    for wrong in ('{"model": "another"}', '{"duration": 10}', "{"):
        other.value = wrong
        assert panel.board.faults["oxv-f-other-parameters"][1] == "fault"
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
def test_a_schema_that_makes_no_sense_still_gets_a_field(panel: Panel, spec: dict[str, Any]) -> None:
    """The service's schemas are not ours to trust: a panel opens whatever they say."""
    given: dict[str, Any] = {}
    field = make(panel._kit, "odd", spec, given.__setitem__, lambda *_: None, required=False)
    field.show(NOTHING)
    assert not given


def test_a_form_is_cleared_but_for_its_model(panel: Panel) -> None:
    """And for the number of videos, which stands beside it."""
    panel.load(VideoRequest(IMAGE, {"prompt": "p", "duration": 10}, 2))
    panel.form.clear()
    assert panel.request == VideoRequest(IMAGE, {}, 2)
    assert panel.form._prompt.value == ""


def test_a_search_lists_what_has_all_words_and_takes_the_kind(panel: Panel) -> None:
    """Models by words and by what they take; choosing one changes the form."""
    picker = panel.form.picker
    picker.toggle()
    picker._search.value = "veo fast"
    assert [model_id for _, model_id in picker._list.options] == ["google-veo-3-1-fast"]
    picker._search.value = ""
    picker._filter.value = "audio"
    assert all("audio" in panel.session.catalog[model_id].inputs for _, model_id in picker._list.options)
    picker._list.value = picker._list.options[0][1]
    assert panel.request.model == picker._list.options[0][1]
    line = picker._list.options[1][0]
    hear(panel, do="picked", line=line)
    assert panel.request.model == picker._list.options[1][1]
    assert not picker.is_open


def test_shots_are_added_moved_and_taken_away(panel: Panel) -> None:
    """The request follows the rows, and the prompt becomes the first of them."""
    panel.load(VideoRequest(SHOTS, {"prompt": "one"}))
    panel.form._ways.value = "shots"
    shots = panel.form._shots
    assert shots is not None
    shots._add()
    shots._rows[1]._text.value = "two"
    shots._rows[1]._seconds.value = 7
    assert panel.request.parameters == {"multi_prompt": [{"prompt": "one"}, {"prompt": "two", "duration": 7}]}
    shots._rows[1]._up.click()
    assert [shot["prompt"] for shot in panel.request.parameters["multi_prompt"]] == ["two", "one"]
    shots._remove(0)
    assert panel.request.parameters == {"multi_prompt": [{"prompt": "one"}]}
    panel.form._ways.value = "prompt"
    assert panel.request.parameters == {"prompt": "one"}


def test_text_of_models_is_never_read_as_markup(panel: Panel) -> None:
    """A model's name and id from the service are text."""
    mark = "<img src=x onerror=alert(1)>"
    panel.load(VideoRequest(mark, {"prompt": "p"}, target_namespace=mark))
    panel.form.picker.show(Model(mark, mark, summary=mark, inputs=(mark,)))
    shown = [html.value for html in _htmls(panel.widget)]
    assert shown
    assert not any("<img" in value for value in shown)


def _htmls(widget: Any) -> Iterator[Any]:
    for child in getattr(widget, "children", ()):
        yield from _htmls(child)
    if isinstance(widget, ipywidgets.HTML):
        yield widget
