"""Reception statistics of many streams as arrays: the packets that they believe, counted for all at once.

A row is a stream. Its `stream.ReceiveStream` judges the packets that do not follow the ones before, on the same numbers; and a
`ReceiveStream` that stands alone is a table of one row, so that there is one arithmetic. RFC 3550 appendices A.1 and A.8.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.rtp.columns import choose

MAX_DROPOUT: Final = 3000
"""RFC 3550 appendix A.1."""
SEQUENCES: Final = 1 << 16
JITTER_GAIN: Final = 0.0625
"""Of the interarrival jitter (appendix A.8)."""
_HALF: Final = 1 << 31

Rows = NDArray[np.intp]
Numbers = NDArray[np.int64]
Seconds = NDArray[np.float64]
RowOrRows = Rows | int
NumberOrNumbers = Numbers | int


class ReceptionTable:
    """The columns, for `n_rows` streams; the names are those of `ReceiveStream`.

    `receive` takes different rows and arrays of the same length beside them; or one row as a number and numbers beside it.
    """

    def __init__(self, n_rows: int) -> None:
        self.received: Numbers = np.zeros(n_rows, np.int64)
        self.max_sequence: Numbers = np.zeros(n_rows, np.int64)
        self.cycles: Numbers = np.zeros(n_rows, np.int64)
        self.timestamp: Numbers = np.zeros(n_rows, np.int64)
        self.arrival: Seconds = np.zeros(n_rows)
        self.jitter: Seconds = np.zeros(n_rows)
        self.clock_rate: Numbers = np.zeros(n_rows, np.int64)

    def follows(self, rows: Rows, sequence: Numbers) -> NDArray[np.bool_]:
        """Whether each row's packet can be counted here: not the first, and numbered like the last one or not far behind it."""
        return (self.received[rows] > 0) & ((sequence - self.max_sequence[rows]) & 0xFFFF < MAX_DROPOUT)

    def receive(self, rows: RowOrRows, sequence: NumberOrNumbers, timestamp: NumberOrNumbers, arrival: Seconds | float) -> None:
        """Count one packet for each of `rows`, all different, which is believed. One that others have overtaken moves no number."""
        received, highest, jitter = self.received[rows], self.max_sequence[rows], self.jitter[rows]
        ticks = (timestamp - self.timestamp[rows] + _HALF) % (2 * _HALF) - _HALF
        difference = (arrival - self.arrival[rows]) * self.clock_rate[rows] - ticks
        self.jitter[rows] = choose(received > 0, jitter + (abs(difference) - jitter) * JITTER_GAIN, jitter)
        is_next = (sequence - highest) & 0xFFFF < MAX_DROPOUT
        self.cycles[rows] += choose(is_next & (sequence < highest), SEQUENCES, 0)
        self.max_sequence[rows] = choose(is_next, sequence, highest)
        self.received[rows] = received + 1
        self.timestamp[rows] = timestamp
        self.arrival[rows] = arrival
