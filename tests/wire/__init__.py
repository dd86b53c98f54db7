"""Exchanges on the wire as the documentation gives them. Client and server are both compared with them.

Each `*.json` file is one request and its answer, each `*.txt` file a part of the event stream. `about` says what the
documentation leaves open.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OF_THE_MODEL = frozenset({"request_schema", "json_request_schema", "pricing", "capabilities"})


@dataclass(frozen=True)
class Exchange:
    """One request and its answer. Bodies are decoded JSON, or None."""

    name: str
    about: str
    method: str
    path: str
    query: dict[str, str]
    request_headers: dict[str, str]
    request_body: Any
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def content(self) -> bytes:
        """The answer's body as bytes."""
        return json.dumps(self.body).encode()


def load(name: str) -> Exchange:
    """Return the exchange of this name, as in `load("queue_enqueue")`; raise FileNotFoundError if there is none."""
    read = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    request, response = read["request"], read["response"]
    return Exchange(
        name=name,
        about=read["about"],
        method=request["method"],
        path=request["path"],
        query=request["query"],
        request_headers=request["headers"],
        request_body=request["body"],
        status=response["status"],
        headers=response["headers"],
        body=response["body"],
    )


def names(prefix: str = "") -> list[str]:
    """Return the names of all exchanges with this prefix."""
    return sorted(path.stem for path in HERE.glob(f"{prefix}*.json"))


def exchanges(prefix: str = "") -> list[Exchange]:
    """Return all exchanges whose names have this prefix."""
    return [load(name) for name in names(prefix)]


def stream(name: str) -> bytes:
    """Return a recorded part of the event stream, as in `stream("events_mixed")`."""
    return (HERE / f"{name}.txt").read_bytes()


def differences(recorded: Any, actual: Any, at: str = "") -> list[str]:
    """Return the fields that `actual` lacks or has with another type. Values may differ, and null matches any type.

    Each item of a list is compared with the first recorded one. Additional fields are no difference, and the contents
    of a model's schema, price and capabilities are not compared.
    """
    if recorded is None or actual is None:
        return []
    if isinstance(recorded, dict) and isinstance(actual, dict):
        found = []
        for name, value in recorded.items():
            where = f"{at}.{name}" if at else name
            if name not in actual:
                found.append(f"{where} is missing")
            elif name not in OF_THE_MODEL:
                found += differences(value, actual[name], where)
        return found
    if isinstance(recorded, list) and isinstance(actual, list):
        return (
            [line for number, item in enumerate(actual) for line in differences(recorded[0], item, f"{at}[{number}]")]
            if recorded
            else []
        )
    if _kind(recorded) != _kind(actual):
        return [f"{at} is {_kind(actual)}, recorded as {_kind(recorded)}"]
    return []


def _kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
