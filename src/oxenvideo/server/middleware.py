"""The checks that every request passes first: Host header, API key, size of the body."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oxenvideo.server.errors import ApiError
from oxenvideo.server.settings import Settings

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
        try:
            self._check(scope["path"], Headers(scope=scope))
        except ApiError as error:
            await error.response()(scope, receive, send)
            # A client that is still sending does not read the answer, so some more of a refused body is read.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    while (await receive()).get("more_body"):
                        pass
        else:
            await self._app(scope, self._bounded(receive), send)

    def _check(self, path: str, headers: Headers) -> None:
        # A web page can make the browser connect to this server under the page's own host name (DNS rebinding).
        given = headers.get("host", "")
        name = None
        with contextlib.suppress(ValueError):
            name = urlsplit(f"//{given}").hostname
        if name not in self._settings.hosts:
            raise ApiError(403, "forbidden", f"This server does not serve the host {given!r}. --allow-host adds one.")
        scheme, _, key = headers.get("authorization", "").partition(" ")
        is_known = hmac.compare_digest(self._settings.api_key.encode(), key.strip().encode())
        if path.startswith("/api/") and not (is_known and scheme.lower() == "bearer"):
            raise ApiError(401, "unauthenticated", "Send the header 'Authorization: Bearer <API key>'.")
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
