"""Prosody at the end of an utterance: whether the pitch falls, and whether the last syllable is lengthened. Several streams at once.

The last second of speech goes in, 8 kHz, `(streams, samples)`. One `Prosody` per stream comes out. This module knows no calls and no clock.

Theory. The pitch period is the lag of the highest normalised autocorrelation between 70 and 400 Hz, in frames of 40 ms every 20 ms, at 4
kHz. The telephone band lacks the fundamental of most voices, but not its period. Of lags with nearly equal correlation the shortest is
used, because an octave too low is the common error. Remaining octave errors are folded to the median. Falling pitch at the end of a
statement and a lengthened last syllable are the classic cues of a finished phrase. A lengthened syllable at level pitch indicates that the
speaker holds the turn.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

RATE_HZ: Final = 8000
SPAN_S: Final = 1.0
SPAN_SAMPLES: Final = int(SPAN_S * RATE_HZ)

_HALF_RATE: Final = RATE_HZ // 2
_FRAME: Final = 160
"""40 ms at 4 kHz: two periods of the lowest voices."""
_HOP: Final = _FRAME // 2
_MIN_LAG: Final = _HALF_RATE // 400
_MAX_LAG: Final = _HALF_RATE // 70
_FFT: Final = 256
"""At least one frame plus the longest lag."""
_VOICED: Final = 0.45
"""Minimum normalised autocorrelation of a voiced frame."""
_AUDIBLE: Final = 10 ** (-30 / 10)
"""Relative to the energy of the loudest frame. A softer frame is not a vowel."""
_NEARLY: Final = 0.85
_FINAL_FRAMES: Final = 10
"""200 ms."""
_MIN_FINAL: Final = 3
_MIN_VOICED: Final = 8
"""With fewer voiced frames the pitch is not reported."""
_MIN_RUN: Final = 2
"""A shorter voiced stretch is not a syllable."""
_WINDOW: Final = np.hanning(_FRAME).astype(np.float32)

Sound = NDArray[np.float32]


def _window_gain() -> NDArray[np.float32]:
    """Autocorrelation of the window. That of a windowed frame is divided by it (Boersma 1993)."""
    spectrum = np.abs(np.fft.rfft(_WINDOW, _FFT)) ** 2
    gain = np.fft.irfft(spectrum, _FFT)[: _MAX_LAG + 2]
    return np.asarray(gain / gain[0], np.float32)


_GAIN: Final = _window_gain()


class Prosody(Struct, frozen=True):
    """Prosody before a pause. None: too little voiced sound.

    `pitch_change_st`: median pitch of the last 200 ms of voice relative to that of the whole second, in semitones. `final_lengthening`:
    length of the last voiced stretch relative to the median of the others.
    """

    pitch_change_st: float | None
    final_lengthening: float | None


def prosody_of(sound: Sound) -> list[Prosody]:
    """The prosody of each row of `sound` (k, `SPAN_SAMPLES`) float32 at 8 kHz that ends with the last voiced packet."""
    if not len(sound):
        return []
    lags, voiced = _pitch(sound)
    return [_judge(lags[row], voiced[row]) for row in range(len(sound))]


def _pitch(sound: Sound) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The pitch period in samples of 4 kHz (of voiced frames only), and whether a frame is voiced, both (k, frames)."""
    halved = (sound[:, 0::2] + sound[:, 1::2]) / 2
    hops = halved.reshape(len(sound), -1, _HOP)
    frames = np.concatenate((hops[:, :-1], hops[:, 1:]), axis=2)
    frames = (frames - frames.mean(axis=2, keepdims=True)) * _WINDOW
    energy = np.einsum("ijk,ijk->ij", frames, frames)
    loudest = energy.max(axis=1, keepdims=True)
    voiced = (energy >= _AUDIBLE * loudest) & (loudest > 0)
    lags = np.zeros(voiced.shape)
    normal = _correlation(frames[voiced]) / (energy[voiced][:, None] * _GAIN)
    inside = normal[:, _MIN_LAG : _MAX_LAG + 1]
    is_peak = (inside >= normal[:, _MIN_LAG - 1 : _MAX_LAG]) & (inside >= normal[:, _MIN_LAG + 1 : _MAX_LAG + 2])
    height = inside * is_peak
    best = height.max(axis=1)
    lag = _MIN_LAG + (height >= _NEARLY * best[:, None]).argmax(axis=1)
    lags[voiced] = lag + _offset(normal, lag)
    voiced[voiced] = best >= _VOICED
    return lags, voiced


def _correlation(frames: Sound) -> Sound:
    """The autocorrelation of each row of `frames` at the lags up to one above `_MAX_LAG`."""
    spectrum = np.fft.rfft(frames, _FFT, axis=1)
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    return np.asarray(np.fft.irfft(power, _FFT, axis=1)[:, : _MAX_LAG + 2], np.float32)


def _offset(normal: Sound, lag: NDArray[np.intp]) -> NDArray[np.float64]:
    """Position of the peak between the samples, by a parabola through the peak and its neighbours."""
    rows = np.arange(len(lag))
    below, peak, above = (normal[rows, lag + step].astype(np.float64) for step in (-1, 0, 1))
    bend = below - 2 * peak + above
    offset = np.where(np.abs(bend) > 1e-9, 0.5 * (below - above) / np.where(bend == 0, 1.0, bend), 0.0)
    return np.minimum(np.maximum(offset, -0.5), 0.5)


def _judge(lags: NDArray[np.float64], voiced: NDArray[np.bool_]) -> Prosody:
    """The prosody of one row. Plain numbers: numpy's calls would take longer than the arithmetic on some fifty frames."""
    places = voiced.nonzero()[0].tolist()
    if len(places) < _MIN_VOICED:
        return Prosody(None, None)
    semitones = [-12 * math.log2(lag) for lag in lags[voiced].tolist()]
    middle = median(semitones)
    semitones = [(each - middle + 6) % 12 - 6 for each in semitones]  # folds octave errors
    final = [each for place, each in zip(places, semitones, strict=True) if place > places[-1] - _FINAL_FRAMES]
    change = median(final) - median(semitones) if len(final) >= _MIN_FINAL else None
    return Prosody(change, _lengthening(places))


def _lengthening(places: list[int]) -> float | None:
    """Length of the last voiced stretch relative to the median of the earlier ones; None with fewer than two earlier ones."""
    lengths = [1]
    for before, place in pairwise(places):
        if place == before + 1:
            lengths[-1] += 1
        else:
            lengths.append(1)
    syllables = [length for length in lengths if length >= _MIN_RUN]
    return syllables[-1] / median(syllables[:-1]) if len(syllables) >= 3 else None
