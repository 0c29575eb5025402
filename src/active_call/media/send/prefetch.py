"""Read ahead frames of plays in which nothing begins or ends, stored by slot, so that a tick takes those of all streams in one piece.

Plays go in, rows of the batch are filled. Read-ahead has no visible effect: no frame is staged that begins or ends a play, and `give_back`
must be called before any change of a stream's plays; after it the play stands after its last sent frame.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.media.send.mixer import Samples
from active_call.media.send.play_queue import PlayQueue

STAGED_FRAMES: Final = 16
"""320 ms: enough to make reading rare."""

Slots = NDArray[np.intp]


class Prefetch:
    """The staged frames of `capacity` slots. `n_left` counts the frames of each slot; unread ones are at the end of its row."""

    def __init__(self, capacity: int, frame_samples: int) -> None:
        self._frame_samples = frame_samples
        self._frames: Samples = np.zeros((capacity, STAGED_FRAMES, frame_samples), np.int16)
        self.n_left: NDArray[np.intp] = np.zeros(capacity, np.intp)
        self._plays: dict[int, PlayQueue] = {}

    def take(self, slots: Slots, rows: Samples) -> list[int]:
        """Fill the rows of `rows` (as in `slots`) whose slots have a staged frame. Returns the other rows, in order."""
        if not len(slots):
            return []
        left = self.n_left[slots]
        if left.all():
            rows[:] = self._frames[slots, STAGED_FRAMES - left]
            self.n_left[slots] = left - 1
            return []
        filled = left.nonzero()[0]
        if len(filled):
            chosen, left_there = slots[filled], left[filled]
            rows[filled] = self._frames[chosen, STAGED_FRAMES - left_there]
            self.n_left[chosen] = left_there - 1
        unfilled: list[int] = (left == 0).nonzero()[0].tolist()
        return unfilled

    def stage(self, slot: int, plays: PlayQueue) -> None:
        """Read ahead for `slot`, which has no staged frame: as far as nothing begins or ends, but less at first, by a different amount per
        slot. Otherwise streams that started together would always be due together.
        """
        n_frames = STAGED_FRAMES if self._plays.get(slot) is plays else 1 + slot % STAGED_FRAMES
        n_staged = plays.read_ahead(self._frames[slot, STAGED_FRAMES - n_frames :])
        if n_staged < n_frames:
            # The row is read to its end, so the staged frames must be there.
            start = STAGED_FRAMES - n_frames
            self._frames[slot, STAGED_FRAMES - n_staged :] = self._frames[slot, start : start + n_staged].copy()
        self.n_left[slot] = n_staged
        self._plays[slot] = plays

    def give_back(self, slot: int) -> None:
        """Give back frames that were read ahead and not sent."""
        plays = self._plays.pop(slot, None)
        n_left = int(self.n_left[slot])
        if plays is not None and n_left:
            plays.take_back(n_left * self._frame_samples)
            self.n_left[slot] = 0
