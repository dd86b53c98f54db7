"""Generate: one press is one intent, and sends what the form says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from faulty import FaultyService
from oxenvideo.errors import InvalidRequest
from oxenvideo.notebook.panel import Panel
from oxenvideo.notebook.panel.generate_button import REST, GenerateButton
from oxenvideo.notebook.panel.widgets import Kit
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session
from panel.page import TEXT, Wire, answer_settle, press, within


def test_a_press_submits_what_the_form_says(panel: Panel, wire: Wire, service: FaultyService) -> None:
    """The count included; the videos come to the gallery's rows with their files."""
    panel.form._prompt.value = "A red balloon"
    panel._count.value = 2
    press(panel, wire)
    assert [g.request.prompt for g in panel.generations] == ["A red balloon"] * 2
    for generation in panel.generations:
        generation.wait(10)
    assert within(5, lambda: [row["group"] for row in panel.board.jobs.values()] == ["done"] * 2)
    assert service.counts["POST /api/ai/queue"] == 1


def test_many_clicks_are_one_intent(panel: Panel, wire: Wire, service: FaultyService) -> None:
    """Clicks before the page has answered, and right after, submit nothing more; another request does."""
    panel.form._prompt.value = "A red balloon"
    for _ in range(3):
        panel._button.widget.click()
    answer_settle(panel, wire)
    for _ in range(3):
        press(panel, wire)
    assert len(panel.generations) == 1
    panel.form._prompt.value = "A blue balloon"
    press(panel, wire)
    assert [g.request.prompt for g in panel.generations] == ["A red balloon", "A blue balloon"]


def test_the_same_again_is_a_new_intent_after_a_rest(panel: Panel, wire: Wire) -> None:
    """The button comes back by itself."""
    panel.form._prompt.value = "A red balloon"
    press(panel, wire)
    assert panel._button.widget.disabled
    assert within(REST + 1, lambda: not panel._button.widget.disabled)
    press(panel, wire)
    assert len(panel.generations) == 2


def test_what_was_typed_last_is_sent_though_the_click_overtook_it(panel: Panel, wire: Wire) -> None:
    """A front end may hand over the last keystrokes after the click: the press waits for them."""
    panel.form._prompt.value = "A red ball"
    panel._button.widget.click()
    panel.form._prompt.value = "A red balloon"
    answer_settle(panel, wire)
    assert [g.request.prompt for g in panel.generations] == ["A red balloon"]


def test_a_press_on_an_unfinished_form_says_what_is_missing(panel: Panel, wire: Wire, service: FaultyService) -> None:
    """Nothing is sent, the field is shown, and the button can be pressed again."""
    press(panel, wire)
    assert panel.board.said["tone"] == "bad"
    assert wire.of("focus")[-1]["field"] == "oxv-f-prompt"
    assert not panel._button.widget.disabled
    assert service.counts["POST /api/ai/queue"] == 0


def test_without_a_page_a_press_does_not_wait_for_one(session: Session, wire: Wire) -> None:
    """A front end that cannot run the panel's module still has a button that works."""
    alone = Panel(session)
    alone.form._prompt.value = "A red balloon"
    alone._button.widget.click()
    assert len(alone.generations) == 1
    alone.close()


def test_the_limit_on_cost_holds_here_too(
    service: FaultyService, make_session: Callable[..., Session], wire: Wire
) -> None:
    """A request above the setting is refused with the sum, and nothing is sent."""
    panel = Panel(make_session(service, max_cost=0.1))
    panel.form._prompt.value = "p"
    press(panel, wire)
    assert "above the limit" in panel.board.said["text"]
    assert not panel.generations
    panel.close()


def test_generate_from_code_returns_the_batch_or_raises(panel: Panel) -> None:
    """The same checks as the button's, as an exception."""
    with pytest.raises(InvalidRequest, match="Write what"):
        panel.generate()
    panel.load(VideoRequest(TEXT, {"prompt": "p"}, 2))
    assert len(panel.generate()) == 2


def test_a_button_whose_work_raises_can_be_pressed_again() -> None:
    """An error on the way does not leave it dead."""

    def fail() -> bool:
        raise RuntimeError("no")

    button = GenerateButton(Kit(), lambda then: then(), fail, lambda: 1)
    with pytest.raises(RuntimeError):
        button.press()
    assert not button.widget.disabled
