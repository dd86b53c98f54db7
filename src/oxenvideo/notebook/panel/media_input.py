"""Media on their way in: files dropped or chosen in the browser, and variables, paths and URLs by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from oxenvideo.catalog import media_parameters
from oxenvideo.catalog.media_parameters import MediaParameter
from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.media.media import Media, shortened
from oxenvideo.notebook.panel import assets
from oxenvideo.notebook.panel.form_state import Draft, Leaf, media_in, media_slots
from oxenvideo.notebook.panel.labels import class_of, hint_of, label_of
from oxenvideo.notebook.panel.thumbnails import thumbnail

UPLOAD_LIMIT = 200 * 1000 * 1000
"""Bytes of one uploaded file; it passes through the kernel's memory."""

_ACCEPT = {"image": "image/*", "video": "video/*,image/gif", "audio": "audio/*,video/mp4"}


class Inlet(anywidget.AnyWidget):
    """The media slots of the present model, with thumbnails of what is in them."""

    _esm = assets.module("media_input.js")
    media_parameters: Any = traitlets.List().tag(sync=True)
    items = traitlets.Dict().tag(sync=True)
    said = traitlets.Dict().tag(sync=True)

    def __init__(
        self, names: Callable[[], Mapping[str, Any]], store: Path, on_change: Callable[[], object], **traits: Any
    ) -> None:
        super().__init__(_dom_classes=("oxv-section",), **traits)
        self._names = names
        self._store = store
        self._on_change = on_change
        self._draft: Draft | None = None
        self._uploads: dict[str, bytearray] = {}
        self._titles: dict[str, str] = {}  # what uploaded files were called, by the path that they were stored at
        self.on_msg(self._hear)

    def show(self, draft: Draft) -> None:
        """Show the slots of a draft, and edit that from here on."""
        self._draft = draft
        required = draft.model.required
        self.said = {}
        self.slots = [_described(slot, draft, required) for slot in media_slots(draft.model)]
        self._show_items()

    def _show_items(self) -> None:
        draft = self._shown
        self.items = {slot.name: [self._item(leaf) for leaf in draft.leaves(slot)] for slot in media_slots(draft.model)}

    def _item(self, leaf: Leaf) -> dict[str, Any]:
        parts = list(media_in(leaf))
        label = self._label(parts[0]) if parts else "an object"
        return {"label": f"{label} and {len(parts) - 1} more" if len(parts) > 1 else label, "thumb": thumbnail(leaf)}

    def _label(self, leaf: str | Media) -> str:
        if isinstance(leaf, str):
            return shortened(leaf)
        return self._titles.get(str(leaf.path)) or (leaf.path.name if leaf.path is not None else leaf.label)

    @property
    def _shown(self) -> Draft:
        assert self._draft is not None  # noqa: S101 - shown before it is displayed
        return self._draft

    def put(self, slot: MediaParameter, value: Any) -> None:
        """Put a value into a slot: a medium in any form, or a list of them. Raises InvalidRequest for anything else."""
        values = list(value) if isinstance(value, list | tuple) and slot.role != "elements" else [value]
        leaves = [self._leaf(slot, one) for one in values]
        for leaf in leaves:
            self._shown.add(slot, leaf)
        self._changed(slot)

    def _leaf(self, slot: MediaParameter, value: Any) -> Leaf:
        if slot.role == "elements" and isinstance(value, list | tuple) and value:
            front, *others = (self._kept(media_parameters.url_or_media(view, "image")) for view in value)
            return {"frontal_image_url": front} | ({"reference_image_urls": others} if others else {})
        if isinstance(value, dict):
            return value
        return self._kept(media_parameters.url_or_media(value, slot.kind))

    def _kept(self, leaf: str | Media) -> str | Media:
        """Bytes as a file, so that the cell for this request can name it."""
        return leaf.store(self._store) if isinstance(leaf, Media) else leaf

    def _changed(self, slot: MediaParameter) -> None:
        self.said = {name: text for name, text in self.said.items() if name != slot.name}
        self._show_items()
        self._on_change()

    # What the browser says

    def _hear(self, _: Any, content: Any, buffers: Sequence[Any]) -> None:
        slot = next((s for s in media_slots(self._shown.model) if s.name == content.get("slot")), None)
        if slot is None:
            return  # of a model that was changed meanwhile
        try:
            match content.get("do"):
                case "chunk":
                    self._receive(slot, content, buffers)
                case "name":
                    self.put(slot, self._named(str(content["text"]).strip()))
                case "remove":
                    self._shown.remove(slot, int(content["index"]))
                    self._changed(slot)
        except OxenVideoError as error:
            self.said = {**self.said, slot.name: str(error)}

    def _receive(self, slot: MediaParameter, content: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        upload = str(content["upload"])
        so_far = self._uploads.setdefault(upload, bytearray())
        for part in buffers:
            so_far += part
        if len(so_far) > UPLOAD_LIMIT:
            del self._uploads[upload]
            raise InvalidRequest(
                f"The file is larger than {UPLOAD_LIMIT // 1_000_000} MB: give its path or a URL instead."
            )
        if content.get("last"):
            leaf = self._leaf(slot, bytes(self._uploads.pop(upload)))
            if isinstance(leaf, Media):
                self._titles[str(leaf.path)] = str(content.get("name", ""))[:120]
            self.put(slot, leaf)

    def _named(self, text: str) -> Any:
        """A notebook's variable by its name, else a URL or a path."""
        if not text:
            raise InvalidRequest("Name a variable of the notebook, a file or a URL.")
        if text.isidentifier():
            names = self._names()
            if text in names:
                return names[text]
            if not Path(text).exists():
                raise InvalidRequest(f"There is no variable {text!r} in the notebook, and no such file.")
        return text


def _described(slot: MediaParameter, draft: Draft, required: Sequence[str]) -> dict[str, Any]:
    spec = draft.model.parameters.get(slot.name, {})
    return {
        "name": slot.name,
        "label": label_of(slot.name),
        "hint": hint_of(slot.name, spec),
        "field": class_of(slot.name),
        "kind": slot.kind,
        "many": slot.many,
        "needed": slot.name in required,
        "accept": _ACCEPT[slot.kind],
    }
