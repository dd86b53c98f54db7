"""What every request passes first: the Host header, the API key, and the bound on the body."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oxenvideo.server.errors import ApiError
from oxenvideo.server.settings import Settings

# A refused body is read a little further, so that the refusal reaches a client that is still sending.
_DRAIN_BYTES = 64 * 1024 * 1024
_DRAIN_SECONDS = 5.0


class Guard:
    """ASGI middleware. It leaves the user's name in the request's state as ``user``."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            if scope["path"].startswith("/api/"):
                scope.setdefault("state", {})["user"] = self._authenticate(headers)
            self._check_length(headers)
        except ApiError as error:
            await error.response()(scope, receive, send)
            await _drain(receive)
            return
        await self._app(scope, self._bounded(receive), send)

    def _check_host(self, headers: Headers) -> None:
        # A page of another site can make a browser connect here under its own name; that name then shows.
        given = headers.get("host", "")
        try:
            name = urlsplit(f"//{given}").hostname or ""
        except ValueError:
            name = ""
        if name not in self._settings.hosts:
            raise ApiError(403, "forbidden", f"Host {given!r} is not served here; --allow-host adds a name.")

    def _authenticate(self, headers: Headers) -> str:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        user = self._settings.user_of(key.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise ApiError(401, "unauthenticated", "Send the header 'Authorization: Bearer <API key>'.")
        return user

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
