"""One job's way to its video: plan, draw, encode."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from oxenvideo.server.preview import encode
from oxenvideo.server.renderers import Job, Rendered


def render(job: Job, path: Path) -> Rendered:
    """Write the preview of a job."""
    duration = int(job.parameters.get("duration") or 5)
    width, height = {"9:16": (720, 1280), "1:1": (720, 720)}.get(str(job.parameters.get("aspect_ratio")), (1280, 720))

    def frames() -> Iterator[encode.Frame]:
        frame = np.full((height * 3 // 2, width), 128, np.uint8)
        frame[:height] = np.linspace(60, 200, height, dtype=np.uint8)[:, None]
        for number in range(duration * 24):
            moving = frame.copy()
            moving[300:400, number % 600 : number % 600 + 100] = 235
            yield moving

    encode.write(path, frames(), width=width, height=height, fps=Fraction(24), sound=None, comment="local preview")
    return Rendered(float(duration), False, "720p")
