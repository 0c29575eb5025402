"""Frames of plays that go on undisturbed, read ahead and laid out by slot, so that a tick takes those of all streams in one piece.

Plays enter, rows of the batch are filled. Reading ahead must not be noticed: nothing is staged that begins or ends a play, and whoever is
about to touch what a stream plays calls `give_back` first, after which the play stands where its last sent frame left it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.media.send.mixer import Samples
from active_call.media.send.play_queue import PlayQueue

STAGED_FRAMES: Final = 8
"""160 ms: enough to make the reading rare, little enough to be given back quickly."""

Slots = NDArray[np.intp]


class Prefetch:
    """What is staged, for `capacity` slots. `n_left` counts the frames of each; those not read yet lie at the end of its row."""

    def __init__(self, capacity: int, frame_samples: int) -> None:
        self._frame_samples = frame_samples
        self._frames: Samples = np.zeros((capacity, STAGED_FRAMES, frame_samples), np.int16)
        self.n_left: NDArray[np.intp] = np.zeros(capacity, np.intp)
        self._plays: dict[int, PlayQueue] = {}

    def take(self, slots: Slots, rows: Samples) -> list[bool]:
        """Fill the rows of `rows`, which are as in `slots`, whose slots have a frame left. Returns for each whether it was filled."""
        left = self.n_left[slots]
        filled = np.flatnonzero(left)
        if len(filled):
            chosen = slots[filled]
            rows[filled] = self._frames[chosen, STAGED_FRAMES - left[filled]]
            self.n_left[chosen] -= 1
        is_filled: list[bool] = (left > 0).tolist()
        return is_filled

    def stage(self, slot: int, plays: PlayQueue) -> None:
        """Read ahead for `slot`, which has nothing left: as much as goes on undisturbed, at first less, each slot in its own measure, so
        that streams that have begun together do not fall due together ever after.
        """
        n_frames = STAGED_FRAMES if self._plays.get(slot) is plays else 1 + slot % STAGED_FRAMES
        n_staged = plays.read_ahead(self._frames[slot, STAGED_FRAMES - n_frames :])
        if n_staged < n_frames:
            # The row is read to its end: what was staged must lie there.
            start = STAGED_FRAMES - n_frames
            self._frames[slot, STAGED_FRAMES - n_staged :] = self._frames[slot, start : start + n_staged].copy()
        self.n_left[slot] = n_staged
        self._plays[slot] = plays

    def give_back(self, slot: int) -> None:
        """Take back what was read ahead and not sent."""
        plays = self._plays.pop(slot, None)
        n_left = int(self.n_left[slot])
        if plays is not None and n_left:
            plays.take_back(n_left * self._frame_samples)
            self.n_left[slot] = 0
