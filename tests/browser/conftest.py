"""Fixtures: one Chromium and one server of each front end for the package; a notebook and a service for each test.

Chromium has a profile, so that it loads and compiles the code of a front end once. Each front end has one page for all
tests, because a page that is opened anew takes longer than one that goes to another address. JupyterLab is loaded once:
each test opens its notebook in it. After a failure, the next test gets a new page.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from browser.pages import VIEWPORT, NotebookPage, OpenNotebook, Shown
from browser.servers import Server
from faulty import FaultyService

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

# The headless shell is Chromium without its windows: it takes a sixth less processor time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
CHROMIUM = os.environ.get("OXENVIDEO_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
# Without a screen, and without requests to the internet.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _missing(what: str) -> NoReturn:
    """Skip with the reason; fail where the browser tests are required, as in continuous integration."""
    if os.environ.get("OXENVIDEO_REQUIRE_BROWSER") == "1":
        pytest.fail(f"OXENVIDEO_REQUIRE_BROWSER=1, but {what}")
    pytest.skip(what)


# Package-wide, not session-wide: while Playwright's synchronous interface is open, no other test could use asyncio.
@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Headless Chromium."""
    if find_spec("playwright") is None:
        _missing("playwright is not installed: pip install playwright")
    if CHROMIUM is None or not Path(CHROMIUM).exists():
        _missing(f"there is no {CHROMIUM or 'chromium'}: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A processor draws the pages here: pulses and slides of running jobs would take a third of one.
        running = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            args=ARGUMENTS,
            viewport=VIEWPORT,
            reduced_motion="reduce",
        )
        yield running
        running.close()


@contextmanager
def _served(kind: str, module: str, factory: pytest.TempPathFactory, **how: Any) -> Iterator[Server]:
    if find_spec(module) is None:
        _missing(f"{module} is not installed: pip install {module}")
    server = Server(kind, factory.mktemp(kind), **how)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab below a prefix, as JupyterHub starts it."""
    with _served("lab", "jupyterlab", tmp_path_factory, prefix="/user/x") as server:
        yield server


@pytest.fixture(scope="package")
def notebook7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Notebook 7."""
    with _served("notebook", "notebook", tmp_path_factory) as server:
        yield server


@pytest.fixture(scope="package")
def voila(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Voilà."""
    with _served("voila", "voila", tmp_path_factory) as server:
        yield server


@pytest.fixture
def marimo_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts marimo with a notebook, as ``edit`` or ``run``; each serves one notebook. ``autorun`` runs its cells."""
    if find_spec("marimo") is None:
        _missing("marimo is not installed: pip install marimo")
    started: list[Server] = []

    def start(kind: str, source: str, *, autorun: bool = True) -> Server:
        (tmp_path / kind / "work").mkdir(parents=True, exist_ok=True)
        (tmp_path / kind / "work" / "app.py").write_text(source)
        runtime = f"[tool.marimo.runtime]\nauto_instantiate = {str(autorun).lower()}\n"
        (tmp_path / kind / "work" / "pyproject.toml").write_text(f"{runtime}[tool.marimo.display]\ntheme = 'system'\n")
        started.append(Server(kind, tmp_path / kind))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="package")
def serial() -> Iterator[int]:
    """Numbers that make the names of notebooks unique."""
    return count(1)


@pytest.fixture(scope="package")
def pages() -> dict[Server | None, Page]:
    """The page of each server of notebooks, and the one for everything else."""
    return {}


@pytest.fixture
def page_for(
    request: pytest.FixtureRequest, browser: BrowserContext, pages: dict[Server | None, Page]
) -> Iterator[Callable[[Server | None], Page]]:
    """The page of a server of notebooks, or of everything else. If the test fails, the next one gets a new page."""
    used: set[Server | None] = set()
    failed = request.session.testsfailed

    def page_for_(server: Server | None) -> Page:
        used.add(server)
        if server not in pages:
            pages[server] = browser.new_page()
        return pages[server]

    yield page_for_
    if request.session.testsfailed > failed:
        for server in used:
            pages.pop(server).close()


@pytest.fixture
def open_notebook(
    page_for: Callable[[Server | None], Page], serial: Iterator[int], pages: dict[Server | None, Page]
) -> Iterator[OpenNotebook]:
    """Write cells into a new notebook (or take a path) and open it; its kernels end with the test."""
    opened: list[NotebookPage] = []

    def open_(server: Server, cells: Sequence[Any] | Path) -> NotebookPage:
        path = cells if isinstance(cells, Path) else server.write(f"n{next(serial)}.ipynb", cells)
        loaded = server.kind == "lab" and server in pages
        opened.append(NotebookPage(page_for(server), server, path))
        if loaded:
            opened[-1].open()
        else:
            opened[-1].load()
        return opened[-1]

    yield open_
    for shown in opened:
        shown.close()
    for server in {shown.server for shown in opened}:
        server.shut_down_kernels()


@pytest.fixture
def open_page(page_for: Callable[[Server | None], Page]) -> Iterator[Callable[[str], Shown]]:
    """Open an address as a plain page: one of Voilà's or marimo's, or a file."""
    opened: list[Shown] = []

    def open_(url: str) -> Shown:
        opened.append(Shown(page_for(None)))
        opened[-1].page.goto(url)
        return opened[-1]

    yield open_
    for shown in opened:
        shown.close()


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service whose jobs end when the test says so."""
    with FaultyService(keep_alive=0.5) as running:
        yield running


@pytest.fixture
def connect(service: FaultyService) -> str:
    """A first cell: load the extension and let it use ``service``."""
    return (
        "import os\n"
        f"os.environ.update(OXEN_BASE_URL={service.base_url!r}, OXEN_API_KEY={service.api_key!r})\n"
        "%load_ext oxenvideo"
    )
