"""The engine on this machine, with tiny random weights on the CPU. Its process is real."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import io
import os
import resource
import signal
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from oxenvideo.server import models
from oxenvideo.server.engines import diffusers, wan
from oxenvideo.server.engines.diffusers import Diffusers
from oxenvideo.server.engines.engine import (
    ConfigurationError,
    EngineConfig,
    EngineDied,
    Job,
    JobFailed,
    ModelConfig,
    ModelUnavailable,
)
from oxenvideo.server.engines.wan import offloaded
from server.engines import tiny_wan

SMALL, HIGH_LOW, FIVE = (
    f"wan-ai-{name}-diffusers" for name in ("wan2-1-t2v-1-3b", "wan2-2-t2v-a14b", "wan2-2-ti2v-5b")
)
GIB = 2**30


class Host:
    """What the server does for the adapter, recorded."""

    def __init__(self, on_step: Callable[[], None] = lambda: None) -> None:
        self.steps: list[tuple[int, int]] = []
        self.previews: list[bytes] = []
        self._on_step = on_step

    async def fetch(self, uri: str) -> bytes:
        return base64.b64decode(uri.partition(",")[2])

    def accepted(self, remote_id: str) -> None:
        raise AssertionError("a job does not outlive the server")

    def rejected(self) -> None:
        raise AssertionError("a job does not outlive the server")

    def report(self, step: int, total: int, preview: bytes | None = None) -> None:
        if preview is None:
            self.steps.append((step, total))
        else:
            self.previews.append(preview)
        self._on_step()


class Machine:
    """An adapter, and the weights of its models."""

    def __init__(self, weights: dict[str, Path], scratch: Path) -> None:
        self._catalog = models.load()
        self._weights = weights
        self._scratch = scratch
        self._runner = asyncio.Runner()
        self.adapter = Diffusers(EngineConfig("own", "diffusers"))

    def model(self, id_: str, **options: Any) -> ModelConfig:
        given = options or {"weights": os.fspath(self._weights[id_])}
        return ModelConfig(id_, ("own",), given, self._scratch, self._catalog.get(id_))

    def job(self, id_: str = SMALL, *, model: ModelConfig | None = None, **parameters: Any) -> Job:
        given = {"prompt": "a red balloon", "width": 64, "height": 32, "num_frames": 9, "num_inference_steps": 4}
        path = self._scratch / f"{uuid.uuid4()}.mp4"
        return Job(str(uuid.uuid4()), model or self.model(id_), given | {"seed": 7} | parameters, 0, None, path)

    def run(self, job: Job, host: Host | None = None) -> list[np.ndarray[Any, Any]]:
        """Make a video; return its frames."""
        self.do(self.adapter.run(job, host or Host()))
        with av.open(os.fspath(job.path)) as file:
            return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]

    def do(self, action: Awaitable[Any]) -> Any:
        async def act() -> Any:
            return await asyncio.wait_for(action, 120)

        return self._runner.run(act())

    @property
    def pid(self) -> int:
        assert self.adapter._process is not None
        return self.adapter._process.pid

    def close(self) -> None:
        self.do(self.adapter.close())
        self._runner.close()


@pytest.fixture(scope="module")
def packages() -> None:
    """Skip the test if the packages of diffusers are not installed."""
    if missing := [name for name in diffusers.PACKAGES if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed: pip install -e '.[diffusers]'")


@pytest.fixture(scope="module")
def machine(packages: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Return a machine whose process all tests of this file share."""
    root = tmp_path_factory.mktemp("weights")
    weights = {SMALL: tiny_wan.save(root / "small"), FIVE: tiny_wan.save(root / "five", from_images=True)}
    machine = Machine(weights, tmp_path_factory.mktemp("scratch"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", os.fspath(root / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other are slow on a busy machine
        yield machine
        machine.close()


def test_a_video(machine: Machine) -> None:
    """The steps are reported, and a preview. The same seed gives the same frames, from the model that stayed loaded."""
    host, job = Host(), machine.job()
    frames = machine.run(job, host)
    pid = machine.pid
    assert [frame.shape for frame in frames] == [(32, 64, 3)] * 9
    assert host.steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for preview in host.previews:
        assert Image.open(io.BytesIO(preview)).size == (64, 32)
    with av.open(os.fspath(job.path)) as file:
        assert file.streams.video[0].average_rate == 16
        assert file.metadata["comment"] == f"Made by {SMALL} with diffusers, seed 7."
    index = Path(machine.job().model.options["weights"], "model_index.json")
    index.rename(index.with_suffix(".away"))  # the model cannot be loaded again
    try:
        assert np.array_equal(frames, machine.run(machine.job()))
        assert not np.array_equal(frames, machine.run(machine.job(seed=8)))
    finally:
        index.with_suffix(".away").rename(index)
    assert machine.pid == pid


def test_cancel_within_a_step(machine: Machine) -> None:
    """A cancelled job ends after its step, and the model stays loaded."""
    machine.run(machine.job())
    pid = machine.pid
    job = machine.job(num_inference_steps=100)

    async def cancel() -> tuple[int, int]:
        begun = asyncio.Event()
        host = Host(lambda: begun.set() if len(host.steps) == 6 else None)  # the next preview is far away
        task = asyncio.create_task(machine.adapter.run(job, host))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        before = len(host.steps)
        assert await machine.adapter.stop(job) is None
        return before, len(host.steps)

    before, after = machine.do(cancel())
    # What was already on its way is not a step that ran after the cancellation.
    assert after - before <= 2
    assert not job.path.exists()
    assert machine.do(machine.adapter.stop(job)) is None
    assert len(machine.run(machine.job())) == 9
    assert machine.pid == pid


def test_from_an_image(machine: Machine) -> None:
    """Wan 2.2 5B starts from an image, and from none."""
    file = io.BytesIO()
    Image.new("RGB", (90, 50), "orange").save(file, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    job = machine.job(FIVE, input_image=uri)
    with_image = machine.run(job)
    assert [path.name for path in job.path.parent.glob(f"{job.path.stem}*")] == [job.path.name]
    without = machine.run(machine.job(FIVE))
    assert len(with_image) == len(without) == 9
    assert not np.array_equal(with_image, without)
    with pytest.raises(JobFailed, match="Input input_image is not an image that can be read"):
        machine.run(machine.job(FIVE, input_image="data:image/png;base64,eA=="))
    with pytest.raises(JobFailed, match="from text only: leave input_image out"):
        machine.run(machine.job(input_image=uri))


def test_schemas(machine: Machine) -> None:
    """The catalog's schemas, without the LoRA that is not among the weights, and with the image of Wan 2.2 5B."""
    described = machine.adapter.describe(machine.model(HIGH_LOW, weights="/w"))
    properties = described["request_schema"]["properties"]
    assert "run_fast" not in properties
    assert properties["num_inference_steps"]["default"] == 40
    assert machine._catalog[HIGH_LOW]["request_schema"]["properties"]["num_inference_steps"]["default"] == 4
    five = machine.adapter.describe(machine.model(FIVE))
    assert "input_image" in five["request_schema"]["properties"]
    assert five["capabilities"]["input"] == ["text", "image"]
    with pytest.raises(JobFailed, match="has no speed-up LoRA"):
        machine.run(machine.job(model=machine.model(HIGH_LOW, weights="/w"), run_fast=True))
    with pytest.raises(ConfigurationError, match="makes the videos of wan-ai-"):
        machine.adapter.describe(machine.model("mine", weights="/w"))


def test_weights_are_never_downloaded(machine: Machine, tmp_path: Path) -> None:
    """Absent weights are named by the check and by the job, which leaves the process as it is."""
    machine.run(machine.job())
    pid = machine.pid
    cached = machine.model(SMALL, other="")
    (problem,) = machine.do(machine.adapter.check(cached))
    assert problem.startswith(f"Model {SMALL}: Wan-AI/Wan2.1-T2V-1.3B-Diffusers is not in the Hugging Face cache. Run ")
    with pytest.raises(ModelUnavailable, match=r"in the Hugging Face cache are not complete: run `hf download"):
        machine.run(machine.job(model=cached))
    wrong = machine.model(SMALL, weights=os.fspath(tmp_path))
    assert machine.do(machine.adapter.check(wrong)) == [
        f"Model {SMALL}: weights has no model_index.json, so it is not a diffusers pipeline."
    ]
    with pytest.raises(ModelUnavailable, match="holds no complete diffusers pipeline") as raised:
        machine.run(machine.job(model=wrong))
    assert os.fspath(tmp_path) not in str(raised.value)
    assert machine.do(machine.adapter.check(machine.model(SMALL))) == []
    assert machine.pid == pid


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system does not limit the memory of a process")
def test_out_of_memory(machine: Machine) -> None:
    """One clear error, and the next job gets a new process. A process that is killed is said to have ended."""
    machine.run(machine.job())
    pid = machine.pid
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(pid, resource.RLIMIT_AS, (used + 2**25, used + 2**25))
    with pytest.raises(JobFailed) as raised:
        machine.run(machine.job(width=640, height=480, num_frames=5))
    words = "ran out of memory at 640x480 with 5 frames: ask for fewer frames or a smaller size."
    assert str(raised.value) == f"The machine {words}"
    job = machine.job(num_inference_steps=100)
    assert len(machine.run(machine.job())) == 9
    assert machine.pid != pid
    with pytest.raises(EngineDied, match=r"^The process of own ended unexpectedly \(status -9"):
        machine.run(job, Host(lambda: os.kill(machine.pid, signal.SIGKILL)))


def test_memory_plan() -> None:
    """What does not fit beside the computation stays in main memory: first the text encoder, then all but the decoder."""
    small = {"text_encoder": 11 * GIB, "transformer": 3 * GIB, "vae": GIB // 2}
    large = {"text_encoder": 11 * GIB, "transformer": 28 * GIB, "transformer_2": 28 * GIB, "vae": GIB // 2}
    assert offloaded(small, 80 * GIB) == ()
    assert offloaded(small, 24 * GIB) == ("text_encoder",)
    assert offloaded(small, 12 * GIB) == ("text_encoder", "transformer")
    assert offloaded(large, 140 * GIB) == ()
    assert offloaded(large, 79 * GIB) == ("text_encoder",)
    assert offloaded(large, 40 * GIB) == ("text_encoder", "transformer", "transformer_2")


@pytest.mark.parametrize("free", [0, wan._WORKING_BYTES + 2**18])
def test_offloaded_groups(packages: None, free: int) -> None:
    """A pipeline whose groups are moved gives the same frames. The CPU is the device here."""
    import torch

    torch.set_num_threads(1)

    def frames(pipeline: Any) -> Any:
        seed = torch.Generator("cpu").manual_seed(7)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline(
            prompt="a red balloon", width=32, height=32, num_frames=5, num_inference_steps=2, generator=seed
        ).frames

    moved = tiny_wan.pipeline(from_images=False)
    wan._place(moved, torch.device("cpu"), free)
    assert moved.vae.use_tiling == (free == 0)
    assert np.allclose(frames(tiny_wan.pipeline(from_images=False)), frames(moved), atol=1e-5)


def test_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults of the configuration are one sentence each."""
    with pytest.raises(ConfigurationError, match="Leave url out"):
        Diffusers(EngineConfig("own", "diffusers", "http://gpu1"))
    with pytest.raises(ConfigurationError, match="download must be true or false"):
        Diffusers(EngineConfig("own", "diffusers", options={"download": "yes"}))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(
        ConfigurationError, match=r"torch cannot be imported\. Run: pip install 'oxenvideo\[diffusers\]'"
    ):
        Diffusers(EngineConfig("own", "diffusers"))
