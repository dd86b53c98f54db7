"""The error bodies of the API, in its two envelopes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse

TITLES = {
    "unauthenticated": "The request must carry a valid API key",
    "forbidden": "The request is not allowed",
    "invalid_params": "The request has invalid parameters",
    "resource_not_found": "The requested resource could not be found",
    "resource_already_exists": "The resource exists already",
    "unsupported_media_type": "The model makes neither images nor videos",
    "payload_too_large": "The request body is too large",
    "method_not_allowed": "The method is not allowed here",
    "unknown_error": "Something went wrong in the server",
}


class ApiError(Exception):
    """An answer that is an error, in the typed envelope (`error.type`, `error.title`, `error.detail`)."""

    def __init__(self, status: int, type: str, detail: str | None = None) -> None:
        super().__init__(detail or TITLES[type])
        self.status = status
        self.type = type
        self.detail = detail

    def response(self) -> JSONResponse:
        """Return the answer to send."""
        error = {"type": self.type, "title": TITLES[self.type]}
        if self.detail is not None:
            # Which of the two envelopes an invalid parameter comes in is not documented: this is both.
            error |= {"detail": self.detail} | ({"message": self.detail} if self.type == "invalid_params" else {})
        body = {"error": error, "status": "error", "status_message": self.type}
        return JSONResponse(body, status_code=self.status)


class ModelError(ApiError):
    """A 400 of the model side, in the plain envelope (`error.message` alone)."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "unknown_error", message)

    def response(self) -> JSONResponse:
        """Return the answer to send."""
        return JSONResponse({"error": {"message": self.detail}}, status_code=self.status)


def not_found() -> ApiError:
    """Return the documented 404, which says nothing about what exists for others."""
    return ApiError(404, "resource_not_found")


def invalid(detail: str) -> ApiError:
    """Return a 400 with the reason."""
    return ApiError(400, "invalid_params", detail)


async def answer_api_error(request: Request, error: Exception) -> JSONResponse:
    """Turn an ApiError into its answer."""
    if not isinstance(error, ApiError):
        raise error
    return error.response()


async def answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Turn the framework's own 404 and 405 into the envelope."""
    status = getattr(error, "status_code", 500)
    kind = {404: "resource_not_found", 405: "method_not_allowed", 400: "invalid_params"}.get(status, "unknown_error")
    detail = None if status == 404 else getattr(error, "detail", None)
    return ApiError(status, kind, detail).response()


async def answer_crash(request: Request, error: Exception) -> JSONResponse:
    """Answer an unexpected exception without showing its inside."""
    return ApiError(500, "unknown_error").response()
