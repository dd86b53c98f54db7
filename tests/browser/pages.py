"""A notebook in a browser, the way a person uses it: cells run, outputs are read, the file is saved and opened again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from .servers import Server

WITHIN = 30.0  # seconds for which a page is given to show something
# What the front ends themselves say in the console; everything else is a defect of ours.
NOISE = (
    "favicon",
    "net::ERR",
    "Failed to load resource",
    "WebSocket",
    "service-worker",
    "shared module is not a function",  # Voilà, of extensions that only Notebook 7 can use
    "reading 'schema'",  # Notebook 7, of settings that only JupyterLab has
)
PLAYS = "video => { video.muted = true; return video.play().then(() => video.readyState >= 2 && video.videoWidth > 0) }"


class Shown:
    """Any page of a front end: wait for what it shows, look at it, hear what its console complains of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self._hear("error", str(error)))

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error" and not any(word in text for word in NOISE):
            self.complaints.append(text)

    def wait_for_text(self, text: str, *, within: Locator | None = None, timeout: float = WITHIN) -> None:
        """Until the text is to be seen, somewhere or ``within`` a part of the page."""
        place = self.page.locator("body") if within is None else within
        place.get_by_text(text).first.wait_for(timeout=timeout * 1000)

    def plays(self, video: Locator) -> bool:
        """Whether a video plays: it has data and a picture, and time goes on."""
        video.wait_for(timeout=WITHIN * 1000)
        if not video.evaluate(PLAYS):
            return False
        self.page.wait_for_function("video => video.currentTime > 0", arg=video.element_handle(), timeout=WITHIN * 1000)
        return True

    def screenshot(self, path: Path, *, width: int = 1300, height: int = 900) -> Path:
        """A picture of the window at this size, in pixels."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=path)
        return path

    def close(self) -> None:
        """Close the page; a kernel goes on."""
        self.page.close()


class NotebookPage(Shown):
    """A notebook in JupyterLab or Notebook 7."""

    def __init__(self, page: Page, server: Server, path: Path) -> None:
        super().__init__(page)
        self.path = path
        self._server = server
        self.reload()

    def reload(self) -> None:
        """Open the file anew."""
        where = "/lab/tree/" if self._server.kind == "lab" else "/notebooks/"
        self.page.goto(f"{self._server.url}{where}{self.path.name}{'?reset' if self._server.kind == 'lab' else ''}")
        self.page.wait_for_function("window.jupyterapp !== undefined", timeout=WITHIN * 1000)
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=WITHIN * 1000)
        self._when_ready()

    def _when_ready(self) -> None:
        self.page.evaluate("""async () => {
            const context = jupyterapp.shell.currentWidget.context;
            await context.ready; await context.sessionContext.ready;
        }""")

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        """Do what a menu entry of the front end does, and wait until it is done."""
        self.page.evaluate(
            "([name, given]) => jupyterapp.commands.execute(name, given).then(() => null)", [name, arguments or {}]
        )

    def start(self, name: str) -> None:
        """The same without waiting."""
        self.page.evaluate("name => { jupyterapp.commands.execute(name) }", name)

    def run_all(self) -> None:
        """Run all cells, and wait until the last one has returned."""
        self.command("notebook:run-all-cells")

    def run_cell(self, index: int, *, wait: bool = True) -> None:
        """Run one cell, and wait until it has returned, unless told not to."""
        self.page.evaluate("i => { jupyterapp.shell.currentWidget.content.activeCellIndex = i }", index)
        (self.command if wait else self.start)("notebook:run-cell")

    def set_cell(self, index: int, source: str) -> None:
        """Write another text into a cell."""
        self.page.evaluate(
            "([i, text]) => { jupyterapp.shell.currentWidget.content.widgets[i].model.sharedModel.setSource(text) }",
            [index, source],
        )

    def outputs(self, index: int) -> Locator:
        """The outputs of a cell."""
        return self.page.locator(f'.jp-Cell[data-windowed-list-index="{index}"] .jp-Cell-outputWrapper')

    def theme(self, name: str) -> None:
        """``"light"`` or ``"dark"``."""
        self.command("apputils:change-theme", {"theme": f"JupyterLab {name.title()}"})

    def save(self) -> nbformat.NotebookNode:
        """Save, and return what is in the file."""
        self.command("docmanager:save")
        return nbformat.read(self.path, as_version=4)

    def trusted(self) -> bool:
        """Whether the front end takes the notebook as trusted."""
        answer: bool = self.page.evaluate(
            "() => jupyterapp.shell.currentWidget.content.widgets.every(c => c.model.type !== 'code' || c.model.trusted)"
        )
        return answer


OpenNotebook = Callable[..., NotebookPage]
