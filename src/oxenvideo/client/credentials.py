"""Find the service's address and the API key: in arguments, the environment, or Oxen's credentials file."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from oxenvideo.errors import ConfigurationError

HUB = "https://hub.oxen.ai"
LOCAL = "local"
DEFAULT_MODEL = "kling-video-v2-6-pro-text-to-video"


class Secret:
    """An API key that prints as stars, so that no repr, log, traceback or notebook shows it by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the Authorization header."""
        return self._value

    def __repr__(self) -> str:
        return "'***'"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An API key cannot be pickled or copied: it must not be stored.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True)
class Target:
    """The address of a service and the key for it.

    ``base_url`` is ``"local"``, and ``is_local`` true, for the embedded server, which is started on demand. ``account``
    tells one key's jobs from another's in the journal, without telling the key.
    """

    base_url: str
    api_key: Secret | None = field(default=None, repr=False)
    note: str | None = None
    is_local: bool = field(init=False, repr=False, compare=False)
    account: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        is_local = self.base_url == LOCAL
        key = None if is_local or self.api_key is None else self.api_key.reveal()
        account = "local" if key is None else hashlib.sha256(key.encode()).hexdigest()[:16]
        object.__setattr__(self, "is_local", is_local)
        object.__setattr__(self, "account", account)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return "the embedded server" if self.is_local else urlsplit(self.base_url).netloc


def credentials_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The file in which the ``oxen`` command line tool and the ``oxenai`` package store keys by host."""
    home = environ.get("HOME") or str(Path.home())
    return Path(home) / ".config" / "oxen" / "auth_config.toml"


def key_from_file(host: str, path: Path) -> Secret | None:
    """The key for ``host`` (host and port) in ``path``, or None; ConfigurationError if the file cannot be parsed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"Cannot read the key file {path}: {error}. Repair it, or set OXEN_API_KEY.") from None
    try:
        for entry in tomllib.loads(text).get("host_configs", []):
            token = entry.get("auth_token")
            if entry.get("host") == host and isinstance(token, str) and token:
                return Secret(token)
        return None
    except (tomllib.TOMLDecodeError, AttributeError, TypeError) as error:
        # The parser's message may quote a line that holds the key: give the position only.
        place = f" ({str(error).rpartition('(')[2]}" if isinstance(error, tomllib.TOMLDecodeError) else ""
        repair = f"Repair it with `oxen config --auth {host} TOKEN`, or set OXEN_API_KEY."
        raise ConfigurationError(f"The key file {path} cannot be parsed{place}. {repair}") from None


def normalize_base_url(text: str) -> str:
    """The base URL without a trailing slash; ConfigurationError unless it is ``local`` or http(s) with a host."""
    text = text.strip().rstrip("/")
    if text == LOCAL:
        return text
    try:
        parts = urlsplit(text)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_ok = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok:
        raise ConfigurationError(f"base_url {text!r} is not an address: use https://host, http://host:port or 'local'.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError("base_url must not hold a user, password or query: set the key as OXEN_API_KEY.")
    return text


def resolve(
    base_url: str | None = None,
    api_key: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    credentials: Path | None = None,
) -> Target:
    """Find the address and the key to use.

    The address is the argument, ``OXEN_BASE_URL`` or the hub, and the key is the argument, ``OXEN_API_KEY`` or the entry
    for that host in the credentials file. Without any address or key, the target is the embedded server, and ``note``
    says so. Raises ConfigurationError for an address without a key.
    """
    address = base_url or environ.get("OXEN_BASE_URL") or None
    chosen = normalize_base_url(address or HUB)
    if chosen == LOCAL:
        return Target(LOCAL, Secret(api_key) if api_key else None)
    key, host = api_key or environ.get("OXEN_API_KEY"), urlsplit(chosen).netloc
    secret = Secret(key) if key else key_from_file(host, credentials or credentials_path(environ))
    if secret is not None:
        if any(c.isspace() or not c.isprintable() or ord(c) > 126 for c in secret.reveal()):
            raise ConfigurationError("The API key holds a space or another character that no key has: copy it again.")
        return Target(chosen, secret)
    if address is None:
        note = "No API key: using the embedded server (free local previews). Set OXEN_API_KEY to make real videos."
        return Target(LOCAL, note=note)
    advice = f"set OXEN_API_KEY, or run `oxen config --auth {host} TOKEN`."
    raise ConfigurationError(f"No API key for {host}: {advice}")
