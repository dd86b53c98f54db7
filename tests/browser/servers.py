"""The server of a front end (JupyterLab, Notebook 7, Voilà, marimo) in its own process and directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

import kernels
from faulty import hold_port

READY_WITHIN = 60.0  # seconds
JUPYTER = [
    "--allow-root",  # a container has no other user
    "--IdentityProvider.token=",
    "--ServerApp.disable_check_xsrf=True",
    "--ServerApp.open_browser=False",
    kernels.OPTION,
]
COMMANDS: Mapping[str, Sequence[str]] = {
    "lab": ["jupyterlab", *JUPYTER, "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"],
    "notebook": ["notebook", *JUPYTER, "--JupyterNotebookApp.expose_app_in_browser=True"],
    "voila": ["voila", "--no-browser", kernels.OPTION],
    "edit": ["marimo", "edit", "app.py", "--headless", "--no-token", "--skip-update-check"],
    "run": ["marimo", "run", "app.py", "--headless", "--no-token"],
}


class Server:
    """A running server. ``root`` is the directory of its notebooks, ``log`` the output of the server and its kernels."""

    def __init__(self, kind: str, home: Path, *, prefix: str = "") -> None:
        self.kind = kind
        self.root = home / "work"
        self.root.mkdir(parents=True, exist_ok=True)
        self.data_dir = home / "oxenvideo"
        self.log = home / "server.log"
        settings = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))  # no requests to the internet
        self._sockets = tempfile.TemporaryDirectory()  # a path of at most about 60 characters
        self._held = hold_port()
        port = self._held.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}{prefix}"
        where = [
            f"--ServerApp.port={port}",
            f"--ServerApp.base_url={prefix or '/'}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.root}",
        ]
        if kind in ("edit", "run"):
            where = [f"--port={port}"]
        elif kind == "voila":
            where = [f"--port={port}", str(self.root)]
        arguments = [*COMMANDS[kind], *where]
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.root,
            env=_environment(home, self.data_dir, Path(self._sockets.name)),
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._wait_until_ready()

    def write(self, name: str, cells: Sequence[str | nbformat.NotebookNode]) -> Path:
        """Write a notebook into this server's directory; cells are code unless made by ``nbformat``."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        path = self.root / name
        nbformat.write(notebook, path)
        return path

    def kernels(self) -> list[dict[str, Any]]:
        """The running kernels."""
        found: list[dict[str, Any]] = self._ask("GET", "/api/kernels")
        return found

    def shut_down_kernels(self) -> None:
        """Shut down every kernel and wait for it."""
        for kernel in self.kernels():
            self._ask("DELETE", f"/api/kernels/{kernel['id']}")

    def stop(self) -> None:
        """Stop the server and its kernels."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)
        self._held.close()
        self._sockets.cleanup()

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + READY_WITHIN
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urllib.request.urlopen(
                    self.url + ("/api" if self.kind in ("lab", "notebook") else "/"), timeout=5
                ):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        said = self.log.read_text()[-2000:]
        self.stop()
        raise RuntimeError(f"{self.kind} did not start:\n{said}")


def _environment(home: Path, data_dir: Path, sockets: Path) -> dict[str, str]:
    """The environment of a new user: no key, no address and no settings of this account."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OXEN", "JUPYTER", "JPY", "VOILA"))
    }
    return kept | {
        "HOME": str(home),
        "OXENVIDEO_DATA_DIR": str(data_dir),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(sockets),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_NO_CONFIG": "1",
    }
