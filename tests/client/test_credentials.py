"""Where requests go and with which key: arguments, environment, Oxen's own file, and what is wrong with each."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxenvideo.client.credentials import (
    HUB,
    LOCAL,
    Secret,
    credentials_path,
    key_from_file,
    normalize_base_url,
    resolve,
)
from oxenvideo.errors import ConfigurationError

FILE = """
default_host = "hub.oxen.ai"

[[host_configs]]
host = "hub.oxen.ai"
auth_token = "hub-key"

[[host_configs]]
host = "127.0.0.1:3000"
auth_token = "local-key"

[[host_configs]]
host = "broken.example"
auth_token = 5
"""


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "auth_config.toml"
    path.write_text(FILE)
    return path


def key_of(secret: Secret | None) -> str | None:
    return secret.reveal() if secret is not None else None


@pytest.mark.parametrize(
    ("base_url", "api_key", "environ", "address", "key"),
    [
        (None, None, {}, HUB, "hub-key"),
        (None, "argument", {"OXEN_API_KEY": "env"}, HUB, "argument"),
        (None, None, {"OXEN_API_KEY": "env"}, HUB, "env"),
        ("http://127.0.0.1:3000", None, {}, "http://127.0.0.1:3000", "local-key"),
        ("https://a.example/", None, {"OXEN_API_KEY": "env"}, "https://a.example", "env"),
        (None, None, {"OXEN_BASE_URL": "http://127.0.0.1:3000/"}, "http://127.0.0.1:3000", "local-key"),
        ("https://a.example", "k", {"OXEN_BASE_URL": "https://b.example"}, "https://a.example", "k"),
        ("local", None, {"OXEN_API_KEY": "env"}, LOCAL, None),
        ("local", "mine", {}, LOCAL, "mine"),
        (None, None, {"OXEN_BASE_URL": "local", "OXEN_API_KEY": "env"}, LOCAL, None),
        (None, None, {"OXEN_BASE_URL": "", "OXEN_API_KEY": ""}, HUB, "hub-key"),
    ],
)
def test_who_has_the_say(
    credentials: Path, base_url: str | None, api_key: str | None, environ: dict[str, str], address: str, key: str | None
) -> None:
    """An argument beats the environment, that the file; the file's key is that of the very host and port."""
    target = resolve(base_url, api_key, environ=environ, credentials=credentials)
    assert (target.base_url, key_of(target.api_key)) == (address, key)
    assert target.note is None


def test_neither_key_nor_address(tmp_path: Path) -> None:
    """With nothing at all the embedded server is meant, and one line says so."""
    target = resolve(environ={}, credentials=tmp_path / "none.toml")
    assert target.is_local
    assert target.note is not None
    assert "OXEN_API_KEY" in target.note
    assert target.host == "the embedded server"


def test_an_address_without_a_key(tmp_path: Path) -> None:
    """An address that was chosen and has no key is an error that says how to give one."""
    with pytest.raises(
        ConfigurationError, match=r"No API key for a.example:8000: set OXEN_API_KEY, or run `oxen config"
    ):
        resolve("https://a.example:8000", environ={}, credentials=tmp_path / "none.toml")


@pytest.mark.parametrize(
    "text", ["host_configs = [", '[[host_configs]]\nhost = "h"\nauth_token = \'secret\n', "host_configs = 5"]
)
def test_a_file_that_does_not_parse(tmp_path: Path, text: str) -> None:
    """A file that does not parse is named with the place, never with the line, which may hold the key."""
    path = tmp_path / "auth_config.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        resolve(environ={}, credentials=path)
    assert str(path) in str(caught.value)
    assert "cannot be parsed" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert resolve(environ={"OXEN_API_KEY": "env"}, credentials=path).base_url == HUB


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file of other bytes, or a directory in its place, is one clear error."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "bytes", tmp_path):
        with pytest.raises(ConfigurationError, match="Cannot read the key file"):
            key_from_file("hub.oxen.ai", path)


def test_the_files_entries(credentials: Path) -> None:
    """Only the entry of the very host counts, and only a text is a key."""
    assert key_of(key_from_file("127.0.0.1:3000", credentials)) == "local-key"
    for host in ("127.0.0.1", "127.0.0.1:3001", "oxen.ai", "broken.example"):
        assert key_from_file(host, credentials) is None


def test_where_the_file_lies() -> None:
    """In the home directory that the environment names."""
    assert credentials_path({"HOME": "/home/x"}) == Path("/home/x/.config/oxen/auth_config.toml")


@pytest.mark.parametrize(
    "text",
    ["ftp://a.example", "a.example", "http://", "https://u:p@a.example", "https://a.example?x=1", "https://a.example#f",
     "http://a.example:99999", "http://a.example:port", "http://[::1", "", "  "],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    """Anything but http or https with a host, and nothing secret in it, is refused in one line."""
    with pytest.raises(ConfigurationError) as caught:
        normalize_base_url(text)
    assert "\n" not in str(caught.value)
    assert ":p@" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    """Whatever is given, it is understood or refused with our own error."""
    try:
        address = normalize_base_url(text)
    except ConfigurationError:
        return
    assert address == LOCAL or address.startswith(("http://", "https://"))


@pytest.mark.parametrize("key", ["with space", "line\nend", "tab\t", "nul\x00", "ümlaut", "\u200b"])
def test_a_key_that_was_copied_badly(tmp_path: Path, key: str) -> None:
    """A key with a character that none has is an error that does not show it."""
    with pytest.raises(ConfigurationError, match="copy it again") as caught:
        resolve(api_key=key, environ={}, credentials=tmp_path / "none")
    assert key not in str(caught.value)
