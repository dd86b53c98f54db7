"""Downloading 500 MB: as fast as curl, in flat memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..faulty.video import small_video
from .participants.course import steer
from .race import ROOT, process, simulator
from .rows import Row, at_least, at_most, figure

SIZE = 500_000_000
REPEATS = 3


def rows() -> Iterator[Row]:
    curl = shutil.which("curl")
    if curl is None:
        raise RuntimeError("there is no curl to compare with")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_large(folder / "source.mp4", SIZE)
        with process("fileserver", str(source)) as url, simulator() as origin:
            pairs = [(_curl(curl, url, folder), _ours(origin, url, folder)) for _ in range(REPEATS)]
    theirs = min(seconds for seconds, _ in pairs)
    seconds = min(found["seconds"] for _, found in pairs)
    memory = max(found["memory"] for _, found in pairs)
    yield at_least("download of 500 MB, speed over curl's", theirs / seconds, 0.9, "times", f"best of {REPEATS} each")
    yield at_most("memory over the start, 500 MB", memory / 2**20, 32, "MiB")
    yield figure("download of 500 MB", SIZE / 1e6 / seconds, "MB/s", f"curl: {SIZE / 1e6 / theirs:.0f} MB/s")


def make_large(path: Path, size: int) -> Path:
    """A film that is as large as wanted: a small one, and free space behind it."""
    film = small_video()
    with path.open("wb") as file:
        file.write(film + (size - len(film)).to_bytes(4, "big") + b"free")
        file.truncate(size)
    return path


def _curl(curl: str, url: str, folder: Path) -> float:
    target = folder / "curl.mp4"
    begun = time.monotonic()
    subprocess.run([curl, "--silent", "--fail", "--output", target, url], check=True)
    seconds = time.monotonic() - begun
    target.unlink()
    return seconds


def _ours(origin: str, url: str, folder: Path) -> dict[str, float]:
    steer(origin, "reset")
    target = folder / "ours"
    command = [sys.executable, "-m", f"{__package__}.participants.downloading", origin, url, str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-800:])
    shutil.rmtree(target)
    found: dict[str, float] = json.loads(done.stdout)
    if found["size"] < SIZE:
        raise RuntimeError(f"only {found['size']} bytes arrived")
    return found
