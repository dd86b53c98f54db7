"""Helpers for tests of the panel in any front end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from browser.pages import NotebookPage, OpenNotebook, Shown
from browser.servers import Server
from faulty import FaultyService

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

SHOW = "panel = oxenvideo.panel()\npanel"
PICTURES = os.environ.get("OXENVIDEO_PICTURES")  # read before a test clears the environment
CELLS = """() => {
    const {widgets, activeCellIndex} = jupyterapp.shell.currentWidget.content;
    const dialogs = document.querySelectorAll('.jp-Dialog').length;
    return JSON.stringify([widgets.map(cell => [cell.model.type, cell.model.sharedModel.getSource()]), activeCellIndex, dialogs]);
}"""


def opened(notebook: NotebookPage) -> Page:
    """Run the first two cells of a notebook; the panel is the output of the second."""
    notebook.run_cell(0)
    notebook.run_cell(1)
    notebook.page.locator(".oxv-board").wait_for()
    return notebook.page


def panel_page(server: Server, open_notebook: OpenNotebook, connect: str, *more: str) -> tuple[NotebookPage, Page]:
    """Open a notebook whose second cell shows a panel."""
    notebook = open_notebook(server, [f"{connect}\nimport oxenvideo", SHOW, *more])
    return notebook, opened(notebook)


def voila_page(voila: Server, open_page: Callable[[str], Shown], connect: str, theme: str = "light") -> Shown:
    """Open a panel in Voilà."""
    voila.write("panel.ipynb", [f"{connect}\nimport oxenvideo", "oxenvideo.panel()"])
    shown = open_page(f"{voila.url}/voila/render/panel.ipynb?theme={theme}")
    shown.page.locator(".oxv-board").wait_for(timeout=30_000)
    return shown


def generate(page: Page, prompt: str, count: int = 1) -> None:
    """Enter a prompt and press Generate by key, wherever it moves meanwhile."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Videos", exact=True).fill(str(count))
    page.get_by_role("button", name="Generate", exact=True).press("Enter")


def generate_and_wait(page: Page, service: FaultyService, prompt: str, count: int = 1) -> list[str]:
    """Enter a prompt, press Generate and return the ids of the jobs."""
    before = set(service.jobs)
    generate(page, prompt, count)
    service.wait_until(lambda: len(service.jobs) == len(before) + count)
    return [job for job in service.jobs if job not in before]


def tiles(page: Page) -> Locator:
    """The videos in the gallery."""
    return page.locator(".oxv-tile")


def options(page: Page) -> Locator:
    """The models in the list."""
    return page.locator(".oxv-models [role=option]")


def keep(page: Page, name: str) -> None:
    """Take a screenshot into the directory OXENVIDEO_PICTURES, if somebody wants to see it."""
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")
