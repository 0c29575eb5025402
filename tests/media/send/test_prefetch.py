"""Reading ahead is never noticed: frames, positions and marks are those of a queue that is read one frame at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from active_call.media.send.play_queue import PlayQueue
from active_call.media.send.prefetch import STAGED_FRAMES, Prefetch

FRAME = 8
SLOT = np.array([3], np.intp)


class Staged:
    """One stream read the way the tick does it."""

    def __init__(self) -> None:
        self.plays = PlayQueue()
        self.staging = Prefetch(5, FRAME)

    def read(self) -> np.ndarray:
        rows = np.zeros((1, FRAME), np.int16)
        if self.staging.take(SLOT, rows) and self.plays.read(rows[0]):
            self.staging.stage(3, self.plays)
        return rows[0]


class Plain:
    def __init__(self) -> None:
        self.plays = PlayQueue()

    def read(self) -> np.ndarray:
        row = np.zeros(FRAME, np.int16)
        self.plays.read(row)
        return row


ORDERS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(1, 3 * STAGED_FRAMES)),
        st.tuples(st.just("append"), st.integers(1, 40 * FRAME), st.sampled_from("ab"), st.booleans()),
        st.tuples(st.just("stop"), st.integers(0, 3 * FRAME), st.sampled_from(["", "a", "b"])),
        st.tuples(st.just("pause"), st.booleans()),
        st.tuples(st.just("finish"), st.integers(1, 60 * FRAME), st.sampled_from("ab")),
    ),
    max_size=25,
)


@given(ORDERS)
def test_staging_under_any_orders_is_not_noticed(orders: list[tuple]) -> None:
    staged, plain = Staged(), Plain()
    next_sample = 1

    def sound(n_samples: int) -> bytes:
        nonlocal next_sample
        next_sample += n_samples
        return np.arange(next_sample - n_samples, next_sample, dtype="<i2").tobytes()

    for kind, *rest in orders:
        if kind == "read":
            for _ in range(rest[0]):
                assert staged.read().tolist() == plain.read().tolist()
                assert staged.plays.take_marks() == plain.plays.take_marks()
            continue
        if kind != "append":
            staged.staging.give_back(3)
        pcm = sound(rest[0]) if kind == "append" else b""
        for plays in (staged.plays, plain.plays):
            if kind == "append":
                plays.append(rest[1], pcm, end=rest[2])
            elif kind == "stop":
                plays.stop(rest[0], name=rest[1])
            elif kind == "pause":
                plays.paused = rest[0]
            else:
                plays.finish(rest[1], [rest[0]])
        assert staged.plays.take_marks() == plain.plays.take_marks()


def test_staging_takes_from_many_slots_at_once() -> None:
    staging = Prefetch(4, 2)
    queues = [PlayQueue() for _ in range(3)]
    for slot, plays in enumerate(queues):
        plays.append("p", np.arange(100 * slot, 100 * slot + 60, dtype="<i2").tobytes())
        plays.read(np.zeros(2, np.int16))
        plays.take_marks()
        plays.read(np.zeros(2, np.int16))
        staging.stage(slot, plays)
    rows = np.zeros((4, 2), np.int16)
    assert staging.take(np.array([2, 3, 0, 1], np.intp), rows) == [1]
    assert rows.tolist() == [[204, 205], [0, 0], [4, 5], [104, 105]]
