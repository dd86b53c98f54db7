"""A process that asks for videos and is killed: ``python -m faults.victim '{"base_url": ..., "requests": [...]}'``."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session
from oxenvideo.settings import Limits, Pace


def main() -> None:
    """Ask, and stay until somebody ends it."""
    told = json.loads(sys.argv[1])
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it; so a limit kills in the middle of a write
    session = Session(
        base_url=told["base_url"],
        api_key=told["api_key"],
        data_dir=Path(told["data_dir"]),
        download_dir=Path(told["download_dir"]),
        pace=Pace(poll=0.2, first_poll=0.05),
        limits=Limits(submits=1),
        notebook="test.ipynb",
    )
    requests = [VideoRequest.from_json(request) for request in told["requests"]]
    session.submit_batch(requests, synchronous=told["synchronous"], save_as=told["save_as"])
    print("asked", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main()
