"""The sound of a preview: a plain soft tone, or a given sound cut to length."""

from __future__ import annotations

import numpy as np

from oxenvideo.server.preview.encode import SAMPLE_RATE, Sound

_LOUDNESS = 0.12
_FADE = 0.4  # seconds


def tone(seconds: float, seed: int) -> Sound:
    """Return a fifth on a note that the seed decides, swelling slowly: two rows of samples."""
    time = np.arange(max(1, round(seconds * SAMPLE_RATE)), dtype=np.float32) / SAMPLE_RATE
    pitch = 147.0 * 2 ** (seed % 12 / 12)
    wave = np.sin(2 * np.pi * pitch * time) + 0.6 * np.sin(3 * np.pi * pitch * time)
    swell = 0.8 + 0.2 * np.sin(2 * np.pi * 0.25 * time)
    edges = np.clip(np.minimum(time, seconds - time) / _FADE, 0, 1)
    mono = (_LOUDNESS * wave * swell * edges).astype(np.float32)
    return np.stack([mono, mono])


def fitted(sound: Sound, seconds: float) -> Sound:
    """Cut a sound to a length, or fill it up with silence."""
    length = max(1, round(seconds * SAMPLE_RATE))
    whole = np.zeros((2, length), np.float32)
    whole[:, : min(length, sound.shape[1])] = sound[:, :length]
    return whole
