"""The scheduler: which engine gets which job, and what happens when engines fail, come and go."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from oxenvideo.server import queue as queue_module
from oxenvideo.server.engines import scheduler as scheduler_module
from oxenvideo.server.engines.engine import EngineDied, EngineUnavailable, JobFailed, ModelUnavailable
from oxenvideo.server.events import Progress
from oxenvideo.server.queue import Queue
from server.engines.comfy_stub import movie, picture
from server.engines.fake import FAST, Control, Fake, configure, plant, until


@pytest.fixture(autouse=True)
def controls(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Control]]:
    """Engines gpu1 to gpu3, and a scheduler that looks at its configuration often."""
    monkeypatch.setattr(scheduler_module, "_WATCH_SECONDS", 0.05)
    monkeypatch.setattr(queue_module, "RETRY_SECONDS", 0.02, raising=False)
    Fake.controls.clear()
    Fake.controls.update({f"gpu{n}": Control() for n in (1, 2, 3)})
    yield Fake.controls
    Fake.controls.clear()


@pytest.mark.slow
def test_each_engine_takes_its_next_job_when_it_is_free(tmp_path: Path, controls: dict[str, Control]) -> None:
    """A fast engine does more, and no job runs twice."""
    controls["gpu1"].seconds, controls["gpu2"].seconds = 0.04, 1.5
    configure(tmp_path, ["gpu1", "gpu2"], wan=["gpu1", "gpu2"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            ids = made.enqueue("wan", 12)
            assert set(await made.ended(*ids)) == {"succeeded"}
            assert all(made.settings.result(id_).is_file() for id_ in ids)
            assert not list(made.settings.scratch_dir.iterdir())
            ran = Counter(id_ for control in controls.values() for id_, *_ in control.ran)
            assert ran == Counter(ids)
            assert len(controls["gpu1"].ran) > 2 * len(controls["gpu2"].ran) > 0

    asyncio.run(whole())


def test_a_loaded_model_is_preferred_for_some_jobs(tmp_path: Path, controls: dict[str, Control]) -> None:
    """Changing the model takes long, but no job waits behind more than a few younger ones."""
    configure(tmp_path, ["gpu1"], a=["gpu1"], b=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            ids = [*made.enqueue("a"), *made.enqueue("b"), *made.enqueue("a", 10)]
            await made.ended(*ids)
        order = "".join(model for _, model, _ in controls["gpu1"].ran)
        assert order == "aaaaabaaaaaa"

    asyncio.run(whole())


@pytest.mark.slow
def test_the_job_of_an_engine_that_fails_moves_on(tmp_path: Path, controls: dict[str, Control]) -> None:
    """An engine that cannot be reached costs its jobs a moment, and rests for longer and longer."""
    controls["gpu1"].accepts = False
    configure(tmp_path, ["gpu1"], wan=["gpu1", "gpu2"])

    async def whole() -> None:
        async with plant(tmp_path, replace(FAST, longest=10)) as made:
            (first,) = made.enqueue("wan")
            await made.ended(first)
            controls["gpu1"].is_up = False
            (second,) = made.enqueue("wan")
            await until(lambda: len(controls["gpu1"].pings) >= 5)
            assert made.row(second).status == "queued"
            assert (
                made.notice(second) == "Waiting for an engine. gpu1 cannot be reached. Engine gpu2 is not configured."
            )
            pauses = [b - a for a, b in zip(controls["gpu1"].pings, controls["gpu1"].pings[1:], strict=False)]
            assert pauses[-1] > pauses[-2] > pauses[-3] > 0.05  # a rest doubles each time
            configure(tmp_path, ["gpu1", "gpu2"], wan=["gpu1", "gpu2"])
            assert await made.ended(second) == ["succeeded"]
            assert [id_ for id_, *_ in controls["gpu2"].ran] == [second]

    asyncio.run(whole())


def test_a_job_that_ends_engines_is_failed_after_two(tmp_path: Path, controls: dict[str, Control]) -> None:
    """It must not take down one engine after another."""
    for name in ("gpu1", "gpu2", "gpu3"):
        controls[name].outcomes = [EngineDied(f"{name} does not know the job any more.")]
    configure(tmp_path, ["gpu1", "gpu2", "gpu3"], wan=["gpu1", "gpu2", "gpu3"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            (id_,) = made.enqueue("wan")
            assert await made.ended(id_) == ["failed"]
            message = made.row(id_).error_message or ""
            assert message.startswith("The job ended 2 engines. gpu")
            assert sum(len(control.ran) for control in controls.values()) == 2
            assert made.queue.unwanted("gpu1") == []

    asyncio.run(whole())


def test_a_lost_job_is_run_once_more(tmp_path: Path, controls: dict[str, Control]) -> None:
    """The engine was restarted. The job starts from its beginning."""
    controls["gpu1"].outcomes = [EngineDied("gpu1 does not know the job any more.")]
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            (id_,) = made.enqueue("wan")
            assert await made.ended(id_) == ["succeeded"]
            assert controls["gpu1"].accepted == [id_, id_]

    asyncio.run(whole())


def test_a_job_that_an_engine_accepted_and_cannot_deliver_is_not_made_elsewhere(
    tmp_path: Path, controls: dict[str, Control]
) -> None:
    """The engine may have made the video. It gets no more jobs of the model, and the others go to another engine."""
    controls["gpu1"].outcomes = [ModelUnavailable("gpu1 does not serve the video itself.")]
    controls["gpu2"].is_up = False
    configure(tmp_path, ["gpu1", "gpu2"], wan=["gpu1", "gpu2"])

    async def whole() -> None:
        async with plant(tmp_path, replace(FAST, recheck=60)) as made:
            (id_,) = made.enqueue("wan")
            await until(lambda: controls["gpu1"].ran)
            controls["gpu2"].is_up = True
            assert await made.ended(id_) == ["failed"]
            assert made.row(id_).error_message == "gpu1 does not serve the video itself."
            (second,) = made.enqueue("wan")
            assert await made.ended(second) == ["succeeded"]
            assert [ran for ran, *_ in controls["gpu2"].ran] == [second]

    asyncio.run(whole())


def test_a_request_at_fault_fails_alone(tmp_path: Path, controls: dict[str, Control]) -> None:
    """The engine does not rest for it, and a defect of an adapter is not the engine's fault either."""
    controls["gpu1"].outcomes = [JobFailed("gpu1 refused frames: too many."), ZeroDivisionError("x")]
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            ids = made.enqueue("wan", 3)
            assert await made.ended(*ids) == ["failed", "failed", "succeeded"]
            assert made.row(ids[0]).error_message == "gpu1 refused frames: too many."
            assert made.row(ids[1]).error_message == "The adapter of engine gpu1 failed (ZeroDivisionError)."
            assert controls["gpu1"].pings == []

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("refused", "outcomes", "end"),
    [
        ("succeeded", [], "succeeded"),
        ("failed", [JobFailed("gpu1 refused frames: too many.")], "failed"),
        ("failed", [EngineDied("gpu1 ended.")] * 2, "failed"),
        ("queued", [EngineUnavailable("gpu1 cannot be reached.")], "succeeded"),
    ],
)
def test_a_job_ends_although_the_database_refuses_it_for_a_moment(
    tmp_path: Path,
    controls: dict[str, Control],
    caplog: pytest.LogCaptureFixture,
    refused: str,
    outcomes: list[Exception],
    end: str,
) -> None:
    """The end is written until it is stored: no job stays in progress, and no video that is there is given up."""
    controls["gpu1"].outcomes = list(outcomes)
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            when = f"WHEN NEW.status = '{refused}' BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
            database = sqlite3.connect(tmp_path / "queue.sqlite3", isolation_level=None)
            database.execute(f"CREATE TRIGGER refuse BEFORE UPDATE ON generations {when}")
            (id_,) = made.enqueue("wan")
            await until(lambda: "disk I/O error" in caplog.text)
            assert made.row(id_).status == "processing"
            database.execute("DROP TRIGGER refuse")
            database.close()
            assert await made.ended(id_) == [end]
            assert made.settings.result(id_).is_file() == (end == "succeeded")
            assert len(controls["gpu1"].ran) == max(1, len(outcomes)) + (refused == "queued")
            assert made.row(id_).deaths == sum(isinstance(outcome, EngineDied) for outcome in outcomes)

    asyncio.run(whole())


def test_an_id_that_the_database_refuses_is_stored_later(
    tmp_path: Path, controls: dict[str, Control], caplog: pytest.LogCaptureFixture
) -> None:
    """The engine has the job: it is found again under its id, and not submitted again."""
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            refuse = "BEFORE INSERT ON placements BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
            database = sqlite3.connect(tmp_path / "queue.sqlite3", isolation_level=None)
            database.execute(f"CREATE TRIGGER refuse {refuse}")
            (id_,) = made.enqueue("wan")
            await until(lambda: "disk I/O error" in caplog.text)
            database.execute("DROP TRIGGER refuse")
            database.close()
            assert await made.ended(id_) == ["succeeded"]
            assert controls["gpu1"].accepted == [id_]

    asyncio.run(whole())


def test_a_server_stops_although_the_database_refuses(
    tmp_path: Path, controls: dict[str, Control], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next server takes over what this one could not put back."""
    controls["gpu1"].seconds = 30
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    def refuse(queue: Queue, id_: str) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async def whole() -> None:
        async with asyncio.timeout(30), plant(tmp_path) as made:
            made.enqueue("wan")
            await until(lambda: controls["gpu1"].accepted)
            monkeypatch.setattr(Queue, "release", refuse)

    asyncio.run(whole())


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_video_that_a_killed_server_stored_is_not_made_again(
    tmp_path: Path, controls: dict[str, Control], is_linked: bool
) -> None:
    """The server was killed after the video was stored, or after it was linked too, and before its row was completed."""
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            row = made.queue.enqueue("wan", {"prompt": "x"}, namespace="local", repo="clips", on_engine=True)[0]
            result = made.settings.result(row.id)
            result.write_bytes(movie(1))
            if is_linked:
                made.repos.link("local", "clips", result.name, result)
            made.scheduler.wake()
            assert await made.ended(row.id) == ["succeeded"]
            assert controls["gpu1"].ran == []
            assert made.repos.find("local", "clips", "main", result.name).samefile(result)

    asyncio.run(whole())


def test_an_empty_video_of_a_killed_server_is_made_again(tmp_path: Path, controls: dict[str, Control]) -> None:
    """A power failure may leave the name of a file without its content."""
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            row = made.queue.enqueue("wan", {"prompt": "x"}, namespace="local", on_engine=True)[0]
            made.settings.result(row.id).touch()
            made.scheduler.wake()
            assert await made.ended(row.id) == ["succeeded"]
            assert made.settings.result(row.id).read_bytes() == movie(1)

    asyncio.run(whole())


@pytest.mark.parametrize("directory", ["notes", "notes/below", "/".join(["d" * 60] * 8)])
def test_a_video_that_cannot_be_linked_is_kept(
    tmp_path: Path, controls: dict[str, Control], caplog: pytest.LogCaptureFixture, directory: str
) -> None:
    """The directory is a file, or is below one, or is too long: the job succeeds, and the log has the reason."""
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            made.repos.create("local", "clips")
            made.repos.write("local", "clips", "main", "notes", io.BytesIO(b"text"))
            target = {"namespace": "local", "repo": "clips", "directory": directory}
            row = made.queue.enqueue("wan", {"prompt": "x"}, **target, on_engine=True)[0]
            made.scheduler.wake()
            assert await made.ended(row.id) == ["succeeded"]
            assert made.settings.result(row.id).read_bytes() == movie(1)
            assert made.repos.find("local", "clips", "main", "notes").read_bytes() == b"text"
            assert f"generation {row.id}: its video could not be stored in local/clips" in caplog.text

    asyncio.run(whole())


@pytest.mark.slow
def test_an_accepted_job_stays_with_its_engine_for_a_while(tmp_path: Path, controls: dict[str, Control]) -> None:
    """It may still run there. When the engine is gone for long, the job moves on, and is stopped when it returns."""
    controls["gpu1"].seconds = 0.3
    configure(tmp_path, ["gpu1"], wan=["gpu1", "gpu2"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            (id_,) = made.enqueue("wan")
            await until(lambda: controls["gpu1"].accepted)
            controls["gpu1"].is_up = False
            await until(lambda: made.row(id_).status == "queued")
            controls["gpu1"].is_up = True
            assert await made.ended(id_) == ["succeeded"]
            assert controls["gpu1"].accepted == [id_]
            assert controls["gpu1"].ran[-1] == (id_, "wan", f"gpu1/{id_}")

            (other,) = made.enqueue("wan")
            await until(lambda: other in controls["gpu1"].accepted)
            controls["gpu1"].is_up = False
            configure(tmp_path, ["gpu1", "gpu2"], wan=["gpu1", "gpu2"])
            assert await made.ended(other) == ["succeeded"]
            assert controls["gpu2"].accepted == [other]
            assert controls["gpu1"].stopped == []
            controls["gpu1"].is_up = True
            await until(lambda: controls["gpu1"].stopped == [other])

    asyncio.run(whole())


def test_a_restart_of_the_server_finds_the_job_again(tmp_path: Path, controls: dict[str, Control]) -> None:
    """It is followed under the stored id, and never submitted again."""
    controls["gpu1"].seconds = 0.4
    configure(tmp_path, ["gpu1", "gpu2"], wan=["gpu1", "gpu2"])

    async def whole() -> None:
        controls["gpu2"].is_up = False
        async with plant(tmp_path) as made:
            (id_,) = made.enqueue("wan")
            await until(lambda: controls["gpu1"].accepted)
        assert controls["gpu1"].stopped == []
        controls["gpu2"].is_up = True
        async with plant(tmp_path) as made:
            assert await made.ended(id_) == ["succeeded"]
        assert controls["gpu1"].accepted == [id_]
        assert controls["gpu2"].accepted == []

    asyncio.run(whole())


def test_a_cancelled_job_frees_the_engine_when_it_confirms(tmp_path: Path, controls: dict[str, Control]) -> None:
    """The next job begins after that, and what the engine cannot stop is said."""
    controls["gpu1"].seconds, controls["gpu1"].stop_seconds = 5, 0.3
    controls["gpu1"].cannot_stop = "gpu1 cannot stop a running job."
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            first, second = made.enqueue("wan", 2)
            await until(lambda: controls["gpu1"].ran)
            controls["gpu1"].seconds = 0.02
            await made.cancel(first)
            assert controls["gpu1"].stopped == [first]
            assert made.notice(first) == "gpu1 cannot stop a running job."
            assert await made.ended(second) == ["succeeded"]
            assert made.row(first).status == "cancelled"
            assert [id_ for id_, *_ in controls["gpu1"].ran] == [first, second]

    asyncio.run(whole())


def test_a_job_cancelled_while_no_server_runs_is_stopped(tmp_path: Path, controls: dict[str, Control]) -> None:
    """Another server on the data directory cancelled it, or this one died before the engine confirmed."""
    controls["gpu1"].seconds = 5
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            (id_,) = made.enqueue("wan")
            await until(lambda: controls["gpu1"].accepted)
        async with plant(tmp_path) as made:
            made.queue.cancel(id_)
            await until(lambda: controls["gpu1"].stopped == [id_])
            await until(lambda: made.queue.unwanted("gpu1") == [])

    asyncio.run(whole())


def test_engines_come_and_go_without_a_restart(tmp_path: Path, controls: dict[str, Control]) -> None:
    """A removed engine finishes its job. A file that cannot be read changes nothing."""
    controls["gpu1"].seconds = 0.3

    async def whole() -> None:
        async with plant(tmp_path) as made:
            assert not made.scheduler.serves("wan")
            configure(tmp_path, ["gpu1"], wan=["gpu1"])
            assert made.scheduler.serves("wan")  # at once, for a request right after the command
            assert made.scheduler.models["wan"]["deployments"] == [{"status": "active", "provider": "gpu1"}]
            (first,) = made.enqueue("wan")
            await until(lambda: controls["gpu1"].ran)
            configure(tmp_path, ["gpu2"], wan=["gpu2"])
            (second,) = made.enqueue("wan")
            assert await made.ended(first, second) == ["succeeded", "succeeded"]
            assert [id_ for id_, *_ in controls["gpu2"].ran] == [second]
            (tmp_path / "engines.toml").write_text("[engines")
            (third,) = made.enqueue("wan")
            assert await made.ended(third) == ["succeeded"]
            configure(tmp_path, ["gpu2"])
            await until(lambda: not made.scheduler.serves("wan"))
            (fourth,) = made.enqueue("wan")
            await asyncio.sleep(0.2)
            assert made.row(fourth).status == "queued"
            assert made.notice(fourth) == (
                "No engine is configured for the model wan. Configure one, or cancel the job."
            )

    asyncio.run(whole())


def test_a_model_that_one_engine_lacks_goes_to_another(tmp_path: Path, controls: dict[str, Control]) -> None:
    """If all lack it, the request is refused with their reasons, until one of them has it."""
    controls["gpu1"].missing = {"wan": "gpu1 does not have the file wan.bin."}
    configure(tmp_path, ["gpu1", "gpu2"], wan=["gpu1", "gpu2"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            ids = made.enqueue("wan", 3)
            assert set(await made.ended(*ids)) == {"succeeded"}
            assert controls["gpu1"].ran == []
            assert await made.scheduler.refusal("wan") is None
            controls["gpu2"].outcomes = [ModelUnavailable("gpu2 does not have the file wan.bin.")]
            controls["gpu2"].missing = {"wan": "gpu2 does not have the file wan.bin."}
            (late,) = made.enqueue("wan")
            assert await made.ended(late) == ["failed"]
            both = "gpu1 does not have the file wan.bin. gpu2 does not have the file wan.bin."
            assert await made.scheduler.refusal("wan") == both
            controls["gpu2"].missing = {}
            assert await made.scheduler.refusal("wan") is None
            (again,) = made.enqueue("wan")
            assert await made.ended(again) == ["succeeded"]

    asyncio.run(whole())


@pytest.mark.slow
def test_progress_is_published_at_most_twice_a_second(tmp_path: Path, controls: dict[str, Control]) -> None:
    """With the steps that the engine counted and a small picture."""
    controls["gpu1"].seconds, controls["gpu1"].previews = 1.2, [picture(1), b"no picture", picture(2)]
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            stream = made.endings.open()
            (id_,) = made.enqueue("wan")
            seen = []
            while isinstance(item := await stream.get(), Progress):
                seen.append(item.shown)
            assert item is not None
            assert item.id == id_
            assert 2 <= len(seen) <= 4
            assert seen[0] == {"name": "gpu1"}
            assert {(shown["step"], shown["total"]) for shown in seen[1:]} <= {(n, 4) for n in range(1, 5)}
            preview = str(seen[-1]["preview"])
            assert preview.startswith("data:image/jpeg;base64,")
            assert len(preview) < 20_000

    asyncio.run(whole())


def test_a_parameter_that_the_schema_refuses_never_reaches_the_engine(
    tmp_path: Path, controls: dict[str, Control]
) -> None:
    """ComfyUI does not check values that arrive over a link."""
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path) as made:
            (id_,) = made.enqueue("wan", prompt=3)
            assert await made.ended(id_) == ["failed"]
            assert made.row(id_).error_message == "prompt: Input should be a valid string"
            assert controls["gpu1"].ran == []

    asyncio.run(whole())


def test_an_engine_that_fails_now_and_then_does_not_rest(tmp_path: Path, controls: dict[str, Control]) -> None:
    """Only failures in a row count."""
    unavailable = EngineUnavailable("gpu1 did not answer in time.")
    controls["gpu1"].accepts = False
    controls["gpu1"].outcomes = [unavailable, unavailable]
    configure(tmp_path, ["gpu1"], wan=["gpu1"])

    async def whole() -> None:
        async with plant(tmp_path, replace(FAST, rest=1000, longest=1000)) as made:
            for _ in range(3):
                (id_,) = made.enqueue("wan")
                assert await made.ended(id_) == ["succeeded"]
                controls["gpu1"].outcomes = [unavailable, unavailable]

    asyncio.run(whole())
