"""Measures the silence before a play's first audible sound. Its sound enters as it comes; the earliest audible time leaves.

Engines and files often begin with silence. That time counts as the engine's or file's, not as ours.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from active_call.base.pcm import BYTES_PER_SAMPLE, FRAME_MS, samples_in
from active_call.media.detect.speech import energy_voiced

MAX_MEASURED_S: Final = 30.0
"""Longer silence is not analysed any further."""


class LeadingSilence:
    """The leading silence of one play. Frames of 20 ms are judged by the same level as packets in the media process."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._silent_s = 0.0
        self._rest = b""
        self._audible_at: float | None = None

    def take(self, pcm: bytes, rate_hz: int, now: float) -> float | None:
        """`pcm` came at `now`: returns when the first audible sound can leave if all is played as it comes; None while all was silent."""
        if self._began_at is None:
            self._began_at = now
        if self._audible_at is None and self._finds_sound(pcm, rate_hz):
            self._audible_at = max(now, self._began_at + self._silent_s)
            self._rest = b""
        return None if self._audible_at is None else max(now, self._audible_at)

    def _finds_sound(self, pcm: bytes, rate_hz: int) -> bool:
        """Whether an audible frame has come; silent frames before it are counted."""
        pcm = self._rest + pcm
        n_samples = samples_in(FRAME_MS, rate_hz)
        n_frames = len(pcm) // (n_samples * BYTES_PER_SAMPLE)
        frames = np.frombuffer(pcm, np.int16, n_frames * n_samples).reshape(n_frames, n_samples)
        audible = energy_voiced(frames)
        n_silent = int(np.argmax(audible)) if audible.any() else n_frames
        self._silent_s += n_silent * FRAME_MS / 1000
        self._rest = pcm[n_frames * n_samples * BYTES_PER_SAMPLE :]
        return n_silent < n_frames or self._silent_s > MAX_MEASURED_S
