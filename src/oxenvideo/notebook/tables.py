"""A table that shows as HTML in a notebook and as aligned text elsewhere."""

from __future__ import annotations

from html import escape

_CELL = "padding:2px 10px 2px 0;text-align:left;vertical-align:top"
_WIDEST = 60  # characters of one cell in plain text


class Table:
    """Rows of text under column heads."""

    def __init__(self, heads: list[str], *, title: str = "") -> None:
        self.heads = heads
        self.title = title
        self.rows: list[tuple[str, ...]] = []

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(tuple(" ".join(cell.split()) for cell in cells))

    def _repr_html_(self) -> str:
        title = f'<caption style="text-align:left;font-weight:600">{escape(self.title)}</caption>' if self.title else ""
        heads = "".join(f'<th scope="col" style="{_CELL}">{escape(h)}</th>' for h in self.heads)
        rows = "".join(
            "<tr>" + "".join(f'<td style="{_CELL}">{escape(_cut(c, 200))}</td>' for c in row) + "</tr>"
            for row in self.rows
        )
        return f'<table style="font-size:13px">{title}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'

    def __repr__(self) -> str:
        shown = [[_cut(c, _WIDEST) for c in row] for row in self.rows]
        widths = [max(len(r[i]) for r in [self.heads, *shown]) for i in range(len(self.heads))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in [self.heads, *shown]]
        return "\n".join([*([self.title] if self.title else []), *lines])


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
