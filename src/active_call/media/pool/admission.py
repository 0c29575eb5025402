"""Whether a media process may take more streams: decided by how late and how long its ticks are, not by a fixed number.

`Load` reports enter, once a second; `is_open` and `expected_share` leave. Pure.

Theory. A tick has 20 ms. What its work takes of them is the load; it grows with every stream, by about the same for each, so the load of a
stream more is known beforehand. Lateness is what the caller would hear, and shows what the load does not: a core that others use too.

| at present | the last second                                                            | then   |
|------------|----------------------------------------------------------------------------|--------|
| open       | over MAX_SHARE of the tick's time, or a tenth of its ticks over MAX_LATE_MS late, for CLOSE_AFTER seconds in a row | closed |
| closed     | under both                                                                 | open   |

Between two reports streams that have been opened since are counted with the share of an average one, so that a wave of calls is stopped
before the next report comes.
"""

from __future__ import annotations

from typing import Final

from active_call.base.pcm import FRAME_MS
from active_call.media.link.messages import Load

MAX_SHARE: Final = 0.85
"""Of the tick's time. Above it the rare long tick (garbage, a burst of packets) has no room left in which to be made up for."""
MAX_LATE_MS: Final = 10.0
"""Half a packet: what is later than this eats into the jitter buffers of the peers."""
CLOSE_AFTER: Final = 2
"""One bad second may be the machine's; two are load."""
MIN_KNOWN_STREAMS: Final = 20
"""With fewer, what a tick costs at any rate would pass for the cost of streams."""

MIN_TICKS: Final = 25
"""Ticks run only while there are streams. A second with fewer of them was mostly something else, above all the start of the process, whose
cost would pass for theirs."""


class Admission:
    """The judgement on one media process."""

    def __init__(self) -> None:
        self.is_open = True
        self._share = 0.0
        self._share_of_one = 0.0
        self._n_known = 0
        self._n_bad = 0

    def take(self, load: Load) -> bool:
        """Judge one more second; whether `is_open` has changed."""
        if load.streams and len(load.tick_late_ms) + load.skipped_ticks < MIN_TICKS:
            return False
        self._share = load.tick_cpu_ms_mean / FRAME_MS if load.streams else 0.0
        self._n_known = load.streams
        self._share_of_one = self._share / load.streams if load.streams >= MIN_KNOWN_STREAMS else 0.0
        is_bad = bool(load.streams) and (self._share > MAX_SHARE or load.tick_late_ms_p90 > MAX_LATE_MS)
        self._n_bad = self._n_bad + 1 if is_bad else 0
        was_open, self.is_open = self.is_open, self._n_bad < CLOSE_AFTER if self.is_open else not is_bad
        return was_open != self.is_open

    def expected_share(self, n_streams: int) -> float:
        """The share of the tick's time that `n_streams` are expected to take."""
        return self._share + (n_streams - self._n_known) * self._share_of_one

    def has_room(self, n_streams: int) -> bool:
        """Whether one more beside `n_streams` is welcome."""
        return self.is_open and self.expected_share(n_streams + 1) <= MAX_SHARE
