"""A caller's recent sound as it was pushed, so that it can be pushed into another stream. Pure; the pieces are kept, not copied."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from active_call.base.pcm import BYTES_PER_SAMPLE


class RecentSound:
    """Keeps `keep_samples` of sound, more while a marked part must be kept, and never more than `max_samples`."""

    def __init__(self, keep_samples: int, max_samples: int) -> None:
        self._keep_samples = keep_samples
        self._max_samples = max_samples
        self._pieces: deque[tuple[int, bytes]] = deque()
        self.end = 0
        """The number of the next sample."""

    def push(self, pcm: bytes, sample: int, keep_from: int | None = None) -> None:
        """`pcm` begins at `sample`. Nothing from `keep_from` on is dropped, up to the maximum. A step back in time clears the buffer."""
        pieces = self._pieces
        if sample < self.end:
            pieces.clear()
        pieces.append((sample, pcm))
        self.end = end = sample + len(pcm) // BYTES_PER_SAMPLE
        oldest = end - self._keep_samples
        if keep_from is not None and keep_from < oldest:
            oldest = max(keep_from, end - self._max_samples)
        while len(pieces) > 1 and pieces[1][0] <= oldest:
            pieces.popleft()

    def since(self, start: int) -> Iterator[tuple[int, bytes]]:
        """The kept sound from sample `start` on, in pieces: the number of the first sample, and the sound."""
        for sample, pcm in list(self._pieces):
            skipped = start - sample
            if skipped <= 0:
                yield sample, pcm
            elif skipped * BYTES_PER_SAMPLE < len(pcm):
                yield start, pcm[skipped * BYTES_PER_SAMPLE :]
