"""Fetching the inputs of a request, with checks of addresses and limits of size and time."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import socket
import time
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit
from urllib.request import url2pathname

import httpx

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
        return Path(url2pathname(urlsplit(uri).path)).read_bytes()
    except OSError as error:
        raise RenderError(f"Input {shown(uri)} could not be read: {error.strerror}.") from None


def _download(uri: str, rules: InputRules) -> bytes:
    deadline = time.monotonic() + MAX_SECONDS
    client = httpx.Client(
        transport=CheckedTransport(rules),
        trust_env=False,  # a proxy would connect to addresses that were not checked
        timeout=_CONNECT_SECONDS,
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
    )
    content = bytearray()
    try:
        with client, client.stream("GET", uri, headers={"User-Agent": "oxenvideo"}) as response:
            if response.status_code != 200:
                raise RenderError(f"Input {shown(uri)} could not be fetched: it answered {response.status_code}.")
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise RenderError(f"Input {shown(uri)} has more than {MAX_BYTES // 2**20} MB.")
                if time.monotonic() > deadline:
                    raise RenderError(f"Input {shown(uri)} took more than {MAX_SECONDS:.0f} s.")
    except httpx.TooManyRedirects:
        raise RenderError(f"Input {shown(uri)} was redirected more than {MAX_REDIRECTS} times.") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise RenderError(f"Input {shown(uri)} could not be fetched: {reason}.") from None
    return bytes(content)


class CheckedTransport(httpx.HTTPTransport):
    """Connects to the address that it has checked, so that a second DNS lookup cannot lead elsewhere."""

    def __init__(self, rules: InputRules) -> None:
        super().__init__()
        self._rules = rules

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the first address of its host that is allowed. The key goes to this server only."""
        url, headers = request.url, request.headers.copy()
        authority = url.netloc.decode() if url.port else f"{url.netloc.decode()}:80"
        if self._rules.address is not None and url.scheme == "http" and authority in self._rules.own:
            host, port = self._rules.address
            headers["Authorization"] = f"Bearer {self._rules.key}"
            target = url.copy_with(host=host, port=port)
        else:
            target = url.copy_with(host=self._allowed_address(url.host))
        extensions = request.extensions | {"sni_hostname": url.host}
        return super().handle_request(httpx.Request("GET", target, headers=headers, extensions=extensions))

    def _allowed_address(self, host: str) -> str:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx.ConnectError(f"the host {host} is unknown ({error.strerror})") from None
        addresses = [str(entry[4][0]) for entry in found]
        allowed = [a for a in addresses if self._rules.allow_private or is_public(a)]
        if not allowed:
            raise RenderError(
                f"Input host {host!r} has the private address {addresses[0]}, and this server does not connect to those."
            )
        return allowed[0]


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
