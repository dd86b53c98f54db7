"""The faulty service on trial, and a client of it that is impatient."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from faulty import FaultyService
from faulty.probe import client_of


@pytest.fixture
def service() -> Iterator[FaultyService]:
    with FaultyService(keep_alive=0.03) as running:
        yield running


@pytest.fixture
def http(service: FaultyService) -> Iterator[httpx.Client]:
    with client_of(service, timeout=2) as client:
        yield client
