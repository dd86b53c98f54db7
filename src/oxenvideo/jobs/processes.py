"""Whether a process that once was noted still lives: its number alone does not tell, numbers are used again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def process_start(pid: int) -> str:
    """When a process began, in whatever form this system tells it; empty where there is no such process."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return ""
        fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold anything
        return "" if fields[0] in "ZX" else fields[19]
    if os.name == "nt":
        return "alive"  # not told: a wrong "alive" only leaves another kernel's work untouched
    return _started_by_ps(pid)


def _started_by_ps(pid: int) -> str:
    try:
        told = subprocess.run(  # noqa: S603 - a number is all that goes in
            ["ps", "-o", "lstart=", "-p", str(pid)],  # noqa: S607 - a standard tool (POSIX), wherever it lies
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return "alive"
    return told.stdout.strip()
