"""From the command to a video: the command, the embedded server that a session starts, and a stub of ComfyUI."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from oxenvideo.cli import main
from oxenvideo.errors import GenerationFailed, InvalidRequest
from oxenvideo.notebook import card
from oxenvideo.session import Session
from server.conftest import Launch
from server.engines.comfy_stub import ComfyStub, movie
from server.engines.one_job import IMAGE, TEXT, WORKFLOWS, titles
from server.support import drawing, until_true

pytestmark = pytest.mark.slow


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session without a key, in the data directory that the command uses."""
    made = Session(data_dir=tmp_path / "data", download_dir=tmp_path / "videos", notebook="test.ipynb")
    yield made
    made.close()


def engines(*words: str) -> int:
    """Run the command."""
    return main(["engines", *words])


def configure(stub: ComfyStub, workflow: str = TEXT, name: str = "wan22", engine: str = "gpu1") -> None:
    """Add the stub as an engine, and a model on it."""
    assert engines("add", engine, "comfyui", stub.url) == 0
    assert engines("model", name, "--workflow", str(WORKFLOWS / workflow), "--engine", engine) == 0


def test_a_cell_without_a_key_uses_the_engine(
    stub: ComfyStub, session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two commands, and a request: the video comes from the engine, and nothing is charged."""
    stub.waits = True
    configure(stub)
    said = capsys.readouterr().out
    assert "gpu1 is ready." in said
    assert "Added model wan22. Its parameters: prompt, seed, frames, fps, width, height." in said
    gen = session.submit("A red balloon", model="wan22", seed=3, frames=8)
    until_true(lambda: gen.state.progress and gen.state.progress.step and gen.state.progress.preview)
    html = card.html(gen, 0.0, free=True)
    assert "step " in html
    assert "of 4" in html
    assert 'src="data:image/jpeg;base64,' in html
    assert "free, on gpu1" in html
    assert card.one_line(gen).startswith("processing (wan22) step ")
    stub.waits = False
    gen.wait(30)
    assert gen.path is not None
    assert gen.path.read_bytes()[-2000:] in movie(3) or len(gen.path.read_bytes()) >= len(movie(3))
    assert gen.cost in (None, Decimal("0.00"))
    assert titles(stub.prompts[0]["prompt"])["prompt"]["value"] == "A red balloon"
    assert "step" not in card.html(gen, 0.0, free=True)


def test_everything_else_works_with_it(stub: ComfyStub, session: Session) -> None:
    """Models, validation before sending, a chain, a batch, and cancelling."""
    configure(stub)
    configure(stub, IMAGE, "animate")
    assert {"wan22", "animate"} <= {model.id for model in session.models()}
    with pytest.raises(InvalidRequest, match="frames"):
        session.submit("A fox", model="wan22", frames=0)
    with pytest.raises(InvalidRequest, match="input_image"):
        session.submit("A fox", model="animate")
    first = session.submit("A fox", model="wan22", seed=1)
    second = session.submit("It runs", model="animate", images=[first])
    batch = session.submit_batch([{"prompt": "An owl", "model": "wan22", "seed": n} for n in range(3)])
    assert second.wait(60).path is not None
    batch.wait(60)
    assert len(batch.succeeded) == 3
    assert len(stub.uploads) == 1
    assert session.submit("From a picture", model="animate", images=[drawing(1)]).wait(60).path is not None
    stub.seconds, stub.steps = 30, 300
    slow = session.submit("A long one", model="wan22")
    until_true(lambda: slow.status == "processing")
    assert str(slow.cancel()) == "The service cancelled it."
    until_true(lambda: stub.active == [])


def test_a_request_for_several_makes_different_videos(stub: ComfyStub, session: Session) -> None:
    """Each variation has a seed of its own, also if one is given."""
    configure(stub)
    request = session.request("A fox", model="wan22", seed=10, count=3).request
    batch = session.submit_batch([request])
    batch.wait(60)
    seeds = [titles(body["prompt"])["seed"]["value"] for body in stub.prompts]
    assert sorted(seeds) == [10, 11, 12]


def test_without_a_reachable_engine_the_job_waits_and_says_so(tmp_path: Path, session: Session) -> None:
    """It is never rendered as a preview, and is made when the engine answers."""
    stub = ComfyStub()
    assert engines("add", "gpu1", "comfyui", stub.url) == 1  # added, but it does not answer
    assert engines("model", "wan22", "--workflow", str(WORKFLOWS / TEXT), "--engine", "gpu1") == 1
    gen = session.submit("A fox", model="wan22", seed=2)
    until_true(lambda: gen.state.notice)
    assert (gen.state.notice or "").startswith("Waiting for an engine. gpu1 cannot be reached")
    assert stub.url not in (gen.state.notice or "")
    assert gen.status == "queued"
    assert "free preview" not in card.html(gen, 0.0, free=True)
    with stub:
        gen.wait(60)
        assert stub.ran == [gen.id]


def test_a_workflow_that_cannot_be_used_is_refused_at_the_submit(
    stub: ComfyStub, session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same sentence as `engines check`."""
    flow = tmp_path / "flow.json"
    flow.write_text((WORKFLOWS / TEXT).read_text())
    assert engines("add", "gpu1", "comfyui", stub.url) == 0
    assert engines("model", "wan22", "--workflow", str(flow), "--engine", "gpu1") == 0
    session.submit("A fox", model="wan22").wait(60)
    flow.write_text('{"nodes": [], "links": []}')
    sentence = "Model wan22: flow.json is saved in the format of ComfyUI's editor. Export it with File > Export (API)."
    capsys.readouterr()
    assert engines("check") == 1
    assert sentence in capsys.readouterr().out
    with pytest.raises(GenerationFailed) as failed:
        session.submit("A fox", model="wan22").wait(60)
    assert sentence in str(failed.value)
    assert engines("model", "other", "--workflow", str(flow), "--engine", "gpu1") == 2
    assert capsys.readouterr().err == f"oxenvideo: {sentence.replace('wan22', 'other')}\n"


def test_a_node_that_is_missing_is_refused_at_the_submit(stub: ComfyStub, session: Session) -> None:
    """The engine was asked, and lacks it."""
    stub.without = {"ImageAddNoise"}
    engines("add", "gpu1", "comfyui", stub.url)
    engines("model", "wan22", "--workflow", str(WORKFLOWS / TEXT), "--engine", "gpu1")
    sentence = "gpu1 does not have the node ImageAddNoise, which the workflow of wan22 uses."
    with pytest.raises(GenerationFailed, match=sentence):
        session.submit("A fox", model="wan22").wait(60)
    stub.without = set()
    assert session.submit("A fox", model="wan22").wait(60).path is not None


def test_a_killed_server_loses_nothing(stub: ComfyStub, session: Session) -> None:
    """The next server finds the job at the engine again."""
    stub.seconds = 3
    configure(stub)
    gen = session.submit("A fox", model="wan22", seed=1)
    until_true(lambda: stub.ran)
    service = session.engine.service(session.target)
    assert service._local is not None
    assert service._local._server is not None
    service._local._server.process.kill()
    gen.wait(60)
    assert stub.ran == [gen.id]
    assert len(stub.prompts) == 1


def test_the_command_edits_the_file(
    stub: ComfyStub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments stay, nobody else can read it, and no address or header is listed."""
    path = tmp_path / "data" / "engines.toml"
    assert engines("list") == 0
    monkeypatch.setenv("GPU_TOKEN", "very-secret")
    configure(stub)
    path.write_text("# my engines\n" + path.read_text())
    assert engines("add", "gpu2", "comfyui", stub.url, "--header", "Authorization=Bearer env:GPU_TOKEN") == 0
    assert stub.authorizations == {None, "Bearer very-secret"}
    text = path.read_text()
    assert text.startswith("# my engines\n")
    assert "env:GPU_TOKEN" in text
    assert "very-secret" not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    capsys.readouterr()
    assert engines("list") == 0
    assert capsys.readouterr().out == "gpu1  comfyui  wan22\ngpu2  comfyui  no models\n"
    assert engines("check", "gpu1") == 0
    assert engines("remove", "gpu1") == 0
    assert capsys.readouterr().out == "gpu1 is ready.\nRemoved gpu1 and its models wan22.\n"
    monkeypatch.delenv("GPU_TOKEN")
    assert engines("check") == 1
    assert capsys.readouterr().out == "Engine gpu2: the environment variable GPU_TOKEN is not set.\n"
    assert engines("remove", "gpu2") == 0
    assert engines("remove", "gpu2") == 2
    assert capsys.readouterr().err == "oxenvideo: There is no engine or model gpu2.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["add", "gpu 1", "comfyui", "http://a"], "'gpu 1' is not a name of an engine: use letters, digits, '.', '_' and '-'."),
        (["add", "gpu1", "nothing", "http://a"], "Engine gpu1: the kind 'nothing' is not one of comfyui, openai, diffusers."),
        (["add", "gpu1", "comfyui", "ftp://a"], "Engine gpu1: url must be http://host:port or https://host, without user and"
                                                " password."),
        (["add", "gpu1", "comfyui", "http://u:p@a"], "Engine gpu1: url must be http://host:port or https://host, without user"
                                                     " and password."),
        (["add", "gpu1", "comfyui"], "Engine gpu1: url is missing."),
        (["add", "gpu1", "comfyui", "http://a", "--header", "x"], "--header x is not NAME=VALUE."),
        (["model", "wan22", "--engine", "gpu9"], "Engine gpu9 is not configured: add it first."),
        (["check", "gpu9"], "There is no engine or model gpu9."),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What happened, with which value, and nothing is written."""
    assert engines(*words) == 2
    assert capsys.readouterr().err == f"oxenvideo: {sentence}\n"
    assert not os.path.exists(os.path.join(os.environ["OXENVIDEO_DATA_DIR"], "engines.toml"))


def test_a_server_of_its_own_reads_the_same_file(stub: ComfyStub, start: Launch) -> None:
    """`oxenvideo serve` with its own data directory uses the engines of the user."""
    configure(stub)
    api = start()
    model = api.http.get("/api/ai/models/wan22").json()
    assert model["deployments"] == [{"status": "active", "provider": "gpu1"}]
    assert model["request_schema"]["required"] == ["prompt"]
    until_true(
        lambda: "maximum" in api.http.get("/api/ai/models/wan22").json()["request_schema"]["properties"]["frames"]
    )
    (id_,) = api.enqueue(model="wan22", width=64, height=64, num_frames=8)
    row = api.wait(id_)
    assert row["status"] == "succeeded", row
    assert "engine" not in row
    assert stub.ran == [id_]
