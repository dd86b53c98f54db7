"""Media for the form: files from the browser, and variables, paths and URLs by name; with thumbnails."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from oxenvideo.catalog import media_parameters
from oxenvideo.catalog.media_parameters import MediaParameter as MediaParameter
from oxenvideo.errors import InvalidRequest
from oxenvideo.media import frames
from oxenvideo.media.media import Media
from oxenvideo.notebook.panel.form_state import FormState, Leaf, media_in, media_parameters_of
from oxenvideo.notebook.panel.labels import hint_of, label_of, media_label
from oxenvideo.notebook.panel.videos import poster

log = logging.getLogger("oxenvideo")

UPLOAD_LIMIT = 200 * 1000 * 1000
"""Bytes of one uploaded file; it passes through the kernel's memory."""

_ACCEPT = {"image": "image/*", "video": "video/*,image/gif", "audio": "audio/*,video/mp4"}
_THUMBNAIL_WIDTH = 160  # pixels
_INLINE_IMAGE = 64 * 1024  # bytes up to which an image is its own thumbnail if Pillow is missing


class MediaInput:
    """Turns what the user drops, chooses or names into leaves of a FormState, and describes them for the browser.

    ``variables()`` are the notebook's variables. ``names`` are what the media are called, by the path of the file: the
    name of an upload or a variable, as bytes are stored in ``directory`` under their hash.
    """

    def __init__(self, variables: Callable[[], Mapping[str, Any]], directory: Path, names: dict[str, str]) -> None:
        self._variables = variables
        self._directory = directory
        self._names = names
        self._uploads: dict[str, bytearray] = {}

    def described(self, state: FormState, notes: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
        """Each media parameter of the model with its media, and in ``notes`` a message with its tone."""
        return [
            {
                "name": parameter.name,
                "label": label_of(parameter.name),
                "hint": hint_of(parameter.name, state.model.parameters.get(parameter.name, {})),
                "kind": parameter.kind,
                "many": parameter.many,
                "required": parameter.name in state.model.required,
                "accept": _ACCEPT[parameter.kind],
                "items": [self._item(leaf) for leaf in state.leaves(parameter)],
                "note": notes.get(parameter.name, ("", "")),
            }
            for parameter in media_parameters_of(state.model)
        ]

    def _item(self, leaf: Leaf) -> dict[str, Any]:
        parts = list(media_in(leaf))
        label = media_label(parts[0], self._names) if parts else "an object"
        return {"label": f"{label} and {len(parts) - 1} more" if len(parts) > 1 else label, "thumb": thumbnail(leaf)}

    def put(self, state: FormState, parameter: MediaParameter, value: Any, name: str = "") -> str:
        """Give a parameter a value: a medium in any form, or a list of them. The answer says what this replaced.

        ``name`` is what the medium is called. Raises InvalidRequest for a value that is not a medium of this kind.
        """
        many = isinstance(value, list | tuple) and parameter.role != "elements"
        leaves = [self._leaf(parameter, one, name) for one in (value if many else [value])]
        before = [] if parameter.many else state.leaves(parameter)
        for leaf in leaves:
            state.add(parameter, leaf)
        return f"Replaced {self._item(before[0])['label']}." if before else ""

    def _leaf(self, parameter: MediaParameter, value: Any, name: str) -> Leaf:
        if parameter.role == "elements" and isinstance(value, list | tuple) and value:
            front, *others = (self._stored(media_parameters.url_or_media(view, "image"), name) for view in value)
            return {"frontal_image_url": front} | ({"reference_image_urls": others} if others else {})
        if isinstance(value, dict):
            return value
        return self._stored(media_parameters.url_or_media(value, parameter.kind), name)

    def _stored(self, leaf: str | Media, name: str) -> str | Media:
        """Bytes as a file, so that the cell for this request can name it."""
        if not isinstance(leaf, Media):
            return leaf
        stored = leaf.store(self._directory)
        if name and leaf.content is not None:
            self._names[str(stored.path)] = name
        return stored

    def receive(self, state: FormState, parameter: MediaParameter, part: Mapping[str, Any], data: Sequence[Any]) -> str:
        """Take one part of an upload, and put the file into the parameter after the last. The answer is as of ``put``."""
        upload = str(part["upload"])
        received = self._uploads.setdefault(upload, bytearray())
        for piece in data:
            received += piece
        if len(received) > UPLOAD_LIMIT:
            del self._uploads[upload]
            raise InvalidRequest(f"The file is larger than {UPLOAD_LIMIT // 1_000_000} MB: give its path or a URL.")
        if not part.get("last"):
            return ""
        return self.put(state, parameter, bytes(self._uploads.pop(upload)), str(part.get("name", ""))[:120])

    def put_named(self, state: FormState, parameter: MediaParameter, text: str) -> str:
        """Put a notebook's variable by its name, else a URL or a path. The answer is as of ``put``."""
        if not text:
            raise InvalidRequest("Enter a variable of the notebook, a path or a URL.")
        variables = self._variables() if text.isidentifier() else {}
        if text in variables:
            return self.put(state, parameter, variables[text], text)
        if text.isidentifier() and not Path(text).exists():
            raise InvalidRequest(f"There is no variable {text!r} in the notebook, and no such file.")
        return self.put(state, parameter, text)


def thumbnail(leaf: Leaf) -> str:
    """A URL of a small picture of a medium; empty if there is none."""
    first = next(media_in(leaf), None)
    try:
        if isinstance(first, str):
            return first if first.lower().startswith(("https://", "http://", "data:image/")) else ""
        return _thumbnail(first) if first is not None else ""
    except Exception:  # the validation says what is wrong with the medium
        log.debug("no thumbnail", exc_info=True)
        return ""


def _thumbnail(medium: Media) -> str:
    if medium.key is not None:
        path = medium.generation.path if medium.generation is not None else None
        return _data_uri(_small(frames.last_frame(path)), "image/jpeg") if path is not None else ""
    if medium.kind == "video" and medium.path is not None:
        return _data_uri(poster(medium.path) or b"", "image/jpeg")
    if medium.kind != "image":
        return ""
    content = medium.read()
    try:
        import PIL.Image
    except ImportError:
        return _data_uri(content if len(content) <= _INLINE_IMAGE else b"", medium.mime or "image/png")
    with PIL.Image.open(io.BytesIO(content)) as picture:
        return _data_uri(_small(picture), "image/jpeg")


def _small(picture: object) -> bytes:
    copy = picture.convert("RGB")  # type: ignore[attr-defined]
    copy.thumbnail((_THUMBNAIL_WIDTH, _THUMBNAIL_WIDTH))
    out = io.BytesIO()
    copy.save(out, "JPEG", quality=70)
    return out.getvalue()


def _data_uri(content: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}" if content else ""
