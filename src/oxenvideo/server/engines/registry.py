"""Which adapter belongs to which kind of engine."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable

from oxenvideo.server.engines.engine import ConfigurationError, Engine, EngineConfig

_HERE = "oxenvideo.server.engines"
ADAPTERS = {
    "comfyui": f"{_HERE}.comfyui:ComfyUI",
    "openai": f"{_HERE}.openai_videos:OpenAIVideos",
    "diffusers": f"{_HERE}.diffusers:Diffusers",
}
"""The kinds of engines, and the classes of their adapters. A kind can also be `module:class` itself."""


def connect(config: EngineConfig) -> Engine:
    """Return a new adapter for an engine; raise ConfigurationError if there is none or its packages are missing."""
    spec = ADAPTERS.get(config.kind, config.kind)
    if ":" not in spec:
        raise ConfigurationError(f"Engine {config.name}: the kind {config.kind!r} is not one of {', '.join(ADAPTERS)}.")
    try:
        adapter: Callable[[EngineConfig], Engine] = pkgutil.resolve_name(spec)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"Engine {config.name}: the kind {config.kind} cannot be loaded: {error}.") from None
    return adapter(config)
