"""The exceptions of this package. Each message is one line: what happened, with which value, and what to do."""

from __future__ import annotations

from typing import Any


class OxenVideoError(Exception):
    """The base class of all exceptions of this package."""


class ConfigurationError(OxenVideoError):
    """A setting or a credentials file is wrong, or an optional package is missing; nothing was sent."""


class InvalidRequest(OxenVideoError, ValueError):
    """The request breaks a rule of the model or the API; nothing was sent."""


class UnknownModel(InvalidRequest):
    """The catalog does not have the model; the message names the most similar ones."""


class CostLimitExceeded(InvalidRequest):
    """The estimated cost in US dollars is above the limit; nothing was sent."""


class ServiceError(OxenVideoError):
    """The service answered with an error.

    ``status_code`` is the HTTP status, ``type`` the service's own error type, and ``retry_after`` the seconds that it
    asks to wait; each is None if not known.
    """

    def __init__(
        self, message: str, *, status_code: int | None = None, type: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.type = type
        self.retry_after = retry_after


class AuthenticationFailed(ServiceError):
    """HTTP 401 or 403: the key is missing or wrong, or has no permission."""


class InsufficientCredits(ServiceError):
    """HTTP 402, or a message about credits or billing: the account cannot pay for the request."""


class BadRequest(ServiceError):
    """Another 4xx status, or an error in a successful answer: the service refuses the request; do not repeat it."""


class NotFound(ServiceError):
    """HTTP 404: the service does not know this URL or id."""


class RateLimited(ServiceError):
    """HTTP 429: too many requests; ``retry_after`` is the time to wait, if the service named it."""


class ServiceUnavailable(ServiceError):
    """HTTP 408 or 5xx: the service failed; it is unknown whether it acted on the request."""


class UnexpectedAnswer(ServiceError):
    """The answer is not what the API documents, such as an HTML page, or JSON without a required field."""


class ConnectionFailed(OxenVideoError):
    """No connection was made, so the service has not seen the request and it is safe to send it again."""


class OutcomeUnknown(OxenVideoError):
    """The request was sent and no complete answer came back, so the service may have acted on it."""


class DownloadFailed(OxenVideoError):
    """The video exists at the service and could not be downloaded; the download can be repeated."""


class WaitTimeout(OxenVideoError, TimeoutError):
    """The time to wait ended before the generation did; the generation continues."""


class GenerationEnded(OxenVideoError):
    """A generation ended without a video; ``generation`` is that Generation."""

    def __init__(self, message: str, generation: Any = None) -> None:
        super().__init__(message)
        self.generation = generation


class GenerationFailed(GenerationEnded):
    """The generation failed or could not be submitted; the message is the service's own if it gave one."""


class GenerationCancelled(GenerationEnded):
    """The generation was cancelled."""
