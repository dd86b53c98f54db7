"""The service's own catalogue over the bundled one: at once what is known, then what the service says, also offline."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from faulty import FaultyService, html_page, never_answer, server_error
from faulty.model import describe_model
from kinds.shapes import TEXT, UPSCALE
from oxenvideo import Session
from oxenvideo.catalog.catalog import bundled
from oxenvideo.errors import UnknownModel

NEWEST: dict[str, Any] = {
    "id": "kling-video-v9-text-to-video",
    "price": 0.5,
    "properties": {"prompt": {"type": "string"}, "duration": {"type": "integer", "maximum": 60}},
}


def session(service: FaultyService, directory: Path, **options: Any) -> Session:
    return Session(base_url=service.base_url, api_key=service.api_key, data_dir=directory, **options)


def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("word", ["request_schema", "json_request_schema"])
def test_a_model_that_only_the_service_knows_is_used(tmp_path: Path, word: str) -> None:
    """Nobody waits for the service; soon after, its models are there, with schema and price."""
    row = describe_model(NEWEST)
    row[word] = row.pop("request_schema")
    with FaultyService() as service, session(service, tmp_path) as made:
        service.models.append(row)
        assert TEXT in made.catalog
        until(lambda: NEWEST["id"] in made.catalog)
        request = made.request("A fox", model=NEWEST["id"], duration=60).request
        estimate = made.estimate(request)
        assert estimate is not None
        assert estimate.total == Decimal(30)
        assert UPSCALE in made.catalog, "what the service does not list is still known"
        assert service.counts["GET /api/ai/models"] == 1


def test_the_service_has_the_last_word_on_a_known_model(tmp_path: Path) -> None:
    """A live schema and price take the place of the bundled ones."""
    with FaultyService() as service, session(service, tmp_path) as made:
        row = next(row for row in service.models if row["id"] == TEXT)
        row["request_schema"] = {"type": "object", "properties": {"duration": {"type": "integer", "enum": [5, 20]}}}
        row["pricing"] = {"method": "per_video_output_second", "cost_per_second": 0.08}
        made.models(refresh=True)
        request = made.request("A fox", model=TEXT, duration=20).request
        estimate = made.estimate(request)
        assert estimate is not None
        assert estimate.text == "20 s × $0.08 = $1.60"


def test_a_refresh_that_fails_leaves_what_was_known(tmp_path: Path) -> None:
    """An error, a web page in place of JSON: the catalogue stays."""
    with FaultyService() as service, session(service, tmp_path) as made:
        for fault in (server_error(), html_page()):
            service.always("GET /api/ai/models", fault)
            assert len(made.models(refresh=True)) == len(bundled())


def test_the_last_answer_is_kept_on_disk(tmp_path: Path) -> None:
    """The next kernel knows the service's models at once, also where the service is not to be reached."""
    with FaultyService() as service:
        service.models.append(describe_model(NEWEST))
        with session(service, tmp_path) as first:
            first.models(refresh=True)
        service.always("GET /api/ai/models", never_answer())
        with session(service, tmp_path) as second:
            begun = time.monotonic()
            assert NEWEST["id"] in second.catalog
            assert time.monotonic() - begun < 10, "it waited for the answer"
        with Session(base_url=service.other_origin, api_key="k", data_dir=tmp_path) as elsewhere:
            assert NEWEST["id"] not in elsewhere.catalog, "one service's models are not another's"


def test_an_unknown_model_names_the_nearest(tmp_path: Path) -> None:
    """A wrong id is one line with what comes near."""
    with Session(base_url="local", data_dir=tmp_path) as made, pytest.raises(UnknownModel) as caught:
        made.request("A fox", model="kling-video-v2.6-pro-text-to-video")
    assert f"Did you mean '{TEXT}'" in str(caught.value)
