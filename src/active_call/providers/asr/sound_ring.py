"""A caller's recent sound, addressed by sample number, so that a stretch of it can be cut out later. Pure; knows no engine."""

from __future__ import annotations

from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ, samples_in

MAX_KEPT_SAMPLES = samples_in(60_000, LISTEN_RATE_HZ)
"""The most sound kept: only the end of a longer utterance."""


class SoundRing:
    """The recent sound of a call, addressed by sample number. Gaps are filled with silence, overlaps ignored."""

    def __init__(self, keep_samples: int) -> None:
        self._keep_samples = keep_samples
        self._data = bytearray()
        self._first = 0

    @property
    def start(self) -> int:
        """The number of the oldest sample kept."""
        return self._first

    @property
    def end(self) -> int:
        """The number of the next sample."""
        return self._first + len(self._data) // BYTES_PER_SAMPLE

    def push(self, pcm: bytes, sample: int, *, keep_from: int | None = None) -> None:
        """Append `pcm`, which begins at `sample`. Sound older than the ring's length is dropped, but nothing from `keep_from` on."""
        n_new = len(pcm) // BYTES_PER_SAMPLE
        gap = sample - self.end
        if not self._data or gap > self._keep_samples or gap < -self._keep_samples:
            self._data.clear()
            self._first = sample
        elif gap > 0:
            self._data += bytes(gap * BYTES_PER_SAMPLE)
        elif gap < 0:
            pcm = pcm[-gap * BYTES_PER_SAMPLE :]
        self._data += pcm[: n_new * BYTES_PER_SAMPLE]
        self._forget(keep_from)

    def cut(self, start: int, end: int) -> bytes:
        """The sound from `start` to `end`, as far as it is kept."""
        first = max(0, start - self._first)
        last = max(first, end - self._first)
        return bytes(self._data[first * BYTES_PER_SAMPLE : last * BYTES_PER_SAMPLE])

    def _forget(self, keep_from: int | None) -> None:
        """Drop old sound in steps of a second, so that copying stays cheap."""
        oldest = self.end - self._keep_samples
        if keep_from is not None:
            oldest = max(min(oldest, keep_from), self.end - MAX_KEPT_SAMPLES)
        if oldest - self._first >= LISTEN_RATE_HZ:
            del self._data[: (oldest - self._first) * BYTES_PER_SAMPLE]
            self._first = oldest
