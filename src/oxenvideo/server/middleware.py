"""The checks that every request passes first: Host header, API key, size of the body."""

from __future__ import annotations

import asyncio
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oxenvideo.server.errors import ApiError
from oxenvideo.server.settings import Settings

# A client that is still sending does not read the answer, so some more of a refused body is read.
_DRAIN_BYTES = 64 * 1024 * 1024
_DRAIN_SECONDS = 5.0


class Guard:
    """ASGI middleware that answers requests that are not allowed."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            if scope["path"].startswith("/api/"):
                self._check_key(headers)
            self._check_length(headers)
        except ApiError as error:
            await error.response()(scope, receive, send)
            await _drain(receive)
            return
        await self._app(scope, self._bounded(receive), send)

    def _check_host(self, headers: Headers) -> None:
        # A web page can make the browser connect to this server under the page's own host name (DNS rebinding).
        given = headers.get("host", "")
        try:
            name = urlsplit(f"//{given}").hostname or ""
        except ValueError:
            name = ""
        if name not in self._settings.hosts:
            raise ApiError(403, "forbidden", f"This server does not serve the host {given!r}. --allow-host adds one.")

    def _check_key(self, headers: Headers) -> None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        good = hmac.compare_digest(self._settings.api_key.encode(), key.strip().encode())
        if scheme.lower() != "bearer" or not good:
            raise ApiError(401, "unauthenticated", "Send the header 'Authorization: Bearer <API key>'.")

    def _check_length(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._settings.max_body:
            raise self._too_large()

    def _bounded(self, receive: Receive) -> Receive:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._settings.max_body:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> ApiError:
        return ApiError(413, "payload_too_large", f"A request body may have {self._settings.max_body} bytes.")


async def _drain(receive: Receive) -> None:
    left = _DRAIN_BYTES
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
