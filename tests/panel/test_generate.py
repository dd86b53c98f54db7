"""Generate: one press submits the form's request once."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from faulty import FaultyService
from oxenvideo.errors import InvalidRequest
from oxenvideo.notebook.panel import Panel
from oxenvideo.notebook.panel.form import REPEAT_AFTER
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session
from panel.page import TEXT, Wire, edit, press, rows, within


def test_a_press_submits_what_the_form_says(panel: Panel, service: FaultyService, wire: Wire) -> None:
    """All videos of the count become finished rows with one request to the service."""
    panel.load(VideoRequest(TEXT, {"prompt": "A red balloon"}, 2))
    press(panel)
    assert wire.said() | {"n": 0} == {"is": "said", "text": "2 videos submitted.", "tone": "good", "n": 0}
    assert [g.request.prompt for g in panel.generations] == ["A red balloon"] * 2
    for generation in panel.generations:
        generation.wait(30)
    assert within(30, lambda: [row["group"] for row in rows(panel).values()] == ["done"] * 2)
    assert service.counts["POST /api/ai/queue"] == 1


def test_presses_in_haste_submit_once(panel: Panel) -> None:
    """The same request again within a moment is ignored; another request is not."""
    edit(panel, "prompt", "A red balloon")
    for _ in range(3):
        press(panel)
    assert len(panel.generations) == 1
    edit(panel, "prompt", "A blue balloon")
    press(panel)
    assert [g.request.prompt for g in panel.generations] == ["A red balloon", "A blue balloon"]


@pytest.mark.slow
def test_the_same_again_is_submitted_after_a_moment(panel: Panel) -> None:
    """Later presses with the same request make another video."""
    edit(panel, "prompt", "A red balloon")
    press(panel)
    time.sleep(REPEAT_AFTER)
    press(panel)
    assert len(panel.generations) == 2


def test_a_press_on_an_unfinished_form_says_what_is_missing(panel: Panel, wire: Wire, service: FaultyService) -> None:
    """Nothing is sent, and the first field with a problem gets the focus."""
    press(panel)
    assert wire.said()["tone"] == "bad"
    assert wire.of("focus")[-1]["name"] == "prompt"
    assert service.counts["POST /api/ai/queue"] == 0


def test_the_limit_on_cost_holds_here_too(
    service: FaultyService, make_session: Callable[..., Session], wire: Wire
) -> None:
    """A request above the limit is refused with its price, and nothing is sent."""
    panel = Panel(make_session(service, max_cost=0.1))
    edit(panel, "prompt", "p")
    press(panel)
    assert "above the limit" in wire.said()["text"]
    assert not panel.generations
    panel.close()


def test_generate_from_code_returns_the_batch_or_raises(panel: Panel) -> None:
    """A problem raises the exception that the button would show."""
    with pytest.raises(InvalidRequest, match="Describe"):
        panel.generate()
    panel.load(VideoRequest(TEXT, {"prompt": "p"}, 2))
    assert len(panel.generate()) == 2


def test_an_image_model_without_an_image_warns_before_money_is_spent(panel: Panel) -> None:
    """If the schema does not require an image, the service accepts the request and charges for it."""
    optional = [
        model
        for model in panel.session.catalog.values()
        if "image-to-video" in model.id and "input_image" not in model.required and "image" in model.inputs
    ]
    for model in optional:
        panel.load(VideoRequest(model.id, {"prompt": "p"}))
        result = panel.form.validation
        assert result.problems or any("none is given" in warning for warning in result.warnings), model.id
