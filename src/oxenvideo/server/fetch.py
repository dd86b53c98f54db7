"""Fetching the inputs of a request, with checks of addresses and limits of size and time."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import socket
import ssl
import time
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urljoin, urlsplit
from urllib.request import url2pathname

import httpcore

from oxenvideo.server.renderer import InputRules, RenderError

MAX_BYTES = 256 * 1024 * 1024
# Larger images as data URIs are not known to work with the service.
MAX_IMAGE_DATA_URI = 12 * 1024 * 1024
MAX_REDIRECTS = 5
MAX_SECONDS = 60.0
_CONNECT_SECONDS = 10.0


def fetch(uri: str, rules: InputRules) -> bytes:
    """Return the content at an input URI; raise RenderError if it is refused or cannot be fetched."""
    scheme = uri.partition(":")[0].lower()
    if scheme == "data":
        return _decode_data_uri(uri)
    if scheme == "file":
        return _read_file(uri, rules)
    if scheme in ("http", "https"):
        return _download(uri, rules)
    raise RenderError(f"Input {shown(uri)} is not a URL: use http, https or a data URI.")


def shown(uri: str) -> str:
    """Shorten a URI for a message and leave out its query, which may contain a signature."""
    if uri[:5].lower() == "data:":
        return f"{uri[:40].partition(',')[0]},…"
    head = uri.partition("?")[0]
    return repr(head if len(head) <= 100 else f"{head[:60]}…")


def _decode_data_uri(uri: str) -> bytes:
    head, comma, payload = uri[5:].partition(",")
    if not comma:
        raise RenderError("An input data URI has no comma between its type and its content.")
    try:
        content = (
            base64.b64decode(unquote(payload), validate=True)
            if head.lower().endswith(";base64")
            else unquote_to_bytes(payload)
        )
    except (binascii.Error, ValueError):
        raise RenderError("An input data URI is not valid base64.") from None
    if head.lower().startswith("image/") and len(content) > MAX_IMAGE_DATA_URI:
        raise RenderError(f"An image data URI may have 12 MB, and this one has {len(content) / 2**20:.1f} MB.")
    return content


def _read_file(uri: str, rules: InputRules) -> bytes:
    if not rules.allow_files:
        raise RenderError(f"Input {shown(uri)} is a local file, which this server does not read.")
    try:
        with open(url2pathname(urlsplit(uri).path), "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RenderError(f"Input {shown(uri)} could not be read: {error.strerror}.") from None
    if len(content) > MAX_BYTES:
        raise RenderError(f"Input {shown(uri)} has more than {MAX_BYTES // 2**20} MB.")
    return content


def _download(uri: str, rules: InputRules) -> bytes:
    deadline = time.monotonic() + MAX_SECONDS
    backend = GuardedBackend(rules)
    with httpcore.ConnectionPool(network_backend=backend, ssl_context=ssl.create_default_context()) as pool:
        for _ in range(MAX_REDIRECTS + 1):
            try:
                status, location, content = _get(pool, uri, rules, deadline)
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, ValueError) as error:
                reason = str(error) or type(error).__name__
                raise RenderError(f"Input {shown(uri)} could not be fetched: {reason}.") from None
            if location is None:
                if status != 200:
                    raise RenderError(f"Input {shown(uri)} could not be fetched: it answered {status}.")
                return content
            uri = urljoin(uri, location)
            if urlsplit(uri).scheme not in ("http", "https"):
                raise RenderError(f"Input was redirected to {shown(uri)}, which is neither http nor https.")
    raise RenderError(f"Input was redirected more than {MAX_REDIRECTS} times.")


def _get(pool: httpcore.ConnectionPool, uri: str, rules: InputRules, deadline: float) -> tuple[int, str | None, bytes]:
    headers: dict[bytes | str, bytes | str] = {"User-Agent": "oxenvideo", "Accept": "*/*"}
    parts = urlsplit(uri)
    if rules.key is not None and parts.scheme == "http" and parts.netloc.lower() in rules.own:
        headers["Authorization"] = f"Bearer {rules.key}"
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), _CONNECT_SECONDS)
    target = parts._replace(fragment="").geturl()
    with pool.stream("GET", target.encode("ascii"), headers=headers, extensions={"timeout": timeout}) as response:
        fields = {name.lower(): value for name, value in response.headers}
        if response.status in (301, 302, 303, 307, 308) and b"location" in fields:
            return response.status, fields[b"location"].decode("latin-1"), b""
        content = bytearray()
        for chunk in response.iter_stream():
            content += chunk
            if len(content) > MAX_BYTES:
                raise RenderError(f"Input {shown(uri)} has more than {MAX_BYTES // 2**20} MB.")
            if time.monotonic() > deadline:
                raise RenderError(f"Input {shown(uri)} took more than {MAX_SECONDS:.0f} s.")
        return response.status, None, bytes(content)


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to the address that it has checked, so that a second DNS lookup cannot lead elsewhere."""

    def __init__(self, rules: InputRules) -> None:
        self._rules = rules
        self._inner = httpcore.SyncBackend()

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.NetworkStream:
        """Connect to the first address of the host that is allowed."""
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if authority.lower() in self._rules.own and self._rules.address is not None:
            own_host, own_port = self._rules.address
            return self._inner.connect_tcp(own_host, own_port, *args, **options)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"the host {host} is unknown ({error.strerror})") from None
        addresses = [str(entry[4][0]) for entry in found]
        allowed = [a for a in addresses if self._rules.allow_private or is_public(a)]
        if not allowed:
            raise RenderError(
                f"Input host {host!r} has the private address {addresses[0]}, and this server does not connect to those."
            )
        return self._inner.connect_tcp(allowed[0], port, *args, **options)


def is_public(address: str) -> bool:
    """Return whether an IP address is public, including IPv4 addresses embedded in IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        # NAT64 (RFC 6052) has the IPv4 address in the last four bytes.
        if inner is None and ip in ipaddress.IPv6Network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None and not is_public(str(inner)):
            return False
    return ip.is_global and not ip.is_multicast
