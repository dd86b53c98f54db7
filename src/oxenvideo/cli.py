"""The `oxenvideo` command."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib import metadata
from pathlib import Path

from oxenvideo.environment import ENGINES, default_data_dir
from oxenvideo.server import models, renderer
from oxenvideo.server.engines import command
from oxenvideo.server.launcher import LocalServerError, check_packages
from oxenvideo.server.settings import DEFAULT_PORT, DEFAULT_RENDERER, LOOPBACK_NAMES, Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process) and return the exit status."""
    parser = argparse.ArgumentParser(prog="oxenvideo", description="Make videos with Oxen.ai's API.")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_serve(commands)
    command.add_parser(commands, _engines_path)
    arguments = parser.parse_args(argv)
    if arguments.version:
        print("oxenvideo", metadata.version("oxenvideo"))
        return 0
    if not hasattr(arguments, "run"):
        parser.print_help()
        return 0
    try:
        return int(arguments.run(arguments))
    except (ValueError, OSError, LocalServerError) as error:
        print(f"oxenvideo: {error}", file=sys.stderr)
        return 2


def _engines_path() -> Path:
    return default_data_dir() / ENGINES


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve the API on this machine, with local previews in place of the models",
        description="Serve Oxen.ai's video API on this machine. The videos are local previews and cost nothing.",
    )
    serve.set_defaults(run=_serve)
    add = serve.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=DEFAULT_PORT, help="port, or 0 for any free one (default: %(default)s)")
    add("--api-key", metavar="KEY", help="key that requests must carry (default: OXEN_API_KEY, or a random one)")
    add("--data-dir", type=Path, help="directory of the queue and the videos")
    workers = max(1, min(4, (os.cpu_count() or 2) - 1))
    add("--workers", type=int, default=workers, help="videos rendered at the same time (default: %(default)s)")
    add("--delay", type=float, default=0.0, metavar="S", help="minimum seconds in the queue")
    add("--min-seconds", type=float, default=0.0, metavar="S", help="minimum seconds of rendering")
    add("--allow-host", action="append", default=[], metavar="NAME", help="additional Host name to serve")
    add("--allow-private-inputs", action="store_true", help="fetch input URLs from private addresses")
    add("--allow-file-inputs", action="store_true", help="read input URLs that are files of this machine")
    limit = "largest request body (default: %(default)s)"
    add("--max-body-mb", dest="max_body", type=float, default=100, metavar="MB", help=limit)
    add("--url-ttl", type=float, default=3600, metavar="S", help="lifetime of result URLs (default: %(default)s)")
    add("--keep-alive", type=float, default=15, metavar="S", help="seconds between keep-alives (default: %(default)s)")
    add("--renderer", default=DEFAULT_RENDERER, metavar="MODULE:FACTORY", help="the renderer of the videos")
    add("--models", type=Path, metavar="FILE", help="JSON array of additional models")
    add("--engines", type=Path, metavar="FILE", help="engines and their models (default: that of `oxenvideo engines`)")
    add("--announce", choices=("text", "json"), default="text", help=argparse.SUPPRESS)
    add("--end-with-parent", action="store_true", help=argparse.SUPPRESS)


def _serve(arguments: argparse.Namespace) -> int:
    check_packages()
    settings = _settings(arguments)
    os.umask(0o077)  # what users make here is for them alone
    try:
        settings.make_directories()
    except OSError as error:
        raise OSError(f"Cannot write to {error.filename}: {error.strerror}. Choose another --data-dir.") from None
    from oxenvideo.server.worker_pool import Worker

    first = Worker(settings.renderer)
    first.start()  # before the slow imports of the server, so that the imports of both run at the same time
    from oxenvideo.server import serve

    if settings.host not in LOOPBACK_NAMES:
        print(f"Warning: {settings.host} can be reached from other machines. Only the key protects it.",
              file=sys.stderr)  # fmt: skip

    def announce(base_url: str) -> None:
        usage = (
            f"Serving Oxen.ai's video API at {base_url} (local previews, free of charge). Stop it with Ctrl+C.\n"
            f"Videos are stored in {settings.results_dir}\n\n"
            f"export OXEN_BASE_URL={base_url}\nexport OXEN_API_KEY={settings.api_key}"
        )
        ready = json.dumps({"base_url": base_url, "pid": os.getpid()})
        print(ready if arguments.announce == "json" else usage, flush=True)

    try:
        server = serve.Server(settings, first, announce)
    except OSError as error:
        first.kill()
        address = f"{settings.host} port {settings.port}"
        raise OSError(f"Cannot listen on {address}: {error.strerror}. Try --port 0.") from None
    if arguments.end_with_parent:
        serve.end_with_parent()
    return server.run_here()


def _settings(arguments: argparse.Namespace) -> Settings:
    if arguments.workers < 1:
        raise ValueError(f"--workers {arguments.workers} is not possible. Use 1 or more.")
    renderer.check(arguments.renderer)
    if arguments.models is not None:
        models.load(arguments.models)
    given = vars(arguments) | {
        "data_dir": (arguments.data_dir or default_data_dir() / "server").resolve(),
        "api_key": arguments.api_key or os.environ.get("OXEN_API_KEY") or secrets.token_urlsafe(24),
        "engines": (arguments.engines or _engines_path()).resolve(),
        "max_body": int(arguments.max_body * 1024 * 1024),
    }
    return Settings(**{field.name: given[field.name] for field in fields(Settings)})
