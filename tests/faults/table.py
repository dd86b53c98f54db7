"""The table of all faults, and its form in the README."""

from __future__ import annotations

from itertools import groupby

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


if __name__ == "__main__":
    print(markdown())
