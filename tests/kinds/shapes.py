"""The twelve documented shapes of a request: the cell that a person writes, and the JSON that the service gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.support import TINY
from shell import SMALL

TEXT = "kling-video-v2-6-pro-text-to-video"
IMAGE = "kling-video-v2-6-pro-image-to-video"
REFERENCE = "kling-video-o3-pro-reference-to-video"
EDIT = "kling-video-o3-pro-video-to-video-edit"
UPSCALE = "topazlabs-upscale-starlight-2-5-video"


@dataclass(frozen=True)
class Shape:
    """A cell's line and body, and the bodies of the requests that it makes; ``<name>`` there is an input's address."""

    line: str
    body: str
    sent: Mapping[str, Any]
    endpoint: str = "/api/ai/queue"

    def cell(self, name: str = "", extra: str = "") -> str:
        """The cell, its result in the variable ``name``; without a body it is a line, as IPython wants it."""
        words = " ".join(filter(None, ("oxenvideo", name, self.line, extra)))
        return f"%%{words}\n{self.body}" if self.body else f"%{words}"

    def documented(self, urls: Mapping[str, str]) -> dict[str, Any]:
        """The JSON with the inputs' addresses in it."""
        text = json.dumps(self.sent)
        for name, url in urls.items():
            text = text.replace(f"<{name}>", url)
        filled: dict[str, Any] = json.loads(text)
        return filled


SHAPES: Mapping[str, Shape] = {
    "text": Shape(
        f"--model {TEXT} --duration 5 --aspect-ratio 1:1 --negative 'blur, text' --cfg-scale 0.7",
        "A red balloon floating upward",
        {
            "model": TEXT,
            "prompt": "A red balloon floating upward",
            "duration": 5,
            "aspect_ratio": "1:1",
            "negative_prompt": "blur, text",
            "cfg_scale": 0.7,
        },
    ),
    "image": Shape(
        f"--model {IMAGE} --image {{cat}} --duration 5",
        "It purrs",
        {"model": IMAGE, "prompt": "It purrs", "input_image": "<cat>", "duration": 5},
    ),
    "image array": Shape(
        f"--model {REFERENCE} --image bird --image dog --duration 3 --aspect-ratio 1:1",
        "@Image1 meets @Image2",
        {
            "model": REFERENCE,
            "prompt": "@Image1 meets @Image2",
            "input_image": ["<bird>", "<dog>"],
            "duration": 3,
            "aspect_ratio": "1:1",
        },
    ),
    "start and end frame": Shape(
        f"--model {REFERENCE} --start-image cat --end-image dog --duration 3 --aspect-ratio 1:1",
        "One becomes the other",
        {
            "model": REFERENCE,
            "prompt": "One becomes the other",
            "start_image_url": "<cat>",
            "tail_image_url": "<dog>",
            "duration": 3,
            "aspect_ratio": "1:1",
        },
    ),
    "elements": Shape(
        f"--model {REFERENCE} --element bird dog --element cat --duration 3 --aspect-ratio 1:1",
        "@Element1 jumps over @Element2",
        {
            "model": REFERENCE,
            "prompt": "@Element1 jumps over @Element2",
            "elements": [
                {"frontal_image_url": "<bird>", "reference_image_urls": ["<dog>"]},
                {"frontal_image_url": "<cat>"},
            ],
            "duration": 3,
            "aspect_ratio": "1:1",
        },
    ),
    "multi-shot": Shape(
        f"--model {REFERENCE} --aspect-ratio 1:1",
        "[2s] A door opens in the desert\n---\n[3s] A whale swims in the deep sea",
        {
            "model": REFERENCE,
            "multi_prompt": [
                {"prompt": "A door opens in the desert", "duration": 2},
                {"prompt": "A whale swims in the deep sea", "duration": 3},
            ],
            "aspect_ratio": "1:1",
        },
    ),
    "multi-shot with references and sound": Shape(
        f"--model {REFERENCE} --image bird --element dog --audio --aspect-ratio 1:1",
        "[1s] @Image1 wakes in the snow\n---\n[2s] @Element1 walks in a forest",
        {
            "model": REFERENCE,
            "multi_prompt": [
                {"prompt": "@Image1 wakes in the snow", "duration": 1},
                {"prompt": "@Element1 walks in a forest", "duration": 2},
            ],
            "input_image": ["<bird>"],
            "elements": [{"frontal_image_url": "<dog>"}],
            "generate_audio": True,
            "aspect_ratio": "1:1",
        },
    ),
    "video edit with references": Shape(
        f"--model {EDIT} --video bar --image bird --element dog --keep-audio",
        "Put @Image1 and @Element1 into the picture",
        {
            "model": EDIT,
            "prompt": "Put @Image1 and @Element1 into the picture",
            "input_video": "<bar>",
            "input_image": ["<bird>"],
            "elements": [{"frontal_image_url": "<dog>"}],
            "keep_audio": True,
        },
    ),
    "upscale": Shape(
        f"--model {UPSCALE} --video bar --resolution 1080p --target-fps 24",
        "",
        {"model": UPSCALE, "input_video": "<bar>", "resolution": "1080p", "target_fps": 24},
    ),
    "count of 4": Shape(
        f"{SMALL} -n 4",
        "A red balloon",
        {**TINY, "num_generations": 4},
    ),
    "namespace and repository": Shape(
        f"{SMALL} --repo ox/films/red/balloons",
        "A red balloon",
        {
            **TINY,
            "target_namespace": "ox",
            "target_repo": "films",
            "target_directory": "red/balloons",
        },
    ),
    "b64_json": Shape(
        f"{SMALL} --sync --response-format b64_json",
        "A red balloon",
        {**TINY, "response_format": "b64_json"},
        endpoint="/api/ai/videos/generate",
    ),
}
