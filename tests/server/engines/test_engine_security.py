"""Addresses and headers of engines stay in the server; nothing is fetched from elsewhere, and no URI is passed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from oxenvideo.cli import main
from oxenvideo.server.engines.engine import EngineConfig
from oxenvideo.server.engines.http import cleaned
from server.conftest import Launch
from server.engines.comfy_stub import ComfyStub
from server.engines.one_job import IMAGE, WORKFLOWS
from server.support import data_uri, drawing, png, until_true

pytestmark = pytest.mark.slow

SECRET = "very-secret-token"


def test_addresses_and_headers_are_in_no_answer_listing_or_log(
    stub: ComfyStub, start: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an engine that works, fails, refuses and is away; also in a log of everything."""
    monkeypatch.setenv("GPU_TOKEN", SECRET)
    header = "Authorization=Bearer env:GPU_TOKEN"
    assert main(["engines", "add", "gpu1", "comfyui", stub.url, "--header", header]) == 0
    flow = str(WORKFLOWS / IMAGE)
    assert main(["engines", "model", "animate", "--workflow", flow, "--engine", "gpu1"]) == 0
    for words in (["list"], ["check"]):
        assert main(["engines", *words]) == 0
    api = start()
    picture = data_uri(png(drawing(1)))
    (good,) = api.enqueue(model="animate", input_image=picture, width=64, height=64)
    assert api.wait(good)["status"] == "succeeded"
    stub.fail_with = {"node_id": "8", "exception_message": f"no {stub.url}/x at /home/joe/a.bin", "exception_type": "E"}
    (bad,) = api.enqueue(model="animate", input_image=picture, width=64, height=64)
    assert str(api.wait(bad)["error_message"]).endswith("no (address) at a.bin")
    stub.stop()
    (away,) = api.enqueue(model="animate", input_image=picture, width=64, height=64)
    until_true(lambda: (api.get(away).get("engine") or {}).get("notice"), 60)
    assert stub.authorizations == {f"Bearer {SECRET}"}
    routes = (
        "/api/ai/models",
        "/api/ai/models/animate",
        "/api/ai/generations",
        f"/api/ai/queue/{away}",
        "/api/ai/queue",
    )
    shown = "".join(api.http.get(route).text for route in routes)
    said = "".join(capsys.readouterr())
    log = "".join(path.read_text() for path in (tmp_path / "data").rglob("server.log"))
    assert "gpu1" in shown
    assert "gpu1" in said
    assert "gpu1 cannot be reached" in log
    for text in (shown, said, log):
        for private in (SECRET, "GPU_TOKEN", stub.url, stub.url.partition("//")[2]):
            assert private not in text


def test_reprs_hold_no_address_and_no_header() -> None:
    """A repr can reach a log by accident."""
    config = EngineConfig("gpu1", "comfyui", "http://gpu1.example:8188", {"Authorization": SECRET})
    assert "example" not in repr(config)
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Invalid image file: nope.png", "Invalid image file: nope.png"),
        ("Failed at /home/joe/ComfyUI/models/x.safetensors while loading", "Failed at x.safetensors while loading"),
        ("C:\\Users\\joe\\x.ckpt missing", "x.ckpt missing"),
        ("ValueError: bad\nTraceback (most recent call last):\n  File '/a/b.py'\nKeyError: 'x'", "ValueError: bad"),
        ("Traceback (most recent call last):\n  File '/a/b.py'\nKeyError: 'x'", "KeyError: 'x'"),
        ("see http://10.0.0.7:8188/view?filename=a", "see (address)"),
        (
            "loras/foo.safetensors is not in the list, 3/4 and/or",
            "loras/foo.safetensors is not in the list, 3/4 and/or",
        ),
        ("x" * 5000, "x" * 399 + "…"),
    ],
)
def test_texts_of_engines_are_cut(text: str, shown: str) -> None:
    """Tracebacks, paths and addresses are private, and the rest is useful."""
    assert cleaned(text) == shown


def test_a_private_address_is_not_fetched_for_an_engine(stub: ComfyStub, start: Launch) -> None:
    """The rules of inputs are those of previews: the server fetches, and the engine gets bytes."""
    main(["engines", "add", "gpu1", "comfyui", stub.url])
    main(["engines", "model", "animate", "--workflow", str(WORKFLOWS / IMAGE), "--engine", "gpu1"])
    api = start()
    (id_,) = api.enqueue(model="animate", input_image="http://10.1.2.3/a.png", width=64, height=64)
    row = api.wait(id_)
    assert row["status"] == "failed"
    assert "private address" in row["error_message"]
    assert stub.prompts == []
    assert not stub.uploads
