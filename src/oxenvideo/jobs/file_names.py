"""Where the file of a video is saved, and the request that is written into it."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oxenvideo.errors import InvalidRequest
from oxenvideo.media import mp4

if TYPE_CHECKING:
    from oxenvideo.jobs.job import Job

log = logging.getLogger("oxenvideo")

_FIELDS = ("name", "model", "seed", "index", "id")
_FIELD = re.compile(r"{(.*?)}")
_USUAL = "{name}-{id}"
_UNSAFE = re.compile(r"[^\w.\-]+")
_MOST = 96  # bytes of what one field brings into a name
_LONGEST = 200  # bytes of one part of a path; file systems allow 255, and the temporary name is longer
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_pattern(pattern: str) -> None:
    """InvalidRequest for a ``--save`` pattern with an unknown field or a step upwards, or one that names no file."""
    offered = ", ".join("{" + name + "}" for name in _FIELDS)
    unknown = [name for name in _FIELD.findall(pattern) if name not in _FIELDS]
    if unknown:
        raise InvalidRequest(f"--save has no field {{{unknown[0]}}}: use {offered}.")
    if set("{}") & set(_FIELD.sub("", pattern)):
        raise InvalidRequest(f"--save {pattern!r} has a brace without its partner: use {offered}.")
    if not pattern.strip() or "\0" in pattern:
        raise InvalidRequest(f"--save {pattern!r} names no file.")
    if ".." in re.split(r"[/\\]", pattern):
        raise InvalidRequest(
            f"--save {pattern!r} leads upwards by '..': give the directory itself, or set download_dir."
        )


def destination(job: Job) -> Path:
    """The path for the file of a job.

    The fixed folders of a ``--save`` pattern are the user's choice, absolute ones and ``~/`` included. The values of its
    fields are made safe, so that no name, model or seed leads out of there. A pattern that names only a directory gets
    the usual file name. Without a suffix for video, ``.mp4`` is added.
    """
    submission, generation_id = job.submission, job.state.generation_id
    values = {
        "name": job.name or submission.request.model,
        "model": submission.request.model,
        "seed": submission.request.parameters.get("seed", "noseed"),
        "index": job.index if job.index is not None else 0,
        "id": generation_id[:8] if generation_id else job.key[-8:],  # the keys of one kernel begin alike
    }
    # POSIX gives two slashes at the start a meaning of their own.
    text = re.sub(r"^/+", "/", submission.save_as or _USUAL)
    home = text == "~" or text.startswith("~/")
    written = Path(text).parts
    if text == "~" or re.split(r"[/\\]", text)[-1] in ("", "."):
        written = (*written, _USUAL)
    parts = [_filled(part, values) for part in written]
    # An absolute part takes the place of those before it.
    path = Path.home().joinpath(*parts[1:]) if home else submission.directory.joinpath(*parts)
    if path.suffix.lower() not in (".mp4", ".webm", ".mov"):
        path = path.with_name(path.name + ".mp4")
    return path.absolute()


def _filled(part: str, values: dict[str, Any]) -> str:
    if not _FIELD.search(part):
        return "_" if part == ".." else part if Path(part).is_absolute() else _cut(part, _LONGEST)
    filled = _FIELD.sub(lambda match: safe_name(str(values.get(match[1], ""))), part)
    return _cut(filled, _LONGEST) if filled.strip(". ") else "_"


def safe_name(text: str) -> str:
    """Text as one part of a path: no separators, no control characters, not hidden, not reserved, not long."""
    name = _cut(_UNSAFE.sub("-", text).strip("-. "), _MOST)
    return f"_{name}" if not name or _RESERVED.fullmatch(name) else name


def _cut(text: str, most: int) -> str:
    """Text of at most so many bytes, which are what file systems count."""
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def kept(data_dir: Path, key: str) -> Path:
    """Where the video of a job is kept until it is saved, if it came in an answer's body."""
    return data_dir / "results" / f"{key}.mp4"


def stamp(path: Path, job: Job) -> None:
    """Write the request and the generation's id into an MP4. A file that cannot hold them stays as it is."""
    request = job.submission.request.with_(count=1)  # one of several is, by itself, one video
    generation_id = job.state.generation_id
    shown = {"model": request.model, "prompt": request.prompt, "generation_id": generation_id}
    try:
        mp4.write_metadata(
            path,
            {"generation_id": generation_id, "request": request.to_json()},
            title=(request.prompt or request.model)[:200],
            comment=json.dumps(shown, ensure_ascii=False),
        )
    except ValueError as error:
        log.info("%s", error)


def is_file_of(path: Path, generation_id: str | None) -> bool:
    """Whether a file is the video of this generation, by its metadata."""
    if generation_id is None or not path.is_file():
        return False
    try:
        return bool(mp4.read_metadata(path).get("generation_id") == generation_id)
    except InvalidRequest:
        return False
