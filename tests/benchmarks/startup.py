"""`%load_ext oxenvideo` over `import IPython`, and in fresh kernels the first cell and the first video."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from jupyter_client.manager import start_new_kernel

from .kernel import MODEL, Kernel
from .race import simulator
from .rows import Row, at_most, figure

REPEATS = 15
KERNELS = 5
IPYTHON = "import time; begun = time.perf_counter(); import IPython; took = time.perf_counter() - begun; "
SHELL = IPYTHON + "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance(); "
LOAD = (
    "begun = time.perf_counter(); shell.run_line_magic('load_ext', 'oxenvideo'); took = time.perf_counter() - begun; "
)
CLOCK = """
import time
_marks = []
for _event in ("pre_run_cell", "post_run_cell"):
    get_ipython().events.register(_event, lambda _: _marks.append(time.perf_counter()))
"""
CELL = f"%%oxenvideo clip --model {MODEL} --duration 5\nA red balloon floating upward through blue sky"


def rows() -> Iterator[Row]:
    loading = statistics.median(_seconds(SHELL + LOAD) for _ in range(REPEATS))
    ipython = statistics.median(_seconds(IPYTHON) for _ in range(REPEATS))
    note = f"median of {REPEATS} fresh interpreters"
    yield at_most("%load_ext oxenvideo, over import IPython", 1000 * loading, 30, "ms", note)
    yield figure("import IPython", 1000 * ipython, "ms", note)
    note = f"median of {KERNELS} fresh kernels"
    with simulator() as origin:
        cells = [_first_cell(OXEN_BASE_URL=origin, OXEN_API_KEY="key")[0] for _ in range(KERNELS)]
    yield at_most("the first cell returns within", 1000 * statistics.median(cells), 60, "ms", note)
    videos = [_first_cell("clip.wait(60);", OXEN_BASE_URL="local")[1] for _ in range(KERNELS)]
    note += "; 5 s of preview, the start of the embedded server included"
    yield at_most("the first video is there after", statistics.median(videos), 1.5, "s", note)


def _seconds(code: str) -> float:
    command = [sys.executable, "-c", code + "print(took)"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()[-1])


def _first_cell(after: str = "", **variables: str) -> tuple[float, float]:
    """Seconds from the start of the first cell of a fresh kernel to its end, and to the end of the cell ``after``."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"OXENVIDEO_DATA_DIR": folder} | variables
        manager, client = start_new_kernel(kernel_name="python3", env=environment, cwd=folder)
        try:
            kernel = Kernel(client)
            for code in (CLOCK, "%load_ext oxenvideo", "_marks.clear()", CELL, after):
                kernel.run(code)
            # The first mark ends the cell that clears the marks.
            _, begun, ended, _, last, *_ = map(float, kernel.run("print(*_marks)").printed.split())
            return ended - begun, last - begun
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
