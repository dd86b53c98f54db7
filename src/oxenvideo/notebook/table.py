"""A table that shows as HTML in a notebook and as aligned text elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from html import escape

_CELL = "padding:3px 14px 3px 0;text-align:left;vertical-align:top"
# An id, a model or a time broken over three lines is no longer read at a glance.
_WHOLE = f"{_CELL};white-space:nowrap"
_SMALL = f"{_WHOLE};font-size:11px;opacity:.75"
_PROSE = f"{_CELL};min-width:180px"  # where the page is narrow the table scrolls, rather than a word a line
_WIDEST = 60  # characters of one cell in plain text
_NARROWEST = 8


class Table:
    """Rows of text under column heads.

    ``whole`` columns are not broken over lines, ``small`` ones also stand back, ``prose`` ones keep room for words.
    """

    def __init__(
        self,
        heads: list[str],
        *,
        title: str = "",
        whole: Collection[str] = (),
        small: Collection[str] = (),
        prose: Collection[str] = ("prompt", "meaning", "what it does"),
    ) -> None:
        self.heads = heads
        self.title = title
        self.rows: list[tuple[str, ...]] = []
        self._styles = [
            _SMALL if h in small else _WHOLE if h in whole else _PROSE if h in prose else _CELL for h in heads
        ]

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(tuple(" ".join(cell.split()) for cell in cells))

    def _repr_html_(self) -> str:
        title = f'<div style="font-weight:600;margin:4px 0">{escape(self.title)}</div>' if self.title else ""
        heads = "".join(f'<th scope="col" style="{_CELL}">{escape(h)}</th>' for h in self.heads)
        rows = "".join(f"<tr>{self._cells(row)}</tr>" for row in self.rows)
        return (
            f'<div style="overflow-x:auto;text-align:left">{title}<table style="font-size:13px;margin:0">'
            f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def _cells(self, row: tuple[str, ...]) -> str:
        return "".join(
            f'<td style="{style}">{escape(_cut(cell, 200))}</td>' for style, cell in zip(self._styles, row, strict=True)
        )

    def __repr__(self) -> str:
        rows = [self.heads, *([_cut(cell, _WIDEST) for cell in row] for row in self.rows)]
        widths = self._fitting([max(map(len, column)) for column in zip(*rows, strict=True)])
        lines = (
            "  ".join(_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join([*([self.title] if self.title else []), *lines])

    def _fitting(self, widths: list[int]) -> list[int]:
        """Widths that fit into the terminal, at the expense of the widest column; an id is useless when cut."""
        room = shutil.get_terminal_size((160, 24)).columns - 2 * (len(widths) - 1)
        widths = list(widths)
        while sum(widths) > room:
            widest = max(
                (i for i, style in enumerate(self._styles) if style != _SMALL), key=lambda i: widths[i], default=-1
            )
            if widest < 0 or widths[widest] <= _NARROWEST:
                break
            widths[widest] -= 1
        return widths


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
