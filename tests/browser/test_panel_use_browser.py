"""Use of the panel: keys, order of jobs, list of models, settings, tiles, inputs and gallery."""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase, digits
from typing import TYPE_CHECKING

import PIL.Image
import pytest

from browser.pages import OpenNotebook
from browser.panels import CELLS, SHOW, generate_and_wait, keep, opened, options, panel_page, tiles
from browser.servers import Server
from faulty import FaultyService

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

IMAGE_MODEL = "Kling 2.6 Pro - Image to Video"
KEYS = ascii_lowercase + ascii_lowercase.upper() + digits + "ddii00"  # pairs delete a cell, interrupt and restart
FEW_KEYS = "abjmdd"  # insert cells, move to another, change its type, delete it
CONTROLS = (
    ".oxv-model",
    "[data-field=prompt] textarea",
    "[data-field=duration] input:checked",
    "[data-field=generate_audio] input",
    ".oxv-more",
    "[data-field=cfg_scale] input[type=range]",
    "[data-field=cfg_scale] input[type=number]",
    ".oxv-count input",
    ".oxv-generate",
    ".oxv-links button",
    ".oxv-tab[aria-selected=true]",
    ".oxv-filters input",
    ".oxv-filters select >> nth=1",
    ".oxv-fold",
    ".oxv-player video",
    ".oxv-player .oxv-icon",
    ".oxv-source",
    ".oxv-job .oxv-acts button",
    ".oxv-tile .oxv-open",
    ".oxv-tile input[type=checkbox]",
    ".oxv-star",
)


@pytest.fixture(params=["lab", "notebook7"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two front ends that have a notebook."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """An image to upload."""
    path = tmp_path / "harbour.png"
    PIL.Image.radial_gradient("L").resize((640, 360)).save(path)
    return path


def test_the_keyboard_works_the_panel_and_not_the_notebook(
    server: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """Everything that a key does in the panel, in one notebook."""
    notebook, page = panel_page(server, open_notebook, connect, "first = 1", "second = 2")
    ctrl_enter_submits_and_does_not_run_the_cell(page, service)
    a_model_is_chosen_by_keyboard_alone(page)
    opened(notebook)  # a new panel, with the usual model
    no_key_press_reaches_the_notebook(page, service)
    opened(notebook)
    the_focus_stays_in_the_panel_when_its_element_goes(page, service)
    assert not notebook.complaints


def ctrl_enter_submits_and_does_not_run_the_cell(page: Page, service: FaultyService) -> None:
    """Ctrl+Enter in the prompt does what Generate does."""
    before = page.evaluate(CELLS)
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.press_sequentially("A red balloon")
    prompt.press("Control+Enter")
    service.wait_until(lambda: len(service.jobs) == 1)
    assert next(iter(service.jobs.values())).body["prompt"] == "A red balloon"
    page.get_by_text("1 video submitted.").wait_for()
    assert page.evaluate(CELLS) == before
    assert page.locator(".oxv-board").count() == 1
    service.finish(*service.jobs)


def a_model_is_chosen_by_keyboard_alone(page: Page) -> None:
    """Find gets the focus, Enter chooses only what is highlighted, and the focus returns to the button."""
    button, find = page.locator(".oxv-model"), page.get_by_label("Find")
    focused = "[document.activeElement.getAttribute('aria-label') || document.activeElement.className]"
    button.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(focused) == ["Find"]
    page.locator(".oxv-group").first.wait_for()
    recent, *providers = page.locator(".oxv-group").all_inner_texts()
    assert recent == "Recently used"
    assert len(providers) > 1
    assert providers == sorted(providers)
    assert options(page).filter(has_text="price unknown").count() > 0
    page.keyboard.type("veo")
    page.keyboard.press("Enter")
    assert "Kling" in button.inner_text(), "nothing was highlighted"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator(".oxv-model", has_text="Veo").wait_for()
    assert "oxv-model" in page.evaluate(focused)[0]
    page.keyboard.press("Enter")
    assert page.evaluate("getSelection().toString() || document.activeElement.value") == "veo"
    page.keyboard.type("no such model")
    assert find.input_value() == "no such model", "the old text was not selected"
    page.get_by_text("No model matches “no such model”.").wait_for()
    page.get_by_role("button", name="Clear the search").click()
    assert options(page).count() > 10
    assert options(page).first.inner_text().startswith("Veo"), "the model used last comes first"
    page.keyboard.press("Escape")
    page.locator(".oxv-picker").wait_for(state="hidden")
    assert "oxv-model" in page.evaluate(focused)[0]


def no_key_press_reaches_the_notebook(page: Page, service: FaultyService) -> None:
    """Letters insert and delete cells if the notebook gets them. They do not while a control of the panel has the focus.

    A button and a text field get every key, the other controls a few: the panel keeps a key by where it is pressed.
    """
    jobs = generate_and_wait(page, service, "A red balloon", 5)
    service.finish(*jobs[:2])
    for job in jobs[2:4]:
        service.fail(job, "The sky was not blue enough.")
    tiles(page).nth(2).wait_for()
    page.locator(".oxv-fold").wait_for()
    tiles(page).first.locator(".oxv-open").click()
    page.locator(".oxv-clip").get_by_role("button", name="Show as code").click()
    page.locator(".oxv-more").click()
    before = page.evaluate(CELLS)
    for selector in CONTROLS:
        control = page.locator(selector).first
        control.focus()
        page.keyboard.type(KEYS if selector in CONTROLS[:2] else FEW_KEYS)
        keys = ["Escape", "Backspace"]
        keys += [] if "input" in selector or "tab" in selector else ["ArrowDown", "ArrowUp"]
        for key in keys:
            page.keyboard.press(key)
        assert page.evaluate(CELLS) == before, f"with the focus on {selector}"
        assert page.evaluate("document.activeElement.closest('.oxv-panel') !== null"), selector
    assert len(service.jobs) == 6
    service.finish(jobs[4])
    page.wait_for_function("document.querySelector('.oxv-job[data-group=running]') === null")


def the_focus_stays_in_the_panel_when_its_element_goes(page: Page, service: FaultyService) -> None:
    """If the focused button or row disappears, the panel keeps the focus and the next key press."""
    first, second, third = generate_and_wait(page, service, "A red balloon", 3)
    before = page.evaluate(CELLS)
    inside = "document.activeElement.closest('.oxv-panel') !== null"

    def press_letters() -> None:
        page.wait_for_timeout(300)
        assert page.evaluate(inside)
        for key in "abdd":
            page.keyboard.press(key)
        assert page.evaluate(CELLS) == before

    page.locator(".oxv-job[data-group=running] .oxv-acts button").first.focus()
    page.keyboard.press("Enter")
    page.get_by_text("2 running").wait_for()
    press_letters()
    page.locator(".oxv-job[data-group=running] .oxv-acts button").first.focus()
    service.finish(first, second, third)
    page.wait_for_function("document.querySelector('.oxv-job[data-group=running]') === null")
    press_letters()
    page.locator(".oxv-open").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Close", exact=True).focus()
    page.keyboard.press("Enter")
    page.locator(".oxv-player").wait_for(state="hidden")
    press_letters()


def test_running_jobs_come_first_and_ended_ones_are_one_line(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """The order is running, ended, videos; "Cancel all" and "Dismiss all" act on all jobs of their section."""
    _, page = panel_page(lab, open_notebook, connect)
    ended = generate_and_wait(page, service, "A blue balloon", 3)
    for job in ended[:2]:
        service.fail(job, "The sky was not blue enough.")
    service.finish(ended[2])
    line = page.get_by_role("button", name="2 ended without a video: 2 failed · The sky was not blue enough.")
    line.wait_for()
    tiles(page).first.wait_for()
    page.get_by_label("Videos", exact=True).fill("8")
    generate_and_wait(page, service, "A red balloon", 8)
    page.get_by_text("8 videos submitted.").wait_for()
    page.get_by_text("8 running").wait_for()
    tops = [
        page.locator(place).bounding_box()["y"]  # type: ignore[index]
        for place in ("[aria-label=Running]", "[aria-label='Ended without a video']", "[aria-label=Gallery]")
    ]
    assert tops == sorted(tops)
    assert page.locator(".oxv-job:visible").count() == 8
    page.get_by_role("button", name="Cancel all").click()
    page.get_by_text("10 ended without a video: 8 cancelled, 2 failed").wait_for()
    assert page.get_by_text("8 videos submitted.").count() == 0
    assert page.locator(".oxv-job:visible").count() == 0
    page.get_by_role("button", name="10 ended").click()
    page.get_by_text("The sky was not blue enough.").first.wait_for()
    page.get_by_role("button", name="Dismiss all").click()
    page.locator(".oxv-job").first.wait_for(state="detached")
    assert tiles(page).count() == 1


def test_more_settings_open_into_view(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """The first setting is visible at once, the form shows that it scrolls, and no control is cut off."""
    _, page = panel_page(lab, open_notebook, connect)
    page.locator(".oxv-model").click()
    page.get_by_label("Find").fill("kling o3 omni")
    options(page).first.click()
    page.locator(".oxv-model", has_text="Kling O3 Omni").wait_for()
    form = page.locator(".oxv-inputs")
    page.locator(".oxv-more").click()
    inside = """rest => {
        const form = rest.closest('.oxv-inputs').getBoundingClientRect();
        const first = rest.firstElementChild.getBoundingClientRect();
        return first.top >= form.top - 1 && first.bottom <= form.bottom + 1;
    }"""
    page.wait_for_function(inside, arg=page.locator(".oxv-fields").nth(1).element_handle())
    form.evaluate("form => { form.scrollTop = 0 }")
    page.locator(".oxv-inputs.oxv-below").wait_for()
    inside = """form => [...form.querySelectorAll('input, select, textarea')].every(
        one => one.getBoundingClientRect().right <= form.getBoundingClientRect().right + 1)"""
    assert form.evaluate(inside)


def test_tiles_show_what_differs(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """Tiles show the values of a sweep or the number of the take, duration and age; each has its own name."""
    sweep = (
        "batch = oxenvideo.submit_batch([dict(prompt='A red balloon', seed=7, cfg_scale=c) for c in (0.3, 0.7)])\n"
        "long = 'A quiet harbour in the early light of a morning in May'\n"
        "rows = oxenvideo.submit_batch([dict(prompt=f'{long} with {who}') for who in ('a fox', 'an ox')])"
    )
    _, page = panel_page(lab, open_notebook, f"{connect}\nimport oxenvideo\n{sweep}")
    service.wait_until(lambda: len(service.jobs) == 4)
    generate_and_wait(page, service, "A blue balloon", 2)
    service.finish(*service.jobs)
    tiles(page).nth(5).wait_for()
    texts = tiles(page).all_inner_texts()
    assert ["Guidance 0.3" in text for text in texts].count(True) == 1
    assert ["Guidance 0.7" in text for text in texts].count(True) == 1
    assert ["No. 1 of 2" in text for text in texts].count(True) == 1
    assert all("just now" in text for text in texts)
    assert all("Duration 5 s" in text for text in texts), "the model's default"
    assert sum("Seed 7" in text for text in texts) == 2
    assert sum("…a fox" in text for text in texts) == sum("…an ox" in text for text in texts) == 1
    names = page.locator(".oxv-open").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert len(set(names)) == 6, names


def test_inputs_are_named_and_errors_are_errors(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str, picture: Path
) -> None:
    """Inputs have the name of their variable; replacing one is announced; a missing variable is one error."""
    variables = f"import PIL.Image\ndawn = PIL.Image.open({str(picture)!r})\ndusk = dawn.rotate(180)\n"
    _, page = panel_page(lab, open_notebook, f"{variables}{connect}")
    (clip,) = generate_and_wait(page, service, "A red balloon")
    service.finish(clip)
    tiles(page).first.locator(".oxv-open").click()
    page.get_by_role("button", name="Use last frame").click()
    page.get_by_text("takes no image").wait_for()
    page.get_by_role("button", name=f"Switch to {IMAGE_MODEL}").click()
    page.locator(".oxv-model", has_text=IMAGE_MODEL).wait_for()
    label = page.locator(".oxv-item-label")
    page.wait_for_function("document.querySelector('.oxv-item-label')?.innerText.startsWith('last frame of')")
    for variable in ("dawn", "dusk"):
        page.get_by_label("Image: variable, path or URL").fill(variable)
        page.keyboard.press("Enter")
        page.locator(".oxv-item-label", has_text=variable).wait_for()
    page.get_by_text("Replaced dawn.").wait_for()
    page.get_by_label("Image: variable, path or URL").fill("noon")
    page.keyboard.press("Enter")
    error = page.get_by_text("There is no variable 'noon'")
    error.wait_for()
    assert error.count() == 1
    assert error.get_attribute("data-tone") == "wrong"
    assert label.count() == 1


def test_an_image_model_without_an_image_says_so_before_it_costs(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """The warning is shown before anything is submitted."""
    _, page = panel_page(lab, open_notebook, connect)
    page.get_by_label("Prompt", exact=True).fill("A red balloon")
    page.locator(".oxv-model").click()
    page.get_by_label("Find").fill(IMAGE_MODEL)
    options(page).first.click()
    page.locator(".oxv-warning", has_text="none is given").wait_for()
    page.locator(".oxv-model").click()
    page.get_by_label("Find").fill("kling-video-v2-5-turbo-pro-image")
    options(page).first.click()
    page.get_by_text("An image is required.").wait_for()
    page.get_by_role("button", name="Generate", exact=True).click()
    page.wait_for_function("document.activeElement.closest('[data-field=input_image]') !== null")
    assert len(service.jobs) == 0


def test_one_word_for_one_thing(lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str) -> None:
    """Labels and messages use the same word for the same thing."""
    _, page = panel_page(lab, open_notebook, connect)
    page.get_by_role("tab", name="Whole account").click()
    page.get_by_text("Nothing is running.").wait_for()
    page.get_by_role("button", name="Refresh", exact=True).click()
    page.get_by_role("tab", name="History").click()
    page.get_by_text("No history yet.").wait_for()
    page.locator(".oxv-model").click()
    page.get_by_role("radiogroup", name="Input").wait_for()
    page.get_by_label("Find").fill("kling o3 pro reference")
    options(page).first.click()
    page.get_by_role("radiogroup", name="Prompt style").wait_for()
    (clip,) = generate_and_wait(page, service, "A red balloon")
    service.finish(clip)
    page.get_by_role("tab", name="This kernel").click()
    tiles(page).first.wait_for()
    page.get_by_role("tab", name="History").click()
    page.get_by_role("button", name="Refresh", exact=True).click()
    page.locator(".oxv-job b", has_text="Succeeded").wait_for()
    assert page.get_by_text("Done", exact=True).count() == 0


def test_the_gallery_is_filtered_starred_walked_and_cleared(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """Filter, star, arrow keys, hover; a file is deleted only on request."""
    notebook, page = panel_page(lab, open_notebook, connect, "oxenvideo.submit('A gull', model='google-veo-3-1-fast')")
    for prompt in ("A red balloon", "A blue balloon", "A fox", "An ox"):
        service.finish(*generate_and_wait(page, service, prompt))
    tiles(page).nth(3).wait_for()
    page.get_by_label("Filter by words").fill("balloon")
    page.wait_for_function("document.querySelectorAll('.oxv-tile').length === 2")
    page.get_by_label("Filter by words").fill("")
    notebook.run_cell(2)
    page.get_by_label("Filter by model").select_option("google-veo-3-1-fast")
    page.locator(".oxv-job", has_text="A gull").get_by_text("Failed").wait_for()  # the service has no such model
    assert tiles(page).count() == 0
    page.get_by_label("Filter by model").select_option("Any model")
    page.get_by_role("button", name="Star: A fox").click()
    page.locator(".oxv-star[aria-pressed=true]").wait_for()
    page.get_by_label("Filter by status").select_option("Starred")
    page.wait_for_function("document.querySelectorAll('.oxv-tile').length === 1")
    assert "A fox" in tiles(page).first.inner_text()
    page.get_by_label("Filter by status").select_option("Failed or cancelled")
    page.locator(".oxv-job", has_text="A gull").wait_for()
    page.get_by_label("Filter by status").select_option("Running")
    page.get_by_text("Nothing matches the filter.").wait_for()
    page.get_by_role("button", name="Clear the filter").click()
    page.wait_for_function("document.querySelectorAll('.oxv-tile').length === 4")

    page.locator(".oxv-open").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator(".oxv-player .oxv-cap", has_text="A fox").wait_for()
    page.get_by_role("button", name="Next video").click()
    page.locator(".oxv-player .oxv-cap", has_text="A blue balloon").wait_for()
    page.keyboard.press("ArrowLeft")
    page.locator(".oxv-player .oxv-cap", has_text="A fox").wait_for()
    page.get_by_role("button", name="Close", exact=True).click()
    page.locator(".oxv-player").wait_for(state="hidden")

    page.emulate_media(reduced_motion="no-preference")
    tiles(page).first.locator(".oxv-open").hover()
    page.wait_for_function("[...document.querySelectorAll('.oxv-open video')].some(v => !v.paused && v.muted)")
    page.mouse.move(0, 0)
    page.wait_for_function("document.querySelectorAll('.oxv-open video').length === 0")
    page.emulate_media(reduced_motion="reduce")
    tiles(page).first.locator(".oxv-open").hover()
    page.wait_for_timeout(900)
    assert page.locator(".oxv-open video").count() == 0

    page.get_by_role("button", name="Remove: An ox").click()
    page.get_by_role("button", name="Keep", exact=True).click()
    assert tiles(page).count() == 4
    files = len(list((lab.root / "videos").glob("*.mp4")))
    for name, choice, left in (
        ("A red balloon", "Remove from the list", 3),
        ("A blue balloon", "Delete the file too", 2),
    ):
        page.get_by_role("button", name=f"Remove: {name}").click()
        page.locator(".oxv-tile", has_text=name).get_by_role("button", name=choice).click()
        page.wait_for_function(f"document.querySelectorAll('.oxv-tile').length === {left}")
        files -= choice.startswith("Delete")
        assert len(list((lab.root / "videos").glob("*.mp4"))) == files
    notebook.set_cell(1, SHOW)
    notebook.run_cell(1)
    page.locator(".oxv-star[aria-pressed=true]").wait_for()


def test_a_reloaded_page_shows_the_panel_as_it_is_and_without_its_kernel_how_to_open_it(
    server: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """The form keeps its values, the board shows what happened meanwhile, and both work. Later one line takes its place."""
    line = "The panel is open only while its kernel runs. Run this cell to open it."
    notebook, page = panel_page(server, open_notebook, connect)
    assert not page.get_by_text(line).is_visible()
    (clip,) = generate_and_wait(page, service, "A red balloon")
    page.get_by_label("Prompt", exact=True).fill("A blue balloon")
    page.get_by_role("radio", name="10 s").check()
    page.locator(".oxv-price", has_text="10 s").wait_for()
    notebook.save()
    page.goto("about:blank")
    service.finish(clip)
    service.wait_until(lambda: service.counts["GET /files/{file}"] > 0)
    notebook.load_until(page.locator(".oxv-board"))
    tiles(page).first.wait_for()
    assert page.get_by_label("Prompt", exact=True).input_value() == "A blue balloon"
    assert page.get_by_role("radio", name="10 s").is_checked()
    page.get_by_role("button", name="Generate", exact=True).click()
    service.wait_until(lambda: len(service.jobs) == 2)
    assert list(service.jobs.values())[1].body["prompt"] == "A blue balloon"
    page.locator(".oxv-job").get_by_text("Queued").wait_for()

    notebook.save()
    notebook.close()
    server.shut_down_kernels()
    again = open_notebook(server, notebook.path)
    again.wait_for_text(line, within=again.outputs(1))
    error = again.page.get_by_text("Error displaying widget")
    error.wait_for(state="attached", timeout=30_000)
    assert not error.is_visible()
    keep(again.page, "panel_without_kernel")


def test_two_videos_are_compared_by_a_divider(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """The divider follows the mouse, a finger and the arrow keys; left of it is one video, right of it the other."""
    _, page = panel_page(lab, open_notebook, connect)
    service.finish(*generate_and_wait(page, service, "A red balloon", 2))
    tiles(page).nth(1).wait_for()
    for at in range(2):
        tiles(page).nth(at).locator(".oxv-pick input").press(" ")
    page.get_by_role("button", name="Wipe").click()
    divider = page.get_by_label("Divider between the videos")
    box = divider.bounding_box()
    assert box is not None
    clipped = "getComputedStyle(document.querySelectorAll('.oxv-wipe .oxv-video')[1]).clipPath"
    page.wait_for_function("[...document.querySelectorAll('.oxv-wipe .oxv-video')].every(v => v.readyState >= 1)")
    boxes = [video.bounding_box() for video in page.locator(".oxv-wipe .oxv-video").all()]
    assert boxes[0] == boxes[1], "the videos are not in one place"

    def at() -> float:
        return float(page.evaluate(clipped).split()[-1].rstrip("%)"))

    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert 20 < at() < 30
    divider.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert 30 < at() < 40
    touch = page.context.new_cdp_session(page)
    middle = {"x": box["x"] + box["width"] * 0.75, "y": box["y"] + box["height"] / 2}
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [middle]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    touch.detach()
    page.wait_for_function(f"parseFloat({clipped}.split(' ').pop()) > 60")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("[...document.querySelectorAll('.oxv-wipe .oxv-video')].every(v => v.currentTime > 0)")
    keep(page, "wipe")
    page.get_by_role("button", name="Wipe").click()
    divider.wait_for(state="hidden")


# The heights of a video and of one like it that has nothing to load.
HEIGHTS = """video => {
    const unloaded = video.cloneNode();
    unloaded.removeAttribute("src");
    const heights = [video.offsetHeight];
    video.replaceWith(unloaded);
    heights.push(unloaded.offsetHeight);
    unloaded.replaceWith(video);
    return heights;
}"""


def test_chosen_videos_are_joined(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """Join takes the chosen videos in their order, and opens the film; a video has its place before it loads."""
    _, page = panel_page(lab, open_notebook, connect)
    service.finish(*generate_and_wait(page, service, "A red balloon", 3))
    tiles(page).nth(2).wait_for()
    for at in range(3):
        tiles(page).nth(at).locator(".oxv-pick input").press(" ")  # a comparison opens, which moves the tiles
    page.get_by_role("button", name="Join 3 videos").press("Enter")
    page.get_by_text("Joined as videos/film.mp4.").wait_for(timeout=30_000)
    film = page.locator(".oxv-player .oxv-video")
    page.wait_for_function("document.querySelectorAll('.oxv-player .oxv-video').length === 1")
    page.wait_for_function("document.querySelector('.oxv-player .oxv-video').duration > 0", timeout=30_000)
    assert film.count() == 1
    assert (lab.root / "videos" / "film.mp4").is_file()
    loaded, unloaded = film.evaluate(HEIGHTS)
    assert loaded == unloaded > 150  # which is the height of a video of unknown shape without a style
