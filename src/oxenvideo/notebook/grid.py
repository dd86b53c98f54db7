"""The grid: a batch as one output, with a summary and a tile for each video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from oxenvideo.catalog.pricing import dollars
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import Status
from oxenvideo.notebook import card
from oxenvideo.notebook.embed import Embedded

#: Tiles that are drawn; a page with a thousand videos would serve nobody.
MOST_TILES = 48


def text(batch: Batch) -> str:
    """One line."""
    return f"{batch.name + ': ' if batch.name else ''}{batch.summary}"


def html(
    batch: Batch,
    embedded_of: Callable[[Generation], Embedded | None],
    *,
    remarks: Sequence[str] = (),
    price: str = "",
    free: bool = False,
) -> str:
    """The whole grid. ``price`` is what is expected; ``free`` is what costs nothing, whatever the service says."""
    shown = _shown(batch)
    tiles = "".join(_tile(g, embedded_of(g)) for g in shown)
    more = len(batch) - len(shown)
    name = escape(batch.name or "videos")
    rest = f'<div style="opacity:.7;margin-top:6px">and {more} more: <code>{name}[i]</code></div>' if more else ""
    said = "".join(f'<div style="margin-top:4px">{escape(r)}</div>' for r in remarks)
    cost = "free previews" if free else f"cost {dollars(batch.cost)}" if batch.cost is not None else price
    return (
        f'<div role="group" aria-label="{escape(text(batch), quote=True)}" style="padding:10px 14px;margin:4px 0;'
        'border:1px solid rgba(127,127,127,.28);border-radius:10px;font-size:13px;line-height:1.5;text-align:left">'
        f'<div style="display:flex;flex-wrap:wrap;column-gap:10px"><span style="font-weight:600">{escape(text(batch))}</span>'
        f'<span style="opacity:.75;margin-left:auto">{escape(cost)}</span></div>'
        '<div style="display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:10px;margin-top:8px">'
        f"{tiles}</div>{rest}{said}{_hint(batch, name)}</div>"
    )


def _hint(batch: Batch, name: str) -> str:
    """What a person can do about it as it stands."""
    if not batch.done:
        words = (
            "Runs in the background. If this stands still, the kernel is gone: <code>%oxenvideo resume</code> brings the "
            "videos back."
        )
    elif batch.failed and batch.name:
        words = f"<code>{name}.retry_failed()</code> submits the failed ones once more."
    else:
        return ""
    return f'<div style="opacity:.65;font-size:12px;margin-top:4px">{words}</div>'


def _shown(batch: Batch) -> Sequence[Generation]:
    if len(batch) <= MOST_TILES:
        return batch
    # Where not all can be shown: failures first, since they want a decision, then what runs, then what is done.
    order = {Status.FAILED: 0, Status.UNCONFIRMED: 0, Status.DOWNLOADING: 1, Status.PROCESSING: 1, Status.SUCCEEDED: 2}
    chosen = sorted(range(len(batch)), key=lambda i: (order.get(batch[i].status, 3), i))[:MOST_TILES]
    return [batch[i] for i in sorted(chosen)]


def _tile(generation: Generation, embedded: Embedded | None) -> str:
    status = generation.status
    label = f"[{generation.index}]" if generation.index is not None else ""
    words = escape(card.WORDS[status])
    middle = _picture(generation, embedded)
    prompt = escape(_short(generation.error_message or generation.request.prompt))
    return (
        '<div style="border:1px solid rgba(127,127,127,.22);border-radius:8px;padding:8px;min-width:0;overflow-wrap:anywhere">'
        f"{middle}<div>{card.dot(status)}<b>{label}</b> {words}</div>"
        f'<div style="opacity:.7;font-size:12px">{prompt}</div></div>'
    )


def _picture(generation: Generation, embedded: Embedded | None) -> str:
    if embedded is None:
        return ""
    style = "display:block;width:100%;border-radius:6px;margin-bottom:4px"
    return embedded.player(f"Video: {_short(generation.request.prompt)}", style)


def _short(text: str, limit: int = 90) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
