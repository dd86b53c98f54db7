"""One job on one adapter, with a host that records what it is told."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oxenvideo.server.engines.comfyui import ComfyUI
from oxenvideo.server.engines.engine import EngineConfig, Job, ModelConfig

WORKFLOWS = Path(__file__).parent / "workflows"
TEXT, IMAGE = "text-to-video.json", "image-to-video.json"


class RecordingHost:
    """A host without a server."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content
        self.fetched: list[str] = []
        self.remote_id: str | None = None
        self.reports: list[tuple[int, int, bytes | None]] = []

    async def fetch(self, uri: str) -> bytes:
        self.fetched.append(uri)
        return self.content

    def accepted(self, remote_id: str) -> None:
        self.remote_id = remote_id

    def rejected(self) -> None:
        self.remote_id = None

    def report(self, step: int, total: int, preview: bytes | None = None) -> None:
        self.reports.append((step, total, preview))


def model(workflow: str | Path = TEXT, **options: Any) -> ModelConfig:
    """A model on gpu1."""
    return ModelConfig("wan22", ("gpu1",), {"workflow": str(workflow), **options}, WORKFLOWS)


def job(path: Path, config: ModelConfig | None = None, *, remote_id: str | None = None, **parameters: Any) -> Job:
    """A job whose video goes to ``path``."""
    given = {"prompt": "A fox", "seed": 3} | parameters
    return Job(str(uuid.uuid4()), config or model(), given, 0, remote_id, path)


def adapter(url: str, **headers: str) -> ComfyUI:
    """The adapter of gpu1."""
    return ComfyUI(EngineConfig("gpu1", "comfyui", url, headers))


def run(url: str, work: Job, host: RecordingHost | None = None) -> RecordingHost:
    """Run one job to its end."""
    told = host or RecordingHost()

    async def whole() -> None:
        engine = adapter(url)
        try:
            await asyncio.wait_for(engine.run(work, told), 30)
        finally:
            await engine.close()

    asyncio.run(whole())
    return told


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], object], name: str = TEXT) -> Path:
    """A workflow with a change."""
    graph = json.loads((WORKFLOWS / name).read_text())
    change(graph)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(graph))
    return path


def titles(graph: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of each node of a graph by its title."""
    return {node["_meta"]["title"]: node["inputs"] for node in graph.values()}
