"""The default hold music, composed and synthesised here, so that it has no licence of its own.

Samples come out, (samples,) int16. Sixteen bars of broken chords on soft bells over a slow bass. The last notes decay into the first bar,
so that the loop has no seam. All partials are between 150 and 3000 Hz, which a telephone transmits.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

BAR_S: Final = 2.0
_NOTES_A_BAR: Final = 8
_LEVEL: Final = 0.25
"""Peak relative to full scale: softer than a voice, so that its start does not startle callers."""

_CHORDS: Final = {
    "C": (48, 60, 64, 67, 72),
    "Am": (45, 57, 60, 64, 69),
    "F": (41, 57, 60, 65, 69),
    "G": (43, 59, 62, 67, 71),
    "Em": (52, 55, 59, 64, 67),
    "Dm": (50, 57, 62, 65, 69),
}
"""MIDI notes: the bass, then the four notes of the chord in ascending order."""
_BARS: Final = ("C", "Am", "F", "G", "C", "Em", "F", "G", "Am", "Em", "F", "C", "Dm", "F", "G", "G")
_FIGURES: Final = ((1, 2, 3, 4, 3, 2, 3, 2), (1, 3, 2, 4, 2, 3, 2, 3))
"""The order of the chord's notes in odd and in even bars."""
_BELL: Final = ((1.0, 1.0, 0.9), (2.0, 0.35, 0.5), (3.0, 0.12, 0.3))
"""Partials: multiple of the pitch, amplitude, seconds of decay to a third."""
_BASS: Final = ((1.0, 0.55, 1.4), (2.0, 0.5, 1.0), (3.0, 0.2, 0.6))


_NOTE_S: Final = 2.5
_BLOCK: Final = 250
"""Samples of a note that are computed from the previous block by one phase rotation."""

Floats = NDArray[np.float32]


@lru_cache(maxsize=4)
def hold_melody(rate_hz: int = 8000) -> bytes:
    """The melody, one pass, as s16le mono, to be looped without a gap. The first call takes about 10 ms."""
    sound = np.zeros(int(len(_BARS) * BAR_S * rate_hz), np.float32)
    bells = {note: _note(note, _BELL, rate_hz) for chord in _CHORDS.values() for note in chord[1:]}
    basses = {chord[0]: _note(chord[0] + 12, _BASS, rate_hz) for chord in _CHORDS.values()}
    for bar, name in enumerate(_BARS):
        chord, start = _CHORDS[name], int(bar * BAR_S * rate_hz)
        _add(sound, start, basses[chord[0]] * 0.5)
        for index, which in enumerate(_FIGURES[bar % 2]):
            _add(sound, start + int(index * BAR_S / _NOTES_A_BAR * rate_hz), bells[chord[which]] * (0.55 if index % 4 else 0.8))
    sound *= _LEVEL * 32767 / np.abs(sound).max()
    return sound.astype("<i2").tobytes()


def _note(note: int, partials: tuple[tuple[float, float, float], ...], rate_hz: int) -> Floats:
    """One note with a soft attack, damped before its end.

    A partial is the imaginary part of exp(k t), which is exp(k t1) exp(k t2) for t = t1 + t2. So all of its samples follow from a few
    hundred.
    """
    pitch_hz = 440.0 * 2 ** ((note - 69) / 12)
    n_samples = int(_NOTE_S * rate_hz)
    begins, within = np.arange(-(-n_samples // _BLOCK)) * _BLOCK, np.arange(_BLOCK)
    tone = np.zeros((len(begins), _BLOCK), np.float32)
    for multiple, strength, fall_s in partials:
        turn = complex(-1 / fall_s, 2 * np.pi * pitch_hz * multiple) / rate_hz
        at_begin, inside = (strength * np.exp(turn * begins)).astype(np.complex64), np.exp(turn * within).astype(np.complex64)
        tone += np.outer(at_begin.real, inside.imag) + np.outer(at_begin.imag, inside.real)
    times = np.arange(n_samples, dtype=np.float32) / np.float32(rate_hz)
    edges = np.minimum(1.0, np.minimum(times / 0.012, (times[-1] - times) / 0.1))
    return np.asarray(tone.ravel()[:n_samples] * edges, np.float32)


def _add(sound: Floats, start: int, note: Floats) -> None:
    """Add a note. What decays beyond the end wraps to the beginning."""
    within = min(len(note), len(sound) - start)
    sound[start : start + within] += note[:within]
    sound[: len(note) - within] += note[within:]
