"""The card: a generation as HTML and as one line of text. Pure: the same view gives the same card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any

from oxenvideo.catalog.pricing import dollars
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.status import Status
from oxenvideo.notebook.embed import Embedded

WORDS = {
    Status.WAITING: "Waiting",
    Status.SUBMITTING: "Submitting",
    Status.UNCONFIRMED: "Not confirmed",
    Status.QUEUED: "Queued",
    Status.PROCESSING: "Processing",
    Status.UNKNOWN: "Under way",
    Status.DOWNLOADING: "Downloading",
    Status.SUCCEEDED: "Done",
    Status.FAILED: "Failed",
    Status.CANCELLED: "Cancelled",
}
# Mid-tones that stand out by 3 to 1 on a light and on a dark page. No colour is legible as small text on both, so words
# take the page's own.
_COLOURS = {
    Status.SUCCEEDED: "#1f9d55",
    Status.FAILED: "#e0483e",
    Status.UNCONFIRMED: "#c9741f",
    Status.CANCELLED: "#8a8f98",
}
_RUNNING = "#3f83f8"
_PROMPT_SHOWN = 400  # characters
_WIDTH, _HEIGHT = 692, 480  # pixels that a video takes at most

# What inline styles cannot say. A front end that strips <style> shows the same card, standing still.
_STYLE = (
    "<style>@keyframes oxenvideo-pulse{50%{opacity:.35}}"
    ".oxenvideo-running{animation:oxenvideo-pulse 1.6s ease-in-out infinite}"
    "@media (prefers-reduced-motion:reduce){.oxenvideo-running{animation:none}}</style>"
)


@dataclass(frozen=True)
class View:
    """What a card shows. ``elapsed`` and ``expected`` are seconds, ``estimate`` and ``cost`` US dollars."""

    status: Status
    model: str
    prompt: str
    name: str | None = None
    elapsed: float | None = None
    expected: float | None = None
    estimate: Decimal | None = None
    cost: Decimal | None = None
    free: bool = False
    notice: str | None = None
    error: str | None = None
    received: int = 0
    size: int | None = None
    path: str | None = None
    embedded: Embedded | None = None
    details: str = ""
    seconds: float | None = None
    remarks: tuple[str, ...] = ()


def view_of(
    generation: Generation,
    now: float,
    *,
    expected: float | None = None,
    estimate: Decimal | None = None,
    free: bool = False,
    embedded: Embedded | None = None,
    path: str | None = None,
    remarks: tuple[str, ...] = (),
) -> View:
    """The view of a generation at ``now`` (unix seconds)."""
    state = generation.state
    status = state.status
    running = not state.is_settled
    since = state.submitted_at
    elapsed = (now - since if since is not None else None) if running else state.elapsed
    return View(
        status=status,
        model=generation.request.model,
        prompt=generation.request.prompt,
        name=generation.name if generation.index is None else f"{generation.name or ''}[{generation.index}]",
        elapsed=elapsed,
        expected=expected if running else None,
        estimate=estimate,
        cost=state.cost,
        free=free,
        notice=state.notice,
        error=generation.error_message if status in (Status.FAILED, Status.UNCONFIRMED) or state.error else None,
        received=state.received,
        size=state.expected,
        path=path,
        embedded=embedded,
        details=_details(generation),
        remarks=remarks,
    )


def _details(generation: Generation) -> str:
    """The parameters besides model and prompt, short."""
    shown = generation.request.preview(count=1)
    rest = {k: v for k, v in shown.items() if k not in ("model", "prompt", "multi_prompt")}
    return " · ".join(f"{k} {v if isinstance(v, str) else json.dumps(v)}" for k, v in rest.items())


def text(view: View) -> str:
    """One line, without ids and times, so that two runs of a notebook compare equal."""
    label = f"{view.name}: " if view.name else ""
    words = f"{label}{WORDS[view.status].lower()}"
    if view.error:
        return f"{words}: {view.error}"
    return f"{words} ({view.model})"


def html(view: View) -> str:
    """The whole card."""
    parts = [_head(view)]
    if view.embedded is not None:
        parts.append(_video(view))
    parts.append(_prompt(view))
    parts += [_line(view.error, _COLOURS.get(view.status, _COLOURS[Status.UNCONFIRMED]))] if view.error else []
    parts += [_line(said) for said in (view.notice, *view.remarks) if said]
    parts.append(_foot(view))
    label = escape(f"Video {view.name or ''}: {WORDS[view.status]}", quote=True)
    running = not view.status.is_terminal
    return (
        (_STYLE if running else "")
        + f'<div role="group" aria-label="{label}" style="max-width:720px;padding:10px 14px;margin:4px 0;'
        'border:1px solid rgba(127,127,127,.28);border-radius:10px;font-size:13px;line-height:1.5;text-align:left">'
        + "".join(parts)
        + "</div>"
    )


def dot(status: Status) -> str:
    """The status as a point of colour; it pulses while things move. Never alone: the word stands beside it."""
    moving = not status.is_terminal and status is not Status.UNCONFIRMED
    return (
        f'<span aria-hidden="true" class="{"oxenvideo-running" if moving else ""}" style="display:inline-block;width:9px;'
        f'height:9px;border-radius:50%;background-color:{_COLOURS.get(status, _RUNNING)};margin-right:8px"></span>'
    )


def _head(view: View) -> str:
    name = f'<span style="font-weight:600">{escape(view.name)}</span> ' if view.name else ""
    return (
        f'<div style="display:flex;align-items:center;flex-wrap:wrap;column-gap:10px"><span>{dot(view.status)}{name}'
        f"<span>{WORDS[view.status]}</span></span>"
        f'<span style="opacity:.75">{escape(_times(view))}</span>'
        f'<span style="opacity:.75;margin-left:auto">{escape(_money(view))}</span></div>'
    )


def _times(view: View) -> str:
    if view.elapsed is None:
        return ""
    spent = duration_text(view.elapsed)
    if view.status.is_terminal:
        return f"in {spent}" if view.status is Status.SUCCEEDED else f"after {spent}"
    if view.status is Status.DOWNLOADING and view.size:
        return f"{spent} · {view.received / 1e6:.1f} of {view.size / 1e6:.1f} MB"
    return f"{spent} · usually about {duration_text(view.expected)}" if view.expected else spent


def duration_text(seconds: float) -> str:
    """Seconds for people."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def _money(view: View) -> str:
    if view.free:
        return "free preview"
    if view.cost is not None:
        return f"cost {dollars(view.cost)}"
    if view.estimate is not None and view.status not in (Status.FAILED, Status.CANCELLED):
        return f"about {dollars(view.estimate)}"
    return ""


def _video(view: View) -> str:
    assert view.embedded is not None  # noqa: S101 - narrows the type
    fitted = ""
    if view.embedded.size is not None:
        # Said in pixels: else the player has its poster's size until it plays, and jumps.
        width, height = view.embedded.size
        fitted = f"width:{round(width * min(1.0, _WIDTH / width, _HEIGHT / height))}px;"
    style = f"display:block;{fitted}max-width:100%;max-height:{_HEIGHT}px;margin:8px 0;border-radius:6px"
    return view.embedded.player(f"Video: {_cut(view.prompt) or view.model}", style)


def _prompt(view: View) -> str:
    shown = escape(_cut(view.prompt)).replace("\n", "<br>")
    return f'<div style="margin-top:4px">{shown}</div>' if shown else ""


def _cut(prompt: str) -> str:
    return prompt if len(prompt) <= _PROMPT_SHOWN else prompt[: _PROMPT_SHOWN - 1] + "…"


def _line(words: str, bar: str | None = None) -> str:
    beside = f";border-left:3px solid {bar};padding-left:9px" if bar else ""
    return f'<div style="margin-top:6px{beside}">{escape(words)}</div>'


def _foot(view: View) -> str:
    said = [escape(view.model)]
    if view.details:
        said.append(escape(view.details))
    if view.path:
        said.append(f"<code>{escape(view.path)}</code>")
    foot = f'<div style="margin-top:4px;opacity:.65;font-size:12px">{" · ".join(said)}</div>'
    if not view.status.is_terminal:
        foot += (
            '<div style="margin-top:2px;opacity:.65;font-size:12px">Runs in the background. If this stands still, the kernel '
            "is gone: <code>%oxenvideo resume</code> brings the video back.</div>"
        )
    return foot


def cost_html(cost: Decimal) -> str:
    """The line below a card whose cost became known after its video was shown."""
    return f'<div style="opacity:.7;font-size:12px;padding:0 14px">cost {escape(dollars(cost))}</div>'


def metadata(generation: Generation, *, sha256: str | None, free: bool = False) -> dict[str, Any]:
    """What the output's metadata holds: enough to see how the video was made, and to make it again. US dollars as text."""
    cost = Decimal(0) if free else generation.cost
    return {
        "generation_id": generation.id,
        "status": str(generation.status),
        "request": generation.request.preview(count=1),
        "cost": str(cost) if cost is not None else None,
        "sha256": sha256,
    }
