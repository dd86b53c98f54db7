"""oxenvideo downloads one result: `downloading ORIGIN URL FOLDER`. Prints seconds, and bytes of memory over the start."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from oxenvideo import Session

from .course import steer

MODEL = "kling-video-v2-6-pro-text-to-video"


def peak() -> int:
    """The most memory this process has held since the mark was set back, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    origin, url, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    with Session(base_url=origin, api_key="key", data_dir=folder / "data", download_dir=folder) as session:
        session.submit("A job before the start, ended at once", model=MODEL, duration=5).wait(30)
        steer(origin, "set", json.dumps({"result": url}).encode())
        Path("/proc/self/clear_refs").write_text("5")  # sets the mark of the most memory held back
        before = peak()
        begun = time.monotonic()
        path = session.submit("Another, that ends at once too", model=MODEL, duration=5).wait(120).path
        seconds = time.monotonic() - begun
        if path is None:
            raise SystemExit("nothing was delivered")
        print(json.dumps({"seconds": seconds, "memory": peak() - before, "size": path.stat().st_size}))


if __name__ == "__main__":
    main()
