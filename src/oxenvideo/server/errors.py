"""Error answers, in the API's two envelopes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse

_TITLES = {
    "unauthenticated": "The request must carry a valid API key",
    "forbidden": "The request is not allowed",
    "invalid_params": "The request has invalid parameters",
    "resource_not_found": "The requested resource could not be found",
    "resource_already_exists": "The resource already exists",
    "unsupported_media_type": "The model makes neither images nor videos",
    "payload_too_large": "The request body is too large",
    "method_not_allowed": "The method is not allowed here",
    "unknown_error": "Something went wrong in the server",
}


class ApiError(Exception):
    """An error answer in the typed envelope (`error.type`, `error.title`, `error.detail`)."""

    def __init__(self, status: int, type: str, detail: str | None = None) -> None:
        super().__init__(detail or _TITLES[type])
        self.status = status
        self.type = type
        self.detail = detail

    def response(self) -> JSONResponse:
        """Return the answer to send."""
        error = {"type": self.type, "title": _TITLES[self.type]}
        if self.detail is not None:
            # The documentation does not say which envelope an invalid parameter comes in, so this is both.
            error |= {"detail": self.detail} | ({"message": self.detail} if self.type == "invalid_params" else {})
        body = {"error": error, "status": "error", "status_message": self.type}
        return JSONResponse(body, status_code=self.status)


class ModelError(ApiError):
    """A 400 from a model, in the plain envelope (`error.message` alone)."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "unknown_error", message)

    def response(self) -> JSONResponse:
        """Return the answer to send."""
        return JSONResponse({"error": {"message": self.detail}}, status_code=self.status)


def not_found() -> ApiError:
    """Return the documented 404."""
    return ApiError(404, "resource_not_found")


def invalid(detail: str) -> ApiError:
    """Return a 400 with this reason."""
    return ApiError(400, "invalid_params", detail)


async def answer_error(request: Request, error: Exception) -> JSONResponse:
    """Answer any exception: an ApiError as it says, the framework's in the typed envelope, others as a bare 500."""
    if isinstance(error, ApiError):
        return error.response()
    status = getattr(error, "status_code", 500)
    kind = {404: "resource_not_found", 405: "method_not_allowed", 400: "invalid_params"}.get(status, "unknown_error")
    detail = getattr(error, "detail", None) if status not in (404, 500) else None
    return ApiError(status, kind, detail).response()
