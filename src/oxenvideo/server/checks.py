"""The rules of a request: what is refused at once, and what ends a generation when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREFIX = "Getting model response error: 422 - Value error, "


def prompt_problem(model: Mapping[str, Any], parameters: Mapping[str, Any]) -> str | None:
    """Say what is wrong with the prompts, in the service's words, or None.

    Exactly one of `prompt` and `multi_prompt`; a model whose schema asks for neither takes none.
    """
    prompt, shots = parameters.get("prompt"), parameters.get("multi_prompt")
    if prompt and shots:
        return f"{_PREFIX}Cannot provide both 'prompt' and 'multi_prompt'."
    if not prompt and not shots and _needs_prompt(model):
        return f"{_PREFIX}Either 'prompt' or 'multi_prompt' must be provided."
    return None


def _needs_prompt(model: Mapping[str, Any]) -> bool:
    schema = model.get("request_schema")
    if not schema:
        return True
    properties = schema.get("properties") or {}
    return "multi_prompt" in properties or "prompt" in (schema.get("required") or ())
