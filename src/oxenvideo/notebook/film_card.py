"""The card of a Film: its progress while the videos are joined, then the video."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from oxenvideo.engine.film import Film
from oxenvideo.notebook import card as cards
from oxenvideo.notebook import embed
from oxenvideo.notebook.card import Item
from oxenvideo.notebook.display import SAME, Card


def make_card(item: Item | Film, *fields: Any, **named: Any) -> Card:
    """The card of an item; ``fields`` are those of Card."""
    if isinstance(item, Film):
        film: Any = item
        return FilmCard(film, *fields, **named)
    return Card(item, *fields, **named)


class FilmCard(Card):
    """A Film and its output."""

    item: Film  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.generations = ()

    def due(self) -> float | None:
        """When to draw it next: nobody reports the progress, so it is looked at."""
        return None if self.settled and not self.changed else self.drawn_at + SAME

    def draw(self, *, first: bool = False) -> None:
        """Show the progress, or the video."""
        self.changed = False
        self.drawn_at = time.monotonic()
        over = self.item.done
        self.output.draw(self._html(over), f"{self.item.name}: {self.item.summary}", {}, first=first)
        if over and not self.settled:
            self.output.settle()
        self.settled = over

    def _html(self, over: bool) -> str:
        film, note, player = self.item, "", ""
        if film.path is not None:
            made = embed.embed(
                film.path,
                self.how,
                base=self.base,
                limit=self.limit,
                front_end=self.front_end,
                renditions=self.renditions,
            )
            player, note = made.player(f"Video: {film.name}", cards.player_style(made.size)), made.note
        path = cards.shown_path(film.path, self.base)
        words = film.summary[:1].upper() + film.summary[1:]
        parts = [f"<div>{cards.dot(film.status)}<b>{escape(film.name)}</b> {escape(words)}</div>", player]
        if not over:
            done = f'value="{film.progress:.2f}" max="1" aria-label="Progress"'
            parts.append(f'<progress {done} style="width:100%;margin-top:6px"></progress>')
        parts += [f"<div>{escape(note)}</div>"] if note else []
        parts += [f'<div style="{cards.FAINT}"><code>{escape(path)}</code></div>'] if path else []
        return ("" if over else cards.STYLE) + cards.frame(f"Film {film.name}", "".join(parts), "max-width:720px;")
