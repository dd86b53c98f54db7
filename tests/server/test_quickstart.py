"""The samples of the API's quick start, unchanged except for the host, the key and a shorter sleep."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.support import Api, frames, launch_small

pytestmark = pytest.mark.slow

SYNCHRONOUS_PYTHON = """
import requests

response = requests.post(
    "https://hub.oxen.ai/api/ai/videos/generate",
    headers={"Authorization": "Bearer YOUR_API_KEY", "Content-Type": "application/json"},
    json={
        "model": "kling-video-v2-6-pro-text-to-video",
        "prompt": "A red balloon floating upward through blue sky",
        "duration": 5,
    },
)

data = response.json()
print("Video URL:", data["videos"][0]["url"])
"""

SYNCHRONOUS_CURL = """
curl -X POST https://hub.oxen.ai/api/ai/videos/generate \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "kling-video-v2-6-pro-text-to-video",
    "prompt": "A red balloon floating upward through blue sky",
    "duration": 5
  }'
"""

QUEUE_PYTHON = """
import time

import requests

API_KEY = "YOUR_API_KEY"
HEADERS = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}

response = requests.post(
    "https://hub.oxen.ai/api/ai/queue",
    headers=HEADERS,
    json={
        "model": "kling-video-v2-6-pro-text-to-video",
        "prompt": "A sunset timelapse over the ocean",
        "duration": 5,
    },
)
generations = response.json()["generations"]
generation_id = generations[0]["generation_id"]

while True:
    data = requests.get(f"https://hub.oxen.ai/api/ai/queue/{generation_id}", headers=HEADERS).json()
    if data["status"] in {"succeeded", "failed", "cancelled"}:
        break
    time.sleep(10)

if data["status"] == "succeeded":
    print("Video URL:", data["result_url"])
else:
    print(data["status"], data.get("error_message"))
"""

QUEUE_CURL = """
curl -X POST https://hub.oxen.ai/api/ai/queue \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "kling-video-v2-6-pro-text-to-video",
    "prompt": "A sunset timelapse over the ocean",
    "duration": 5
  }'
"""

POLL_CURL = """
curl -H "Authorization: Bearer YOUR_API_KEY" \\
  "https://hub.oxen.ai/api/ai/queue/GENERATION_ID"
"""

LIST_CURL = """
curl -H "Authorization: Bearer YOUR_API_KEY" \\
  "https://hub.oxen.ai/api/ai/queue?model=kling-video-v2-6-pro-text-to-video"
"""

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def _here(api: Api, sample: str) -> str:
    return (
        sample.replace("https://hub.oxen.ai", api.url)
        .replace("YOUR_API_KEY", api.key)
        .replace("sleep(10)", "sleep(0.2)")
    )


def _python(api: Api, sample: str) -> str:
    pytest.importorskip("requests", reason="the samples are written with requests")
    run = subprocess.run([sys.executable, "-c", _here(api, sample)], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def _curl(api: Api, sample: str) -> dict[str, object]:
    run = subprocess.run(["bash", "-c", _here(api, sample)], capture_output=True, text=True, check=True)
    answer: dict[str, object] = json.loads(run.stdout)
    return answer


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Return a server whose videos have their lengths, and a small size."""
    api = launch_small(tmp_path_factory.mktemp("small"), "--workers", "1")
    yield api
    api.server.stop()


def _is_five_seconds(path: Path, size: tuple[int, int] = (64, 64)) -> bool:
    decoded = frames(path)
    return (len(decoded), decoded[0].width, decoded[0].height) == (120, *size)


def _downloaded(url: object, tmp_path: Path) -> Path:
    import httpx

    path = tmp_path / "video.mp4"
    path.write_bytes(httpx.get(str(url)).raise_for_status().content)
    return path


@pytest.mark.parametrize("sample", [SYNCHRONOUS_PYTHON, QUEUE_PYTHON], ids=["synchronous", "queue"])
def test_python_samples(small: Api, sample: str, tmp_path: Path) -> None:
    """Both Python samples print the URL of a 5 s video."""
    printed = _python(small, sample)
    assert printed.startswith("Video URL: http")
    assert _is_five_seconds(_downloaded(printed.removeprefix("Video URL: "), tmp_path))


@needs_curl
def test_synchronous_curl(small: Api, tmp_path: Path) -> None:
    """The synchronous cURL sample prints the answer with the URL."""
    answer = _curl(small, SYNCHRONOUS_CURL)
    (video,) = answer["videos"]  # type: ignore[misc]
    assert _is_five_seconds(_downloaded(video["url"], tmp_path))


@needs_curl
def test_queue_curl(api: Api, tmp_path: Path) -> None:
    """The cURL samples of the queue enqueue, list and poll. The video has the usual size."""
    (row,) = _curl(api, QUEUE_CURL)["generations"]  # type: ignore[misc]
    listed = _curl(api, LIST_CURL)
    assert listed["count"] == 1
    assert api.wait(row["generation_id"])["status"] == "succeeded"
    polled = _curl(api, POLL_CURL.replace("GENERATION_ID", row["generation_id"]))
    assert polled["status"] == "succeeded"
    assert _is_five_seconds(_downloaded(polled["result_url"], tmp_path), (1280, 720))
    assert _curl(api, LIST_CURL)["count"] == 0
