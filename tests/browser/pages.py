"""Pages of the front ends in a browser: run cells, read outputs, save and reopen notebooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page, ViewportSize

    from .servers import Server

VIEWPORT: ViewportSize = {"width": 1300, "height": 900}  # of a page that is opened, in pixels
WITHIN = 30.0  # seconds for a page to show something
# Errors of the front ends themselves; any other error in the console is ours.
NOISE = (
    "favicon",
    "net::ERR",
    "Failed to load resource",
    "WebSocket",
    "service-worker",
    "shared module is not a function",  # Voilà, about extensions that only Notebook 7 can use
    "Failed to execute 'removeChild'",  # JupyterLab, which sometimes takes its splash screen away twice
    "reading 'schema'",  # Notebook 7, about settings that only JupyterLab has
    "Failed to initialize model",  # anywidget, about a widget that was closed, or still not drawn, after 2 s
)
PLAYS = "video => { video.muted = true; return video.play().then(() => video.readyState >= 2 && video.videoWidth > 0) }"


# A document is disposed: closing it would ask about changes. JupyterLab shows its launcher when no document is left.
CLOSE = """() => {
    for (const widget of [...window.jupyterapp?.shell.widgets('main') ?? []]) widget.dispose();
    document.querySelectorAll('.jp-Dialog .jp-mod-reject').forEach(button => button.click());
}"""
SETTLED = """async () => {
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    const transitions = document.getAnimations().filter(one => one instanceof CSSTransition);
    await Promise.all(transitions.map(one => one.finished.catch(() => null)));
}"""
OPEN = """async path => {
    const opened = await jupyterapp.commands.execute('docmanager:open', {path});
    await opened.context.ready; await opened.context.sessionContext.ready;
    for (const widget of [...jupyterapp.shell.widgets('main')]) if (widget !== opened) widget.dispose();
}"""


class Shown:
    """A page of any front end, with the errors that its console reports."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._closed = False
        page.bring_to_front()
        page.set_viewport_size(VIEWPORT)
        page.on("console", self._hear)
        page.on("pageerror", self._hear_error)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._hear_error(message.text)

    def _hear_error(self, error: object) -> None:
        if not any(word in str(error) for word in NOISE):
            self.complaints.append(str(getattr(error, "stack", error)))

    def wait_for_text(self, text: str, *, within: Locator | None = None, timeout: float = WITHIN) -> None:
        """Wait until the text is visible, anywhere or ``within`` a part of the page."""
        place = self.page.locator("body") if within is None else within
        place.get_by_text(text).first.wait_for(timeout=timeout * 1000)

    def plays(self, video: Locator) -> bool:
        """Whether a video plays: it has a picture, and its time advances."""
        video.wait_for(timeout=WITHIN * 1000)
        if not video.evaluate(PLAYS):
            return False
        self.page.wait_for_function("video => video.currentTime > 0", arg=video.element_handle(), timeout=WITHIN * 1000)
        return True

    def screenshot(self, path: Path, *, width: int = 1300, height: int = 900) -> Path:
        """Take a screenshot of the window at this size, in pixels."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.settle()
        self.page.screenshot(path=path)
        return path

    def settle(self) -> None:
        """Wait until the page is drawn and no transition is under way."""
        self.page.evaluate(SETTLED)

    def close(self) -> None:
        """Leave the page to others; the kernel keeps running."""
        if not self._closed:
            self._closed = True
            self.page.remove_listener("console", self._hear)
            self.page.remove_listener("pageerror", self._hear_error)
            self._leave()

    def _leave(self) -> None:
        self.page.goto("about:blank")


class NotebookPage(Shown):
    """A notebook in JupyterLab or Notebook 7."""

    def __init__(self, page: Page, server: Server, path: Path) -> None:
        super().__init__(page)
        self.path = path
        self.server = server

    def open(self) -> None:
        """Open the file in a JupyterLab that is loaded, and close all other documents."""
        self.page.evaluate(OPEN, self.path.name)
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=WITHIN * 1000)

    def _leave(self) -> None:
        """Close the documents of JupyterLab, which stays loaded."""
        if self.server.kind == "lab":
            self.page.evaluate(CLOSE)
        else:
            super()._leave()

    def load(self) -> None:
        """Load the page with the file."""
        where = "/lab/tree/" if self.server.kind == "lab" else "/notebooks/"
        self.page.goto(f"{self.server.url}{where}{self.path.name}{'?reset' if self.server.kind == 'lab' else ''}")
        self.page.wait_for_function("window.jupyterapp !== undefined", timeout=WITHIN * 1000)
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=WITHIN * 1000)
        self._when_ready()

    def load_until(self, widget: Locator) -> None:
        """Load the page of a running kernel until it shows a widget, at most three times.

        JupyterLab looks for a widget of a loaded page for two seconds. If the kernel's answer comes at the end of them, it
        reports that there is no such widget, has it, and never shows it. A user loads the page again.
        """
        given_up = self.page.get_by_text("Error displaying widget: model not found")
        for _ in range(3):
            self.load()
            widget.or_(given_up).first.wait_for(state="attached")
            if widget.count():
                return
            self.complaints[:] = [said for said in self.complaints if "widget model not found" not in said]
        raise AssertionError("The page did not find its widget three times.")

    def _when_ready(self) -> None:
        self.page.evaluate("""async () => {
            const context = jupyterapp.shell.currentWidget.context;
            await context.ready; await context.sessionContext.ready;
        }""")

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        """Execute a command of the front end and wait until it is done."""
        self.page.evaluate(
            "([name, given]) => jupyterapp.commands.execute(name, given).then(() => null)", [name, arguments or {}]
        )

    def start(self, name: str) -> None:
        """Execute a command without waiting."""
        self.page.evaluate("name => { jupyterapp.commands.execute(name) }", name)

    def run_all(self) -> None:
        """Run all cells and wait until the last one has returned."""
        self.command("notebook:run-all-cells")

    def run_cell(self, index: int, *, wait: bool = True) -> None:
        """Run one cell, and wait until it has returned, unless told not to."""
        self.page.evaluate("i => { jupyterapp.shell.currentWidget.content.activeCellIndex = i }", index)
        (self.command if wait else self.start)("notebook:run-cell")

    def set_cell(self, index: int, source: str) -> None:
        """Replace the source of a cell."""
        self.page.evaluate(
            "([i, text]) => { jupyterapp.shell.currentWidget.content.widgets[i].model.sharedModel.setSource(text) }",
            [index, source],
        )

    def outputs(self, index: int) -> Locator:
        """The outputs of a cell."""
        return self.page.locator(f'.jp-Cell[data-windowed-list-index="{index}"] .jp-Cell-outputWrapper')

    def theme(self, name: str) -> None:
        """Change the theme to ``"light"`` or ``"dark"``."""
        self.command("apputils:change-theme", {"theme": f"JupyterLab {name.title()}"})
        # The splash screen lies over the page while the theme changes.
        self.page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=WITHIN * 1000)

    def save(self) -> nbformat.NotebookNode:
        """Save, and return what is in the file."""
        self.command("docmanager:save")
        return nbformat.read(self.path, as_version=4)

    def trusted(self) -> bool:
        """Whether the front end trusts the notebook."""
        answer: bool = self.page.evaluate(
            "() => jupyterapp.shell.currentWidget.content.widgets.every(c => c.model.type !== 'code' || c.model.trusted)"
        )
        return answer


OpenNotebook = Callable[..., NotebookPage]
