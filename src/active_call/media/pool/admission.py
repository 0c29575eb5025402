"""Decide whether a media process may take more streams, by the lateness and duration of its ticks instead of a fixed number.

`Load` reports go in once a second; `is_open` and `expected_share` come out. Pure.

Theory. A tick has 20 ms. Load is the share of that time that its work takes. It grows by about the same amount with each stream, so the
load of one more stream can be predicted. Lateness is what the caller would hear, and it shows what the load does not: a core shared with
others.

| state  | the last second                                                            | then   |
|--------|----------------------------------------------------------------------------|--------|
| open   | load over MAX_SHARE, or a tenth of its ticks over MAX_LATE_MS late, for CLOSE_AFTER seconds in a row | closed |
| closed | below both limits                                                          | open   |

Streams opened since the last report count with the share of an average one, so that a burst of calls is stopped before the next report.
"""

from __future__ import annotations

from typing import Final

from active_call.base.pcm import FRAME_MS
from active_call.media.link.messages import Load

MAX_SHARE: Final = 0.85
"""Share of the tick's time. Above it a rare long tick (garbage collection, a burst of packets) cannot be caught up."""
MAX_LATE_MS: Final = 10.0
"""Half a packet: more lateness uses up the jitter buffers of the peers."""
CLOSE_AFTER: Final = 2
"""One bad second may be the machine's; two are load."""
MIN_KNOWN_STREAMS: Final = 20
"""With fewer streams the fixed cost of a tick would count as the cost of streams."""

MIN_TICKS: Final = 25
"""Ticks run only while there are streams. A second with fewer ticks was mostly spent on something else, above all the start of the process,
and its cost would count as that of the streams."""


class Admission:
    """The admission state of one media process."""

    def __init__(self) -> None:
        self.is_open = True
        self._share = 0.0
        self._share_of_one = 0.0
        self._n_known = 0
        self._n_bad = 0

    def take(self, load: Load) -> bool:
        """Take the report of one second. Returns whether `is_open` has changed."""
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
        """Whether there is room for one more stream in addition to `n_streams`."""
        return self.is_open and self.expected_share(n_streams + 1) <= MAX_SHARE
