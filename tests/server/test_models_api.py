"""The models in the API."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from server.conftest import Launch
from server.support import KLING, Api

CATALOGUE = json.loads(resources.files("oxenvideo").joinpath("data/video_models.json").read_text("utf-8"))


def _ids(api: Api, path: str, **query: str) -> list[str]:
    body = api.http.get(f"/api/ai/models{path}", params=query).json()
    assert body["object"] == "list"
    return [model["id"] for model in body["data"]]


def test_all_models_are_listed(api: Api) -> None:
    """The list is the whole bundled catalog."""
    assert _ids(api, "") == [model["id"] for model in CATALOGUE]
    assert len(CATALOGUE) == 80


def test_one_model(api: Api) -> None:
    """One model is returned with its schema and without an envelope."""
    model = api.http.get(f"/api/ai/models/{KLING}").json()
    assert (model["id"], model["object"], model["endpoint"]) == (KLING, "model", "/videos/generate")
    assert model["request_schema"]["properties"]["duration"]["enum"] == [5, 10]


def test_an_unknown_model(api: Api) -> None:
    """An unknown id is the documented 404."""
    answer = api.http.get("/api/ai/models/no/such")
    assert (answer.status_code, answer.json()["status_message"]) == (404, "resource_not_found")


def test_search(api: Api) -> None:
    """All words must be in the id or name, in any case."""
    found = _ids(api, "/search", search="KLING reference")
    assert "kling-video-o3-pro-reference-to-video" in found
    assert all("kling" in id_ for id_ in found)
    assert _ids(api, "/search", search="zzz") == []


def test_featured_and_favorites(api: Api) -> None:
    """Some models are featured, and there are no favourites."""
    featured = _ids(api, "/featured")
    assert KLING in featured
    assert len(featured) < len(CATALOGUE)
    assert _ids(api, "/favorites") == []


@pytest.mark.parametrize(
    ("query", "inside", "outside"),
    [
        ({"developer_name": "kling"}, KLING, "google-veo-3-1"),
        ({"action": "video-to-video"}, "kling-video-o3-pro-video-to-video-edit", KLING),
        ({"action": "text_to_video"}, KLING, "topazlabs-rhea-video"),
    ],
)
def test_filters(api: Api, query: dict[str, str], inside: str, outside: str) -> None:
    """Developer and action filter the list."""
    found = _ids(api, "", **query)
    assert inside in found
    assert outside not in found


def test_provider_filter(start: Launch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A provider's models are those that it deploys."""
    more = tmp_path_factory.mktemp("models") / "more.json"
    more.write_text('[{"id": "mine", "deployments": [{"status": "active", "provider": "Attic"}]}]')
    assert _ids(start("--models", str(more)), "", provider_name="attic") == ["mine"]
