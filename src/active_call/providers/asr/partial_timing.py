"""When to compute a partial text, for an engine that computes it again from the start each time. Pure; counts samples, not time.

Sound enters while an utterance is open; `take` says whether to compute now. Once there is enough sound for a word, a text is due

- when the caller pauses: the turn probably ends here, and the turn detector needs the last words now;
- else after each `STEP_S` of sound, less often as the utterance grows, so that all partial texts cost at most about 4 times the final one.
"""

from __future__ import annotations

import numpy as np

from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ

FIRST_S = 0.5
"""Shorter sound seldom holds a whole word, and the model invents one."""
STEP_S = 0.5
STEP_SHARE = 0.25
"""As a fraction of the utterance so far: the step of a long utterance."""
PAUSE_S = 0.1
"""Longer than the silence within a plosive (80 ms at most), and not longer than the voice detector waits before it reports an end."""
PAUSE_POWER = 0.02
"""Relative to the loudest 20 ms so far, in power: 17 dB lower. Speech over a noisy line still exceeds the noise by this."""
SILENCE_POWER = 0.0025
"""26 dB below the loudest 20 ms: louder sound may be the soft end of a word. A noisy line is never this quiet."""
WINDOW_SAMPLES = LISTEN_RATE_HZ // 50


class PartialTiming:
    """The times for one utterance, which begins at `start_sample`."""

    def __init__(self, start_sample: int) -> None:
        self._start = start_sample
        self._computed_to = start_sample
        self._loudest = 0.0
        self._quiet_samples = 0
        self._has_spoken_since = True
        """Speech has come since the last text, so a pause brings new information."""
        self.is_silent_since = False
        """There was only silence since the sound of the last text ended: that text is complete."""

    def take(self, pcm: bytes, end_sample: int) -> bool:
        """Add sound that ends at `end_sample`. True: compute the text of everything up to there; the next call does not repeat it."""
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

    @property
    def is_quiet(self) -> bool:
        """Whether the last sound was a pause, or the beginning of one."""
        return self._quiet_samples > 0

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
