"""All faults, and the table of them in this directory's README.

``PYTHONPATH=tests:src python -m faults.table tests/faults/README.md`` writes the table.
"""

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

_BETWEEN_MARKS = re.compile(r"(<!-- faults -->\n).*?(<!-- /faults -->)", re.DOTALL)


def markdown() -> str:
    """One table for each group: what the service does, and what the client does then."""
    tables = []
    for group, faults in groupby(FAULTS, key=lambda fault: fault.group):
        rows = [f"| {fault.does} | {fault.then} |" for fault in faults]
        tables.append("\n".join([f"| {group} | what happens |", "|---|---|", *rows]))
    return "\n\n".join(tables)


def with_table(text: str) -> str:
    """The text with the current table between its marks."""
    return _BETWEEN_MARKS.sub(lambda marks: f"{marks[1]}\n{markdown()}\n\n{marks[2]}", text)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_table(target.read_text(encoding="utf-8")), encoding="utf-8")
