"""Opening result files: where a URL of the service may lead, and that the key goes nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin

import httpx

from oxenvideo.client.transport import Transport
from oxenvideo.errors import DownloadFailed

_REDIRECTS = 5


class Results:
    """GETs the URLs that the service names for its results. Blocking; safe from any thread."""

    def __init__(self, wire: Transport) -> None:
        self._wire = wire

    @contextmanager
    def open(self, url: str, *, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """The answer as a stream, whatever its status; redirects are followed, at most five.

        The key goes along only while the address is the service's own origin. Only http and https are followed, and no
        redirect leads from https to http. Raises DownloadFailed, ConnectionFailed or OutcomeUnknown.
        """
        address = _address(urljoin(self._wire.base_url + "/", url))
        for _ in range(_REDIRECTS + 1):
            response = self._wire.get(address, {"Accept-Encoding": "identity", **(headers or {})})
            try:
                if not response.has_redirect_location:
                    yield response
                    return
                onward = _address(str(address.join(response.headers["location"])))
                if address.scheme == "https" and onward.scheme == "http":
                    raise DownloadFailed("The result URL leads from https to http; it was not followed.")
                address = onward
            finally:
                response.close()
        raise DownloadFailed(f"The result URL was redirected more than {_REDIRECTS} times.")


def _address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise DownloadFailed("The service named a result URL that is no URL.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise DownloadFailed(
            f"The service named a result URL of kind {url.scheme or 'none'!r}; only http and https are fetched."
        )
    if url.userinfo:
        raise DownloadFailed("The service named a result URL with a user and password; it was not fetched.")
    return url
