"""The `oxenvideo` command."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from oxenvideo.server import models, renderer
from oxenvideo.server.launcher import REQUIRED, LocalExtraMissingError
from oxenvideo.server.settings import DEFAULT_PORT, DEFAULT_RENDERER, LOOPBACK_NAMES, Settings

_MIB = 1024 * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, or the process's own; return the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    run = getattr(arguments, "run", None)
    if run is None:
        parser.print_help()
        return 0
    status: int = run(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="oxenvideo", description="Make videos with Oxen.ai's API.")
    parser.add_argument("--version", action="version", version=f"oxenvideo {version('oxenvideo')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_serve(commands)
    return parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve the API on this machine, with local previews in place of the models",
        description="Serve Oxen.ai's video API on this machine. Videos are procedural previews; nothing is paid.",
    )
    serve.set_defaults(run=_serve)
    add = serve.add_argument
    add("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    add("--port", type=int, default=DEFAULT_PORT, help="port, 0 for a free one (default: %(default)s)")
    add("--api-key", action="append", default=[], metavar="[NAME=]KEY", help="a user's key; may be repeated")
    add("--data-dir", type=Path, help="where the queue and the videos are kept")
    add("--workers", type=int, help="videos rendered at a time (default: one less than the processors)")
    add("--delay", type=float, default=0.0, metavar="S", help="seconds a job waits in the queue at least")
    add("--min-seconds", type=float, default=0.0, metavar="S", help="seconds a job takes at least")
    add("--allow-host", action="append", default=[], metavar="NAME", help="serve this Host name too")
    add("--allow-private-inputs", action="store_true", help="let input URLs lead to private addresses")
    add("--allow-file-inputs", action="store_true", help="let input URLs read files of this machine")
    add("--max-body-mb", type=float, default=100, metavar="MB", help="largest request body (default: %(default)s)")
    add("--url-ttl", type=float, default=3600, metavar="S", help="seconds a result URL is good (default: %(default)s)")
    add("--keep-alive", type=float, default=15, metavar="S", help="seconds between keep-alives (default: %(default)s)")
    add("--renderer", default=DEFAULT_RENDERER, metavar="MODULE:FACTORY", help="what makes the videos")
    add("--models", type=Path, metavar="FILE", help="a JSON array of more models")
    add("--announce", choices=("text", "json"), default="text", help=argparse.SUPPRESS)
    add("--end-with-parent", action="store_true", help=argparse.SUPPRESS)


def _serve(arguments: argparse.Namespace) -> int:
    try:
        settings = _settings(arguments)
        from oxenvideo.server import serve
    except ImportError as error:
        if error.name not in REQUIRED:
            raise
        return _refuse(str(LocalExtraMissingError("The embedded server needs: pip install 'oxenvideo[local]'")))
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    if settings.host not in LOOPBACK_NAMES:
        print(f"Warning: {settings.host} can be reached from other machines; the key is all that protects it.",
              file=sys.stderr)  # fmt: skip

    def announce(base_url: str) -> None:
        if arguments.announce == "json":
            serve.announce_json(base_url)
        else:
            print(_usage(base_url, settings), flush=True)

    try:
        settings.make_directories()
    except OSError as error:
        return _refuse(f"Cannot write to {error.filename}: {error.strerror}. Choose another --data-dir.")
    try:
        server = serve.Server(settings, announce)
    except OSError as error:
        return _refuse(f"Cannot listen at {settings.host} port {settings.port}: {error.strerror}. Try --port 0.")
    if arguments.end_with_parent:
        serve.end_with_parent()
    return server.run_here()


def _settings(arguments: argparse.Namespace) -> Settings:
    if arguments.workers is not None and arguments.workers < 1:
        raise ValueError(f"--workers {arguments.workers} is not possible: use 1 or more.")
    renderer.check(arguments.renderer)
    if arguments.models is not None:
        models.load(arguments.models)
    return Settings(
        data_dir=(arguments.data_dir or _default_data_dir()).resolve(),
        users=_users(arguments.api_key),
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers or max(1, min(4, (os.cpu_count() or 2) - 1)),
        delay=arguments.delay,
        min_seconds=arguments.min_seconds,
        allow_hosts=tuple(arguments.allow_host),
        allow_private_inputs=arguments.allow_private_inputs,
        allow_file_inputs=arguments.allow_file_inputs,
        max_body=int(arguments.max_body_mb * _MIB),
        url_ttl=arguments.url_ttl,
        keep_alive=arguments.keep_alive,
        renderer=arguments.renderer,
        models_file=arguments.models,
    )


def _users(given: Sequence[str]) -> dict[str, str]:
    keys = list(given) or [os.environ.get("OXEN_API_KEY") or secrets.token_urlsafe(24)]
    users: dict[str, str] = {}
    for number, text in enumerate(keys, 1):
        name, equals, key = text.partition("=")
        if not equals or not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name) or not key:
            name, key = "local" if number == 1 else f"local-{number}", text
        if name in users or key in users.values():
            raise ValueError(f"--api-key {name}: every user needs a name and a key of their own.")
        users[name] = key
    return users


def _default_data_dir() -> Path:
    from platformdirs import user_data_path

    return user_data_path("oxenvideo", appauthor=False) / "server"


def _usage(base_url: str, settings: Settings) -> str:
    key = next(iter(settings.users.values()))
    return (
        f"Serving Oxen.ai's video API at {base_url} (local previews, nothing is paid). Ctrl+C stops it.\n"
        f"Videos are kept in {settings.results_dir}\n\n"
        f"export OXEN_BASE_URL={base_url}\nexport OXEN_API_KEY={key}"
    )


def _refuse(message: str) -> int:
    print(f"oxenvideo: {message}", file=sys.stderr)
    return 2
