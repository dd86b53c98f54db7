"""What is drawn over every frame: the mark, the prompt, the parameters, the references, and a progress line."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from oxenvideo.server.preview.background import is_dark
from oxenvideo.server.preview.picture import Picture, Sprite
from oxenvideo.server.preview.plan import Plan

MARK = "LOCAL PREVIEW"
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]

# Sizes of the prompt's letters (shares of the frame's shorter side), and how many lines a square may have of each.
_PROMPT_SIZES = ((0.075, 3), (0.058, 5), (0.046, 7))
_LIGHT, _DARK = (255, 255, 255), (22, 22, 34)


class Overlay:
    """The overlay of one shot. Over given images the text is light on a shade."""

    def __init__(self, plan: Plan, shot: int, references: Sequence[Image.Image], *, on_images: bool) -> None:
        width, height = plan.width, plan.height
        unit = min(width, height)
        margin = max(2, round(unit * 0.06))
        light = on_images or is_dark(plan.seed)
        colour = _LIGHT if light else _DARK
        room = min(width - 2 * margin, max(round(width * 0.8), unit - 2 * margin))
        text = _text(plan.shots[shot].prompt, plan.parameters, max(1, room), unit, max(1, height / width), colour)
        line = max(2, round(unit * 0.008))
        bottom = height - margin - line
        top = bottom - margin // 2 - text.height
        self._sprites = []
        if on_images:
            shade = _shade(width, min(height, height - top + 2 * margin))
            self._sprites.append((Sprite(shade), 0, height - shade.height))
        self._sprites.append((Sprite(text), margin, top))
        self._sprites.append((Sprite(_mark(max(8, round(unit * 0.026)), light)), margin, margin))
        self._sprites += _prints(references, width, unit, margin)
        lengths = [each.frames for each in plan.shots]
        across = max(2, width - 2 * margin)
        self._sprites.append((Sprite(_line(across, line, lengths, (*colour, 70))), margin, bottom))
        self._progress = Sprite(_line(across, line, lengths, (*colour, 230)))
        self._at = margin, bottom
        self._frames = plan.frames

    def draw(self, picture: Picture, number: int) -> None:
        """Draw it on frame ``number`` of the video."""
        for sprite, x, y in self._sprites:
            sprite.paste(picture, x, y)
        done = number / max(1, self._frames - 1)
        self._progress.paste(picture, *self._at, width=round(self._progress.width * done))


def _font(size: float) -> Font:
    # This font comes with Pillow, so all machines draw the same.
    return ImageFont.load_default(max(7, round(size)))


def _mark(size: int, light: bool) -> Image.Image:
    font = _font(size)
    back, front = (_LIGHT, _DARK) if light else (_DARK, _LIGHT)
    image = _rounded([(0, font.getlength(MARK) + 2.2 * size)], 2.2 * size, (*back, 235))
    ImageDraw.Draw(image).text((image.width / 2, image.height / 2), MARK, font=font, fill=front, anchor="mm")
    return image


def _text(prompt: str, parameters: Sequence[str], room: int, unit: int, tall: float, colour: Colour) -> Image.Image:
    """Set the prompt as large as it fits, and the parameters small below it."""
    words = prompt[:1000].split()
    for share, square_most in _PROMPT_SIZES:
        most = int(square_most * tall)
        font, step = _font(unit * share), round(unit * share * 1.28)
        lines = _wrapped(words, " ", font, room)
        if len(lines) <= most:
            lines = _balanced(words, font, room, len(lines))
            break
    else:
        lines = [*lines[: most - 1], _cut(f"{lines[most - 1]} {lines[most]}", font, room)]
    small, small_step = _font(unit * 0.03), max(8, round(unit * 0.043))
    below = _wrapped(parameters, "  ·  ", small, room)[:3]
    wide = max([font.getlength(line) for line in lines] + [small.getlength(line) for line in below])
    start = step * len(lines) + small_step // 2
    image = Image.new("RGBA", (max(1, round(wide)), start + small_step * len(below)), (*colour, 0))
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        pen.text((0, step * number), line, font=font, fill=(*colour, 255))
    for number, line in enumerate(below):
        pen.text((0, start + small_step * number), line, font=small, fill=(*colour, 205))
    return image


def _shade(width: int, height: int) -> Image.Image:
    """Return a black that becomes denser from top to bottom."""
    image = Image.new("RGBA", (width, height), (8, 8, 14, 0))
    image.putalpha(Image.linear_gradient("L").point(lambda value: round(value * 0.82)).resize((width, height)))
    return image


def _prints(images: Sequence[Image.Image], width: int, unit: int, margin: int) -> list[tuple[Sprite, int, int]]:
    """Place small prints of the images at the top right, with white edges and round corners."""
    placed, right = [], width - margin
    side = max(2, round(min(0.24 * unit, (width * 0.6 - margin) / max(1, len(images)))))
    for image in reversed(images):
        small = ImageOps.contain(image, (side, side), Image.Resampling.LANCZOS)
        framed = ImageOps.expand(small, max(1, side // 48), _LIGHT)
        framed.putalpha(_mask([(0, framed.width)], framed.height, side / 16, 255))
        right -= framed.width
        placed.append((Sprite(framed), right, margin))
        right -= margin // 3
    return placed


def _line(width: int, height: int, lengths: Sequence[int], fill: tuple[int, int, int, int]) -> Image.Image:
    """Draw a line with a part for each shot, as long as its frames."""
    edges = [width * sum(lengths[:number]) / sum(lengths) for number in range(len(lengths) + 1)]
    gaps = [2 * height] * (len(lengths) - 1) + [0]
    parts = [(a, max(a + 1, b - gap)) for a, b, gap in zip(edges, edges[1:], gaps, strict=False)]
    return _rounded(parts, height, fill)


def _rounded(parts: Sequence[tuple[float, float]], height: float, fill: tuple[int, int, int, int]) -> Image.Image:
    """Draw bars with round ends, given by their left and right edges."""
    mask = _mask(parts, round(height), height / 2, fill[3])
    image = Image.new("RGBA", mask.size, fill)
    image.putalpha(mask)
    return image


def _mask(parts: Sequence[tuple[float, float]], height: int, radius: float, opacity: int) -> Image.Image:
    mask = Image.new("L", (4 * round(parts[-1][1]), 4 * height))  # larger, so that reducing it makes the edges smooth
    for left, right in parts:
        ImageDraw.Draw(mask).rounded_rectangle((4 * left, 0, 4 * right - 1, 4 * height - 1), 4 * radius, fill=opacity)
    return mask.reduce(4)


def _wrapped(words: Sequence[str], space: str, font: Font, room: float) -> list[str]:
    """Fill lines with words. A word that is too long for a line is broken."""
    lines: list[str] = []
    for word in words:
        joined = f"{lines[-1]}{space}{word}" if lines else word
        if lines and font.getlength(joined) <= room:
            lines[-1] = joined
            continue
        while len(word) > 1 and font.getlength(word) > room:
            count = max(1, int(len(word) * room / font.getlength(word)))
            lines.append(word[:count])
            word = word[count:]
        lines.append(word)
    return lines


def _balanced(words: Sequence[str], font: Font, room: float, count: int) -> list[str]:
    """Return ``count`` lines of about the same length."""
    wrapped = (_wrapped(words, " ", font, room * share) for share in (0.6, 0.7, 0.8, 0.9, 1))
    return next(lines for lines in wrapped if len(lines) <= count)


def _cut(text: str, font: Font, room: float) -> str:
    while text and font.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text.rstrip()}…"
