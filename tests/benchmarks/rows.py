"""Rows of the result: a figure, what it must be, whether it is; as a table for people and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("oxenvideo", "httpx", "ipython", "fal-client", "replicate", "openai", "av")


@dataclass(frozen=True)
class Row:
    """One figure. `must` says what it is to reach, `met` whether it does; both None where nothing is asked of it."""

    name: str
    value: float
    unit: str = ""
    must: str | None = None
    met: bool | None = None
    note: str = ""


def at_most(name: str, value: float, limit: float, unit: str = "", note: str = "") -> Row:
    return Row(name, value, unit, f"≤ {limit:g}", value <= limit, note)


def at_least(name: str, value: float, limit: float, unit: str = "", note: str = "") -> Row:
    return Row(name, value, unit, f"≥ {limit:g}", value >= limit, note)


def figure(name: str, value: float, unit: str = "", note: str = "") -> Row:
    """A figure of which nothing is asked."""
    return Row(name, value, unit, note=note)


def ratios_first(rows: Iterable[Row]) -> list[Row]:
    """What must be reached comes first, among it the ratios, which mean most on a shared machine."""
    return sorted(rows, key=lambda row: (row.must is None, row.unit != "times"))


def tables(rows: Iterable[Row]) -> str:
    """Markdown tables, which read as plain text too: the rows, then those named "who: what" with a column for each what."""
    single, by_who = [], defaultdict[str, dict[str, str]](dict)
    for row in rows:
        who, colon, what = row.name.partition(": ")
        if colon:
            by_who[who][f"{what} ({row.unit})" if row.unit else what] = f"{row.value:.4g}"
        else:
            reached = {True: "yes", False: "NO", None: ""}[row.met]
            single.append((row.name, f"{row.value:.4g} {row.unit}".strip(), row.must or "", reached, row.note))
    shown = _table([("", "value", "must be", "reached", ""), *single])
    if by_who:
        heads = list(dict.fromkeys(what for figures in by_who.values() for what in figures))
        lines = [(who, *(figures.get(head, "") for head in heads)) for who, figures in by_who.items()]
        shown += "\n\n" + _table([("", *heads), *lines])
    return shown


def _table(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])


def machine() -> dict[str, Any]:
    """Where and with which versions the figures were measured."""
    return {
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
    }


def write(path: Path, rows: Iterable[Row], **more: Any) -> None:
    """Write the rows, and what else is given, as JSON. A value that is infinite is written as null."""
    listed = [asdict(row) | {"value": row.value if row.value < float("inf") else None} for row in rows]
    path.write_text(json.dumps({"machine": machine(), "rows": listed, **more}, indent=1) + "\n", encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
