"""What the form and the board share: a widget that sends small updates, and a thread that limits how many."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import traitlets
from comm.base_comm import BaseComm
from ipywidgets import __protocol_version__

from oxenvideo.errors import OxenVideoError
from oxenvideo.notebook.live_widget import LiveWidget

log = logging.getLogger("oxenvideo")

HERE = Path(__file__).parent

_GAP = 0.06  # seconds between two messages: fewer than 17 a second in all
_ROWS_EVERY = 0.25  # seconds between two updates of rows, however many change
_IDLE = 5.0  # seconds without work after which the thread ends


class PanelWidget(LiveWidget):
    """A widget whose page reads ``snapshot()`` when it opens, and receives later changes as custom messages.

    A synchronised trait would send the whole state at each change. Subclasses implement ``snapshot`` and ``receive``.
    """

    page = traitlets.Any().tag(sync=True, to_json=lambda _, widget: widget.snapshot())

    def __init__(self) -> None:
        # Not open yet; None where the default comm of this process is to be used.
        comm = None if _kernel() is None else _SubshellComm("jupyter.widget", primary=False)
        super().__init__(**({} if comm is None else {"comm": comm}))
        if comm is not None:
            state = {"state": self.get_state(), "buffer_paths": []}
            comm.open(data=state, metadata={"version": __protocol_version__})
        self.on_msg(self._on_message)
        self._handled = 0  # the number of the browser's last message that was handled

    def snapshot(self) -> dict[str, Any]:
        """Everything that a page shows, as JSON."""
        raise NotImplementedError

    def receive(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        """Do what a message asks for. An OxenVideoError is passed to ``report``."""
        raise NotImplementedError

    def report(self, error: str) -> None:
        """Show an error to the user."""
        raise NotImplementedError

    def update(self, **changes: Any) -> None:
        """Send some keys of the snapshot that have changed."""
        self.send({"is": "update", "n": self._handled, "page": changes, "now": time.time()})

    def _on_message(self, _: Any, content: Any, buffers: Any) -> None:
        self._handled = max(self._handled, int(content.get("n") or 0))
        try:
            self.receive(content, buffers)
        except OxenVideoError as error:
            self.report(str(error))
        finally:
            self.send({"is": "done", "n": self._handled, "now": time.time()})


class _SubshellComm(BaseComm):
    """A comm whose messages ipykernel handles in the thread that the front end asks for.

    JupyterLab asks for a thread beside the cells, so that a click does not wait for a running cell. ipykernel 7.4 ignores
    this for its own comms: it uses the thread that sent the last message on the comm, which is usually the cells' thread.
    """

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        kernel = _kernel()
        if kernel is None:
            return
        content = {"data": data or {}, "comm_id": self.comm_id, **keys}
        kernel.session.send(
            kernel.iopub_socket,
            msg_type,
            content,
            metadata=metadata or {},
            parent=kernel.get_parent(),
            ident=self.topic,
            buffers=buffers,
        )


def _kernel() -> Any:
    """The ipykernel that this process is, or None."""
    from IPython.core.getipython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    return kernel if hasattr(kernel, "iopub_socket") else None


class UpdateThread:
    """Calls ``send_rows`` soon after ``rows_changed``, and added work one piece at a time; each sends one message.

    A plain daemon thread reaches the front end also while a cell runs. It ends when there is no work.
    """

    def __init__(self, send_rows: Callable[[], object]) -> None:
        self._send_rows = send_rows
        self._rows_due = False
        self._rows_sent_at = 0.0
        self._work: deque[Callable[[], object]] = deque()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def rows_changed(self) -> None:
        """Have the rows sent soon. From any thread; returns at once."""
        self._rows_due = True
        self._start()

    def add(self, work: Callable[[], object]) -> None:
        """Call ``work()`` after what was added before. From any thread; returns at once."""
        self._work.append(work)
        self._start()

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        self._wake.set()

    def _start(self) -> None:
        self._wake.set()
        with self._lock:
            if not self._closed and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="oxenvideo-panel", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        idle_since = time.monotonic()
        while not self._closed:
            wait = self._rows_sent_at + _ROWS_EVERY - time.monotonic()
            if self._rows_due and wait <= 0:
                self._rows_due = False
                self._rows_sent_at = time.monotonic()
                _call(self._send_rows)
            elif self._work:
                _call(self._work.popleft())
            else:
                if not self._rows_due and time.monotonic() - idle_since > _IDLE and self._may_end():
                    return
                self._wake.wait(max(0.01, wait) if self._rows_due else _IDLE)
                self._wake.clear()
                continue
            idle_since = time.monotonic()
            time.sleep(_GAP)

    def _may_end(self) -> bool:
        with self._lock:  # work that is added at this moment must find either this thread or none
            if self._rows_due or self._work:
                return False
            self._thread = None
            return True


def _call(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:
        log.exception("The panel could not be updated; the generations are not affected.")


def in_background(work: Callable[[], object], failed: Callable[[str], object]) -> None:
    """Run ``work`` on a thread of its own, as it waits for the service; ``failed(why)`` is called if it raises."""

    def run() -> None:
        try:
            work()
        except OxenVideoError as error:
            failed(str(error))
        except Exception as error:
            log.exception("The panel's request to the service failed.")
            with contextlib.suppress(Exception):
                failed(f"{type(error).__name__}: {error}")

    threading.Thread(target=run, name="oxenvideo-panel-request", daemon=True).start()
