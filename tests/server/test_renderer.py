"""A renderer in place of the preview."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from server.conftest import Launch

RENDERER = """
from oxenvideo.server.renderer import Rendered, RenderError

class Echo:
    def render(self, job, path):
        print("renderers may print")
        if job.parameters["prompt"] == "refuse":
            raise RenderError("Not this one.")
        if job.parameters["prompt"] == "break":
            raise ZeroDivisionError("inside")
        if job.parameters["prompt"] == "talk":
            raise RenderError("x" * 1_000_000)
        path.write_bytes(f"{job.model['id']} {job.parameters['prompt']} {job.variation}".encode())
        return Rendered(seconds=5.0, audio=False, resolution="x" * 200_000)
"""


def test_a_renderer_of_ones_own(start: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class with `render` makes the videos. A RenderError is the error message; other exceptions fail the job too."""
    (tmp_path / "mine.py").write_text(RENDERER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    api = start("--renderer", "mine:Echo", "--workers", "1")
    ids = api.enqueue(num_generations=2)
    made = [httpx.get(api.wait(id_)["result_url"]).text for id_ in ids]
    assert made == [f"wan-ai-wan2-1-t2v-1-3b-diffusers A red balloon {n}" for n in (0, 1)]
    assert api.make(prompt="refuse")["error_message"] == "Not this one."
    assert api.make(prompt="break")["error_message"] == "The renderer failed: ZeroDivisionError: inside"
    assert api.make(prompt="talk")["error_message"].startswith("xxx")
    assert api.make()["status"] == "succeeded"
