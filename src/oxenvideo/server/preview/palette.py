"""Colours and themes out of the words of a prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from oxenvideo.server.preview.planes import Colour

COLOURS: dict[str, Colour] = {
    "red": (226, 58, 54), "crimson": (190, 30, 50), "orange": (244, 140, 48), "amber": (250, 180, 60),
    "gold": (240, 190, 70), "golden": (240, 190, 70), "yellow": (250, 214, 84), "green": (74, 168, 92),
    "emerald": (34, 150, 110), "teal": (40, 160, 160), "turquoise": (64, 200, 190), "cyan": (70, 200, 220),
    "blue": (66, 126, 226), "navy": (30, 50, 110), "indigo": (80, 70, 180), "purple": (140, 84, 196),
    "violet": (150, 100, 220), "magenta": (214, 64, 150), "pink": (244, 140, 178), "brown": (146, 100, 66),
    "white": (244, 244, 240), "silver": (196, 202, 210), "grey": (150, 154, 160), "gray": (150, 154, 160),
    "black": (44, 44, 52),
}  # fmt: skip

_KINDS = {
    "sea": "sea ocean wave waves beach water lake river boat ship sail sailing fish whale shark island surf harbor coral",
    "city": "city street neon tokyo skyline building buildings cyberpunk car robot rain market urban bridge train taxi",
    "space": "space star stars galaxy planet rocket astronaut moon cosmos nebula orbit satellite alien universe comet",
    "hills": "field hill hills mountain mountains forest meadow tree trees snow desert farm garden valley ox cow horse",
}
_HOURS = {
    "night": "night midnight moon moonlit neon stars dark firefly fireflies lantern lanterns space galaxy cyberpunk",
    "sunset": "sunset dusk evening golden campfire autumn desert sepia",
    "dawn": "dawn sunrise morning mist misty pastel spring",
    "day": "day noon sunny blue sky summer bright",
}
# Sky from the zenith down to the horizon, then the light of sun or moon.
_SKIES: dict[str, tuple[Colour, Colour, Colour, Colour]] = {
    "day": ((64, 134, 222), (128, 188, 240), (214, 234, 246), (255, 248, 220)),
    "sunset": ((62, 54, 120), (206, 92, 112), (252, 178, 104), (255, 226, 160)),
    "dawn": ((96, 120, 190), (198, 168, 206), (250, 214, 196), (255, 240, 214)),
    "night": ((12, 16, 44), (26, 34, 80), (58, 66, 124), (230, 234, 250)),
}
# What lies in front, from the far to the near.
_GROUNDS: dict[str, tuple[Colour, Colour]] = {
    "hills": ((118, 160, 150), (44, 104, 70)),
    "sea": ((70, 140, 190), (18, 70, 120)),
    "city": ((120, 128, 160), (40, 44, 72)),
    "space": ((96, 84, 130), (38, 30, 64)),
}
_ACCENTS: tuple[Colour, ...] = (
    (226, 58, 54), (250, 190, 70), (64, 190, 180), (214, 84, 150), (120, 110, 220), (250, 130, 70),
)  # fmt: skip


@dataclass(frozen=True)
class Theme:
    """The look of a scene."""

    kind: str
    hour: str
    sky: tuple[Colour, Colour, Colour]
    light: Colour
    far: Colour
    near: Colour
    accent: Colour
    second: Colour


def words(prompt: str) -> list[str]:
    """Return the words of a prompt in lower case."""
    return re.findall(r"[^\W\d_]+", prompt.lower())


def theme(prompt: str, chance: Random, *, unlike: Theme | None = None) -> Theme:
    """Choose a theme by the prompt's words; what they leave open is chance, and not as in the scene before."""
    said = words(prompt)
    kind = _chosen(said, _KINDS, chance, unlike.kind if unlike else None)
    hour = "night" if kind == "space" else _chosen(said, _HOURS, chance, unlike.hour if unlike else None)
    top, middle, low, light = _SKIES[hour]
    colours = [COLOURS[word] for word in said if word in COLOURS]
    if len(colours) > 1:  # the first colours the figure, the others tinge the sky
        top, middle = mix(top, colours[1], 0.35), mix(middle, colours[-1], 0.2)
    far, near = (mix(colour, tint, 0.4) for colour, tint in zip(_GROUNDS[kind], (middle, top), strict=True))
    if hour == "night":
        far, near = (mix(colour, (8, 10, 30), 0.45) for colour in (far, near))
    accent = colours[0] if colours else chance.choice(_ACCENTS)
    second = chance.choice([colour for colour in _ACCENTS if colour != accent])
    return Theme(kind, hour, (top, middle, low), light, far, near, accent, second)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return the colour that lies ``share`` of the way from one to the other."""
    r, g, b = (round(a + (z - a) * share) for a, z in zip(one, other, strict=True))
    return r, g, b


def _chosen(said: list[str], choices: dict[str, str], chance: Random, before: str | None) -> str:
    """Return the choice whose words are said most; among those said alike, by chance one other than before."""
    counts = {name: sum(word in listed.split() for word in said) for name, listed in choices.items()}
    best = max(counts.values())
    alike = [name for name, count in counts.items() if count == best]
    return chance.choice([name for name in alike if name != before] or alike)
