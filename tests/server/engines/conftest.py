"""A stub engine, and shorter times for the adapters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oxenvideo.server.engines import comfyui
from server.engines.comfy_stub import ComfyStub


@pytest.fixture
def stub() -> Iterator[ComfyStub]:
    """A stub of ComfyUI whose jobs take a tenth of a second."""
    with ComfyStub() as running:
        yield running


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter looks more often, and waits for less long."""
    monkeypatch.setattr(comfyui, "_POLL_SECONDS", 0.1)
    monkeypatch.setattr(comfyui, "_SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(comfyui, "_RECONNECT_SECONDS", 0.2)
