"""The files of repositories on disk. No path leads out of a repository."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from pathlib import Path
from typing import BinaryIO

from oxenvideo.server.errors import ApiError, invalid, not_found

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_NOT_IN_NAMES = frozenset('\\\0:*?"<>|')
_MAX_PATH = 500
_MAX_PART = 200
_MAX_DIRECTORY = _MAX_PATH - len("/.mp4") - 36  # bytes; the name of a result in it is a UUID


class Repos:
    """The repositories under a directory: `<namespace>/<repository>/<branch>/<path>`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(exist_ok=True)

    def create(self, namespace: str, repo: str) -> None:
        """Create an empty repository; 409 if it exists."""
        path = self._repo(namespace, repo)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir()
        except FileExistsError:
            detail = f"The repository {namespace}/{repo} already exists."
            raise ApiError(409, "resource_already_exists", detail) from None

    def write(self, namespace: str, repo: str, branch: str, path: str, content: BinaryIO) -> None:
        """Store a file in a repository, replacing the one at this path; 404 if there is no such repository."""
        if not self._repo(namespace, repo).is_dir():
            raise not_found()
        target = self._file(namespace, repo, branch, path)
        part = self._root / f".{uuid.uuid4().hex}.part"
        try:
            with part.open("wb") as file:
                shutil.copyfileobj(content, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise invalid(f"{path[:100]!r} cannot be both a file and a directory.") from None
        finally:
            part.unlink(missing_ok=True)

    def link(self, namespace: str, repo: str, path: str, source: Path) -> None:
        """Store a result on the main branch of a repository, which is created if it is missing.

        A second call for the same result changes nothing.
        """
        target = self._file(namespace, repo, "main", path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except FileExistsError:  # linked by an earlier call: the name is the id of the generation
            return
        except OSError:  # a file system without hard links
            part = target.with_name(f".{uuid.uuid4().hex}.part")
            try:
                shutil.copyfile(source, part)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)

    def find(self, namespace: str, repo: str, branch: str, path: str) -> Path:
        """Return the path of a file; 404 if there is none."""
        target = self._file(namespace, repo, branch, path)
        if not target.is_file():
            raise not_found()
        return target

    def check(self, namespace: str, repo: str | None, directory: str | None) -> None:
        """Raise ApiError if a result could not be stored there."""
        self._repo(namespace, repo or "any")
        if directory:
            _parts(directory)
            if (size := len(directory.encode("utf-8", "replace"))) > _MAX_DIRECTORY:
                raise invalid(
                    f"{directory[:100]!r} has {size} bytes, and at most {_MAX_DIRECTORY} are possible: shorten it."
                )

    def _repo(self, namespace: str, repo: str) -> Path:
        for name in (namespace, repo):
            if not _NAME.fullmatch(name):
                raise invalid(f"{name!r} is not a valid name of a namespace or repository.")
        return self._root / namespace / repo

    def _file(self, namespace: str, repo: str, branch: str, path: str) -> Path:
        return self._repo(namespace, repo).joinpath(*_parts(branch), *_parts(path))


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    if not parts or len(path) > _MAX_PATH or any(part.startswith(".") or set(part) & _NOT_IN_NAMES for part in parts):
        raise invalid(f"{path[:100]!r} is not a valid path in a repository.")
    if any(len(part.encode("utf-8", "replace")) > _MAX_PART for part in parts):
        raise invalid(f"{path[:100]!r} has a name of more than {_MAX_PART} bytes.")
    return parts
