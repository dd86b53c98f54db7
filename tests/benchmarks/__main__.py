"""Run the measurements, print the table and write the figures as JSON: `python -m tests.benchmarks [--only NAME ...]`.

`--readme tests/benchmarks/README.md` also writes the table between the marks in that file.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import time
from pathlib import Path

from .rows import Row, ratios_first, tables, write

# Modules of this package whose rows() yields rows. Each runs alone: what one measures, another would disturb.
PARTS = ("knowing", "transfer", "startup", "kernel", "rendering", "panel", "engines")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="the parts to run; all by default")
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"), help="where the rows are written")
    parser.add_argument("--readme", type=Path, help="a file that gets the table between its marks")
    options = parser.parse_args()
    rows: list[Row] = []
    begun, load = time.monotonic(), os.getloadavg()[0]
    if load > 0.5:
        print(f"The machine is busy (load {load:.1f}): lateness will seem worse than it is.", file=sys.stderr)
    for part in options.only:
        print(part, file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(f"{__package__}.{part}").rows()
        except Exception as error:  # one part that cannot run must not cost the others; its row says why
            last = (str(error).strip().splitlines() or [""])[-1]
            rows.append(Row(part, float("nan"), must="to run", met=False, note=f"{type(error).__name__}: {last}"))
    rows = ratios_first(rows)
    print(tables(rows))
    if options.readme is not None:
        marks = re.compile(r"(<!-- benchmarks -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)
        text = options.readme.read_text(encoding="utf-8")
        options.readme.write_text(marks.sub(lambda m: f"{m[1]}\n{tables(rows)}\n\n{m[2]}", text), encoding="utf-8")
    write(options.json, rows, seconds=round(time.monotonic() - begun, 1), load_before=round(load, 2))
    return 0 if all(row.met is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
