"""The card of one generation, as HTML and as one line of text. The same arguments give the same card."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import Any

from oxenvideo.catalog.pricing import dollars
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import State, Status
from oxenvideo.notebook.embed import Embedded
from oxenvideo.request.request import VideoRequest

Item = Generation | Batch
"""What a cell submits."""

WORDS = {status: status.capitalize() for status in Status}
"""The word for each status wherever a person reads it."""
# Mid-tones with a contrast of 3 to 1 on light and dark pages. No colour is legible as small text on both, so text keeps
# the page's own colour.
_COLOURS = {
    Status.SUCCEEDED: "#1f9d55",
    Status.FAILED: "#e0483e",
    Status.UNCONFIRMED: "#c9741f",
    Status.CANCELLED: "#8a8f98",
}
_RUNNING = "#3f83f8"
_MAX_PROMPT = 400  # characters
_MAX_WIDTH, _MAX_HEIGHT = 692, 480  # pixels of a video
FAINT = "opacity:.65;font-size:12px"

# Inline styles cannot animate. A front end that removes <style> shows the same card without the pulse.
STYLE = (
    "<style>@keyframes oxenvideo-pulse{50%{opacity:.35}}"
    ".oxenvideo-running{animation:oxenvideo-pulse 1.6s ease-in-out infinite}"
    "@media (prefers-reduced-motion:reduce){.oxenvideo-running{animation:none}}"
    # JupyterLab's error below a card that was saved with its button
    ".jp-OutputArea-child:has(.oxenvideo-running)+.jp-OutputArea-child .jupyter-widgets:not(:has(*)){display:none}</style>"
)


def one_line(item: Item) -> str:
    """The state of an item for a terminal: with its file, or the time that it has taken so far and why it waits."""
    if isinstance(item, Batch):
        return f"{item.name}: {item.summary}" if item.name else item.summary
    state, words = _described(item)
    words += f" {steps}" if (steps := steps_text(state)) else ""
    if state.path is not None:
        return f"{words} → {os.path.relpath(state.path)}"
    if state.submitted_at is None or state.is_settled:
        return words
    notice = f" · {state.notice}" if state.notice else ""
    return f"{words} {duration_text(time.time() - state.submitted_at)}{notice}"


def wait_command(name: str | None) -> str:
    """The line that waits for the item with this name."""
    return f"%oxenvideo wait {name}" if name else "%oxenvideo wait"


def text(generation: Generation) -> str:
    """One line without ids and times, so that the outputs of two runs of a notebook compare equal."""
    return _described(generation)[1]


def _described(generation: Generation) -> tuple[State, str]:
    state, name, index, model = generation.state, generation.name, generation.index, generation.request.model
    label, error = _label(name, index), _error(state)
    words = f"{label}: {state.status}" if label else str(state.status)
    return state, f"{words}: {error}" if error else f"{words} ({model})"


def label(generation: Generation) -> str:
    """The name of a generation, with its number in the batch; empty if it has none."""
    return _label(generation.name, generation.index)


def _label(name: str | None, index: int | None) -> str:
    return f"{name or ''}{'' if index is None else f'[{index}]'}"


def generations(item: Item) -> Sequence[Generation]:
    """The generations of an item."""
    return (item,) if isinstance(item, Generation) else item


def is_free(item: Item) -> bool:
    """Whether the embedded server, which charges nothing, made all of an item. The session may use another by now."""
    return {g.target.is_local for g in generations(item)} == {True}  # an empty Batch is nothing that was free


def html(
    generation: Generation,
    now: float,
    *,
    expected: float | None = None,
    estimate: Decimal | None = None,
    free: bool = False,
    embedded: Embedded | None = None,
    path: str | None = None,
    remarks: Sequence[str] = (),
    resume: str | None = "%oxenvideo resume",
) -> str:
    """The card at ``now`` (unix seconds). ``resume`` is what brings it back, None if it will not be updated.

    ``expected`` is how many seconds such a video usually takes, ``estimate`` its price in US dollars; ``free`` means
    that it costs nothing; ``path`` is the file as the card shows it.
    """
    state, request, name = generation.state, generation.request, label(generation)
    status = state.status
    parts = [_head(name, state, _times(state, now, expected), _price(state, estimate, free))]
    if embedded is not None:
        words = f"Video: {cut(request.prompt, _MAX_PROMPT) or request.model}"
        parts.append(embedded.player(words, player_style(embedded.size)))
    if not state.is_settled and state.progress and state.progress.preview:
        style = "display:block;max-width:320px;margin:8px 0;border-radius:6px"
        parts.append(f'<img src="{escape(state.progress.preview)}" alt="Preview of the video" style="{style}">')
    if request.prompt:
        prompt = escape(cut(request.prompt, _MAX_PROMPT)).replace("\n", "<br>")
        parts.append(f'<div style="margin-top:4px">{prompt}</div>')
    if error := _error(state):
        parts.append(_line(error, _COLOURS.get(status, _COLOURS[Status.UNCONFIRMED])))
    if status is Status.UNKNOWN:
        parts.append(_line(f"The service reports the status {state.remote!r}, which oxenvideo does not know."))
    parts += [_line(words) for words in (state.notice, embedded.note if embedded else "", *remarks) if words]
    code = f"<code>{escape(path)}</code>" if path else ""
    shown = [*map(escape, (request.model, *parameters(request).values())), code]
    parts.append(f'<div style="margin-top:4px;{FAINT}">{" · ".join(filter(None, shown))}</div>')
    if not state.is_settled:
        parts.append(running_hint("the video", resume=resume))
    framed = frame(f"Video {name}: {WORDS[status]}", "".join(parts), "max-width:720px;")
    return framed if state.is_settled else STYLE + framed


def player_style(size: tuple[int, int] | None) -> str:
    """The inline style of a video of this width and height."""
    fitted = ""
    if size is not None:
        # Without a width in pixels the player has its poster's size until it plays, and then changes it.
        width, height = size
        fitted = f"width:{round(width * min(1.0, _MAX_WIDTH / width, _MAX_HEIGHT / height))}px;"
    return f"display:block;{fitted}max-width:100%;max-height:{_MAX_HEIGHT}px;margin:8px 0;border-radius:6px"


def steps_text(state: State) -> str:
    """The steps that an engine has counted, while it makes the video; else an empty text."""
    progress = state.progress
    if progress is None or progress.step is None or state.status is not Status.PROCESSING:
        return ""
    return f"step {progress.step} of {progress.total}"


def frame(name: str, inner: str, style: str = "") -> str:
    """The border around a card or a grid; ``name`` is its accessible name."""
    return (
        f'<div role="group" aria-label="{escape(name, quote=True)}" style="{style}padding:10px 14px;margin:4px 0;'
        'border:1px solid rgba(127,127,127,.28);border-radius:10px;font-size:13px;line-height:1.5;text-align:left">'
        f"{inner}</div>"
    )


def running_hint(what: str, *, resume: str | None) -> str:
    """How to get the videos back if the output is never updated again; how to see them if it is not updated at all."""
    if resume is None:
        words = f"Runs in the background. Run this cell again for {what}; with <code>%load_ext oxenvideo</code> it is updated."
    else:
        words = (
            "Runs in the background. If this output no longer changes, the kernel has ended: "
            f"<code>{resume}</code> brings {what} back."
        )
    return f'<div style="margin-top:2px;{FAINT}">{words}</div>'


def dot(status: Status) -> str:
    """The status as a coloured dot that pulses while the video is made. Always shown beside the word."""
    moving = not status.is_terminal and status is not Status.UNCONFIRMED
    return (
        f'<span aria-hidden="true" class="{"oxenvideo-running" if moving else ""}" style="display:inline-block;width:9px;'
        f'height:9px;border-radius:50%;background-color:{_COLOURS.get(status, _RUNNING)};margin-right:8px"></span>'
    )


def cut(text: str, limit: int) -> str:
    """Text of at most ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def duration_text(seconds: float) -> str:
    """Seconds as people write them."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def shown_path(path: Path | None, base: Path) -> str | None:
    """A path as people want to read it: relative if it is below ``base``."""
    if path is None:
        return None
    shown = os.path.relpath(path, base)
    return str(path) if shown.startswith("..") else shown


def cost_html(cost: Decimal) -> str:
    """The line below a card whose cost (US dollars) became known after its video was shown."""
    return f'<div style="{FAINT};padding:0 14px">cost {escape(dollars(cost))}</div>'


def metadata(generation: Generation, *, sha256: str | None) -> dict[str, Any]:
    """What the output's metadata holds to make the video again. ``cost`` is US dollars as text."""
    cost = Decimal(0) if is_free(generation) else generation.cost
    return {
        "generation_id": generation.id,
        "status": str(generation.status),
        "request": generation.request.preview(count=1),
        "cost": str(cost) if cost is not None else None,
        "sha256": sha256,
    }


def elapsed(state: State, now: float) -> float | None:
    """Seconds from submission until now, or until the end."""
    if state.is_settled:
        return state.elapsed
    return None if state.submitted_at is None else now - state.submitted_at


def _error(state: State) -> str | None:
    if state.error is None and state.status not in (Status.FAILED, Status.UNCONFIRMED):
        return None
    return state.error_message or (str(state.error) if state.error else None)


def _head(name: str, state: State, times: str, price: str) -> str:
    bold = f'<span style="font-weight:600">{escape(name)}</span> ' if name else ""
    return (
        f'<div style="display:flex;align-items:center;flex-wrap:wrap;column-gap:10px"><span>{dot(state.status)}{bold}'
        f"<span>{WORDS[state.status]}</span></span>"
        f'<span style="opacity:.75">{escape(times)}</span>'
        f'<span style="opacity:.75;margin-left:auto">{escape(price)}</span></div>'
    )


def _times(state: State, now: float, expected: float | None) -> str:
    seconds = elapsed(state, now)
    if seconds is None:
        return ""
    taken = duration_text(seconds)
    if state.status.is_terminal:
        return f"in {taken}" if state.status is Status.SUCCEEDED else f"after {taken}"
    if state.status is Status.DOWNLOADING and state.expected:
        return f"{taken} · {state.received / 1e6:.1f} of {state.expected / 1e6:.1f} MB"
    if steps := steps_text(state):
        return f"{taken} · {steps}"
    return f"{taken} · usually about {duration_text(expected)}" if expected and not state.is_settled else taken


def _price(state: State, estimate: Decimal | None, free: bool) -> str:
    if free:
        return "free preview" if state.progress is None else f"free, on {state.progress.engine or 'your engines'}"
    if state.cost is not None:
        return f"cost {dollars(state.cost)}"
    if estimate is not None and state.status not in (Status.FAILED, Status.CANCELLED):
        return f"about {dollars(estimate)}"
    return ""


def parameters(request: VideoRequest) -> dict[str, str]:
    """The parameters besides model and prompt by their names, such as ``{"duration": "duration 5"}``."""
    rest = request.preview(count=1).items()
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in rest}
    return {name: f"{name} {text}" for name, text in texts.items() if name not in ("model", "prompt", "multi_prompt")}


def _line(words: str, bar: str | None = None) -> str:
    beside = f";border-left:3px solid {bar};padding-left:9px" if bar else ""
    return f'<div style="margin-top:6px{beside}">{escape(words)}</div>'
