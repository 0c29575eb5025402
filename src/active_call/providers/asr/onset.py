"""Where speech really begins. Voice detectors report some words late: the network of Silero hears "Please" of one voice 0.3 s after its
beginning in nine of sixteen alignments of its chunks, so that a fixed lead would cut the word.

The sound before the reported start goes in; the position of the first speech in it comes out. Pure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import LISTEN_RATE_HZ, samples_in
from active_call.providers.asr.sound_ring import SoundRing

MAX_LEAD_SAMPLES = samples_in(1000, LISTEN_RATE_HZ)
"""No speech begins longer before its reported start."""
MARGIN_SAMPLES = samples_in(120, LISTEN_RATE_HZ)
"""Kept before the first loud window, for the soft beginning of a word."""
SPEECH_SAMPLES = samples_in(300, LISTEN_RATE_HZ)
"""Sound after the reported start that shows how loud the speech is."""
WINDOW_SAMPLES = samples_in(20, LISTEN_RATE_HZ)
QUIET_WINDOWS = 6
"""So much quiet sound (120 ms) separates words of two utterances: silence within a plosive takes 80 ms at most."""
BELOW_PEAK = 0.01
"""In power, relative to the loudest window: 20 dB lower."""
ABOVE_NOISE = 4.0
"""In power, relative to the softest tenth of the windows before the reported start: 6 dB higher."""


def speech_from(ring: SoundRing, start: int, lead: int, not_before: int = 0) -> int:
    """The sample from which the sound of an utterance is needed. Its speech was reported from `start` on.

    At least `lead` samples before that, if the ring has them; more where speech precedes them, but nothing before `not_before`, where the
    last utterance ended.
    """
    usual = max(ring.start, start - lead)
    earliest = max(ring.start, start - MAX_LEAD_SAMPLES, not_before)
    if earliest >= usual:
        return usual
    n_windows = (start - earliest) // WINDOW_SAMPLES
    power = _power(ring.cut(start - n_windows * WINDOW_SAMPLES, start + SPEECH_SAMPLES))
    if len(power) < n_windows:
        return usual  # the sound has not arrived
    is_loud = power > max(float(power.max()) * BELOW_PEAK, float(np.quantile(power[:n_windows], 0.1)) * ABOVE_NOISE)
    first = n_windows
    while (loud := np.flatnonzero(is_loud[max(0, first - QUIET_WINDOWS) : first])).size:
        first = max(0, first - QUIET_WINDOWS) + int(loud[0])
    began = start - (n_windows - first) * WINDOW_SAMPLES
    return max(earliest, min(usual, began - MARGIN_SAMPLES))


def _power(pcm: bytes) -> NDArray[np.float32]:
    """The mean square of each whole window."""
    sound = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
    n_windows = len(sound) // WINDOW_SAMPLES
    power: NDArray[np.float32] = np.square(sound[: n_windows * WINDOW_SAMPLES]).reshape(n_windows, WINDOW_SAMPLES).mean(axis=1)
    return power
