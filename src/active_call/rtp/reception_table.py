"""Reception statistics of many streams as arrays: accepted packets, counted for all streams at once.

A row is a stream. Its `stream.ReceiveStream` handles packets out of sequence, on the same numbers. A single `ReceiveStream` is a table of
one row, so there is one arithmetic. RFC 3550 appendices A.1 and A.8.
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
"""Gain of the interarrival jitter estimate (appendix A.8)."""
_HALF: Final = 1 << 31

Rows = NDArray[np.intp]
Numbers = NDArray[np.int64]
Seconds = NDArray[np.float64]
RowOrRows = Rows | int
NumberOrNumbers = Numbers | int


class ReceptionTable:
    """The columns for `n_rows` streams, named as in `ReceiveStream`.

    `receive` takes distinct rows with arrays of the same length, or one row as a number with numbers.
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
        """Whether each row's packet can be counted here: it is not the first, and its number equals the last one or follows it closely."""
        return (self.received[rows] > 0) & ((sequence - self.max_sequence[rows]) & 0xFFFF < MAX_DROPOUT)

    def receive(self, rows: RowOrRows, sequence: NumberOrNumbers, timestamp: NumberOrNumbers, arrival: Seconds | float) -> None:
        """Count one accepted packet for each of `rows` (distinct) whose number equals the last one or follows it closely."""
        highest, jitter = self.max_sequence[rows], self.jitter[rows]
        ticks = (timestamp - self.timestamp[rows] + _HALF) % (2 * _HALF) - _HALF
        difference = (arrival - self.arrival[rows]) * self.clock_rate[rows] - ticks
        self.jitter[rows] = jitter + (abs(difference) - jitter) * JITTER_GAIN
        self.cycles[rows] += choose(sequence < highest, SEQUENCES, 0)
        self.max_sequence[rows] = sequence
        self.received[rows] += 1
        self.timestamp[rows] = timestamp
        self.arrival[rows] = arrival
