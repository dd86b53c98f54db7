"""JupyterLab and Notebook 7: the live card, what is saved, and what a reopened notebook shows."""

from __future__ import annotations

import pytest

from browser.pages import OpenNotebook
from browser.servers import Server
from faulty import FaultyService

pytestmark = pytest.mark.browser


def test_a_card_ends_as_a_video_that_plays_in_lab(
    lab: Server, open_notebook: OpenNotebook, service: FaultyService, connect: str
) -> None:
    """The card stands below its cell while the job runs, and becomes a playing video there."""
    notebook = open_notebook(
        lab, [connect, "%%oxenvideo clip\nA red balloon floating upward", "print('still', 'free')"]
    )
    notebook.run_all()
    notebook.wait_for_text("still free", within=notebook.outputs(2))
    notebook.wait_for_text("Queued", within=notebook.outputs(1))
    service.finish()
    notebook.wait_for_text("Done", within=notebook.outputs(1))
    assert notebook.plays(notebook.outputs(1).locator("video"))
    assert not notebook.complaints
