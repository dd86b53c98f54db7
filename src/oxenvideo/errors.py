"""The exception tree: each message says what happened, with which value, and what to do."""

from __future__ import annotations

from typing import Any


class OxenVideoError(Exception):
    """Everything this package raises on purpose; its text is one line for a person."""


class ConfigurationError(OxenVideoError):
    """A setting, a credentials file or a missing optional package stands in the way; nothing was sent."""


class InvalidRequest(OxenVideoError, ValueError):
    """The request breaks a known rule of the model or the API; nothing was sent."""


class UnknownModel(InvalidRequest):
    """The catalogue does not know the model; the message names the nearest one."""


class CostLimitExceeded(InvalidRequest):
    """The estimate is above the limit that was set (US dollars); nothing was sent."""


class ServiceError(OxenVideoError):
    """The service answered, and the answer is an error.

    ``status_code`` is the HTTP status, ``type`` the service's own error type where it gave one, ``retry_after`` the
    seconds it asked to wait, or None.
    """

    def __init__(
        self, message: str, *, status_code: int | None = None, type: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.type = type
        self.retry_after = retry_after


class AuthenticationFailed(ServiceError):
    """401 or 403: the key is missing, wrong, or not allowed to do this."""


class InsufficientCredits(ServiceError):
    """402, or a message that speaks of credits or billing: the account cannot pay for this."""


class BadRequest(ServiceError):
    """400, 413, 415 or 422: the service refuses the request as it stands; sending it again will not help."""


class NotFound(ServiceError):
    """404: the service knows nothing under this address or id."""


class RateLimited(ServiceError):
    """429: too many requests; ``retry_after`` says when to come back, where the service named it."""


class ServiceUnavailable(ServiceError):
    """5xx: the service failed; whether it acted on the request is unknown."""


class UnexpectedAnswer(ServiceError):
    """The answer is not what the API documents: no JSON, an HTML page, a missing field."""


class ConnectionFailed(OxenVideoError):
    """The request never reached the service (no connection was made), so sending it again is safe."""


class OutcomeUnknown(OxenVideoError):
    """The request was sent and no whole answer came back, so the service may or may not have acted on it."""


class DownloadFailed(OxenVideoError):
    """The video exists at the service and could not be brought here; it can be fetched again."""


class WaitTimeout(OxenVideoError, TimeoutError):
    """The wait ended before the generation did; the generation goes on."""


class GenerationEnded(OxenVideoError):
    """A generation ended without a video; ``generation`` is the one."""

    def __init__(self, message: str, generation: Any = None) -> None:
        super().__init__(message)
        self.generation = generation


class GenerationFailed(GenerationEnded):
    """The generation ended as failed, or could not be submitted; the message is the service's own where it gave one."""


class GenerationCancelled(GenerationEnded):
    """The generation was cancelled."""
