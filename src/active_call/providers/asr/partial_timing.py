"""When the text so far of an utterance is worth computing, for an engine that computes it anew each time. Pure; counts samples, not time.

Sound enters while an utterance is open; `take` says whether to compute now. Once there is enough for a word, a text is due

- when the caller pauses: it is the likeliest end, and whoever decides about the turn needs the last words now;
- else after each `STEP_S` of sound, more seldom as the utterance gets longer, so that the whole costs at most some four times the last one.
"""

from __future__ import annotations

import numpy as np

from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ

FIRST_S = 0.5
"""Less sound seldom holds a whole word, and the model invents one."""
STEP_S = 0.5
STEP_SHARE = 0.25
"""Of the utterance's length so far: the step of a long one."""
PAUSE_S = 0.1
"""Longer than the silence within a plosive (80 ms at most), and no longer than the voice detector waits: at the end of speech it tells, all
sound has come."""
PAUSE_POWER = 0.02
"""Of the loudest 20 ms so far, in power: 17 dB lower. Speech over a noisy line still stands out so far."""
SILENCE_POWER = 0.0025
"""26 dB below the loudest: what is louder may be the soft end of a word. On a noisy line nothing is so quiet."""
WINDOW_SAMPLES = LISTEN_RATE_HZ // 50


class PartialTiming:
    """The times for one utterance, which begins at `start_sample`."""

    def __init__(self, start_sample: int) -> None:
        self._start = start_sample
        self._computed_to = start_sample
        self._loudest = 0.0
        self._quiet_samples = 0
        self._has_spoken_since = True
        """Something was said since the last text, so that a pause tells something new."""
        self.is_silent_since = False
        """Nothing at all was to be heard since the sound of the last text ended: that text is the whole."""

    def take(self, pcm: bytes, end_sample: int) -> bool:
        """More sound, which ends at `end_sample`. True: compute the text of everything up to there; it is not asked for again."""
        was_quiet = self._quiet_samples >= PAUSE_S * LISTEN_RATE_HZ
        self._note_level(pcm)
        if end_sample - self._start < FIRST_S * LISTEN_RATE_HZ:
            return False
        is_quiet = self._quiet_samples >= PAUSE_S * LISTEN_RATE_HZ
        is_pause = is_quiet and not was_quiet and self._has_spoken_since
        step = max(STEP_S * LISTEN_RATE_HZ, (end_sample - self._start) * STEP_SHARE)
        if not is_pause and (is_quiet or end_sample - self._computed_to < step):
            return False
        self._computed_to = end_sample
        self._has_spoken_since = False
        self.is_silent_since = True
        return True

    def _note_level(self, pcm: bytes) -> None:
        samples = np.frombuffer(pcm, dtype="<i2", count=len(pcm) // BYTES_PER_SAMPLE)
        for first in range(0, len(samples), WINDOW_SAMPLES):
            window = samples[first : first + WINDOW_SAMPLES].astype(np.float32)
            power = float(window @ window) / len(window)
            self._loudest = max(self._loudest, power)
            if power >= self._loudest * SILENCE_POWER:
                self.is_silent_since = False
            if power < self._loudest * PAUSE_POWER:
                self._quiet_samples += len(window)
            else:
                self._quiet_samples = 0
                self._has_spoken_since = True
