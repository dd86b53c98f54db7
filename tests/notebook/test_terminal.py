"""IPython in a terminal, on a real pseudo-terminal: text, one status line at a time, and the interrupt key."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faulty import FaultyService

pytestmark = pytest.mark.slow

pexpect = pytest.importorskip("pexpect", reason="pexpect is not installed: pip install pexpect")

PROMPT = r"In \[\d+\]: "
# A cell magic needs more than one line, which a line-wise prompt takes through this.
MAGIC = "get_ipython().run_cell_magic('oxenvideo', 'clip --duration 5', 'A red balloon floating upward')"


class Terminal:
    """IPython as a person at a terminal has it."""

    def __init__(self, child: Any) -> None:
        self.child = child

    def run(self, line: str, timeout: float = 30.0) -> str:
        """Type a line and return what is printed up to the next prompt."""
        self.child.sendline(line)
        self.child.expect(PROMPT, timeout=timeout)
        before: str = self.child.before
        return before.partition("\n")[2]


@pytest.fixture
def service() -> Iterator[FaultyService]:
    """A service whose jobs end when the test says so."""
    with FaultyService(keep_alive=0.5) as running:
        yield running


@pytest.fixture
def terminal(service: FaultyService, tmp_path: Path) -> Iterator[Terminal]:
    """IPython with the extension loaded, 100 columns wide."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OXEN", "JPY"))}
    environment = kept | {
        "HOME": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "OXEN_BASE_URL": service.base_url,
        "OXEN_API_KEY": service.api_key,
        "OXENVIDEO_DATA_DIR": str(tmp_path / "data"),
        "TERM": "xterm",
    }
    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor", "--no-confirm-exit"],
        env=environment,
        cwd=str(tmp_path),
        encoding="utf-8",
        dimensions=(40, 100),
        timeout=30,
    )
    child.expect(PROMPT)
    running = Terminal(child)
    running.run("%load_ext oxenvideo")
    yield running
    child.kill(signal.SIGKILL)
    child.wait()
    child.close()


def test_a_video_is_told_in_words_and_ends_with_its_path(terminal: Terminal, service: FaultyService) -> None:
    """The cell returns with one line; a wait writes one status line over itself and ends with the file's path."""
    said = terminal.run(MAGIC)
    assert "clip: submitting" in said
    assert "%oxenvideo wait clip" in said
    service.wait_until(lambda: len(service.jobs) == 1)
    terminal.child.sendline("%oxenvideo wait clip")
    status = r"clip: queued \(kling-video-v2-6-pro-text-to-video\)"
    terminal.child.expect(rf"{status} (\d+) s")
    waited, seconds = terminal.child.before, terminal.child.match[1]
    terminal.child.expect(rf"{status} (?!{seconds} )\d+ s")
    waited += terminal.child.before
    service.finish()
    terminal.child.expect(PROMPT)
    assert "\n" not in waited.partition("%oxenvideo wait clip\r\n")[2], "a status took more than its line"
    last = [line for line in terminal.child.before.splitlines() if line.strip()][-1]
    path = re.search(r"→ (\S+\.mp4)$", last)
    assert path is not None, last
    assert "clip: succeeded" in last
    assert (terminal.child.cwd and Path(terminal.child.cwd, path[1]).is_file()) is True


def test_no_markup_and_no_widget_reaches_the_terminal(terminal: Terminal, service: FaultyService) -> None:
    """Neither the cell, nor a Generation as a result, nor a table prints HTML or the repr of a widget."""
    said = terminal.run(MAGIC)
    service.wait_until(lambda: len(service.jobs) == 1)
    service.finish()
    said += terminal.run("clip.wait()") + terminal.run("clip") + terminal.run("%oxenvideo list")
    assert "clip: succeeded" in said
    assert not re.search(r"<(div|table|video|style)|Button\(|HTML\(|VBox\(", said)


def test_the_interrupt_key_ends_the_wait_and_not_the_job(terminal: Terminal, service: FaultyService) -> None:
    """Control-C gets through at once, says that the video goes on, and leaves the prompt usable."""
    terminal.run(MAGIC)
    service.wait_until(lambda: len(service.jobs) == 1)
    terminal.child.sendline("%oxenvideo wait clip")
    terminal.child.expect("clip: queued")
    terminal.child.sendintr()
    terminal.child.expect("Stopped waiting. clip goes on at the service")
    terminal.child.expect(PROMPT)
    assert "queued" in terminal.run("print(clip.status)")
    assert "cancelled" in terminal.run("%oxenvideo cancel clip")


def test_leaving_is_immediate(terminal: Terminal, service: FaultyService) -> None:
    """``exit`` ends the process although a job runs: no thread holds it, and nothing is printed on the way."""
    terminal.run(MAGIC)
    service.wait_until(lambda: len(service.jobs) == 1)
    terminal.child.sendline("exit")
    terminal.child.expect(pexpect.EOF)
    assert "Traceback" not in terminal.child.before
    service.wait_until(lambda: service.connections_open == 0)
