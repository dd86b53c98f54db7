"""The table of all faults, and its form in the README."""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path

from faults.fault import Fault
from faults.reads import OF_READS, OF_STREAMS
from faults.results import OF_DOWNLOADS, OF_RESUMED
from faults.submits import SUBMITS

FAULTS: tuple[Fault, ...] = (*SUBMITS, *OF_READS, *OF_STREAMS, *OF_DOWNLOADS, *OF_RESUMED)


def markdown() -> str:
    """One table a group: what the service does, and what happens."""
    tables = []
    for group, faults in groupby(FAULTS, key=lambda fault: fault.group):
        rows = [f"| {fault.does} | {fault.then} |" for fault in faults]
        tables.append("\n".join([f"| {group} | what happens |", "|---|---|", *rows]))
    return "\n\n".join(tables)


_PLACE = re.compile(r"(<!-- faults -->\n).*?(<!-- /faults -->)", re.DOTALL)


def filled(readme: str) -> str:
    """The README with the table in its place."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{markdown()}\n\n{place[2]}", readme)


if __name__ == "__main__":  # python -m faults.table README.md
    target = Path(sys.argv[1])
    target.write_text(filled(target.read_text(encoding="utf-8")), encoding="utf-8")
