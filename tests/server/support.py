"""Plain HTTP and helpers for the tests of the embedded server."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from oxenvideo.server.launcher import LocalServer, launch

# Open weights with a size of their own: the smallest video there is.
TINY_MODEL = "wan-ai-wan2-1-t2v-1-3b-diffusers"
TINY: dict[str, Any] = {"model": TINY_MODEL, "prompt": "A red balloon", "width": 64, "height": 64, "num_frames": 8}
KLING = "kling-video-v2-6-pro-text-to-video"
OMNI = "kling-video-o3-pro-reference-to-video"
# Two minutes of video: the render begins at once and takes many seconds, for tests that end it early.
LONG: dict[str, Any] = {"model": KLING, "prompt": "A red balloon", "width": None, "height": None, "num_frames": 2880}

# The preview at the size of a thumbnail, whatever a request says; its length stays as requested.
_SMALL_RENDERER = """
from dataclasses import replace

from oxenvideo.server.preview.render import LocalPreview

class Small(LocalPreview):
    def render(self, job, path):
        return super().render(replace(job, parameters=job.parameters | {"width": 64, "height": 64}), path)
"""


class Api:
    """A running server and its key."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.url = server.base_url
        self.key = server.api_key
        headers = {"Authorization": f"Bearer {self.key}"}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def enqueue(self, **body: Any) -> list[str]:
        """Enqueue a tiny video with these parameters changed; return the ids."""
        answer = self.http.post("/api/ai/queue", json=TINY | body)
        assert answer.status_code == 200, answer.text
        return [row["generation_id"] for row in answer.json()["generations"]]

    def get(self, id_: str) -> dict[str, Any]:
        """Read a generation."""
        answer = self.http.get(f"/api/ai/queue/{id_}")
        assert answer.status_code == 200, answer.text
        row: dict[str, Any] = answer.json()
        return row

    def wait(self, id_: str, *, until: tuple[str, ...] = ("succeeded", "failed", "cancelled")) -> dict[str, Any]:
        """Poll until the generation has one of these statuses."""
        return until_true(lambda: (row := self.get(id_))["status"] in until and row)

    def make(self, **body: Any) -> dict[str, Any]:
        """Enqueue one and wait for its end."""
        (id_,) = self.enqueue(**body)
        return self.wait(id_)

    def video(self, **body: Any) -> bytes:
        """Render a video and download it."""
        row = self.make(**body)
        assert row["status"] == "succeeded", row["error_message"]
        return httpx.get(row["result_url"]).content


def launch_small(directory: Path, *options: str) -> Api:
    """Start a server that makes all videos 64 by 64 pixels; its requests and answers are those of any other."""
    (directory / "small_renderer.py").write_text(_SMALL_RENDERER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{directory}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        return Api(launch(directory / "data", options=("--renderer", "small_renderer:Small", *options)))


def until_true(look: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Call until the result is true; return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if seen := look():
            return seen
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    run = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in run.stdout.split()]


def frames(content: bytes | Path) -> list[VideoFrame]:
    """Decode every frame of a video."""
    source = io.BytesIO(content) if isinstance(content, bytes) else str(content)
    with av.open(source) as container:
        return list(container.decode(video=0))


def pixels(frame: VideoFrame) -> np.ndarray[Any, Any]:
    """Return a frame as RGB numbers."""
    return frame.to_ndarray(format="rgb24").astype(np.int16)


def drawing(seed: int, size: tuple[int, int] = (320, 180)) -> Image.Image:
    """Draw an image that differs for each seed: a gradient with blocks in it."""
    chance = np.random.default_rng(seed)
    one, other = chance.integers(20, 235, (2, 3))
    down = np.linspace(0, 1, size[1])[:, None, None]
    colours = np.broadcast_to(one * (1 - down) + other * down, (size[1], size[0], 3)).astype(np.uint8).copy()
    for _ in range(3):
        x, y = chance.integers(0, size[0] * 2 // 3), chance.integers(0, size[1] * 2 // 3)
        colours[y : y + size[1] // 3, x : x + size[0] // 4] = chance.integers(20, 235, 3)
    return Image.fromarray(colours)


def png(image: Image.Image) -> bytes:
    """Encode an image."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def data_uri(content: bytes, mime: str = "image/png") -> str:
    """Return the content as a data URI."""
    import base64

    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def likeness(frame: VideoFrame, image: Image.Image) -> float:
    """Return the mean difference between a frame and an image, 0 to 255."""
    wanted = np.asarray(image.convert("RGB").resize((frame.width, frame.height), Image.Resampling.LANCZOS), np.int16)
    return float(np.abs(pixels(frame) - wanted).mean())
