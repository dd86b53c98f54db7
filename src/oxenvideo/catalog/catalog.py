"""The models: what each accepts, requires and costs, from the service or from the bundled copy."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar, overload

from oxenvideo.catalog.schema import compiled
from oxenvideo.errors import UnknownModel

T = TypeVar("T")
_RAISE: Any = object()


@dataclass(frozen=True)
class Model:
    """One model of the service.

    ``inputs`` are the kinds of input it accepts (``text``, ``image``, ``video``, ``audio``); ``schema`` is the JSON
    Schema of its parameters and ``pricing`` its prices in US dollars, each None if unknown; ``raw`` is the row as the
    service sent it.
    """

    id: str
    display_name: str = ""
    summary: str = ""
    inputs: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = field(default=None, hash=False, repr=False)
    pricing: Mapping[str, Any] | None = field(default=None, hash=False, repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False, repr=False)

    @classmethod
    def from_service(cls, row: Mapping[str, Any]) -> Model:
        """The model of one row of ``GET /api/ai/models``; missing and malformed fields are left empty."""
        schema = _mapping(row.get("request_schema")) or _mapping(row.get("json_request_schema"))
        capabilities = _mapping(row.get("capabilities")) or {}
        model_id = str(row["id"])
        return cls(
            id=model_id,
            display_name=_text(row.get("display_name")) or model_id,
            summary=_text(row.get("summary")) or _text(row.get("description")),
            inputs=tuple(kind for kind in _list(capabilities.get("input")) if isinstance(kind, str)),
            schema=schema,
            pricing=_mapping(row.get("pricing")),
            raw=row,
        )

    @cached_property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """The schema of each parameter by name, in the schema's order; empty if the schema is unknown."""
        properties = _mapping((self.schema or {}).get("properties")) or {}
        return {name: _mapping(spec) or {} for name, spec in properties.items()}

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The names of the required parameters."""
        return tuple(name for name in _list((self.schema or {}).get("required")) if isinstance(name, str))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Rules in the model's documentation that its schema cannot express."""
        return tuple(str(note) for note in _list((self.schema or {}).get("x-notes")))

    @cached_property
    def validate(self) -> Callable[[Any], Any]:
        """Raises JsonSchemaValueException for parameters that break the schema; compiled once a model."""
        return compiled(self.schema or {})

    def default(self, name: str) -> Any:
        """The default of a parameter, or None."""
        return self.parameters.get(name, {}).get("default")


class Catalog(Mapping[str, Model]):
    """Models by id, in order; immutable."""

    def __init__(self, models: Iterable[Model] = ()) -> None:
        self._models: dict[str, Model] = {}
        for model in models:
            self._models.setdefault(model.id, model)

    def __getitem__(self, key: str) -> Model:
        return self._models[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __repr__(self) -> str:
        return f"Catalog({len(self)} models)"

    @overload
    def get(self, key: str, /) -> Model: ...
    @overload
    def get(self, key: str, default: T, /) -> Model | T: ...
    def get(self, key: str, default: Any = _RAISE, /) -> Any:
        """The model with this id, or ``default``; without a default, UnknownModel names the nearest ids."""
        model = self._models.get(key)
        if model is not None:
            return model
        if default is not _RAISE:
            return default
        alike = " or ".join(map(repr, self.nearest(key)))
        hint = f" Did you mean {alike}?" if alike else ""
        raise UnknownModel(f"Unknown model {key!r}.{hint} See %oxenvideo models.")

    def nearest(self, key: str, limit: int = 3) -> list[str]:
        """The ids most like ``key``, best first: those that contain all of its words, else those with a similar spelling."""
        by_folded = {model_id.lower(): model_id for model_id in self._models}
        wanted = str(key).lower()
        # People write "kling 2.6" and "veo3": look for the words, then for the letters.
        words = re.findall(r"[a-z0-9]+", wanted)
        letters = "".join(words)
        holding = [folded for folded in by_folded if words and all(word in folded for word in words)]
        holding = holding or [folded for folded in by_folded if letters and letters in folded.replace("-", "")]
        holding.sort(key=lambda folded: -difflib.SequenceMatcher(None, wanted, folded).ratio())
        alike = holding or difflib.get_close_matches(wanted, by_folded, n=limit, cutoff=0.6)
        return [by_folded[folded] for folded in alike[:limit]]

    def search(
        self, words: str | Sequence[str] = "", input: str | None = None, output: str | None = "video"
    ) -> list[Model]:
        """The models whose id, name, summary and developer together contain every word, in order.

        ``input`` keeps those that accept this kind (``image``, ``video``, ``audio``, ``text``), ``output`` those that
        make it.
        """
        wanted = [word.lower() for word in (words.split() if isinstance(words, str) else words)]
        return [
            model
            for model in self._models.values()
            if (input is None or input in model.inputs)
            and (output is None or _makes(model.raw, output))
            and all(word in _searchable(model) for word in wanted)
        ]

    def merge(self, live: Catalog) -> Catalog:
        """The live models, completed with schemas and prices from this catalog, and then this catalog's other models."""
        merged = []
        for model in live.values():
            known = self._models.get(model.id, model)
            merged.append(replace(model, schema=model.schema or known.schema, pricing=model.pricing or known.pricing))
        return Catalog([*merged, *self._models.values()])


@lru_cache(maxsize=1)
def bundled() -> Catalog:
    """The documented video models that come with this package, for use without a connection."""
    text = (Path(__file__).parents[1] / "data" / "video_models.json").read_text(encoding="utf-8")
    return from_service(json.loads(text))


def from_service(payload: Any) -> Catalog:
    """The video models in an answer of ``GET /api/ai/models`` or in a list of rows; rows without an id are skipped.

    A model makes videos if its ``capabilities.output`` says so or, without that field, if its endpoint does.
    """
    rows = payload.get("data") if isinstance(payload, Mapping) else payload
    return Catalog(
        Model.from_service(row)
        for row in _list(rows)
        if isinstance(row, Mapping) and isinstance(row.get("id"), str) and row["id"] and _makes(row, "video")
    )


def store_cache(path: Path, payload: Any) -> None:
    """Write the service's answer to ``path`` atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(json.dumps(payload), encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def load_cache(path: Path) -> tuple[Catalog, float] | None:
    """The catalog stored at ``path``, and when that was (unix seconds); None if there is none that holds a model."""
    try:
        catalog, stored_at = from_service(json.loads(path.read_text(encoding="utf-8"))), path.stat().st_mtime
    except (OSError, ValueError):
        return None
    return (catalog, stored_at) if catalog else None


def _makes(row: Mapping[str, Any], output: str) -> bool:
    outputs = (_mapping(row.get("capabilities")) or {}).get("output")
    if isinstance(outputs, list) and outputs:
        return output in outputs
    return f"/{output}s/" in _text(row.get("endpoint"))


def _searchable(model: Model) -> str:
    developer = (_mapping(model.raw.get("developer")) or {}).get("name")
    return f"{model.id} {model.display_name} {model.summary} {_text(developer)}".lower()


def _mapping(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) and value else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
