"""HTTP requests to the configured origin of an engine, and its texts without paths, addresses and tracebacks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx

from oxenvideo.server.engines.engine import ConfigurationError, EngineConfig, EngineUnavailable

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_MAX_FILE = 4 * 1024**3
_MAX_TEXT = 400
_TRACEBACK = "Traceback (most recent call last)"
_ADDRESS = re.compile(r"\b(?:https?|wss?|file)://\S+")
_PATH = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?(?:[/\\]+[\w.@+ -]*[\w.@+-])*[/\\]+([\w.@+-]*)")
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class AnswerLost(EngineUnavailable):
    """The engine may have received the request, and no whole answer came back."""


class EngineHttp:
    """A client of one engine. It sends the configured headers, and requests nothing from any other origin."""

    def __init__(self, config: EngineConfig) -> None:
        if config.url is None:
            raise ConfigurationError(f"Engine {config.name}: url is missing.")
        self._name = config.name
        try:
            self._client = httpx.AsyncClient(
                base_url=f"{config.url}/",
                headers={"User-Agent": "oxenvideo", **config.headers},
                timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
                follow_redirects=False,  # a redirect could lead to another origin
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError, UnicodeError):
            raise ConfigurationError(f"Engine {config.name}: url or headers cannot be used in a request.") from None

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request to a path below the configured URL, and return its answer whatever its status.

        ``options`` are those of `httpx.AsyncClient.request`. Raises EngineUnavailable if nothing was sent or if the answer
        is a redirect, and AnswerLost if the engine may have received it.
        """
        try:
            answer = await self._client.request(method, path.lstrip("/"), **options)
        except _NEVER_SENT as error:
            raise EngineUnavailable(f"{self._name} cannot be reached ({_reason(error)}).") from None
        except httpx.TimeoutException:
            raise AnswerLost(f"{self._name} did not answer in time.") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise AnswerLost(f"The connection to {self._name} broke ({_reason(error)}).") from None
        self._check(answer)
        return answer

    async def json(self, method: str, path: str, **options: Any) -> Any:
        """Send a request and return the JSON of its answer; raise EngineUnavailable if there is none with status 200."""
        answer = await self.request(method, path, **options)
        if answer.status_code != 200:
            raise EngineUnavailable(f"{self._name} answered {answer.status_code} to {method} {path.partition('?')[0]}.")
        try:
            return answer.json()
        except ValueError:
            raise EngineUnavailable(f"{self._name} answered {method} {path.partition('?')[0]} without JSON.") from None

    async def download(self, path: str, target: Path, **options: Any) -> int:
        """GET a file and write it to ``target``; return the status of the answer, and write nothing unless it is 200.

        Raises AnswerLost if the file is not complete.
        """
        size = 0
        try:
            async with self._client.stream("GET", path.lstrip("/"), **options) as answer:
                self._check(answer)
                if answer.status_code != 200:
                    return answer.status_code
                with target.open("wb") as file:
                    async for chunk in answer.aiter_bytes(1 << 20):
                        size += len(chunk)
                        if size > _MAX_FILE:
                            raise AnswerLost(f"{self._name} sent a video of more than {_MAX_FILE // 1024**3} GB.")
                        file.write(chunk)
        except _NEVER_SENT as error:
            raise EngineUnavailable(f"{self._name} cannot be reached ({_reason(error)}).") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise AnswerLost(f"The video from {self._name} is not complete ({_reason(error)}).") from None
        return 200

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_redirect:
            raise EngineUnavailable(
                f"{self._name} redirects to another address ({answer.status_code}): configure that."
            )


def cleaned(text: object) -> str:
    """Return the text of an engine in one line, cut of tracebacks, paths (but for the name) and addresses."""
    words = str(text)
    before, traceback, after = words.partition(_TRACEBACK)
    if traceback:
        words = before.strip() or (after.strip().splitlines() or [""])[-1]
    line = " ".join(_ADDRESS.sub("(address)", words).split())
    line = _PATH.sub(lambda match: match[1] or "(path)", line)
    return line if len(line) <= _MAX_TEXT else f"{line[: _MAX_TEXT - 1]}…"


def _reason(error: Exception) -> str:
    return cleaned(error) or type(error).__name__
