"""marimo: live cards, batches and the panel as widgets, in the editor and in a running app."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from browser.pages import Shown
from browser.panels import generate, keep
from browser.servers import Server
from faulty import FaultyService

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


@pytest.mark.parametrize("kind", ["edit", "run"])
def test_cards_and_panel_live_without_running_a_cell_again(
    kind: str, marimo_server: Callable[..., Server], open_page: Callable[[str], Shown], service: FaultyService
) -> None:
    """Cards follow their jobs, ``await`` works, Cancel works, and a reopened page shows the videos. The panel works.

    The editor and a running app.
    """
    marimo = marimo_server(kind, _app(service, *CARDS[:2], PANEL, CARDS[2]))
    shown = open_page(marimo.url)
    panel = shown.page.locator("[id^=output-]", has=shown.page.locator(".oxv-board"))
    cards = shown.page.locator("[id^=output-]", has_not=shown.page.locator(".oxv-board"))
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
    cards.get_by_role("button", name="Cancel all").click()
    cards.locator("[role=group]", has_text="1 succeeded, 1 cancelled").wait_for(timeout=30_000)
    assert service.jobs[owl].status == "cancelled"
    assert cards.get_by_role("button", name="Cancel").count() == 0
    cards.get_by_text("cost $").nth(1).wait_for(timeout=30_000)
    assert cards.get_by_text("cost $").count() == 2, "a cost is shown twice"
    assert shown.plays(video)

    generate(shown.page, "A blue balloon")
    service.wait_until(lambda: len(service.jobs) == 4, timeout=20)
    service.finish(*service.jobs)
    panel.get_by_role("button", name="Open the video: A blue balloon").click()
    assert shown.plays(panel.locator("video.oxv-video"))
    assert panel.locator(".oxv-generate").evaluate("b => getComputedStyle(b).borderRadius") == "8px"
    assert panel.locator(".oxv-board .oxv-tab").first.evaluate("b => getComputedStyle(b).borderTopStyle") == "none"
    keep(shown.page, f"marimo_{kind}_done")
    if kind == "edit":  # a running app begins anew for each page
        shown.page.reload()
        assert shown.plays(cards.locator("video").first)
        assert cards.locator("video").count() == 2
    assert service.counts["POST /api/ai/queue"] == 4
    assert not shown.complaints


def test_a_saved_and_reopened_app_shows_its_video(
    marimo_server: Callable[..., Server], open_page: Callable[[str], Shown], service: FaultyService
) -> None:
    """The session file holds the video; a new server shows it without running a cell. A layout keeps its other parts."""
    layout = "@app.cell\ndef _(gen):\n    import marimo as mo\n    mo.vstack([gen, mo.md('_beside_')])\n    return\n"
    marimo = marimo_server("edit", _app(service, CARDS[0], layout), autorun=False)  # only then are sessions saved
    shown = open_page(marimo.url)
    shown.page.get_by_test_id("run-button").last.wait_for(timeout=30_000)
    connect = shown.page.get_by_text("Click to connect")
    shown.page.wait_for_timeout(2000)  # marimo asks for that click, or connects by itself
    if connect.is_visible():
        connect.click()
    connect.wait_for(state="detached", timeout=30_000)
    shown.page.get_by_test_id("run-button").last.click()
    shown.page.locator("[role=group]", has_text="Queued").first.wait_for(timeout=30_000)
    service.finish(*service.jobs)
    shown.page.locator("[role=group]", has_text="Succeeded").nth(1).wait_for(timeout=30_000)
    assert shown.page.locator("em", has_text="beside").count() == 1
    saved = marimo.root / "__marimo__" / "session" / "app.py.json"
    service.wait_until(lambda: saved.exists() and "data:video/mp4" in saved.read_text(), timeout=30)
    shown.close()
    source = (marimo.root / "app.py").read_text()
    marimo.stop()
    again = marimo_server("edit", source, autorun=False)
    assert again.root == marimo.root
    reopened = open_page(again.url)
    assert reopened.plays(reopened.page.locator("video").first)
    assert len(service.jobs) == 1
