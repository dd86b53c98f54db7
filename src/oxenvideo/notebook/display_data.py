"""The MIME bundle of a Generation, a Batch or a Film, for a front end that has not loaded the extension."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oxenvideo.engine.film import Film
from oxenvideo.environment import front_end
from oxenvideo.notebook.card import Item
from oxenvideo.notebook.display import LiveCards
from oxenvideo.notebook.film_card import make_card
from oxenvideo.notebook.outputs import StillOutput, WidgetOutput
from oxenvideo.notebook.renditions import Renditions
from oxenvideo.session import current_session


def display_data(item: Item | Film) -> tuple[dict[str, Any], dict[str, Any]]:
    """The MIME bundle of an item in a front end that has not loaded the extension, and its metadata.

    It is plain HTML with the present state. Where the front end ignores updates of that, as marimo and Voilà do, it is a
    widget that follows the item until it has its final state.
    """
    front, session = front_end(), current_session()
    renditions = Renditions(session.settings.data_dir / "renditions")
    output = StillOutput()
    limit = session.settings.embed_limit or front.embed_limit
    card = make_card(item, output, "auto", Path.cwd(), front, limit, renditions)
    card.resume = None if front.updates else "oxenvideo.resume()"
    card.draw(first=True)
    if front.updates or card.is_final:
        return output.bundle, {}
    from oxenvideo.notebook.widget import CardWidget

    widget = CardWidget(item)
    card.output = shown = WidgetOutput(widget)
    LiveCards().show(card)
    if front.name == "marimo":
        from oxenvideo.notebook.marimo_output import keep_when_settled

        keep_when_settled(card, widget)
    return shown.bundle, {}
