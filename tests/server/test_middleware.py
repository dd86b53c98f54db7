"""The checks that every request passes first: key, Host header, size of the body."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx
import pytest

from server.conftest import Launch
from server.support import TINY, Api

PATHS = [
    ("GET", "/api/authorize"),
    ("GET", "/api/ai/models"),
    ("GET", "/api/ai/models/search?search=x"),
    ("GET", "/api/ai/models/featured"),
    ("GET", "/api/ai/models/favorites"),
    ("GET", "/api/ai/models/x"),
    ("POST", "/api/ai/queue"),
    ("GET", "/api/ai/queue"),
    ("GET", "/api/ai/queue/x"),
    ("DELETE", "/api/ai/queue/x"),
    ("POST", "/api/ai/videos/generate"),
    ("GET", "/api/ai/generations"),
    ("GET", "/api/ai/generations/x"),
    ("GET", "/api/events"),
    ("POST", "/api/repos"),
    ("PUT", "/api/repos/a/b/file/main/c"),
    ("GET", "/api/repos/a/b/file/main/c"),
    ("GET", "/api/nothing/here"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("header", [None, "Bearer", "Bearer ", "Bearer wrong", "Basic {key}", "{key}", "Bearer {key}x"])
def test_every_route_asks_for_the_key(api: Api, method: str, path: str, header: str | None) -> None:
    """Without a valid bearer key every path under /api answers 401."""
    headers = {} if header is None else {"Authorization": header.format(key=api.key).rstrip()}
    answer = httpx.request(method, api.url + path, headers=headers)
    assert answer.status_code == 401
    body = answer.json()
    assert (body["error"]["type"], body["status"], body["status_message"]) == (
        "unauthenticated", "error", "unauthenticated",
    )  # fmt: skip


def test_authorize_names_the_user(api: Api) -> None:
    """The answer names the user of the key."""
    user = api.http.get("/api/authorize").json()["user"]
    assert user["name"] == "local"
    assert "@" in user["email"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "localhost.:{port}", "", "[::1", "a b"],
)
@pytest.mark.parametrize("path", ["/api/authorize", "/results/x.mp4", "/"])
def test_foreign_host_names_are_refused(api: Api, host: str, path: str) -> None:
    """A request with a foreign Host name is refused, with or without a key: another site's page may have sent it."""
    port = urlsplit(api.url).port
    answer = _raw(api, f"GET {path} HTTP/1.1\r\nHost: {host.format(port=port)}\r\n")
    assert answer.startswith(("HTTP/1.1 403 ", "HTTP/1.1 400 "))
    if host and " " not in host:
        assert '"forbidden"' in answer


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "[::1]:{port}"])
def test_loopback_names_are_served(api: Api, host: str) -> None:
    """All loopback names are served."""
    answer = api.http.get("/api/authorize", headers={"Host": host.format(port=urlsplit(api.url).port)})
    assert answer.status_code == 200


@pytest.mark.slow
def test_more_names_can_be_allowed(start: Launch) -> None:
    """A name given on the command line is served, and result URLs contain it."""
    api = start("--allow-host", "Ox.Test")
    answer = api.http.get("/api/authorize", headers={"Host": "ox.test"})
    assert answer.status_code == 200
    id_ = api.make()["generation_id"]
    row = api.http.get(f"/api/ai/queue/{id_}", headers={"Host": "ox.test:80"}).json()
    assert row["result_url"].startswith("http://ox.test:80/results/")


@pytest.mark.slow
def test_bodies_are_bounded(start: Launch) -> None:
    """A body above the limit is a 413 in the envelope, with or without Content-Length. One below it passes."""
    api = start("--max-body-mb", "1")
    body = b'{"model": "' + b"x" * 2_000_000 + b'"}'

    def piecewise() -> object:
        for begin in range(0, len(body), 50_000):
            yield body[begin : begin + 50_000]

    for content in (body, piecewise()):
        answer = api.http.post("/api/ai/queue", content=content)
        assert answer.status_code == 413
        assert answer.json()["status_message"] == "payload_too_large"
    file = {"file": ("big", body)}
    assert api.http.put("/api/repos/local/r/file/main/big", files=file).status_code == 413
    assert api.enqueue(padding="x" * 900_000)


def test_unknown_routes_and_methods_answer_in_the_envelope(api: Api) -> None:
    """Unknown paths and methods are a 404 or 405 in the envelope."""
    assert api.http.get("/api/other").json()["status_message"] == "resource_not_found"
    answer = api.http.put("/api/ai/queue", json=TINY)
    assert (answer.status_code, answer.json()["status_message"]) == (405, "method_not_allowed")


def _raw(api: Api, head: str) -> str:
    parts = urlsplit(api.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        request = f"{head}Authorization: Bearer {api.key}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer.decode()
