"""The grid of a batch: one output with a summary and a tile for each video."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from html import escape
from itertools import takewhile

from oxenvideo.catalog.pricing import dollars
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import Status
from oxenvideo.notebook import card
from oxenvideo.notebook.embed import Embedded

MAX_TILES = 48
_MAX_TEXT = 90  # characters of a tile's prompt
_VIDEO = "display:block;width:100%;aspect-ratio:16/9;background-color:#000;border-radius:6px"
# The browser's controls cover a third of a tile. A button takes their place until the video plays. A page that runs no
# handlers, such as an untrusted notebook, keeps the controls and shows no button.
_HANDLERS = (
    " onloadstart=\"this.controls=false;this.previousElementSibling.style.display='block'\""
    " onplay=\"this.controls=true;this.previousElementSibling.style.display='none'\""
)
_PLAY = (
    '<button type="button" aria-label="Play {about}" onclick="this.nextElementSibling.play()" style="display:none;'
    "position:absolute;z-index:1;inset:0;margin:auto;width:44px;height:44px;padding:0;border:0;border-radius:50%;"
    'background-color:rgba(0,0,0,.65);color:#fff;font-size:16px;line-height:44px;cursor:pointer">▶</button>'
)


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
    resume: str | None = "%oxenvideo resume",
) -> str:
    """The grid with a tile for each of ``shown``; ``files`` are their videos by key.

    ``estimate`` is the price in US dollars; ``free`` means that the videos cost nothing. ``resume`` is as for
    ``card.html``.
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
        *(
            _tile(generation, differs, prompt, files.get(generation.key))
            for generation, differs, prompt in zip(shown, differences(shown), _prompts(shown), strict=True)
        ),
        "</div>",
        f'<div style="opacity:.7;margin-top:6px">and {more} more: <code>{name}[i]</code></div>' if more else "",
        *(f'<div style="margin-top:4px">{escape(remark)}</div>' for remark in remarks),
    ]
    if not batch.done:
        parts.append(card.running_hint("the videos", resume=resume))
    elif batch.failed and batch.name:
        parts.append(
            f'<div style="{card.FAINT};margin-top:4px"><code>{name}.retry_failed()</code> submits the failed ones again.</div>'
        )
    framed = card.frame(summary, "".join(parts))
    return framed if batch.done else card.STYLE + framed


def differences(shown: Sequence[Generation]) -> list[str]:
    """The parameters of each request whose values differ within the batch, such as ``cfg_scale 0.3``."""
    rows = [{"model": g.request.model, **card.parameters(g.request)} for g in shown]
    names = dict.fromkeys(name for row in rows for name in row)
    differ = [name for name in names if len({row.get(name) for row in rows}) > 1]
    return [" · ".join(row[name] for name in differ if name in row) for row in rows]


def _prompts(shown: Sequence[Generation]) -> list[str]:
    """The prompts, without the start that all of them share if it is too long for a tile."""
    prompts = [" ".join(g.request.prompt.split()) for g in shown]
    shared = sum(1 for _ in takewhile(lambda characters: len(set(characters)) == 1, zip(*prompts, strict=False)))
    is_long = len(set(prompts)) > 1 and shared > _MAX_TEXT // 2
    start = prompts[0].rfind(" ", 0, shared) + 1 if is_long else 0
    return ["…" * bool(start) + card.cut(prompt[start:], _MAX_TEXT) for prompt in prompts]


def _tile(generation: Generation, differs: str, prompt: str, embedded: Embedded | None) -> str:
    number = f"[{generation.index}]" if generation.index is not None else ""
    state, given = generation.state, card.parameters(generation.request)
    video = ""
    if embedded is not None:
        about = escape(f"{number} {differs or prompt}", quote=True)
        play = _PLAY.format(about=about) if embedded.src else ""
        video = f'<div style="position:relative;margin-bottom:4px">{play}' + (
            f"{embedded.player(f'Video {number}: {differs or prompt}', _VIDEO, _HANDLERS)}</div>"
        )
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.finished_at)) if state.finished_at else ""
    length = f"{embedded.seconds:.3g} s" if embedded is not None and embedded.seconds else None
    facts = [given.get("duration") or given.get("seconds") or length, given.get("seed"), made]
    lines = [
        f"<b>{escape(differs)}</b>" if differs else "",
        escape(prompt),
        _reason(generation.error_message or (embedded.note if embedded else "")),
        " · ".join(
            f'<span style="white-space:nowrap">{escape(fact)}</span>'
            for fact in facts
            if fact and fact not in differs.split(" · ")
        ),
    ]
    return (
        '<div style="border:1px solid rgba(127,127,127,.22);border-radius:8px;padding:8px;min-width:0;overflow-wrap:anywhere">'
        f"{video}<div>{card.dot(generation.status)}<b>{number}</b> {card.WORDS[generation.status]}"
        f' <span style="opacity:.75">{card.steps_text(state)}</span></div>'
        f'{"".join(f"""<div style="opacity:.75;font-size:12px">{line}</div>""" for line in lines if line)}</div>'
    )


def _reason(error: str) -> str:
    """Why a video failed; the rest of a long reason is shown on a click."""
    words = " ".join(error.split())
    if len(words) <= 2 * _MAX_TEXT:
        return escape(words)
    at = words.rfind(" ", 0, _MAX_TEXT)
    at = _MAX_TEXT if at < 0 else at
    return f"<details><summary>{escape(words[:at])} …</summary>… {escape(words[at:].lstrip())}</details>"
