"""The words on the picture: that it is a local preview, the prompt, and what made it."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from oxenvideo.server.preview.planes import Picture, Sprite

BADGE = "LOCAL PREVIEW"
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Captions:
    """A badge at the top and a line below."""

    def __init__(self, prompt: str, details: str, width: int, height: int) -> None:
        unit = max(9, round(min(width, height) * 0.034))
        self._badge = Sprite.of(_badge(unit))
        self._line = Sprite.of(_line(prompt, details, width, unit))
        self._margin = unit
        self._height = height

    def draw(self, picture: Picture) -> None:
        """Lay them over the picture."""
        self._badge.paste(picture, self._margin, self._margin)
        self._line.paste(picture, 0, self._height - self._line.size[1])


def font(size: int) -> Font:
    """Return the font of all words, which comes with Pillow, so that every machine draws the same."""
    return ImageFont.load_default(size)


def _badge(unit: int) -> Image.Image:
    letters = font(unit)
    wide, tall = round(letters.getlength(BADGE)) + 2 * unit, round(unit * 1.9)
    image = Image.new("RGBA", (wide, tall))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, wide - 1, tall - 1), tall // 2, fill=(16, 18, 30, 190))
    pen.text((wide / 2, tall / 2), BADGE, font=letters, fill=(255, 236, 170, 255), anchor="mm")
    return image


def _line(prompt: str, details: str, width: int, unit: int) -> Image.Image:
    large, small = font(unit), font(max(8, round(unit * 0.72)))
    room = width - 3 * unit
    lines = _wrapped(prompt, large, room, 2)
    tall = round(unit * (1.35 * len(lines) + 2.5))
    image = Image.new("RGBA", (width, tall))
    pen = ImageDraw.Draw(image)
    for y in range(tall):
        pen.line(((0, y), (width, y)), fill=(10, 12, 24, min(225, round(600 * y / tall))))
    for number, text in enumerate(lines):
        at = (1.5 * unit, unit * (0.8 + 1.35 * number))
        pen.text(at, text, font=large, fill=(255, 255, 255, 255))
    below = (1.5 * unit, unit * (0.95 + 1.35 * len(lines)))
    pen.text(below, _cut(details, small, room), font=small, fill=(214, 220, 236, 235))
    return image


def _wrapped(text: str, letters: Font, room: float, limit: int) -> list[str]:
    """Break a text into at most ``limit`` lines, the last one cut short where it must be."""
    lines: list[str] = []
    rest = " ".join(text.split())[:400]
    while rest and len(lines) < limit - 1 and letters.getlength(rest) > room:
        words = rest.split(" ")
        count = len(words)
        while count > 1 and letters.getlength(" ".join(words[:count])) > room:
            count -= 1
        lines.append(_cut(" ".join(words[:count]), letters, room))
        rest = " ".join(words[count:])
    return [*lines, _cut(rest, letters, room)] if rest else lines


def _cut(text: str, letters: Font, room: float) -> str:
    if letters.getlength(text) <= room:
        return text
    while text and letters.getlength(f"{text}…") > room:
        text = text[: -max(1, len(text) // 20)]
    return f"{text}…"
