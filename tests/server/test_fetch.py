"""Inputs: what is fetched, what is refused, and limits."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpcore
import pytest

from oxenvideo.server import fetch
from oxenvideo.server.renderer import InputRules, RenderError
from server.conftest import Launch
from server.support import Api, data_uri, drawing, frames, likeness, png

OPEN = InputRules(allow_private=True)
CLOSED = InputRules()
I2V = "bytedance-seedance-2-0-fast-image-to-video"


class Origin(ThreadingHTTPServer):
    """A web server with an answer for each path that records its requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str | None]] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Return the URL of a path."""
        return f"http://{host}:{self.server_address[1]}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Origin
    protocol_version = "HTTP/1.1"
    quiet: ClassVar[bool] = True

    def do_GET(self) -> None:  # the name is the library's
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        status, headers, body = self.server.pages.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def origin() -> Iterator[Origin]:
    """Return a web server of this machine."""
    server = Origin()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("uri", "content"),
    [
        (data_uri(b"abc"), b"abc"),
        ("data:,a%20b", b"a b"),
        ("DATA:image/png;BASE64,YWJj", b"abc"),
        ("data:image/png;base64,YWJj%3D".replace("%3D", ""), b"abc"),
    ],
)
def test_data_uris(uri: str, content: bytes) -> None:
    """Data URIs are decoded, with and without base64."""
    assert fetch.fetch(uri, CLOSED) == content


@pytest.mark.parametrize("uri", ["data:image/png;base64", "data:image/png;base64,!!!", "data:image/png;base64,YWJ"])
def test_broken_data_uris(uri: str) -> None:
    """A data URI that cannot be decoded is refused with a message."""
    with pytest.raises(RenderError, match="data URI"):
        fetch.fetch(uri, CLOSED)


def test_image_data_uris_are_bounded() -> None:
    """Images may have 12 MB. Other media are limited by the request only."""
    limit = fetch.MAX_IMAGE_DATA_URI
    assert len(fetch.fetch(data_uri(b"x" * limit), CLOSED)) == limit
    with pytest.raises(RenderError, match="12 MB"):
        fetch.fetch(data_uri(b"x" * (limit + 1)), CLOSED)
    assert len(fetch.fetch(data_uri(b"x" * (limit + 1), "video/mp4"), CLOSED)) == limit + 1


def test_files_only_where_allowed(tmp_path: Path) -> None:
    """A file of this machine is read only if the option allows it."""
    (tmp_path / "a b.txt").write_bytes(b"secret")
    uri = (tmp_path / "a b.txt").as_uri()
    with pytest.raises(RenderError, match="local file"):
        fetch.fetch(uri, OPEN)
    assert fetch.fetch(uri, InputRules(allow_files=True)) == b"secret"
    with pytest.raises(RenderError, match="No such file"):
        fetch.fetch((tmp_path / "none").as_uri(), InputRules(allow_files=True))


@pytest.mark.parametrize(
    "uri", ["ftp://example.com/a", "gopher://x", "cat.png", "", "//x/y", "javascript:1", "FILE:///etc/passwd"]
)
def test_other_schemes_are_refused(uri: str) -> None:
    """Only http, https and data URIs are accepted."""
    with pytest.raises(RenderError):
        fetch.fetch(uri, CLOSED)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "[::]"],
)
def test_private_addresses_are_refused(origin: Origin, host: str) -> None:
    """No spelling of a loopback address is connected to."""
    origin.pages["/"] = (200, {}, b"secret")
    with pytest.raises(RenderError, match=r"private|not known|could not be fetched"):
        fetch.fetch(origin.url(host=host), CLOSED)
    assert origin.asked == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1", True), ("::ffff:8.8.8.8", True), ("64:ff9b::808:808", True),
        ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False),
        ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("255.255.255.255", False),
        ("::1", False), ("::", False), ("fe80::1%eth0", False), ("fc00::1", False), ("ff02::1", False),
        ("::ffff:10.0.0.1", False), ("64:ff9b::a00:1", False), ("2002:7f00:1::", False),
    ],
)  # fmt: skip
def test_public_addresses(address: str, public: bool) -> None:
    """Only global addresses are public, also when embedded in IPv6."""
    assert fetch.is_public(address) is public


def test_private_addresses_where_allowed(origin: Origin) -> None:
    """Private addresses are fetched if the option allows it."""
    origin.pages["/"] = (200, {}, b"content")
    assert fetch.fetch(origin.url(), OPEN) == b"content"


@pytest.mark.slow
def test_redirects_are_checked_again(origin: Origin) -> None:
    """A redirect to a refused address or another scheme is refused."""
    other = Origin()
    other.pages["/"] = (200, {}, b"secret")
    own = InputRules(own=(origin.url("").removeprefix("http://"),), address=("127.0.0.1", origin.server_address[1]))
    try:
        for location in (other.url(), "file:///etc/passwd", "ftp://x/"):
            origin.pages["/"] = (302, {"Location": location}, b"")
            with pytest.raises(RenderError):
                fetch.fetch(origin.url(), own)
        assert other.asked == []
        origin.pages["/"] = (302, {"Location": other.url()}, b"")
        assert fetch.fetch(origin.url(), OPEN) == b"secret"
    finally:
        other.shutdown()
        other.server_close()


def test_redirects_are_bounded(origin: Origin) -> None:
    """A loop of redirects ends with a message."""
    origin.pages["/"] = (302, {"Location": "/"}, b"")
    with pytest.raises(RenderError, match="5 times"):
        fetch.fetch(origin.url(), OPEN)
    assert len(origin.asked) == fetch.MAX_REDIRECTS + 1


def test_the_address_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that changes its address after the check is connected to at the checked address."""
    answers = iter(["8.8.8.8", "127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [(2, 1, 6, "", (next(answers), 80))])
    connected = []

    def connect(self: object, host: str, *args: object, **kwargs: object) -> None:
        connected.append(host)
        raise httpcore.ConnectError("no network here")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    with pytest.raises(RenderError, match="no network here"):
        fetch.fetch("http://rebinding.example/", CLOSED)
    assert connected == ["8.8.8.8"]
    with pytest.raises(RenderError, match="private address"):
        fetch.fetch("http://rebinding.example/", CLOSED)


def test_the_key_goes_to_the_own_origin_only(origin: Origin) -> None:
    """The key is sent to this server only, and not after a redirect to another."""
    other = Origin()
    other.pages["/"] = (200, {}, b"x")
    origin.pages["/"] = (302, {"Location": other.url()}, b"")
    authority = origin.url("").removeprefix("http://")
    rules = InputRules((authority,), ("127.0.0.1", origin.server_address[1]), "the-key", allow_private=True)
    try:
        fetch.fetch(origin.url(), rules)
    finally:
        other.shutdown()
        other.server_close()
    assert origin.asked == [("/", "Bearer the-key")]
    assert other.asked == [("/", None)]


def test_errors_and_sizes(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is not 200, too large, or incomplete gives a message."""
    with pytest.raises(RenderError, match="answered 404"):
        fetch.fetch(origin.url("/none"), OPEN)
    monkeypatch.setattr(fetch, "MAX_BYTES", 1000)
    origin.pages["/"] = (200, {}, b"x" * 1001)
    with pytest.raises(RenderError, match="more than"):
        fetch.fetch(origin.url(), OPEN)
    origin.pages["/short"] = (200, {"Content-Length": "50", "Connection": "close"}, b"x" * 10)
    monkeypatch.setattr(Handler, "timeout", 0.2)
    with pytest.raises(RenderError, match="could not be fetched"):
        fetch.fetch(origin.url("/short"), OPEN)


def test_messages_do_not_tell_signatures(origin: Origin) -> None:
    """A refused URL is shown without its query."""
    with pytest.raises(RenderError) as error:
        fetch.fetch(origin.url("/a.png?signature=abc"), OPEN)
    assert "signature" not in str(error.value)
    assert "/a.png" in str(error.value)


@pytest.mark.slow
def test_the_servers_own_files_are_inputs(api: Api) -> None:
    """Files of a repository and results are accepted, although the server has a private address."""
    picture = drawing(1)
    api.http.post("/api/repos", json={"namespace": "local", "name": "inputs"})
    path = "/api/repos/local/inputs/file/main/start.png"
    api.http.put(path, files={"file": png(picture)}, data={"message": "m"})
    row = api.make(model=I2V, input_image=api.url + path, duration=4, resolution="480p", width=None, num_frames=None)
    assert row["status"] == "succeeded", row["error_message"]
    first = api.make()
    edited = api.make(model="kling-video-o3-pro-video-to-video-edit", input_video=first["result_url"])
    assert edited["status"] == "succeeded", edited["error_message"]


def test_refusals_end_the_job(api: Api, origin: Origin) -> None:
    """A job whose input is refused fails with the reason, and nothing is requested."""
    row = api.make(model=I2V, input_image=origin.url("/a.png"), duration=4)
    assert row["status"] == "failed"
    assert "private address 127.0.0.1" in row["error_message"]
    assert origin.asked == []


@pytest.mark.slow
def test_allowed_private_inputs(start: Launch, origin: Origin) -> None:
    """With --allow-private-inputs the image is used."""
    picture = drawing(2, (640, 360))
    origin.pages["/a.png"] = (200, {}, png(picture))
    content = start("--allow-private-inputs").video(
        model="wan-v2-7-image-to-video", input_image=origin.url("/a.png"), duration=2, resolution="720P",
        num_frames=None, width=640, height=360,
    )  # fmt: skip
    assert likeness(frames(content)[0], picture) < 8  # FFmpeg before 8 rounds colours otherwise


@pytest.mark.parametrize("content", [b"no image", b"", b"\x89PNG\r\n\x1a\n", base64.b64decode("R0lGODlhAQABAAAAACw=")])
def test_what_is_no_image_fails_in_words(api: Api, content: bytes) -> None:
    """Bytes that are not an image fail the job with a message."""
    row = api.make(model=I2V, input_image=data_uri(content), duration=4)
    assert row["status"] == "failed"
    assert "is not an image that can be read" in row["error_message"]


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "content", [b"no video", PLAYLIST, b"ffconcat version 1.0\nfile /etc/passwd\n", b"\0\0\0\x20ftypisom" + b"\0" * 50]
)
def test_what_is_no_video_fails_in_words(api: Api, content: bytes) -> None:
    """Playlists are not followed, and bytes that are not a video fail the job with a message."""
    row = api.make(model="kling-video-o3-pro-video-to-video-edit", input_video=data_uri(content, "video/mp4"))
    assert row["status"] == "failed"
    assert "Input " in row["error_message"]
    assert "The renderer failed" not in row["error_message"]
