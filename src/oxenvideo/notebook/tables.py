"""Tables, as HTML in a notebook and as aligned text elsewhere; and those of the models."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from html import escape
from typing import Any

from oxenvideo.catalog import media_parameters, pricing, schema
from oxenvideo.catalog.catalog import Model
from oxenvideo.catalog.media_parameters import MediaParameter
from oxenvideo.notebook.card import cut

_CELL = "padding:3px 14px 3px 0;text-align:left;vertical-align:top"
_UNBROKEN = f"{_CELL};white-space:nowrap"  # an id or a time that is broken over lines is hard to read
_SMALL = f"{_UNBROKEN};font-size:11px;opacity:.75"
_PROSE = f"{_CELL};min-width:180px"  # a narrow page scrolls the table instead of breaking each word
_WIDEST, _NARROWEST = 60, 8  # characters of a column in plain text

# How the parameters of models are written in a cell.
_BODY = {"prompt": "the cell's body", "multi_prompt": "the cell's body, --- between shots"}
_OPTIONS = {"negative_prompt": "--negative"}
_ROLES = {"start": "--start-image", "end": "--end-image", "elements": "--element"}
_KINDS = {"image": "--image", "video": "--video", "audio": "--audio-ref"}
_ONE = {"image": "an image", "video": "a video", "audio": "a sound"}
_MANY = {"image": "images", "video": "videos", "audio": "sounds"}


class Table:
    """Rows of text under column heads.

    ``unbroken`` columns stay on one line, ``small`` ones are also small, ``prose`` ones are wide enough for sentences.
    """

    def __init__(
        self,
        heads: list[str],
        *,
        title: str = "",
        unbroken: Collection[str] = (),
        small: Collection[str] = (),
        prose: Collection[str] = ("prompt", "meaning", "what it does"),
    ) -> None:
        self.heads = heads
        self.title = title
        self.rows: list[tuple[str, ...]] = []
        self._styles = [
            _SMALL if h in small else _UNBROKEN if h in unbroken else _PROSE if h in prose else _CELL for h in heads
        ]

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(tuple(" ".join(cell.split()) for cell in cells))

    def _repr_html_(self) -> str:
        title = f'<div style="font-weight:600;margin:4px 0">{escape(self.title)}</div>' if self.title else ""
        heads = "".join(f'<th scope="col" style="{_CELL}">{escape(h)}</th>' for h in self.heads)
        cells = (
            "".join(f'<td style="{s}">{escape(cut(c, 200))}</td>' for s, c in zip(self._styles, row, strict=True))
            for row in self.rows
        )
        rows = "".join(f"<tr>{row}</tr>" for row in cells)
        return (
            f'<div style="overflow-x:auto;text-align:left">{title}<table style="font-size:13px;margin:0">'
            f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def __repr__(self) -> str:
        rows = [self.heads, *([cut(cell, _WIDEST) for cell in row] for row in self.rows)]
        widths = self._fit([max(map(len, column)) for column in zip(*rows, strict=True)])
        lines = (
            "  ".join(cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join([*([self.title] if self.title else []), *lines])

    def _fit(self, widths: list[int]) -> list[int]:
        """Widths that fit into the terminal: prose is cut first, and an id never, as it would be useless."""
        room = shutil.get_terminal_size((160, 24)).columns - 2 * (len(widths) - 1)
        for styles in ((_CELL, _PROSE), (_UNBROKEN,)):
            columns = [i for i, style in enumerate(self._styles) if style in styles and widths[i] > _NARROWEST]
            while columns and sum(widths) > room:
                widest = max(columns, key=lambda i: widths[i])
                if widths[widest] == _NARROWEST:
                    break
                widths[widest] -= 1
        return widths


def models_table(models: Iterable[Model]) -> Table:
    """A row for each model: its inputs, its price for a second, and what it does."""
    table = Table(["model", "takes", "price", "what it does"], unbroken=("model",))
    for model in models:
        table.add(model.id, ", ".join(model.inputs), _price(model), model.summary)
    return table


def model_table(model: Model) -> Table:
    """A row for each parameter: how it is written in a cell, its limits and default. Then the rules across parameters."""
    title = f"{model.id}: {model.summary} ({_price(model) or 'price not known'})"
    table = Table(["write", "takes", "default", "meaning"], title=title, unbroken=("write",))
    for name, spec in model.parameters.items():
        slot = media_parameters.by_name(model, name)
        default = spec.get("default")
        given = "required" if name in model.required else "" if default is None else schema.shown_choice(default)
        table.add(_written(name, slot), _takes(spec, slot), given, str(spec.get("description", "")))
    for note in model.notes:
        table.add("rule", "", "", note)
    return table


def _written(name: str, slot: MediaParameter | None) -> str:
    """How a parameter is given in a cell; its own name works as an option as well."""
    if name in _BODY:
        return _BODY[name]
    if slot is not None and slot.role != "special":
        return f"{_ROLES.get(slot.role) or _KINDS[slot.kind]} ({name})"
    return _OPTIONS.get(name) or f"--{name.replace('_', '-')}"


def _takes(spec: Mapping[str, Any], slot: MediaParameter | None) -> str:
    if slot is not None:
        most = spec.get("maxItems")
        return f"{_MANY[slot.kind]}{f', at most {most}' if most else ''}" if slot.many else _ONE[slot.kind]
    limits = schema.allowed(spec)
    if limits and ("enum" in spec or not schema.type_words(spec)):
        return limits
    longest = f"at most {spec['maxLength']} characters" if "maxLength" in spec else ""
    return ", ".join(filter(None, (schema.type_words(spec), limits, longest)))


def _price(model: Model) -> str:
    """The price of a second of video; empty if it is not known."""
    prices = model.pricing or {}
    by_resolution = prices.get("cost_per_second_by_resolution")
    if isinstance(by_resolution, Mapping) and by_resolution:
        return "; ".join(f"{size} {_dollars(amount)}/s" for size, amount in by_resolution.items())
    named = {"": "", "_with_audio": " with sound", "_high_res": " in high resolution"}
    known = {words: prices.get(f"cost_per_second{key}") for key, words in named.items()}
    return ", ".join(f"{_dollars(amount)}/s{words}" for words, amount in known.items() if amount is not None)


def _dollars(amount: Any) -> str:
    exact = pricing.decimal(amount)
    return f"${amount}" if exact is None else pricing.dollars(exact)
