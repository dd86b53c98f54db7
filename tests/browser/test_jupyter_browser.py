"""JupyterLab and Notebook 7: the live card, what is saved, and what a reopened notebook shows."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest

from browser.pages import NotebookPage, OpenNotebook
from browser.servers import Server
from faulty import FaultyService

pytestmark = pytest.mark.browser

WIDGET = "application/vnd.jupyter.widget-view+json"
CLIP = "%%oxenvideo clip --duration 5\nA red balloon floating upward"


@pytest.fixture(params=["lab", "notebook7"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two front ends."""
    found: Server = request.getfixturevalue(request.param)
    return found


def _kinds(cell: nbformat.NotebookNode) -> set[str]:
    return {kind for output in cell.outputs for kind in output.get("data", {})}


def _job(service: FaultyService, prompt: str) -> str:
    service.wait_until(lambda: any(job.body["prompt"].startswith(prompt) for job in service.jobs.values()))
    return next(job.id for job in service.jobs.values() if job.body["prompt"].startswith(prompt))


def _quiet(notebook: NotebookPage, server: Server) -> None:
    """Check that neither the page nor the kernel reported an error."""
    assert not notebook.complaints
    printed = server.log.read_text()
    ours = [line for line in printed.splitlines() if 'File "' in line and "/oxenvideo/" in line]
    assert not ours, printed
    assert "could not be drawn" not in printed


def test_a_card_lives_is_kept_and_plays_again_in_an_untrusted_notebook(
    server: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """The card follows the job while other cells run; the saved notebook plays it without a kernel, and untrusted.

    The button below a running card cancels its job and disappears.
    """
    notebook = open_notebook(server, [connect, CLIP, "print('still', 'free')", "%%oxenvideo other\nA fox in the snow"])
    for index in range(3):
        notebook.run_cell(index)
    card = notebook.outputs(1)
    notebook.wait_for_text("still free", within=notebook.outputs(2))
    notebook.wait_for_text("Queued", within=card)
    notebook.wait_for_text("2 s", within=card)
    service.start(_job(service, "A red"))
    notebook.wait_for_text("Processing", within=card)
    service.finish(_job(service, "A red"))
    notebook.wait_for_text("Succeeded", within=card)
    assert notebook.plays(card.locator("video"))
    started = card.locator("video").evaluate(
        "video => { video.loop = true; window.playing = video; return video.currentTime }"
    )
    assert started > 0
    notebook.wait_for_text("cost $0.35", within=card)
    assert notebook.page.evaluate("window.playing.isConnected"), "the cost took the playing video away"
    assert card.locator("video").count() == 1
    assert card.locator("button.oxenvideo-cancel").count() == 0

    notebook.run_cell(3)
    cancelled = notebook.outputs(3)
    notebook.wait_for_text("Queued", within=cancelled)
    cancelled.get_by_text("Cancel", exact=True).click()
    notebook.wait_for_text("Cancelled", within=cancelled)
    assert service.jobs[_job(service, "A fox")].status == "cancelled"
    cancelled.locator("button.oxenvideo-cancel").wait_for(state="detached")

    saved = notebook.save()
    assert WIDGET not in _kinds(saved.cells[1]) | _kinds(saved.cells[3])
    assert "widgets" not in saved.metadata
    assert "cancelled" in saved.cells[3].outputs[0].data["text/plain"]
    told = saved.cells[1].outputs[0].metadata["oxenvideo"]
    assert told["generation_id"] == _job(service, "A red")
    assert told["request"]["prompt"] == "A red balloon floating upward"
    assert len(told["sha256"]) == 64
    assert Decimal(saved.cells[1].outputs[1].metadata["oxenvideo"]["cost"]) == Decimal("0.35")
    _quiet(notebook, server)
    notebook.close()
    server.shut_down_kernels()

    saved.cells.append(nbformat.v4.new_markdown_cell("A change by somebody else, so that no signature fits."))
    foreign = notebook.path.with_stem(f"{notebook.path.stem}-foreign")
    nbformat.write(saved, foreign)
    again = open_notebook(server, foreign)
    assert not again.trusted()
    assert again.plays(again.outputs(1).locator("video"))
    box = again.outputs(1).locator("video").locator("..")
    assert box.evaluate("box => getComputedStyle(box).borderRadius") != "0px", "the card's styles were stripped"
    assert "Error displaying widget" not in again.outputs(1).inner_text()


GRID = "%%oxenvideo sweep --duration 5 --seed 7 --sweep cfg_scale=0.3,0.7 --count 2\nA red balloon"


def test_tiles_of_a_grid_show_what_differs_and_play_by_a_button(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """A tile has a poster and a Play button; without handlers, as in an untrusted notebook, the browser's controls."""
    notebook = open_notebook(lab, [connect, GRID])
    notebook.run_all()
    grid = notebook.outputs(1)
    service.wait_until(lambda: len(service.jobs) == 4, timeout=20)
    *videos, failed = sorted(service.jobs, key=lambda job: service.jobs[job].body["cfg_scale"])
    reason = "The sky was not blue enough. " * 10 + "Ask for less sky."
    service.finish(*videos)
    service.fail(failed, reason)
    notebook.wait_for_text("3 succeeded, 1 failed", within=grid)
    for text, tiles in (("cfg_scale 0.3", 2), ("cfg_scale 0.7", 2), ("duration 5 · seed 7 · 20", 4)):
        assert grid.get_by_text(text).count() == tiles, text
    assert "Ask for less sky." not in grid.inner_text()
    grid.locator("summary").click()
    assert "Ask for less sky." in grid.inner_text()

    players = "[...document.querySelectorAll('.jp-OutputArea video')]"
    notebook.page.wait_for_function(
        f"{players}.length === 3 && {players}.every(video => !video.controls && video.readyState > 0)"
    )
    play = grid.get_by_role("button", name="Play [0] cfg_scale 0.3")
    play.click()
    notebook.page.wait_for_function(f"{players}[0].currentTime > 0 && {players}[0].controls")
    play.wait_for(state="hidden")

    saved = notebook.save()
    notebook.close()
    saved.cells.append(nbformat.v4.new_markdown_cell("A change by somebody else, so that no signature fits."))
    foreign = notebook.path.with_stem(f"{notebook.path.stem}-foreign")
    nbformat.write(saved, foreign)
    again = open_notebook(lab, foreign)
    assert not again.trusted()
    video = again.outputs(1).locator("video").first
    assert again.plays(video)
    assert video.evaluate("video => video.controls")
    assert again.outputs(1).locator("button:visible").count() == 0


SHORT = [
    "%%oxenvideo long --count 24\nA red balloon",
    "%oxenvideo cancel long",
    "%%oxenvideo empty --model kling-video-o3-pro-reference-to-video\n",
]


def test_cancel_and_an_empty_cell_answer_in_one_sentence(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """Cancel says how many it cancelled; a cell without a prompt says what to write."""
    notebook = open_notebook(lab, [connect, *SHORT])
    for index in range(4):
        notebook.run_cell(index)
    notebook.wait_for_text("24 videos: 24 cancelled", within=notebook.outputs(1))
    assert notebook.outputs(2).inner_text().strip() == "long: 24 of 24 cancelled."
    assert notebook.outputs(3).inner_text().strip().endswith("Write a prompt in the cell's body.")
    assert len(notebook.outputs(3).inner_text().strip().splitlines()) == 1


# Whether the third cell has so many cards, all with this status. JupyterLab shows only the first 50 outputs of a cell.
STATUSES = """([status, count]) => {
    const {outputs} = jupyterapp.shell.currentWidget.content.widgets[2].model;
    const all = [...Array(outputs.length).keys()].map(index => String(outputs.get(index).data['text/html'] ?? ''));
    const cards = all.filter(html => html.includes('role="group"'));
    return cards.length === count && cards.every(html => html.includes(`: ${status}"`));
}"""


def test_no_card_freezes_when_200_jobs_fail_at_once(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """Each of 200 cards shows the failure, and so does the panel beside them."""
    many = (
        "for number in range(200):\n"
        "    get_ipython().run_cell_magic('oxenvideo', f'c{number} --model google-veo-3-1-fast --no-check', 'A gull')"
    )
    notebook = open_notebook(lab, [connect, "import oxenvideo\noxenvideo.panel()", many])
    notebook.run_all()
    notebook.wait_for_text("200 ended without a video: 200 failed", within=notebook.outputs(1), timeout=90)
    notebook.page.wait_for_function(STATUSES, arg=["Failed", 200], timeout=90_000)
    _quiet(notebook, lab)


def test_a_notebook_reopened_in_mid_job_says_what_ran_and_resume_brings_it_back(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """A page that is loaded again gets no updates of old outputs; resume shows the jobs that the kernel is running.

    Without that kernel, the output names the job, and resume ends with its video.
    """
    notebook = open_notebook(lab, [connect, CLIP, "%oxenvideo resume"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    notebook.wait_for_text("Queued", within=notebook.outputs(1))
    notebook.save()
    notebook.load_until(notebook.outputs(1).locator("button.oxenvideo-cancel"))
    notebook.run_cell(2)
    notebook.wait_for_text("Queued", within=notebook.outputs(2))
    service.start(_job(service, "A red"))
    notebook.wait_for_text("Processing", within=notebook.outputs(2))
    service.finish()
    notebook.wait_for_text("Succeeded", within=notebook.outputs(2))
    assert notebook.plays(notebook.outputs(2).locator("video"))
    _quiet(notebook, lab)
    notebook.run_cell(1)
    notebook.wait_for_text("Queued", within=notebook.outputs(1))
    notebook.save()
    notebook.close()
    lab.shut_down_kernels()

    again = open_notebook(lab, notebook.path)
    again.wait_for_text("A red balloon floating upward", within=again.outputs(1))
    again.wait_for_text("%oxenvideo resume", within=again.outputs(1))
    error = again.page.get_by_text("Error displaying widget")
    error.wait_for(state="attached", timeout=30_000)
    assert not error.is_visible()
    again.run_cell(0)
    again.wait_for_text("1 video of this notebook is unfinished", within=again.outputs(0))
    again.run_cell(2)
    service.finish()
    again.wait_for_text("Succeeded", within=again.outputs(2))
    assert again.plays(again.outputs(2).locator("video"))
    assert service.counts["POST /api/ai/queue"] == 2
    # JupyterLab cannot restore the button of a kernel that has ended, and reports this.
    assert all("widget model not found" in complaint for complaint in again.complaints)


def test_rough_treatment_raises_nothing_and_leaves_nothing(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """Cells are run again, cleared and deleted, and the kernel is restarted, while jobs are running."""
    cells = [connect, CLIP, "%%oxenvideo other\nA fox in the snow", "%%oxenvideo third\nA lighthouse", "print('free')"]
    notebook = open_notebook(lab, cells)
    notebook.run_all()
    notebook.wait_for_text("Queued", within=notebook.outputs(3))
    first = _job(service, "A red")

    notebook.run_cell(1)
    notebook.wait_for_text("The earlier clip is still queued and goes on", within=notebook.outputs(1))
    notebook.outputs(1).get_by_text("Queued", exact=True).wait_for()
    assert notebook.outputs(1).locator("[role=group]").count() == 1, "a card is shown twice"
    main = notebook.page.evaluate("jupyterapp.shell.currentWidget.id")
    notebook.command("notebook:create-output-view")
    notebook.page.wait_for_timeout(1200)  # both views are drawn again
    notebook.page.evaluate("main => jupyterapp.shell.activateById(main)", main)
    notebook.page.evaluate("jupyterapp.shell.currentWidget.content.activeCellIndex = 3")
    notebook.command("notebook:clear-cell-output")
    notebook.page.evaluate("jupyterapp.shell.currentWidget.content.activeCellIndex = 2")
    notebook.command("notebook:delete-cell")
    service.finish(first, _job(service, "A fox"), _job(service, "A lighthouse"))
    service.wait_until(lambda: service.counts["GET /files/{file}"] >= 3)
    notebook.page.wait_for_timeout(1500)  # for anything that would be drawn wrongly
    assert notebook.outputs(2).locator("video").count() == 0
    notebook.run_cell(3)
    notebook.wait_for_text("free", within=notebook.outputs(3))

    notebook.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    service.wait_until(lambda: service.streams_open == 0 and service.connections_open == 0)
    notebook.run_cell(0)
    notebook.wait_for_text("1 video of this notebook is unfinished", within=notebook.outputs(0))
    _quiet(notebook, lab)


def test_below_a_prefix_everything_works(lab: Server, open_notebook: OpenNotebook) -> None:
    """JupyterHub serves below /user/x/: a card with a linked file, the panel, a download, and the embedded server."""
    clip = "%%oxenvideo clip --embed file --model wan-ai-wan2-1-t2v-1-3b-diffusers\nA red balloon"
    notebook = open_notebook(lab, ["%load_ext oxenvideo", clip, "import oxenvideo\noxenvideo.panel()"])
    notebook.run_all()
    video = notebook.outputs(1).locator("video")
    assert notebook.plays(video)
    source = urlsplit(video.evaluate("video => video.currentSrc")).path
    assert source.startswith("/user/x/files/videos/")
    panel = notebook.outputs(2)
    panel.locator(".oxv-open").click()
    assert notebook.plays(panel.locator("video.oxv-video"))
    with notebook.page.expect_download() as download:
        panel.locator("a[download]").first.click()
    assert download.value.path().read_bytes() == (lab.root / "videos" / Path(source).name).read_bytes()
    _quiet(notebook, lab)


def test_notify_tells_once_for_a_batch(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """A notification where it is permitted, else the tab's title until somebody comes back; nothing without --notify."""
    batches = [f"%%oxenvideo {name} -n 2 --notify\nA red balloon" for name in ("granted", "denied")]
    notebook = open_notebook(lab, [connect, "%%oxenvideo quiet\nA fox", *batches])
    notebook.page.evaluate(
        "() => { window.told = []; window.Browsers = window.Notification; window.Notification = class {"
        " static permission = 'granted'; constructor(title, options) { told.push(options.body); } } }"
    )
    for index in range(3):
        notebook.run_cell(index)
    service.wait_until(lambda: len(service.jobs) == 3, timeout=20)
    notebook.wait_for_text("Cancel all", within=notebook.outputs(2))
    service.finish(*service.jobs)
    notebook.page.wait_for_function("told.length > 0", timeout=30_000)
    notebook.wait_for_text("Succeeded", within=notebook.outputs(1))

    notebook.page.evaluate("() => { Notification.permission = 'denied' }")
    notebook.run_cell(3)
    service.wait_until(lambda: len(service.jobs) == 5, timeout=20)
    notebook.wait_for_text("Cancel all", within=notebook.outputs(3))
    service.finish(*list(service.jobs)[3:])
    title = "document.title.startsWith('✔') && document.title.includes('denied: 2 videos: 2 succeeded')"
    notebook.page.wait_for_function(title, timeout=30_000)  # in one look: JupyterLab may set its own title again
    notebook.page.mouse.move(300, 300)
    notebook.page.wait_for_function("!document.title.startsWith('✔')")
    assert notebook.page.evaluate("told") == ["granted: 2 videos: 2 succeeded"]
    notebook.page.evaluate("() => { window.Notification = window.Browsers }")
