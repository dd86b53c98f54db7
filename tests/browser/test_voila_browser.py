"""Voilà shows changes of widgets and ignores updates of outputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from browser.pages import Shown
from browser.servers import Server
from faulty import FaultyService

pytestmark = pytest.mark.browser


def test_cards_live_cancel_and_end_as_a_video_in_voila(
    voila: Server, open_page: Callable[[str], Shown], service: FaultyService, connect: str
) -> None:
    """The widget follows the job and shows the video at the end; Cancel works; the cost is shown below."""
    cells = [connect, "%%oxenvideo clip\nA red balloon floating upward", "%%oxenvideo second\nA fox in the snow"]
    voila.write("cards.ipynb", cells)
    shown = open_page(f"{voila.url}/voila/render/cards.ipynb")
    shown.wait_for_text("clip")
    shown.wait_for_text("Queued")
    service.wait_until(lambda: len(service.jobs) == 2)
    clip, second = (
        next(job for job in service.jobs.values() if job.body["prompt"].startswith(prompt))
        for prompt in ("A red", "A fox")
    )
    service.start(clip.id)
    shown.wait_for_text("Processing")
    shown.page.get_by_text("Cancel", exact=True).nth(1).click()
    shown.wait_for_text("Cancelled")
    assert second.status == "cancelled"
    service.finish(clip.id)
    shown.wait_for_text("Succeeded")
    assert shown.plays(shown.page.locator("video"))
    shown.wait_for_text("cost $0.35")
    assert shown.page.get_by_text("Cancel", exact=True).count() == 0
    assert not shown.complaints
