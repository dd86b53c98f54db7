"""oxenvideo downloads one result: `downloading ORIGIN FOLDER`. Prints seconds, and bytes of memory over the start."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from oxenvideo import Session

MODEL = "kling-video-v2-6-pro-text-to-video"


def peak() -> int:
    """The most memory this process has held since the mark was set back, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    origin, folder = sys.argv[1], Path(sys.argv[2])
    with Session(
        base_url=origin, api_key="key", data_dir=folder / "data", download_dir=folder, download=False
    ) as session:
        generation = session.submit("A job before the start, ended at once", model=MODEL, duration=5).wait(30)
        Path("/proc/self/clear_refs").write_text("5")  # sets the mark of the most memory held back
        before = peak()
        begun = time.monotonic()
        generation.download()
        while (path := generation.path) is None and time.monotonic() < begun + 120:
            time.sleep(0.002)
        seconds = time.monotonic() - begun
        if path is None:
            raise SystemExit(f"nothing was delivered: {generation.error_message}")
        print(json.dumps({"seconds": seconds, "memory": peak() - before, "size": path.stat().st_size}))


if __name__ == "__main__":
    main()
