"""marimo: live cards, batches and the panel as widgets, in the editor and in a running app."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from browser.pages import Shown
from browser.panels import generate, keep
from browser.servers import Server
from faulty import FaultyService

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

MODEL = "kling-video-v2-6-pro-text-to-video"


def _app(service: FaultyService, *cells: str) -> str:
    """A marimo notebook; each cell is a body in which ``oxenvideo`` is imported."""
    connect = (
        f"    import os\n    os.environ.update(OXEN_BASE_URL={service.base_url!r}, OXEN_API_KEY={service.api_key!r})\n"
        "    import oxenvideo\n    return (oxenvideo,)\n"
    )
    made = [f"@app.cell\ndef _():\n{connect}", *cells]
    return (
        "import marimo\napp = marimo.App()\n\n" + "\n\n".join(made) + '\n\nif __name__ == "__main__":\n    app.run()\n'
    )


CARDS = (
    f'@app.cell\ndef _(oxenvideo):\n    gen = oxenvideo.submit("A red balloon", model="{MODEL}")\n    gen\n    return (gen,)\n',
    f'@app.cell\ndef _(oxenvideo):\n    requests = [dict(prompt=p, model="{MODEL}") for p in ("A fox", "An owl")]\n'
    "    batch = oxenvideo.submit_batch(requests)\n    batch\n    return\n",
    '@app.cell\nasync def _(gen):\n    await gen\n    "awaited: " + gen.status\n    return\n',
)
PANEL = "@app.cell\ndef _(oxenvideo):\n    oxenvideo.panel()\n    return\n"
LAYOUT = "@app.cell\ndef _(gen):\n    import marimo as mo\n    mo.vstack([gen, mo.md('_beside_')])\n    return\n"


def _outputs(page: Page) -> tuple[Locator, Locator, Locator]:
    """The outputs with the panel, with the layout, and with cards alone."""
    board, beside = page.locator(".oxv-board"), page.locator("em", has_text="beside")
    outputs = page.locator("[id^=output-]")
    return outputs.filter(has=board), outputs.filter(has=beside), outputs.filter(has_not=board).filter(has_not=beside)


def test_cards_and_panel_live_in_a_running_app(
    marimo_server: Callable[..., Server], open_page: Callable[[str], Shown], service: FaultyService
) -> None:
    """A running app runs its cells by itself, for each page anew."""
    marimo = marimo_server("run", _app(service, *CARDS[:2], PANEL, CARDS[2]))
    shown = open_page(marimo.url)
    cards_and_panel_live_without_running_a_cell_again(shown, service, "run")
    assert not shown.complaints


def test_cards_and_panel_live_in_the_editor_and_a_reopened_notebook_shows_its_videos(
    marimo_server: Callable[..., Server], open_page: Callable[[str], Shown], service: FaultyService
) -> None:
    """A reloaded page shows the videos. The session file holds them: a new server shows them without running a cell.

    A layout keeps its other parts.
    """
    app = _app(service, *CARDS[:2], PANEL, CARDS[2], LAYOUT)
    marimo = marimo_server("edit", app, autorun=False)  # only then are sessions saved
    shown = open_page(marimo.url)
    # The button of the whole notebook, yellow when the cells are loaded, runs them, and connects if marimo has not done so
    # by itself. "Click to connect" would connect a second time if that happens meanwhile; marimo then waits for ever.
    shown.page.locator("button.yellow[data-testid=run-button]").last.click(timeout=30_000)
    cards_and_panel_live_without_running_a_cell_again(shown, service, "edit")
    _, layout, cards = _outputs(shown.page)
    layout.locator("[role=group]", has_text="Succeeded").first.wait_for(timeout=30_000)
    shown.page.reload()
    both_videos_are_shown(shown, cards)
    assert not shown.complaints
    saved = marimo.root / "__marimo__" / "session" / "app.py.json"
    service.wait_until(lambda: saved.exists() and saved.read_text().count("data:video/mp4") >= 3, timeout=30)
    shown.close()
    source = (marimo.root / "app.py").read_text()
    marimo.stop()
    again = marimo_server("edit", source, autorun=False)
    assert again.root == marimo.root
    reopened = open_page(again.url)
    _, layout, cards = _outputs(reopened.page)
    both_videos_are_shown(reopened, cards)
    layout.locator("video").wait_for(timeout=30_000)
    assert service.counts["POST /api/ai/queue"] == 4


def both_videos_are_shown(shown: Shown, cards: Locator) -> None:
    """A page that was loaded again shows two videos, of which the first plays."""
    assert shown.plays(cards.locator("video").first)
    cards.locator("video").nth(1).wait_for(timeout=30_000)
    assert cards.locator("video").count() == 2


def cards_and_panel_live_without_running_a_cell_again(shown: Shown, service: FaultyService, kind: str) -> None:
    """Cards follow their jobs, ``await`` works, and Cancel works. The panel works."""
    panel, _, cards = _outputs(shown.page)
    panel.wait_for(timeout=30_000)
    shown.wait_for_text("A red balloon", within=cards)
    cards.locator("[role=group]", has_text="2 queued").wait_for(timeout=30_000)
    balloon, fox, owl = (
        next(job.id for job in service.jobs.values() if job.body["prompt"] == p)
        for p in ("A red balloon", "A fox", "An owl")
    )
    service.start(balloon)
    shown.wait_for_text("Processing", within=cards)
    keep(shown.page, f"marimo_{kind}_running")
    service.finish(balloon, fox)
    video = cards.locator("[role=group][aria-label*=Succeeded] video")
    video.first.wait_for(timeout=30_000)
    widget = cards.locator("marimo-anywidget").locator(video)
    widget.first.wait_for(state="detached", timeout=30_000)  # plain HTML takes its place
    shown.wait_for_text("awaited: succeeded")
    cards.locator("[role=group]", has_text="1 queued, 1 succeeded").wait_for(timeout=30_000)
    cards.get_by_role("button", name="Cancel all").press("Enter")  # videos that load above it move it
    service.wait_until(lambda: service.jobs[owl].status == "cancelled", timeout=30)
    ended = cards.locator("[role=group]", has_text="1 succeeded, 1 cancelled")
    ended.first.wait_for(timeout=30_000)
    cards.locator("marimo-anywidget").locator(ended).first.wait_for(state="detached", timeout=30_000)
    cards.get_by_role("button", name="Cancel").first.wait_for(state="hidden", timeout=30_000)
    cards.get_by_text("cost $").nth(1).wait_for(timeout=30_000)
    assert cards.get_by_text("cost $").count() == 2, "a cost is shown twice"
    assert shown.plays(video)

    generate(shown.page, "A blue balloon")
    service.wait_until(lambda: len(service.jobs) == 4, timeout=20)
    service.finish(*service.jobs)
    panel.get_by_role("button", name="Open the video: A blue balloon").press("Enter")
    assert shown.plays(panel.locator("video.oxv-video"))
    assert panel.locator(".oxv-generate").evaluate("b => getComputedStyle(b).borderRadius") == "8px"
    assert panel.locator(".oxv-board .oxv-tab").first.evaluate("b => getComputedStyle(b).borderTopStyle") == "none"
    keep(shown.page, f"marimo_{kind}_done")
    assert service.counts["POST /api/ai/queue"] == 4
