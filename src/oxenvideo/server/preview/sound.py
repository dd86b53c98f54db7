"""The sound track: a small tune of soft bells, the same for the same seed."""

from __future__ import annotations

from random import Random

import numpy as np
from numpy.typing import NDArray

from oxenvideo.server.preview.encode import SAMPLE_RATE, Sound

_SCALE = (0, 2, 4, 7, 9, 12, 14, 16)  # a pentatonic: any two notes agree
_BEAT = 0.25  # seconds
_PEAK = 0.5


def tune(seconds: float, seed: int) -> Sound:
    """Play for this long: two rows of samples."""
    chance = Random(seed)  # noqa: S311  # to be the same again is the point
    length = max(1, round(seconds * SAMPLE_RATE))
    sound = np.zeros((2, length + 2 * SAMPLE_RATE), np.float32)
    root = 196.0 * 2 ** (chance.randrange(8) / 12)
    for beat in range(int(seconds / _BEAT)):
        if beat % 8 == 0:
            _add(sound, _bell(root / 2, 2.0), beat, 0.5, 0.5)
        if beat % 2 == 0 or chance.random() < 0.4:
            pitch = root * 2 ** (chance.choice(_SCALE) / 12)
            _add(sound, _bell(pitch, 1.2), beat, 0.32, chance.uniform(0.25, 0.75))
    sound = sound[:, :length]
    sound *= _PEAK / max(_PEAK, float(np.abs(sound).max()))
    fade = min(length, SAMPLE_RATE // 4)
    sound[:, length - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return sound


def fitted(sound: Sound, seconds: float) -> Sound:
    """Cut a sound to a length, or fill it up with silence."""
    length = max(1, round(seconds * SAMPLE_RATE))
    whole = np.zeros((2, length), np.float32)
    whole[:, : min(length, sound.shape[1])] = sound[:, :length]
    return whole


def _bell(pitch: float, seconds: float) -> NDArray[np.float32]:
    time = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    body = np.sin(2 * np.pi * pitch * time) + 0.3 * np.sin(4 * np.pi * pitch * time) * np.exp(-4 * time)
    attack = np.minimum(1, time / 0.012)
    ring: NDArray[np.float32] = (body * attack * np.exp(-3.2 * time)).astype(np.float32)
    return ring


def _add(sound: Sound, note: NDArray[np.float32], beat: int, loudness: float, right: float) -> None:
    start = round(beat * _BEAT * SAMPLE_RATE)
    end = min(start + len(note), sound.shape[1])
    sound[0, start:end] += note[: end - start] * loudness * (1 - right)
    sound[1, start:end] += note[: end - start] * loudness * right
