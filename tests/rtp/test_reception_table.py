"""Statistics of many sources as one table: whatever numbers come, it counts what each by itself would count. RFC 3550 appendix A.

Each by itself is a table of one row; `ScalarReceiveStream` is written without arrays.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scalar_buffers import ScalarReceiveStream

from active_call.rtp.reception_table import ReceptionTable
from active_call.rtp.stream import ReceiveStream
from searches import searching

N_ROWS = 3
STEPS = st.tuples(
    st.integers(0, N_ROWS - 1),
    st.one_of(st.integers(-3, 4), st.integers(-200, 4000), st.integers(0, 0xFFFF)),
    st.one_of(st.just(160), st.integers(-500, 500), st.integers(0, 1 << 32)),
    st.floats(0, 0.1),
)


@searching(70)
@given(st.lists(STEPS, max_size=60), st.integers(0, 0xFFFF), st.sampled_from((8000, 48_000)))
def test_table_on_any_packets_counts_what_each_stream_would(steps: list[tuple[int, int, int, float]], first: int, clock_hz: int) -> None:
    table = ReceptionTable(N_ROWS)
    together = [ReceiveStream(7, clock_hz, table=table, row=row) for row in range(N_ROWS)]
    alone = [ReceiveStream(7, clock_hz) for _ in range(N_ROWS)]
    plain = [ScalarReceiveStream(7, clock_hz) for _ in range(N_ROWS)]
    sequence, timestamp, now = first, 0, 50.0
    for row, step, ticks, wait_s in steps:
        sequence, timestamp, now = (sequence + step) & 0xFFFF, (timestamp + ticks) & 0xFFFFFFFF, now + wait_s
        rows = np.array([row])
        numbers = np.array([sequence]), np.array([timestamp]), np.array([now])
        is_believed = True
        if table.follows(rows, numbers[0])[0]:
            table.receive(rows, *numbers)
        else:
            is_believed = together[row].receive(sequence, timestamp, now)
        assert is_believed == alone[row].receive(sequence, timestamp, now)
        assert is_believed == plain[row].receive(sequence, timestamp, now)
    for one, *others in zip(together, alone, plain, strict=True):
        report = one.take_report(now)
        for other in others:
            assert (one.lost, one.jitter_ms, one.highest_sequence) == (other.lost, other.jitter_ms, other.highest_sequence)
            assert report == other.take_report(now)
