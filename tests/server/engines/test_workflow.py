"""Workflows: parameters by title and by map, the schema, and one sentence for each mistake."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from oxenvideo.server.engines.engine import ConfigurationError
from oxenvideo.server.engines.workflow import Workflow
from server.engines.comfy_stub import ComfyStub
from server.engines.one_job import IMAGE, WORKFLOWS, adapter, changed, model


def test_titles_become_parameters() -> None:
    """Names, types and defaults are those of the workflow; what a video must have is required."""
    schema = Workflow(model(IMAGE)).schema({})
    assert list(schema["properties"]) == ["prompt", "seed", "frames", "fps", "width", "height", "input_image"]
    assert schema["required"] == ["prompt", "input_image"]
    types = {name: each["type"] for name, each in schema["properties"].items()}
    assert types == {"prompt": "string", "seed": "integer", "frames": "integer", "fps": "number",
                     "width": "integer", "height": "integer", "input_image": "string"}  # fmt: skip
    assert (schema["properties"]["frames"]["default"], schema["properties"]["fps"]["default"]) == (24, 12.0)
    assert "default" not in schema["properties"]["seed"]


def test_ranges_come_from_the_engine(stub: ComfyStub) -> None:
    """A value over a link is not checked by ComfyUI, so the range is that of the inputs that it is linked to."""

    async def whole() -> Any:
        engine = adapter(stub.url)
        assert await engine.check(model()) == []
        await engine.close()
        return engine.describe(model())["request_schema"]["properties"]

    found = asyncio.run(whole())
    assert (found["frames"]["minimum"], found["frames"]["maximum"]) == (1, 4096)
    assert (found["fps"]["minimum"], found["fps"]["maximum"]) == (1, 120)
    assert (found["width"]["minimum"], found["width"]["maximum"], found["width"]["multipleOf"]) == (16, 16384, 2)


def test_a_map_overrides_titles() -> None:
    """It renames, adds, limits and removes parameters."""
    parameters = {"length": "3.value", "noise": {"input": "Grain.strength", "maximum": 0.5}, "fps": False}
    workflow = Workflow(model(parameters=parameters))
    assert set(workflow.parameters) == {"prompt", "seed", "width", "height", "length", "noise"}
    noise = workflow.schema({})["properties"]["noise"]
    assert (noise["type"], noise["default"], noise["maximum"]) == ("number", 0.25, 0.5)
    graph = workflow.filled({"noise": 0.1, "length": 7, "fps": 3}, "oxenvideo/id")
    assert (graph["8"]["inputs"]["strength"], graph["3"]["inputs"]["value"], graph["4"]["inputs"]["value"]) == (
        0.1,
        7,
        12.0,
    )


def test_a_list_never_becomes_a_link() -> None:
    """ComfyUI reads a list as a link to another node."""
    graph = Workflow(model()).filled({"prompt": ["3", 0]}, "p")
    assert graph["1"]["inputs"]["value"] == "A lighthouse at dawn"


def test_usual_titles_are_understood(tmp_path: Path) -> None:
    """As people title the nodes of a workflow of Wan."""

    def rename(graph: dict[str, Any]) -> None:
        graph["1"]["_meta"]["title"] = "Positive"
        graph["2"]["_meta"]["title"] = "Noise Seed"
        graph["20"] = {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Start Image"}}
        graph["21"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry"}, "_meta": {"title": "negative"}}

    names = set(Workflow(model(changed(tmp_path, rename))).parameters)
    assert {"prompt", "seed", "start_image_url", "negative_prompt"} <= names


def _write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "flow.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def _duplicate(graph: dict[str, Any]) -> None:
    graph["3"]["_meta"]["title"] = "seed"


def _linked(graph: dict[str, Any]) -> None:
    graph["2"]["_meta"]["title"] = "number"
    graph["8"]["_meta"]["title"] = "seed"
    del graph["8"]["inputs"]["strength"]


SENTENCES: list[tuple[Any, dict[str, Any], str]] = [
    ({"nodes": [], "links": []}, {}, "Model wan22: flow.json is saved in the format of ComfyUI's editor. Export it with"
     " File > Export (API)."),
    ("{", {}, "Model wan22: flow.json is not JSON."),
    ([1], {}, "Model wan22: flow.json is not a ComfyUI workflow in API format."),
    (_duplicate, {}, "Model wan22: the nodes 2 and 3 both have the title of the parameter 'seed'. Rename one, or set"
     " parameters.seed."),
    (_linked, {}, "Model wan22: the input 'seed' of node 8 'seed' is linked to another node. Give the title 'seed' to the"
     " node that holds the value, or set parameters.seed."),
    (None, {"parameters": {"x": "99.value"}}, "Model wan22: parameters.x: no node of the workflow has the id or title '99'."),
    (None, {"parameters": {"x": "8.nothing"}}, "Model wan22: parameters.x: node 8 'Grain' has no input 'nothing'."),
    (None, {"parameters": {"x": "8.seed"}}, "Model wan22: parameters.x: the input 'seed' of node 8 'Grain' is linked to"
     " another node."),
    (None, {"parameters": {"x": 3}}, "Model wan22: parameters.x must be 'NODE.INPUT', such as '3.steps'."),
    (None, {"workflow": "nowhere.json"}, "Model wan22: nowhere.json cannot be read: No such file or directory."),
]  # fmt: skip


@pytest.mark.parametrize(("content", "options", "sentence"), SENTENCES)
def test_each_mistake_is_one_sentence(tmp_path: Path, content: Any, options: dict[str, Any], sentence: str) -> None:
    """The same sentence from `engines check` and at the submit."""
    if callable(content):
        path = _write(tmp_path, json.loads(changed(tmp_path, content).read_text()))
    else:
        path = _write(tmp_path, content) if content is not None else WORKFLOWS / "text-to-video.json"
    with pytest.raises(ConfigurationError) as found:
        Workflow(model(**({"workflow": path} | options)))
    assert str(found.value) == sentence
