"""The panel in JupyterLab: from choosing a model to comparing two videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image
import pytest

from browser.pages import NotebookPage, OpenNotebook
from browser.panels import SHOW, generate, keep, opened, options, tiles
from browser.servers import Server
from faulty import FaultyService

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

LOCAL = "import os\nos.environ['OXEN_BASE_URL'] = 'local'\n%load_ext oxenvideo\nimport oxenvideo"
SLOW = 90_000  # ms for the embedded server to make a video on a busy machine
MESSAGES = 20  # a second


def pick_model(page: Page, words: str, name: str) -> None:
    """Search for a model and click it."""
    page.locator(".oxv-model").click()
    page.get_by_label("Find").fill(words)
    options(page).filter(has_text=name).first.click()
    page.locator(".oxv-picker").wait_for(state="hidden")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """An image to upload."""
    path = tmp_path / "harbour.png"
    PIL.Image.radial_gradient("L").resize((640, 360)).save(path)
    return path


def test_a_person_makes_and_compares_videos(lab: Server, open_notebook: OpenNotebook, picture: Path) -> None:
    """Choose a model, upload an image, read the price, generate, play, compare and reuse."""
    notebook = open_notebook(lab, [LOCAL, SHOW, "panel.selected is panel.generations[-1], panel.request.prompt"])
    page = opened(notebook)

    generate(page, "A red balloon floats over a quiet harbour at dawn")
    page.locator(".oxv-job, .oxv-tile").first.wait_for()
    pick_model(page, "kling 2.6", "Kling 2.6 Pro - Image to Video")
    page.locator("[data-field=input_image] input[type=file]").set_input_files(picture)
    thumbnail = page.locator(".oxv-item img")
    thumbnail.wait_for()
    assert thumbnail.evaluate("image => image.decode().then(() => image.naturalWidth)") == 160
    assert page.locator(".oxv-more").bounding_box()["height"] > 20  # type: ignore[index]
    page.get_by_role("radio", name="10 s").check()
    page.locator(".oxv-price", has_text="10 s × $0.07 = $0.70").wait_for()
    page.get_by_role("radio", name="5 s", exact=True).check()
    page.locator(".oxv-price", has_text="5 s × $0.07 = $0.35").wait_for()
    generate(page, "The balloon drifts out to sea")
    tiles(page).nth(1).wait_for(timeout=SLOW)
    assert [text.count("free preview") for text in tiles(page).all_inner_texts()] == [1, 1]
    page.get_by_role("tab", name="History").click()
    page.locator(".oxv-money", has_text="free preview").nth(1).wait_for()
    assert "$" not in page.locator(".oxv-board").inner_text()
    page.get_by_role("tab", name="This kernel").click()

    tiles(page).first.locator(".oxv-open").click()
    assert notebook.plays(page.locator(".oxv-player video"))
    assert page.locator(".oxv-player video").evaluate("video => video.readyState") >= 2
    notebook.run_cell(2)
    notebook.wait_for_text("(True, 'The balloon drifts out to sea')", within=notebook.outputs(2))

    for index in range(2):
        tiles(page).nth(index).get_by_role("checkbox").check()
    compare_in_step(page)
    page.locator(".oxv-clip").nth(1).get_by_role("button", name="Reuse settings").click()
    page.wait_for_function(
        "document.querySelector('[data-field=prompt] textarea').value === 'A red balloon floats over a quiet harbour at dawn'"
    )
    page.locator(".oxv-clip").first.get_by_role("button", name="Show as code").click()
    code = page.get_by_role("textbox", name="Code")
    assert code.input_value().startswith("%%oxenvideo --model kling-video-v2-6-pro-image-to-video")
    page.get_by_role("button", name="Close the code").click()
    look_at_it(notebook)
    assert not notebook.complaints


# Whether two playing videos come within a frame of each other and stay so for six measurements, before they start again
# at their end, which would put them in step by itself. The clock is the page's: a busy machine is late to ask.
IN_STEP = """async (pair, behind) => {
    const [one, two] = pair.querySelectorAll('video');
    two.currentTime -= behind;
    const apart = [];
    for (let before = one.currentTime, tries = 0; tries < 60 && one.currentTime >= before; tries++) {
        before = one.currentTime;
        await new Promise(done => setTimeout(done, 150));
        apart.push(one.currentTime > before ? Math.abs(one.currentTime - two.currentTime) : Infinity);
        if (apart.length >= 6 && Math.max(...apart.slice(-6)) < 1 / 24) return true;
    }
    return apart;
}"""


def compare_in_step(page: Page) -> None:
    """Two videos side by side start together; one that falls behind catches up; a jump takes both along."""
    pair = page.locator(".oxv-two").first
    page.wait_for_function(
        "[...document.querySelectorAll('.oxv-two video')].filter(v => v.readyState >= 2).length === 2"
    )
    position = page.get_by_label("Position in both videos")
    page.get_by_label("Speed").select_option("0.5")  # so that the end is 10 s away
    page.get_by_role("button", name="Play", exact=True).click()
    assert pair.evaluate(IN_STEP, 0) is True
    position.fill("0.5")
    assert pair.evaluate(IN_STEP, 0.2) is True
    page.get_by_role("button", name="Pause", exact=True).click()
    times = "pair => [...pair.querySelectorAll('video')].map(video => video.currentTime)"
    one, two = pair.evaluate(times)
    assert abs(one - two) < 0.05
    position.fill("2.5")
    assert pair.evaluate(times) == [2.5, 2.5]


def look_at_it(notebook: NotebookPage) -> None:
    """Take screenshots of both themes at several widths; nothing is cut off at the side."""
    page = notebook.page
    notebook.command("application:toggle-left-area")
    for theme in ("light", "dark"):
        notebook.theme(theme)
        for width in (1300, 900, 600, 480):
            page.set_viewport_size({"width": width, "height": 1000})
            for part in ("oxv-model", "oxv-player"):
                page.locator(f".{part}").scroll_into_view_if_needed()
                notebook.settle()
                keep(page, f"panel-{theme}-{width}-{part}")
            assert page.locator(".oxv-panel").evaluate("panel => panel.scrollWidth <= panel.clientWidth + 1")
    notebook.theme("light")
    notebook.command("application:toggle-left-area")


def test_jobs_are_watched_cancelled_and_tried_again(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """A running job shows its status and is cancelled; a failed one shows the reason and is submitted again."""
    notebook = open_notebook(lab, [f"{connect}\nimport oxenvideo", SHOW])
    page = opened(notebook)
    generate(page, "A red balloon")
    row = page.locator(".oxv-job").first
    row.get_by_text("Queued").wait_for()
    (job,) = service.jobs.values()
    service.start(job.id)
    row.get_by_text("Processing").wait_for()
    before = row.locator(".oxv-time").inner_text()
    page.wait_for_function("text => document.querySelector('.oxv-time').innerText !== text", arg=before)
    row.get_by_role("button", name="Cancel").click()
    row.get_by_text("Cancelled").wait_for()
    assert job.status == "cancelled"
    generate(page, "A blue balloon")
    service.wait_until(lambda: len(service.jobs) == 2)
    blue = list(service.jobs)[1]
    service.fail(blue, "The sky was not blue enough.")
    page.get_by_role("button", name="2 ended without a video").click()
    failed = page.locator(".oxv-job", has_text="A blue balloon")
    failed.get_by_text("The sky was not blue enough.").wait_for()
    failed.get_by_role("button", name="Retry").click()
    service.wait_until(lambda: len(service.jobs) == 3)
    service.finish(list(service.jobs)[2])
    tiles(page).first.wait_for()
    assert not notebook.complaints


# Where JupyterLab sends clicks to: "perCommTarget" to a thread beside the running cell, "disabled" behind that cell.
CLICKS = "where => { jupyterapp.serviceManager.kernels.commsOverSubshells = where }"
BUSY = """import os, time
open('busy', 'x').close()
while not os.path.exists('wake'):
    time.sleep(0.05)
os.remove('wake')
os.remove('busy')
print('awake')"""

PRESSES = """async button => {
  for (let n = 0; n < 4; n++) {
    button.click();
    await new Promise(done => setTimeout(done, 100));
  }
}"""


def run_busy_cell(notebook: NotebookPage, lab: Server) -> None:
    """Run the third cell, and wait until the kernel is busy with it."""
    notebook.run_cell(2, wait=False)
    while not (lab.root / "busy").exists():
        notebook.page.wait_for_timeout(50)


def hurry(page: Page) -> None:
    """Type a prompt, replace it, and press the button four times within half a second, however busy the machine is."""
    page.get_by_label("Prompt", exact=True).press_sequentially("A blue balloon", delay=15)
    page.get_by_label("Prompt", exact=True).fill("A green balloon")
    button = page.get_by_role("button", name="Generate", exact=True)
    button.click(trial=True)  # waits until the button is enabled
    button.evaluate(PRESSES)


def test_the_panel_works_while_a_cell_runs(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """A press does not wait for the running cell; four quick presses make one video, of the last text."""
    notebook = open_notebook(lab, [f"{connect}\nimport oxenvideo", SHOW, BUSY])
    page = opened(notebook)
    run_busy_cell(notebook, lab)
    hurry(page)
    page.locator(".oxv-job").get_by_text("Queued").wait_for()
    (job,) = service.jobs.values()
    assert job.body["prompt"] == "A green balloon"
    service.finish(job.id)
    tiles(page).first.wait_for()
    assert "awake" not in notebook.outputs(2).inner_text()
    assert not page.get_by_text("The kernel is busy").is_visible()
    (lab.root / "wake").touch()
    notebook.wait_for_text("awake", within=notebook.outputs(2))
    assert len(service.jobs) == 1
    assert not notebook.complaints


def test_a_busy_kernel_loses_no_click_and_takes_none_twice(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """If clicks wait for the cell, the panel says so, shows progress, and makes one video of each text that was pressed."""
    notebook = open_notebook(lab, [f"{connect}\nimport oxenvideo", SHOW, BUSY])
    notebook.page.evaluate(CLICKS, "disabled")
    page = opened(notebook)
    generate(page, "A red balloon")
    page.locator(".oxv-job").get_by_text("Queued").wait_for()
    run_busy_cell(notebook, lab)
    hurry(page)
    generate(page, "A black balloon")
    page.get_by_label("Prompt", exact=True).fill("A white balloon")
    page.get_by_text("The kernel is busy").wait_for()
    service.finish(next(iter(service.jobs)))
    tiles(page).first.wait_for()
    assert page.get_by_text("The kernel is busy").is_visible()
    (lab.root / "wake").touch()
    page.get_by_text("The kernel is busy").wait_for(state="hidden")
    page.get_by_role("button", name="Generate", exact=True).press("Enter")
    service.wait_until(lambda: len(service.jobs) > 3)
    page.wait_for_timeout(500)
    # Those that waited for the cell are sent together, so the service may take them in any order.
    assert sorted(job.body["prompt"] for job in service.jobs.values()) == [
        "A black balloon",
        "A green balloon",
        "A red balloon",
        "A white balloon",
    ]
    assert not notebook.complaints
    notebook.page.evaluate(CLICKS, "perCommTarget")


# anywidget waits for a script until such a signal; this one ends before any script can load. Notifications are counted.
GIVEN_UP = """() => {
    const before = [AbortSignal.timeout, window.Notification];
    AbortSignal.timeout = () => {
        const controller = new AbortController();
        queueMicrotask(() => controller.abort());
        return controller.signal;
    };
    window.told = 0;
    window.Notification = class { static permission = 'granted'; constructor() { told += 1; } };
    window.restore = () => { [AbortSignal.timeout, window.Notification] = before; };
}"""


def test_widgets_that_anywidget_gave_up_hear_the_kernel(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """On a page that is too busy to load scripts in time, form, board and card follow the job all the same."""
    notebook = open_notebook(lab, [f"{connect}\nimport oxenvideo", SHOW, "%%oxenvideo --notify\nA blue balloon"])
    notebook.page.evaluate(GIVEN_UP)
    page = opened(notebook)
    generate(page, "A red balloon")
    page.get_by_text("1 video submitted.").wait_for()
    notebook.run_cell(2)
    page.locator(".oxv-job").get_by_text("Queued").nth(1).wait_for()
    service.finish(*service.jobs)
    tiles(page).nth(1).wait_for()
    page.wait_for_function("told === 1")
    page.evaluate("restore()")


def test_every_control_is_reached_by_keyboard(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """The Tab key reaches every control; each shows the focus and has a name."""
    notebook = open_notebook(lab, [f"{connect}\nimport oxenvideo", SHOW])
    page = opened(notebook)
    page.locator(".oxv-model").focus()
    page.keyboard.press("Tab")  # a browser shows the focus to those who use the keyboard
    page.keyboard.press("Shift+Tab")
    reached = []
    for _ in range(24):
        reached.append(page.evaluate(NAMED))
        page.keyboard.press("Tab")
    names = [entry["name"] for entry in reached if entry]
    for wanted in (
        "Prompt",
        "5 s",
        "16:9",
        "With sound",
        "More settings",
        "Videos",
        "Generate",
        "Show as code",
        "This kernel",
    ):
        assert any(wanted in name for name in names), (wanted, names)
    assert all(entry["name"] and entry["outline"] for entry in reached if entry), reached
    page.get_by_label("Prompt", exact=True).fill("A red balloon")
    page.get_by_role("button", name="Generate", exact=True).focus()
    page.keyboard.press("Enter")
    service.wait_until(lambda: len(service.jobs) == 1)
    page.locator(".oxv-model").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Find").fill("veo fast")
    page.locator(".oxv-active").wait_for()
    page.keyboard.press("Enter")
    page.locator(".oxv-model", has_text="Veo").wait_for()
    page.get_by_role("tab", name="This kernel").focus()
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("tab", name="History").get_attribute("aria-selected") == "true"


# The accessible name of the focused element, and whether its focus is visible; null outside of the panel.
NAMED = """() => {
    const it = document.activeElement;
    if (!it.closest('.oxv-panel')) return null;
    const label = it.labels?.length ? it.labels[0].innerText : '';
    const name = it.getAttribute('aria-label') || label || it.innerText || it.title;
    return {name, outline: getComputedStyle(it).outlineStyle !== 'none'};
}"""

# Milliseconds from running the cell to the frame in which everything is shown.
PAINT = """async ([index, rows]) => {
    const notebook = jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    const cell = () => document.querySelector(`.jp-Cell[data-windowed-list-index="${index}"]`);
    const before = cell().querySelector('.oxv-board');
    const start = performance.now();
    jupyterapp.commands.execute('notebook:run-cell');
    return await new Promise(done => {
        const look = () => {
            const board = cell().querySelector('.oxv-board');
            const there = board && board !== before && board.querySelectorAll('.oxv-job, .oxv-tile').length >= rows;
            if (there && cell().querySelector('.oxv-generate')) requestAnimationFrame(() => done(performance.now() - start));
            else requestAnimationFrame(look);
        };
        look();
    });
}"""
COUNT = """() => {
    window.sent = [];
    const kernel = jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
    kernel.iopubMessage.connect((_, message) => {
        if (message.header.msg_type.startsWith('comm')) window.sent.push(Date.parse(message.header.date));
    });
}"""


def test_two_hundred_jobs_are_light(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """A panel with 200 jobs appears, and their progress takes few messages."""
    submit = "batch = oxenvideo.submit_batch([dict(prompt=f'A red balloon, take {i}') for i in range(200)])"
    wait = "import time\nwhile any(g.id is None for g in batch): time.sleep(0.1)"
    notebook = open_notebook(lab, [f"{connect}\nimport oxenvideo\n{submit}\n{wait}", SHOW])
    page = opened(notebook)
    times = []
    for _ in range(5):
        page.wait_for_timeout(400)
        times.append(page.evaluate(PAINT, [1, 200]))
    # The benchmarks read what is printed here, and judge it.
    print(f"first paint with 200 jobs, ms: {[round(t) for t in times]}")
    page.evaluate(COUNT)
    ids = list(service.jobs)
    for first in range(0, 200, 10):
        for job in ids[first : first + 10]:
            service.start(job)
        service.finish(*ids[first : first + 10])
        page.wait_for_timeout(250)
    page.wait_for_function("document.querySelectorAll('.oxv-tile').length === 200", timeout=60_000)
    sent = page.evaluate("sent")
    most = max(sum(start <= at < start + 1000 for at in sent) for start in sent)
    print(f"widget messages: {len(sent)} in all, at most {most} in a second")
    assert len(sent) > 5
    assert most <= MESSAGES
    assert not notebook.complaints
