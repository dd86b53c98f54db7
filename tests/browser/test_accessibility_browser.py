"""Accessibility of the panel: axe-core finds nothing in each front end and both themes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from browser.pages import OpenNotebook, Shown
from browser.panels import generate_and_wait, keep, options, panel_page, tiles, voila_page
from browser.servers import Server
from faulty import FaultyService

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

# These rules are about the whole page, which is the front end's.
OPTIONS = {
    "resultTypes": ["violations"],
    "rules": {name: {"enabled": False} for name in ("region", "page-has-heading-one", "landmark-one-main", "bypass")},
}
# What each tab shows.
TABS = {"Whole account": ".oxv-job:visible", "History": ".oxv-job:visible", "This kernel": ".oxv-tile"}

WIDTHS = {"light": (1300, 900, 600), "dark": (1300,)}  # a theme has colours, and no sizes


def violations(page: Page) -> list[str]:
    """The violations that axe finds in the panel: rule and element of each."""
    from axe_playwright_python.base import AXE_SCRIPT

    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    run = "options => axe.run('.oxv-panel', options).then(result => result.violations)"
    found: list[dict[str, Any]] = page.evaluate(run, OPTIONS)
    return [
        f"{one['id']}: {node['target']} {node['any'][0]['message'] if node['any'] else node['failureSummary']}"
        for one in found
        for node in one["nodes"]
    ]


def fill(page: Page, service: FaultyService) -> None:
    """Show running, failed and finished jobs, two open videos, an error in the form and the list of models."""
    jobs = generate_and_wait(page, service, "A red balloon", 5)
    service.finish(*jobs[:2])
    service.fail(jobs[2], "The sky was not blue enough.")
    service.start(jobs[3])
    page.get_by_text("Processing").wait_for()
    page.locator(".oxv-job[data-group=failed]").wait_for()
    tiles(page).nth(1).wait_for()
    for index in range(2):
        tiles(page).nth(index).get_by_role("checkbox").check()
    page.wait_for_function("[...document.querySelectorAll('.oxv-two video')].every(v => v.readyState >= 2)")
    page.get_by_label("Prompt", exact=True).fill("")
    page.locator(".oxv-more").press("Enter")  # a click would miss it where what is wrong with the prompt moves it
    page.locator("[data-field='other parameters'] input").fill("{")
    page.locator("[data-field='other parameters'] [data-tone=wrong]").wait_for()
    page.locator(".oxv-model").press("Enter")
    options(page).first.wait_for()


def check_everywhere(shown: Shown, front_end: str, theme: str) -> None:
    """Run axe at each width, on each tab at the last of them, and with the code of a video."""
    page = shown.page
    for width in WIDTHS[theme]:
        page.set_viewport_size({"width": width, "height": 1000})
        page.locator(".oxv-model").scroll_into_view_if_needed()
        shown.settle()
        keep(page, f"axe-{front_end}-{theme}-{width}")
        assert violations(page) == [], width
        assert page.locator(".oxv-panel").evaluate("panel => panel.scrollWidth <= panel.clientWidth + 1")
    for tab, content in TABS.items():
        page.get_by_role("tab", name=tab).click()
        page.get_by_role("tab", name=tab, selected=True).wait_for()
        page.locator(content).first.wait_for()
        shown.settle()
        assert violations(page) == [], tab
    page.locator(".oxv-clip").first.get_by_role("button", name="Show as code").click()
    page.get_by_role("textbox", name="Code").wait_for()
    assert violations(page) == []


@pytest.mark.parametrize("front_end", ["lab", "notebook7"])
def test_axe_finds_nothing_in_a_notebook(
    request: pytest.FixtureRequest,
    open_notebook: OpenNotebook,
    service: FaultyService,
    connect: str,
    front_end: str,
) -> None:
    """Names, roles, contrasts and order are as axe's rules require, in both themes."""
    notebook, page = panel_page(request.getfixturevalue(front_end), open_notebook, connect)
    if front_end == "lab":
        notebook.command("application:toggle-left-area")
    fill(page, service)
    try:
        for theme in ("light", "dark"):
            notebook.theme(theme)
            check_everywhere(notebook, front_end, theme)
    finally:
        notebook.theme("light")
        if front_end == "lab":
            notebook.command("application:toggle-left-area")


def test_the_panel_works_in_voila_and_axe_finds_nothing(
    voila: Server, open_page: Callable[[str], Shown], service: FaultyService, connect: str
) -> None:
    """The same holds without a notebook around the panel, whose videos play there."""
    for theme in ("light", "dark"):
        shown = voila_page(voila, open_page, connect, theme)
        fill(shown.page, service)
        check_everywhere(shown, "voila", theme)
        assert all(shown.plays(video) for video in shown.page.locator(".oxv-two video").all())
        shown.page.get_by_role("button", name="Close", exact=True).click()
        shown.page.locator(".oxv-player").wait_for(state="hidden")
        tiles(shown.page).first.locator(".oxv-open").click()
        assert shown.plays(shown.page.locator(".oxv-player video"))
        assert not shown.complaints
        shown.close()


def test_edges_of_controls_have_a_contrast_of_three_to_one(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """The borders of inputs and buttons are visible; axe does not check them."""
    notebook, page = panel_page(lab, open_notebook, connect)
    for theme in ("light", "dark"):
        notebook.theme(theme)
        notebook.settle()
        for selector in ("textarea", ".oxv-count input", ".oxv-option input:not(:checked)", ".oxv-btn.oxv-model"):
            assert page.locator(f".oxv-panel {selector}").first.evaluate(CONTRAST) >= 3, (theme, selector)
    notebook.theme("light")


# The contrast of an element's border with the nearest background, both drawn onto a canvas to be read as sRGB.
CONTRAST = """element => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
    const context = canvas.getContext('2d', {willReadFrequently: true});
    const luminance = (...colours) => {
        context.clearRect(0, 0, 1, 1);
        for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
        const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map(value => {
            const part = value / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = getComputedStyle(element.closest('.oxv-form')).backgroundColor;
    const [one, two] = [luminance(behind), luminance(behind, getComputedStyle(element).borderTopColor)];
    return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
}"""
