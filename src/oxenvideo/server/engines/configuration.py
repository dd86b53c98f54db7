"""`engines.toml`: the engines and their models, which users may edit by hand.

[engines.gpu1]
kind = "comfyui"
url = "http://gpu1:8188"
headers = { Authorization = "Bearer env:GPU1_TOKEN" }

[models.wan22]
engines = ["gpu1", "gpu2"]
workflow = "wan22-api.json"
parameters = { steps = "3.steps" }
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from oxenvideo.server.engines.engine import ConfigurationError, EngineConfig, ModelConfig

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}")
_SECRET = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")  # a part of a header that is in the environment


@dataclass(frozen=True)
class Configuration:
    """All engines and models by name. ``problems`` are sentences about tables that cannot be used."""

    engines: Mapping[str, EngineConfig] = field(default_factory=dict)
    models: Mapping[str, ModelConfig] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


def read(path: Path, catalog: Mapping[str, Mapping[str, Any]]) -> Configuration:
    """Read the file; an absent one has no engines. Raises ConfigurationError if it is not TOML.

    ``catalog`` is the bundled catalog. A table that cannot be used becomes a problem, and the rest stays usable.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Configuration()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error}.") from None
    engines: dict[str, EngineConfig] = {}
    models: dict[str, ModelConfig] = {}
    problems: dict[str, str] = {}
    for name, table in _tables(content, "engines").items():
        try:
            engines[name] = engine(name, table)
        except ConfigurationError as error:
            problems[name] = str(error)
    for name, table in _tables(content, "models").items():
        try:
            models[name] = model(name, table, path.parent, catalog.get(name))
        except ConfigurationError as error:
            problems[name] = str(error)
    return Configuration(engines, models, problems)


def engine(name: str, table: Mapping[str, Any]) -> EngineConfig:
    """Return the engine of a table; raise ConfigurationError."""
    where = f"Engine {name}"
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is not a name of an engine: use letters, digits, '.', '_' and '-'.")
    rest = dict(table)
    kind, url, headers = rest.pop("kind", None), rest.pop("url", None), rest.pop("headers", {})
    if not isinstance(kind, str):
        raise ConfigurationError(f"{where}: kind must be a text such as 'comfyui'.")
    if url is not None and not (isinstance(url, str) and _is_address(url)):
        raise ConfigurationError(f"{where}: url must be http://host:port or https://host, without user and password.")
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ConfigurationError(f"{where}: headers must be a table of texts.")
    resolved = {str(header): _resolved(where, value) for header, value in headers.items()}
    return EngineConfig(name, kind, None if url is None else url.rstrip("/"), resolved, rest)


def model(name: str, table: Mapping[str, Any], directory: Path, known: Mapping[str, Any] | None) -> ModelConfig:
    """Return the model of a table; raise ConfigurationError. ``known`` is the model of the catalog with this id."""
    where = f"Model {name}"
    if not _MODEL_ID.fullmatch(name):
        raise ConfigurationError(f"{name!r} is not an id of a model: use letters, digits, '.', '_', '-' and '/'.")
    rest = dict(table)
    engines = rest.pop("engines", None)
    if not isinstance(engines, list) or not engines or not all(isinstance(each, str) for each in engines):
        raise ConfigurationError(f"{where}: engines must be a list of names of engines.")
    return ModelConfig(name, tuple(dict.fromkeys(engines)), rest, directory, known)


def _tables(content: Mapping[str, Any], name: str) -> Mapping[str, Mapping[str, Any]]:
    tables = content.get(name, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigurationError(f"engines.toml: {name} must consist of tables such as [{name}.NAME].")
    return tables


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_plain = not (parts.username or parts.password or parts.query or parts.fragment)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and has_port and is_plain


def _resolved(where: str, value: str) -> str:
    for name in _SECRET.findall(value):
        if name not in os.environ:
            raise ConfigurationError(f"{where}: the environment variable {name} is not set.")
    return _SECRET.sub(lambda match: os.environ[match[1]], value)
