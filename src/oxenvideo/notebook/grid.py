"""The grid of a batch: one output with a summary and a tile for each video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from html import escape

from oxenvideo.catalog.pricing import dollars
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import Status
from oxenvideo.notebook import card
from oxenvideo.notebook.embed import Embedded

MAX_TILES = 48
_MAX_TEXT = 90  # characters of a tile's prompt


def tiles(batch: Batch) -> Sequence[Generation]:
    """The generations that have a tile. If there are too many: failed ones first, as they need a decision."""
    if len(batch) <= MAX_TILES:
        return batch
    order = {Status.FAILED: 0, Status.UNCONFIRMED: 0, Status.DOWNLOADING: 1, Status.PROCESSING: 1, Status.SUCCEEDED: 2}
    chosen = sorted(range(len(batch)), key=lambda i: (order.get(batch[i].status, 3), i))[:MAX_TILES]
    return [batch[i] for i in sorted(chosen)]


def html(
    batch: Batch,
    shown: Sequence[Generation],
    files: Mapping[str, Embedded],
    *,
    remarks: Sequence[str] = (),
    estimate: Decimal | None = None,
    free: bool = False,
) -> str:
    """The grid with a tile for each of ``shown``; ``files`` are their videos by key.

    ``estimate`` is the price in US dollars; ``free`` means that the videos cost nothing.
    """
    name = escape(batch.name or "videos")
    price = f"about {dollars(estimate)}" if estimate is not None else ""
    cost = "free previews" if free else f"cost {dollars(batch.cost)}" if batch.cost is not None else price
    more = len(batch) - len(shown)
    summary = card.one_line(batch)
    parts = [
        f'<div style="display:flex;flex-wrap:wrap;column-gap:10px"><span style="font-weight:600">{escape(summary)}</span>'
        f'<span style="opacity:.75;margin-left:auto">{escape(cost)}</span></div>'
        '<div style="display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:10px;margin-top:8px">',
        *(_tile(generation, files.get(generation.key)) for generation in shown),
        "</div>",
        f'<div style="opacity:.7;margin-top:6px">and {more} more: <code>{name}[i]</code></div>' if more else "",
        *(f'<div style="margin-top:4px">{escape(remark)}</div>' for remark in remarks),
    ]
    if not batch.done:
        parts.append(card.running_hint("the videos"))
    elif batch.failed and batch.name:
        parts.append(
            f'<div style="{card.FAINT};margin-top:4px"><code>{name}.retry_failed()</code> submits the failed ones again.</div>'
        )
    return card.frame(summary, "".join(parts))


def _tile(generation: Generation, embedded: Embedded | None) -> str:
    prompt = " ".join(generation.request.prompt.split())
    video = ""
    if embedded is not None:
        style = "display:block;width:100%;border-radius:6px;margin-bottom:4px"
        video = embedded.player(f"Video: {card.cut(prompt, _MAX_TEXT)}", style)
    number = f"[{generation.index}]" if generation.index is not None else ""
    words = " ".join((generation.error_message or prompt).split())
    return (
        '<div style="border:1px solid rgba(127,127,127,.22);border-radius:8px;padding:8px;min-width:0;overflow-wrap:anywhere">'
        f"{video}<div>{card.dot(generation.status)}<b>{number}</b> {card.WORDS[generation.status]}"
        f' <span style="opacity:.7">{card.steps_text(generation.state)}</span></div>'
        f'<div style="opacity:.7;font-size:12px">{escape(card.cut(words, _MAX_TEXT))}</div></div>'
    )
