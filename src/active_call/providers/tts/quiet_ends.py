"""Sets the length of silence at the ends of a sentence while its sound streams through. Pure."""

from __future__ import annotations

import numpy as np

from active_call.base.pcm import BYTES_PER_SAMPLE

SILENCE_LEVEL = 160
"""Samples at or below this are silence (-46 dBFS): a neural voice never falls fully silent."""
LEAD_MS, TAIL_MS = 10, 60
"""Silence kept before and after the words: enough not to clip a soft onset, too short to delay speech."""


class QuietEnds:
    """Sound (s16le) of one sentence enters in pieces and leaves without leading silence, with `pause_ms` of silence at its end.

    `pause_ms` None: nothing follows, and at most `TAIL_MS` are kept. `n_skipped`: samples cut off at the beginning, known with the first
    sound that leaves.
    """

    def __init__(self, rate_hz: int, pause_ms: int | None) -> None:
        self._n_lead = LEAD_MS * rate_hz // 1000
        self._n_tail = (TAIL_MS if pause_ms is None else pause_ms) * rate_hz // 1000
        self._pads = pause_ms is not None
        self._held = b""
        self._has_begun = False
        self.n_skipped = 0

    def take(self, pcm: bytes) -> bytes:
        """Add sound, and return what may leave. Silence that may be the end is held back."""
        sound = self._held + pcm
        loud = np.flatnonzero(np.abs(np.frombuffer(sound, dtype="<i2").astype(np.int32)) > SILENCE_LEVEL)
        if loud.size == 0:
            self._hold(sound)
            return b""
        first = 0
        if not self._has_begun:
            first = max(0, int(loud[0]) - self._n_lead)
            self.n_skipped += first
            self._has_begun = True
        last = int(loud[-1]) + 1
        self._held = sound[last * BYTES_PER_SAMPLE :]
        return sound[first * BYTES_PER_SAMPLE : last * BYTES_PER_SAMPLE]

    def end(self) -> bytes:
        """The silence at the end; empty for a sentence without sound."""
        if not self._has_begun:
            return b""
        tail = self._held[: self._n_tail * BYTES_PER_SAMPLE]
        return tail.ljust(self._n_tail * BYTES_PER_SAMPLE, b"\0") if self._pads else tail

    def _hold(self, sound: bytes) -> None:
        """Keep silence; before the words, only as much as may remain."""
        n_kept = len(sound) if self._has_begun else min(len(sound), self._n_lead * BYTES_PER_SAMPLE)
        self.n_skipped += 0 if self._has_begun else (len(sound) - n_kept) // BYTES_PER_SAMPLE
        self._held = sound[len(sound) - n_kept :]
