"""Models as tables: the list to choose from, and what one of them takes, how it is given, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oxenvideo.catalog import media_parameters, schema
from oxenvideo.catalog import pricing as price
from oxenvideo.catalog.catalog import Model
from oxenvideo.catalog.media_parameters import MediaParameter
from oxenvideo.notebook.table import Table

_BODY = {"prompt": "the cell's body", "multi_prompt": "the cell's body, --- between shots"}
_OWN = {"negative_prompt": "--negative"}
_MEDIA = {"start": "--start-image", "end": "--end-image", "elements": "--element"}
_KINDS = {"image": "--image", "video": "--video", "audio": "--audio-ref"}
_ONE = {"image": "a picture", "video": "a clip", "audio": "a sound"}
_MANY = {"image": "pictures", "video": "clips", "audio": "sounds"}


def of_many(models: Iterable[Model]) -> Table:
    """A row for each model: what goes in, what a second costs, what it does."""
    table = Table(["model", "takes", "price", "what it does"], whole=("model",))
    for model in models:
        table.add(model.id, ", ".join(model.inputs), _price(model), model.summary)
    return table


def of_one(model: Model) -> Table:
    """A row for each parameter: how it is written in a cell, its limits and default; then the rules across them."""
    cost = _price(model) or "price not known here"
    table = Table(["write", "takes", "default", "meaning"], title=f"{model.id}: {model.summary} ({cost})")
    for name, spec in model.parameters.items():
        slot = media_parameters.by_name(model, name)
        default = spec.get("default")
        held = "required" if name in model.required else "" if default is None else schema.shown_choice(default)
        table.add(_written(name, slot), _takes(spec, slot), held, str(spec.get("description", "")))
    for note in model.notes:
        table.add("rule", "", "", note)
    return table


def _written(name: str, slot: MediaParameter | None) -> str:
    """How a parameter is given in a cell; its own name works as an option as well."""
    if name in _BODY:
        return _BODY[name]
    if slot is not None and slot.role != "special":
        return f"{_MEDIA.get(slot.role) or _KINDS[slot.kind]} ({name})"
    return _OWN.get(name) or f"--{name.replace('_', '-')}"


def _takes(spec: Mapping[str, Any], slot: MediaParameter | None) -> str:
    if slot is not None:
        most = spec.get("maxItems")
        return f"{_MANY[slot.kind]}{f', at most {most}' if most else ''}" if slot.many else _ONE[slot.kind]
    limits = schema.allowed(spec)
    if limits and ("enum" in spec or not schema.type_words(spec)):
        return limits
    words = [schema.type_words(spec), limits]
    if "maxLength" in spec:
        words.append(f"at most {spec['maxLength']} characters")
    return ", ".join(filter(None, words))


def _price(model: Model) -> str:
    """The price of a second, as far as it is known."""
    pricing = model.pricing or {}
    by_resolution = pricing.get("cost_per_second_by_resolution")
    if isinstance(by_resolution, Mapping) and by_resolution:
        return "; ".join(f"{size} {_dollars(amount)}/s" for size, amount in by_resolution.items())
    plain, sound, high = (pricing.get(f"cost_per_second{what}") for what in ("", "_with_audio", "_high_res"))
    parts = [f"{_dollars(plain)}/s"] if plain is not None else []
    parts += [f"{_dollars(sound)}/s with sound"] if sound is not None else []
    parts += [f"{_dollars(high)}/s in high resolution"] if high is not None else []
    return ", ".join(parts)


def _dollars(amount: Any) -> str:
    exact = price.decimal(amount)
    return f"${amount}" if exact is None else price.dollars(exact)
