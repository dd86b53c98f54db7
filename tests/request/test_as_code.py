"""A request written as a cell or as Python, and read back by what reads cells and calls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxenvideo.catalog.catalog import bundled
from oxenvideo.media.media import Media
from oxenvideo.notebook import arguments
from oxenvideo.notebook import cell as cells
from oxenvideo.request.build import build
from oxenvideo.request.request import VideoRequest

TEXT = "kling-video-v2-6-pro-text-to-video"
REFERENCE = "kling-video-o3-pro-reference-to-video"
A, B = "https://a.example/a.png", "https://a.example/b.png?x={1}&y='2'"


@dataclass
class Upstream:
    """Enough of a Generation for a medium."""

    key: str
    name: str

    def wait(self) -> None:
        """Nothing to wait for."""


CLIP = Upstream("key-1", "clip")


def run(cell: str) -> VideoRequest:
    """The request that the magic makes of a cell, unchecked."""
    first, _, body = cell.partition("\n")
    assert first.startswith("%%oxenvideo ")
    options = arguments.parse_cell(first.removeprefix("%%oxenvideo ") + " --no-check")
    (request,), _ = cells.requests(options, body, {"clip": CLIP}, bundled(), TEXT, {})
    return request


def call(code: str) -> VideoRequest:
    """The request that a call makes, unchecked."""

    def submit(prompt: str | None = None, **wishes: Any) -> VideoRequest:
        return build(prompt, catalog=bundled(), check=False, **wishes).request

    oxenvideo = SimpleNamespace(submit=submit, submit_batch=lambda listed: submit(**listed[0]))
    made = eval(code, {"oxenvideo": oxenvideo, "clip": CLIP})  # noqa: S307 - our own text
    assert isinstance(made, VideoRequest)
    return made


REQUESTS = {
    "text": VideoRequest(TEXT, {"prompt": "A {red} balloon\n\nover a hill", "duration": 5, "aspect_ratio": "16:9"}),
    "numbers and switches": VideoRequest(TEXT, {"prompt": "x", "cfg_scale": 0.7, "generate_audio": True, "seed": -3}),
    "switched off": VideoRequest(
        "kling-video-o1-video-to-video-edit", {"prompt": "x", "input_video": A, "keep_audio": False}
    ),
    "quotes": VideoRequest(TEXT, {"prompt": "x", "negative_prompt": "no 'quotes', \"double\" {braces} or\nlines"}),
    "text like JSON": VideoRequest("openai-sora-2-pro", {"prompt": "x", "seconds": "4"}),
    "text with JSON quotes": VideoRequest(TEXT, {"prompt": "x", "negative_prompt": '"blur"'}),
    "text like a list": VideoRequest(TEXT, {"prompt": "x", "negative_prompt": "[blur"}),
    "text like a variable": VideoRequest(TEXT, {"prompt": "x", "negative_prompt": "{clip}"}),
    "text like an option": VideoRequest(TEXT, {"prompt": "x", "negative_prompt": "--wait"}),
    "unknown parameters": VideoRequest(TEXT, {"prompt": "x", "durations": "5", "odd": {"a": [1, "{b}", None]}}),
    "shots": VideoRequest(REFERENCE, {"multi_prompt": [{"prompt": "a {b}", "duration": 5}, {"prompt": "c"}]}),
    "one shot": VideoRequest(REFERENCE, {"multi_prompt": [{"prompt": "a {b}", "duration": 5}]}),
    "media": VideoRequest(
        REFERENCE,
        {
            "prompt": "x",
            "start_image_url": A,
            "input_image": [A, B],
            "elements": [{"frontal_image_url": A, "reference_image_urls": [B]}, {"frontal_image_url": B}],
        },
    ),
    "bytes": VideoRequest(REFERENCE, {"prompt": "x", "start_image_url": "data:image/png;base64,iVBORw0KGgo="}),
    "count and place": VideoRequest(
        TEXT, {"prompt": "x"}, count=7, target_namespace="ox", target_repo="v", target_directory="a/b"
    ),
    "namespace only": VideoRequest(TEXT, {"prompt": "x"}, target_namespace="123"),
    "format": VideoRequest(TEXT, {"prompt": "x"}, response_format="b64_json"),
    "no prompt": VideoRequest("topazlabs-upscale-starlight-2-5-video", {"input_video": A, "target_fps": 23.976}),
    "a model nobody knows": VideoRequest("acme/video 1", {"prompt": "x", "strength": "high", "steps": 4}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_cell_makes_the_request_again(name: str) -> None:
    """The magic reads the cell as the very same request."""
    assert run(REQUESTS[name].as_cell("again")) == REQUESTS[name]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_call_makes_the_request_again(name: str) -> None:
    """The Python call is evaluated to the very same request."""
    assert call(REQUESTS[name].as_python()) == REQUESTS[name]


def test_names_that_are_no_identifiers() -> None:
    """A parameter whose name Python cannot write as a keyword is still in the call."""
    request = VideoRequest(TEXT, {"prompt": "x", "2d-mode": 1})
    assert call(request.as_python()) == request


def test_files_and_generations_in_code(tmp_path: Path) -> None:
    """A file is written by its path, another Generation by its variable, alone and in lists."""
    path = tmp_path / "a cat.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    cat, frame = Media.from_value(path, "image"), Media.from_value(CLIP, "image")
    request = VideoRequest(
        REFERENCE,
        {
            "prompt": "x",
            "start_image_url": frame,
            "tail_image_url": cat,
            "input_image": [frame, cat],
            "elements": [{"frontal_image_url": frame}],
        },
    )
    cell = request.as_cell()
    assert "--start-image-url '{clip}'" in cell
    assert run(cell) == request
    assert call(request.as_python()) == request
    assert "start_image_url=clip," in request.as_python()
    assert repr(str(path)) in request.as_python()


def test_a_cell_reads_well() -> None:
    """An ordinary request is an ordinary cell, and an ordinary call."""
    request = VideoRequest(TEXT, {"prompt": "A red balloon", "duration": 5, "generate_audio": True}, count=2)
    assert request.as_cell("clip") == (
        "%%oxenvideo clip --model kling-video-v2-6-pro-text-to-video --duration 5 --generate-audio -n 2\nA red balloon"
    )
    assert request.with_(count=1).as_python() == (
        "oxenvideo.submit(\n    prompt='A red balloon',\n    model='kling-video-v2-6-pro-text-to-video',\n"
        "    duration=5,\n    generate_audio=True,\n)"
    )
    assert request.as_python().startswith("oxenvideo.submit_batch([\n    dict(\n        prompt='A red balloon',")


VALUES = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.lists(st.text(), max_size=2),
)
PROMPTS = st.text(min_size=1).filter(lambda text: text == text.strip() and "---" not in text and "\r" not in text)


@given(
    PROMPTS, st.dictionaries(st.sampled_from(["zeta", "cfg_scale", "negative_prompt", "new_thing"]), VALUES, max_size=3)
)
def test_any_cell_makes_its_request_again(prompt: str, parameters: dict[str, Any]) -> None:
    """Whatever text and values a request holds, its cell says them."""
    spec = bundled()[TEXT].parameters
    given = {n: v for n, v in parameters.items() if n not in spec or _fits(spec[n], v)}
    request = VideoRequest(TEXT, {"prompt": prompt, **given})
    assert json.dumps(run(request.as_cell()).to_json(), sort_keys=True) == json.dumps(request.to_json(), sort_keys=True)


def _fits(spec: dict[str, Any], value: Any) -> bool:
    kinds = {"number": (int, float), "string": (str,), "integer": (int,)}[spec["type"]]
    return type(value) in kinds
