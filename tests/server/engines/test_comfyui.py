"""The adapter of ComfyUI against the stub: what it sends, and each trap of the real server."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path
from typing import Any

import pytest

from oxenvideo.server.engines.engine import EngineDied, EngineUnavailable, Job, JobFailed, ModelUnavailable
from server.engines.comfy_stub import ComfyStub, movie
from server.engines.one_job import IMAGE, RecordingHost, adapter, changed, job, model, run, titles
from server.support import drawing, png, until_true


def test_a_job_becomes_a_video(stub: ComfyStub, tmp_path: Path) -> None:
    """The values are in the graph, the file is the server's, and the steps are those that it counted."""
    work = job(tmp_path / "a.mp4", frames=12, fps=8)
    host = run(stub.url, work)
    assert work.path.read_bytes() == movie(3)
    (body,) = stub.prompts
    sent = titles(body["prompt"])
    assert body["prompt_id"] == work.id == host.remote_id
    assert (sent["prompt"]["value"], sent["seed"]["value"]) == ("A fox", 3)
    assert (sent["frames"]["value"], sent["fps"]["value"], sent["width"]["value"]) == (12, 8, 320)
    assert sent["output_video"]["filename_prefix"] == f"oxenvideo/{work.id}"
    assert {(step, total) for step, total, _ in host.reports} <= {(n, 4) for n in range(1, 5)}
    assert host.reports[-1][:2] == (4, 4)
    assert any(picture and picture[:2] == b"\xff\xd8" for *_, picture in host.reports)


def test_an_input_is_uploaded_as_bytes(stub: ComfyStub, tmp_path: Path) -> None:
    """The engine gets the bytes under a name of this job's own, and no URL."""
    content = png(drawing(1))
    host = RecordingHost(content)
    uri = "https://example.com/secret.png?signature=1"
    work = job(tmp_path / "a.mp4", model(IMAGE), input_image=uri)
    run(stub.url, work, host)
    assert host.fetched == [uri]
    assert stub.uploads == {f"oxenvideo/{work.id}-input_image.png": content}
    assert titles(stub.prompts[0]["prompt"])["input_image"]["image"] == f"oxenvideo/{work.id}-input_image.png"
    assert "example.com" not in str(stub.prompts)


def test_without_a_seed_each_video_has_its_own(stub: ComfyStub, tmp_path: Path) -> None:
    """A leftover seed of the workflow does not make all videos the same."""
    for n in range(2):
        run(stub.url, job(tmp_path / f"{n}.mp4", seed=None))
    one, other = (titles(body["prompt"])["seed"]["value"] for body in stub.prompts)
    assert one != other
    assert 42 not in (one, other)


def test_headers_are_sent(stub: ComfyStub) -> None:
    """A proxy in front of the server can ask for a key."""
    asyncio.run(adapter(stub.url, Authorization="Bearer secret").ping())
    assert stub.authorizations == {"Bearer secret"}


# The traps of the real server


def test_a_late_history_is_waited_for(stub: ComfyStub, tmp_path: Path) -> None:
    """Between the event and the entry, the job is in neither list."""
    stub.late_history = 0.25
    work = job(tmp_path / "a.mp4")
    run(stub.url, work)
    assert work.path.exists()
    assert stub.ran == [work.id]


def test_the_file_of_another_job_is_refused(stub: ComfyStub, tmp_path: Path) -> None:
    """An identical graph is cached, and names the file of the earlier job."""
    stub.other_file = "clip_00001_.mp4"
    stub.files["clip_00001_.mp4", "", "output"] = movie(1)
    work = job(tmp_path / "a.mp4", changed_prefix(tmp_path, "oxenvideo/none"))
    with pytest.raises(JobFailed, match=r"^gpu1 named the file of another job as the result"):
        _run_with_other_folder(stub, work)


def changed_prefix(tmp_path: Path, prefix: str) -> Any:
    """A model whose saver has this prefix."""
    return model(changed(tmp_path, lambda graph: graph["10"]["inputs"].update(filename_prefix=prefix)))


def _run_with_other_folder(stub: ComfyStub, work: Job) -> None:
    save = stub._save

    def elsewhere(id_: str, graph: dict[str, Any]) -> dict[str, Any]:
        outputs = save(id_, graph)
        outputs["10"]["images"][0]["subfolder"] = ""
        return outputs

    stub._save = elsewhere  # type: ignore[method-assign]
    run(stub.url, work)


def test_success_without_a_file_fails_the_job(stub: ComfyStub, tmp_path: Path) -> None:
    """With 0 frames the real server reports success and a name, and has no file."""
    stub.no_file = True
    with pytest.raises(JobFailed, match=r"^gpu1 reported success, but does not have the file \S+\.mp4 \(404\)\.$"):
        run(stub.url, job(tmp_path / "a.mp4"))


def test_a_cancelled_job_that_succeeds_is_waited_for(stub: ComfyStub, tmp_path: Path) -> None:
    """The server agrees to the cancellation and goes on. The engine is free only when it has ended."""
    stub.seconds, stub.success_after_cancel = 0.6, True
    assert _stop_while_running(stub, tmp_path) is None
    assert stub.active == []
    assert next(iter(stub.history.values()))["status"]["status_str"] == "success"


@pytest.mark.slow
def test_a_stop_interrupts_the_own_job_only(stub: ComfyStub, tmp_path: Path) -> None:
    """An interrupt without an id would stop the job of somebody else."""
    stub.seconds = 3
    assert _stop_while_running(stub, tmp_path) is None
    assert set(stub.interrupts) == set(stub.ran)
    assert next(iter(stub.history.values()))["status"]["messages"][-1][0] == "execution_interrupted"


@pytest.mark.slow
def test_a_waiting_job_is_deleted(stub: ComfyStub, tmp_path: Path) -> None:
    """A job behind that of somebody else never begins, and the other goes on."""
    stub.waits = True

    async def whole() -> None:
        engine, first, second = adapter(stub.url), job(tmp_path / "1.mp4"), job(tmp_path / "2.mp4")
        running = asyncio.create_task(engine.run(first, RecordingHost()))
        await _until(lambda: stub.ran)
        host = RecordingHost()
        waiting = asyncio.create_task(engine.run(second, host))
        await _until(lambda: second.id in stub.active)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert await engine.stop(job_with_id(second, host)) is None
        stub.waits = False
        await running
        await engine.close()
        assert stub.ran == [first.id]

    asyncio.run(whole())


@pytest.mark.slow
def test_an_unknown_id_is_an_empty_answer(stub: ComfyStub, tmp_path: Path) -> None:
    """The server answers 200 and {} for a job that it does not have."""
    work = job(tmp_path / "a.mp4")
    with pytest.raises(EngineDied, match=r"^gpu1 does not know the job any more"):
        run(stub.url, job_with_id(work, None, work.id))
    assert stub.prompts == []


@pytest.mark.parametrize("route", ["GET /history", "GET /queue", "GET /view"])
def test_a_500_text_is_not_an_answer(stub: ComfyStub, tmp_path: Path, route: str) -> None:
    """Some errors are text. The job is not lost by one of them."""
    stub.answers[route] = [500]
    work = job(tmp_path / "a.mp4")
    if route == "GET /view":
        with pytest.raises(EngineUnavailable, match=r"\(500\)"):
            run(stub.url, work)
    else:
        run(stub.url, work)
        assert work.path.exists()
    assert len(stub.prompts) == 1


@pytest.mark.slow
def test_a_500_to_the_submit_is_no_proof(stub: ComfyStub, tmp_path: Path) -> None:
    """The real server can answer 500 and have the job in its queue. It is looked for, and not sent again."""
    stub.answers["POST /prompt"] = ["lose"]
    work = job(tmp_path / "a.mp4")
    run(stub.url, work)
    assert stub.ran == [work.id]
    stub.answers["POST /prompt"] = [500]
    with pytest.raises(EngineDied):
        run(stub.url, job(tmp_path / "b.mp4"))
    assert len(stub.prompts) == 1


@pytest.mark.slow
def test_a_restart_loses_the_job(stub: ComfyStub, tmp_path: Path) -> None:
    """The queue and the history are in memory. The scheduler sends the job once more."""
    stub.seconds = 1.0

    async def whole() -> None:
        engine = adapter(stub.url)
        running = asyncio.create_task(engine.run(job(tmp_path / "a.mp4"), RecordingHost()))
        await _until(lambda: stub.ran)
        stub.restart()
        with pytest.raises(EngineDied):
            await running
        await engine.close()

    asyncio.run(whole())
    assert len(stub.prompts) == 1


def test_a_foreign_interrupt_fails_the_job(stub: ComfyStub, tmp_path: Path) -> None:
    """Somebody stops the job at the engine."""
    stub.seconds = 1.0

    async def whole() -> None:
        engine = adapter(stub.url)
        running = asyncio.create_task(engine.run(job(tmp_path / "a.mp4"), RecordingHost()))
        await _until(lambda: stub.ran)
        await engine._http.request("POST", "interrupt", json={})
        with pytest.raises(JobFailed, match=r"^The job was interrupted at gpu1\.$"):
            await running
        await engine.close()

    asyncio.run(whole())


def test_gifs_can_be_a_video(stub: ComfyStub, tmp_path: Path) -> None:
    """Custom nodes list an MP4 under `gifs`, as a temporary file."""
    stub.output_key = "gifs"
    work = job(tmp_path / "a.mp4")
    run(stub.url, work)
    assert work.path.read_bytes() == movie(3)


def test_the_output_node_is_preferred(stub: ComfyStub, tmp_path: Path) -> None:
    """Of several videos, the one of the node titled as output is taken."""
    save = stub._save

    def two(id_: str, graph: dict[str, Any]) -> dict[str, Any]:
        stub.files["other.mp4", f"oxenvideo/{id_}", "output"] = movie(5)
        other = {"filename": "other.mp4", "subfolder": f"oxenvideo/{id_}", "type": "output"}
        return {"9": {"images": [other]}} | save(id_, graph)

    stub._save = two  # type: ignore[method-assign]
    work = job(tmp_path / "a.mp4")
    run(stub.url, work)
    assert work.path.read_bytes() == movie(3)


def test_without_the_event_socket_the_job_is_polled(stub: ComfyStub, tmp_path: Path) -> None:
    """There is no progress then, and the video comes all the same."""
    stub.socket_closed = True
    work = job(tmp_path / "a.mp4")
    host = run(stub.url, work)
    assert work.path.exists()
    assert host.reports == []


def test_progress_of_other_jobs_is_not_reported(stub: ComfyStub, tmp_path: Path) -> None:
    """Jobs without a client id send their progress to every socket."""
    tell = stub._tell

    async def noisy(client: str | None, kind: str, **data: Any) -> None:
        await tell(client, "progress", value=1, max=99, prompt_id="another", node="1")
        await tell(client, kind, **data)

    stub._tell = noisy  # type: ignore[method-assign]
    host = run(stub.url, job(tmp_path / "a.mp4"))
    assert {total for _, total, _ in host.reports} == {4}


# Sentences


def test_the_text_of_a_failure_has_no_path_and_no_traceback(stub: ComfyStub, tmp_path: Path) -> None:
    """What the engine says is passed on in one line, without what is private."""
    stub.fail_with = {
        "node_id": "8",
        "node_type": "ImageAddNoise",
        "exception_message": "cannot read /home/joe/ComfyUI/models/x.bin\nTraceback (most recent call last):\n  File 'a'",
        "exception_type": "OSError",
        "traceback": ["secret"],
    }
    with pytest.raises(JobFailed) as failed:
        run(stub.url, job(tmp_path / "a.mp4"))
    assert str(failed.value) == "gpu1 failed in node 8 'Grain': cannot read x.bin"


def test_out_of_memory_is_one_clear_sentence(stub: ComfyStub, tmp_path: Path) -> None:
    """The advice is to make the video smaller."""
    stub.fail_with = {"node_id": "8", "exception_type": "torch.OutOfMemoryError", "exception_message": "CUDA ..."}
    with pytest.raises(JobFailed, match=r"ran out of memory in node 8 'Grain'. Ask for a smaller or shorter video"):
        run(stub.url, job(tmp_path / "a.mp4"))


def test_a_missing_node_and_a_missing_file_are_named(stub: ComfyStub, tmp_path: Path) -> None:
    """By `check`, and by a submit that comes before it."""
    stub.without = {"ImageAddNoise"}
    sentence = "gpu1 does not have the node ImageAddNoise, which the workflow of wan22 uses."
    assert _check(stub) == [sentence]
    with pytest.raises(ModelUnavailable, match=re.escape(sentence)):
        run(stub.url, job(tmp_path / "a.mp4"))
    stub.without = set()

    def add(graph: dict[str, Any]) -> None:
        inputs = {"unet_name": "wan2.2_low.safetensors"}
        graph["20"] = {"class_type": "UNETLoader", "inputs": inputs, "_meta": {"title": "Load Diffusion Model"}}

    lacking = model(changed(tmp_path, add))
    words = "gpu1 does not have the file 'wan2.2_low.safetensors', which node 20 'Load Diffusion Model' of the workflow"
    assert _check(stub, lacking) == [f"{words} of wan22 uses."]
    with pytest.raises(
        ModelUnavailable, match=r"^gpu1 does not have 'wan2.2_low.safetensors', the unet_name of node 20"
    ):
        run(stub.url, job(tmp_path / "a.mp4", lacking))


def test_a_partial_run_is_stopped(stub: ComfyStub, tmp_path: Path) -> None:
    """With several outputs, a valid one would run alone."""
    stub.seconds = 1
    stub.node_errors = {"11": {"errors": [{"type": "x", "message": "bad", "details": "", "extra_info": {}}]}}
    with pytest.raises(JobFailed, match=r"^gpu1 refused input of node 11 'prompt_echo': bad"):
        run(stub.url, job(tmp_path / "a.mp4"))
    until_true(lambda: stub.active == [])


def test_an_old_server_is_not_used(stub: ComfyStub) -> None:
    """Before 0.3.57 an interrupt stops whatever runs."""
    stub.version = "0.3.56"
    with pytest.raises(EngineUnavailable, match=r"^gpu1 runs ComfyUI 0\.3\.56, and 0\.3\.57 or newer is needed\.$"):
        asyncio.run(adapter(stub.url).ping())


def test_a_file_that_is_no_mp4_is_named(stub: ComfyStub, tmp_path: Path) -> None:
    """Other formats are not passed on as MP4."""
    stub.suffix = ".webm"
    with pytest.raises(JobFailed, match=r"^gpu1 made only \S+_00001_\.webm: the workflow must save an MP4"):
        run(stub.url, job(tmp_path / "a.mp4"))


def _check(stub: ComfyStub, config: Any = None) -> list[str]:
    async def whole() -> list[str]:
        engine = adapter(stub.url)
        try:
            return list(await engine.check(config or model()))
        finally:
            await engine.close()

    return asyncio.run(whole())


def job_with_id(work: Job, host: RecordingHost | None, id_: str | None = None) -> Job:
    """The job with the id that was stored."""
    from dataclasses import replace

    return replace(work, remote_id=host.remote_id if host else id_)


def _stop_while_running(stub: ComfyStub, tmp_path: Path) -> str | None:
    async def whole() -> str | None:
        engine, work, host = adapter(stub.url), job(tmp_path / "a.mp4"), RecordingHost()
        running = asyncio.create_task(engine.run(work, host))
        await _until(lambda: stub.ran)
        running.cancel()
        await asyncio.wait([running])
        said = await engine.stop(job_with_id(work, host))
        await engine.close()
        return said

    return asyncio.run(whole())


async def _until(look: Any) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.01)


def test_the_stub_makes_real_videos() -> None:
    """Otherwise the tests above prove nothing."""
    import av

    with av.open(io.BytesIO(movie(2))) as container:
        assert len(list(container.decode(video=0))) == 8
