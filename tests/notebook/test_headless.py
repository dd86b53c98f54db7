"""Runs without a front end: what nbclient, jupyter execute, papermill and nbconvert leave in the notebook."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

import kernels
from faulty import FaultyService, never_answer
from faulty.model import Job
from oxenvideo.request.request import VideoRequest

CLIP = "%%oxenvideo clip --duration 5\nA red balloon floating upward"
WAIT = "%oxenvideo wait clip"
WIDGET = "application/vnd.jupyter.widget-view+json"
NO_WIDGETS = "import sys\nsys.modules['ipywidgets'] = None"


def _failure(job: Job) -> str | None:
    return "Content policy: refused." if "refuse" in str(job.body.get("prompt")) else None


@pytest.fixture(scope="module")
def large_video() -> bytes:
    """About half a megabyte that plays: noise does not compress."""
    import av
    import numpy as np

    random = np.random.default_rng(7)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for _ in range(8):
            picture = random.integers(0, 255, (180, 320, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


@pytest.fixture(scope="module")
def service(large_video: bytes) -> Iterator[FaultyService]:
    """A service whose jobs take half a second; a prompt that says refuse is refused."""
    with FaultyService(keep_alive=0.5, job_seconds=0.5, failure=_failure, video=large_video) as running:
        yield running


@pytest.fixture
def environment(service: FaultyService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernels of a test get to see."""
    for name in [name for name in os.environ if name.startswith(("OXEN", "JPY_", "VOILA"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OXENVIDEO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OXEN_BASE_URL", service.base_url)
    monkeypatch.setenv("OXEN_API_KEY", service.api_key)


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("environment")]


def _notebook(cells: Sequence[str]) -> nbformat.NotebookNode:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in ("%load_ext oxenvideo", *cells)], metadata=kernel
    )


def _run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=60, resources=resources, config=kernels.through_files(folder)).execute()


def _execute(folder: Path, *cells: str) -> list[nbformat.NotebookNode]:
    """The cells after ``%load_ext``, run by nbclient."""
    notebook = _notebook(cells)
    _run(notebook, folder)
    executed: list[nbformat.NotebookNode] = notebook.cells[1:]
    return executed


def _by_nbclient(source: Path, result: Path) -> None:
    notebook = nbformat.read(source, as_version=4)
    _run(notebook, source.parent)
    nbformat.write(notebook, result)


def _by_execute(source: Path, result: Path) -> None:
    _module("jupyter", "execute", source.name, f"--output={result.name}", kernels.OPTION, cwd=source.parent)


def _by_nbconvert(source: Path, result: Path) -> None:
    arguments = ["--to", "notebook", "--execute", source.name, "--output", result.name, kernels.OPTION]
    _module("nbconvert", *arguments, cwd=source.parent)


def _by_papermill(source: Path, result: Path) -> None:
    _module("papermill", source.name, result.name, "--no-progress-bar", cwd=source.parent)


def _module(*arguments: str, cwd: Path) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def _html(cell: nbformat.NotebookNode) -> list[str]:
    return [output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {})]


def _text(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)


Runner = Callable[[Path, Path], None]


@pytest.mark.parametrize(
    ("module", "run"),
    [
        ("nbclient", _by_nbclient),
        ("nbclient", _by_execute),
        ("nbconvert", _by_nbconvert),
        ("papermill", _by_papermill),
    ],
    ids=["nbclient", "jupyter execute", "nbconvert --execute", "papermill"],
)
def test_a_run_that_waits_ends_with_the_video_in_the_saved_notebook(tmp_path: Path, module: str, run: Runner) -> None:
    """``%oxenvideo wait`` brings the video into the output of the cell that asked for it, once, and no widget."""
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed: pip install {module}")
    nbformat.write(_notebook([CLIP, WAIT]), tmp_path / "source.ipynb")
    run(tmp_path / "source.ipynb", tmp_path / "result.ipynb")
    origin, wait = nbformat.read(tmp_path / "result.ipynb", as_version=4).cells[-2:]
    assert [html.count("<video") for html in _html(origin)] == [1]
    assert _text(origin) == "clip: succeeded (kling-video-v2-6-pro-text-to-video)"
    assert _text(wait) == "clip: succeeded (kling-video-v2-6-pro-text-to-video)\n"
    assert not any(WIDGET in output.get("data", {}) for output in origin.outputs)


def test_a_cell_that_waits_itself_ends_with_the_video(tmp_path: Path) -> None:
    """``--wait`` needs no second cell."""
    (cell,) = _execute(tmp_path, CLIP.replace("clip", "clip --wait"))
    assert [html.count("<video") for html in _html(cell)] == [1]


@pytest.mark.parametrize("waiting", ["clip.wait();", "await clip;"])
def test_waiting_in_python_brings_the_video_too(tmp_path: Path, waiting: str) -> None:
    """The cell that waited in Python ends with the card brought up to date."""
    origin, _ = _execute(tmp_path, CLIP, waiting)
    assert [html.count("<video") for html in _html(origin)] == [1]


def test_a_run_without_waiting_says_that_the_video_is_to_come(tmp_path: Path, service: FaultyService) -> None:
    """What is saved says, as HTML and as text, what is under way and how to come by it; a later run resumes it."""
    service.always("GET /files/{file}", never_answer())  # nothing is delivered before the run ends
    accepted = "import time\nwhile clip.id is None:\n    time.sleep(0.01)"
    cell, _ = _execute(tmp_path, CLIP.replace("red", "blue"), accepted)
    service.clear("GET /files/{file}")
    assert "%oxenvideo wait clip" in _text(cell)
    assert "%oxenvideo resume" in _html(cell)[0]
    assert not any(WIDGET in output.get("data", {}) for output in cell.outputs)
    resumed, _ = _execute(tmp_path, "%oxenvideo resume", "%oxenvideo wait")
    assert "<video" in _html(resumed)[0]
    assert ["blue" in body["prompt"] for body in service.submits].count(True) == 1


def test_what_ended_unseen_is_found_again(tmp_path: Path, service: FaultyService) -> None:
    """With nothing left to resume, resume says which video ended meanwhile, and attach shows it, not downloaded again."""
    _execute(tmp_path, CLIP, WAIT)
    downloads = service.counts["GET /files/{file}"]
    (resume,) = _execute(tmp_path, "%oxenvideo resume")
    assert "Nothing of this notebook is unfinished" in _text(resume)
    attach = _text(resume).partition("; ")[2].partition(" shows it")[0]
    assert attach.startswith("%oxenvideo attach ")
    shown, _ = _execute(tmp_path, f"{attach} again", "%oxenvideo wait again")
    assert "<video" in _html(shown)[0]
    assert service.counts["GET /files/{file}"] == downloads


def test_a_failed_video_fails_the_run(tmp_path: Path) -> None:
    """The service's own words end the waiting cell, so that nothing builds on a video that is not there."""
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="Content policy: refused"):
        _execute(tmp_path, "%%oxenvideo clip\nPlease refuse this", WAIT)


def test_metadata_is_enough_to_make_the_video_again(tmp_path: Path, service: FaultyService) -> None:
    """Request, id, estimate and the file's hash are kept with the output, and the request as kept can be sent again."""
    origin, _ = _execute(tmp_path, CLIP, WAIT)
    told: dict[str, Any] = origin.outputs[0].metadata["oxenvideo"]
    job = service.jobs[told["generation_id"]]
    assert told["request"] == job.body
    assert told["estimate"] == "0.35"
    assert VideoRequest.from_body(told["request"]).preview() == job.body
    (file,) = (tmp_path / "videos").iterdir()
    assert told["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(("how", "most"), [("inline", 1.4), ("file", 0.0), ("auto", 1.4)])
def test_the_notebook_grows_by_little_more_than_its_video(
    tmp_path: Path, large_video: bytes, how: str, most: float
) -> None:
    """At most 1.4 times the file where it is kept inside, at most 64 KiB where it is linked."""
    origin, _ = _execute(tmp_path, CLIP.replace("clip", f"clip --embed {how}"), WAIT)
    grown = len(nbformat.writes(_notebook([])))
    grown = len(nbformat.writes(nbformat.v4.new_notebook(cells=[origin]))) - grown
    assert grown <= (most * len(large_video) if most else 64 * 1024)
    assert ("data:video/mp4" in _html(origin)[0]) == bool(most)


def test_a_link_is_relative_to_the_notebook(tmp_path: Path) -> None:
    """A linked video is found from where the notebook lies, so both can be moved together."""
    origin, _ = _execute(tmp_path, CLIP.replace("clip", "clip --embed file"), WAIT)
    source = _html(origin)[0].partition('<video src="')[2].partition('"')[0]
    assert (tmp_path / source).is_file()
    assert source.startswith("videos/")


def test_captured_output_is_one_plain_output(tmp_path: Path) -> None:
    """``%%capture`` gets HTML and text, once, however often the card would have changed."""
    show = "print(len(kept.outputs), kept.outputs[0].data['text/plain'], '<video' in kept.outputs[0].data['text/html'])"
    cells = ["%%capture kept\n" + CLIP.replace("clip", "clip --wait"), "import time; time.sleep(1.2)", show]
    *_, shown = _execute(tmp_path, *cells)
    assert _text(shown) == "1 clip: succeeded (kling-video-v2-6-pro-text-to-video) True\n"


def test_without_ipywidgets_there_is_html_and_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ipywidgets is not installed there is no button, and everything else works."""
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "n.ipynb"))  # as under a front end, where a button would be
    _, origin, _ = _execute(tmp_path, NO_WIDGETS, CLIP, WAIT)
    assert [sorted(output.data) for output in origin.outputs] == [["text/html", "text/plain"]]
    assert "<video" in _html(origin)[0]


def test_with_a_front_end_there_is_a_button(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counterpart, without which the test above could not fail."""
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "n.ipynb"))
    (origin,) = _execute(tmp_path, CLIP)
    assert any(WIDGET in output.get("data", {}) for output in origin.outputs)
