"""The sound of simulated synthesis vendors: a tone as long as the text, in pieces, and the times of its words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

MS_PER_CHAR = 20
PIECE_MS = 100


def sound_of(text: str, rate_hz: int) -> bytes:
    """s16le sound of `text`, `MS_PER_CHAR` for each character."""
    return _tone(len(text) * MS_PER_CHAR * rate_hz // 1000, rate_hz)


@lru_cache(64)
def _tone(n_samples: int, rate_hz: int) -> bytes:
    return bytes((6_000 * np.sin(2 * np.pi * 300 * np.arange(n_samples) / rate_hz)).astype("<i2").tobytes())


def pieces_of(text: str, rate_hz: int) -> Iterator[bytes]:
    """The sound of `text`, split into the pieces that are sent."""
    sound, size = sound_of(text, rate_hz), PIECE_MS * rate_hz // 1000 * 2
    for start in range(0, len(sound), size):
        yield sound[start : start + size]


def words_of(text: str) -> list[tuple[str, float, float]]:
    """Words, start and end in seconds."""
    words, place = [], 0
    for word in text.split():
        begin = text.index(word, place)
        place = begin + len(word)
        words.append((word, begin * MS_PER_CHAR / 1000, place * MS_PER_CHAR / 1000))
    return words
