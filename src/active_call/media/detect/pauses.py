"""Report facts for end-of-turn detection at fixed moments of a pause: its energy, and the prosody before it. All streams at once.

The frames of each tick at 8 kHz and the starts and ends of speech go in. `Pause`s come out at `MOMENTS_S` of silence, so that a call causes
a few messages per pause and none during speech. This module knows no calls and no clock. Samples are counted at 16 kHz as everywhere in
detection. At most `MAX_A_TICK` pauses are reported in one tick and the rest in the next ones, so that streams that fall silent together do
not delay a tick.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from active_call.media.detect.prosody import SPAN_SAMPLES, Prosody, prosody_of

MOMENTS_S: Final = (0.2, 0.4, 0.7, 1.0, 1.3)
MAX_A_TICK: Final = 4
_FRAME: Final = 160
"""20 ms at 8 kHz."""
_WIDE_FRAME: Final = 320
_FRAMES: Final = 96
"""1.9 s: the second before the pause, and the pause until its first report."""
_SPAN_FRAMES: Final = SPAN_SAMPLES // _FRAME
_NEVER: Final = np.iinfo(np.int64).max
_MOMENT_SAMPLES: Final = tuple(round(moment * 16_000) for moment in MOMENTS_S)
_RECENT_FRAMES: Final = 5
"""The energy of the pause is measured over its last 100 ms."""
_SOFTEST: Final = 1e-9
"""The least energy that is reported: -90 dB."""
_FULL_SCALE: Final = 32768

Slots = NDArray[np.intp]


class Pause(Struct, frozen=True):
    """The stream in `slot` has been silent for `silence_ms`."""

    slot: int
    since: float
    """When its last voiced packet arrived."""
    silence_ms: int
    energy_db: float
    """Energy of the last 100 ms, relative to full scale."""
    prosody: Prosody


class PauseWatch:
    """Watches the pauses of the streams for which `begin` was called."""

    def __init__(self, n_slots: int) -> None:
        self._sound = np.zeros((n_slots, _FRAMES, _FRAME), np.int16)
        self._due: NDArray[np.int64] = np.full(n_slots, _NEVER, np.int64)
        """The sample of the next report of a pause."""
        self._ended: NDArray[np.int64] = np.zeros(n_slots, np.int64)
        self._ended_at: NDArray[np.float64] = np.zeros(n_slots)
        self._moment: NDArray[np.intp] = np.zeros(n_slots, np.intp)
        self._prosody: dict[int, Prosody] = {}
        """Prosody of the streams that are in a pause. It does not change during the pause."""

    def begin(self, slot: int) -> None:
        """Start watching a stream, without history."""
        self._sound[slot] = 0
        self.speech_began(slot)

    def speech_began(self, slot: int) -> None:
        """The pause has ended."""
        self._due[slot] = _NEVER
        self._prosody.pop(slot, None)

    def speech_ended(self, slot: int, sample: int, at: float) -> None:
        """A pause begins at `sample`, the one after the last voiced packet, which arrived at `at`."""
        self._ended[slot], self._ended_at[slot] = sample, at
        self._moment[slot] = 0
        self._due[slot] = sample + _MOMENT_SAMPLES[0]
        self._prosody.pop(slot, None)

    def push(self, frames: NDArray[np.int16], slots: Slots, n_heard: NDArray[np.int64]) -> None:
        """Store the frames (k, 160) of this tick. `n_heard` (k,): 16 kHz samples before them."""
        self._sound[slots, (n_heard // _WIDE_FRAME) % _FRAMES] = frames

    def recent(self, slot: int, n_heard: int, n_samples: int) -> NDArray[np.int16]:
        """The last samples of `slot` at 8 kHz. `n_heard`: 16 kHz samples before the last pushed frame."""
        end = n_heard // _WIDE_FRAME + 1
        places = np.arange(end - -(-n_samples // _FRAME), end) % _FRAMES
        sound: NDArray[np.int16] = self._sound[slot, places].reshape(-1)[-n_samples:]
        return sound

    def take(self, slots: Slots, n_heard: NDArray[np.int64]) -> list[Pause]:
        """The pauses of `slots` that are due. `n_heard` (k,): 16 kHz samples including this tick."""
        is_due = self._due[slots] <= n_heard
        if not is_due.any():
            return []
        due, now = slots[is_due][:MAX_A_TICK], n_heard[is_due][:MAX_A_TICK]
        self._measure(due, now)
        return [self._report(slot, at) for slot, at in zip(due.tolist(), now.tolist(), strict=True)]

    def _report(self, slot: int, now: int) -> Pause:
        silence = now - int(self._ended[slot])
        moment = int(self._moment[slot])
        while moment < len(_MOMENT_SAMPLES) and _MOMENT_SAMPLES[moment] <= silence:
            moment += 1
        self._moment[slot] = moment
        self._due[slot] = int(self._ended[slot]) + _MOMENT_SAMPLES[moment] if moment < len(_MOMENT_SAMPLES) else _NEVER
        return Pause(slot, float(self._ended_at[slot]), silence // 16, self._energy_db(slot, now), self._prosody[slot])

    def _measure(self, due: Slots, now: NDArray[np.int64]) -> None:
        """Measure the prosody before all new pauses in one batch. Sound that is no longer stored cannot be measured."""
        new = np.array([row for row, slot in enumerate(due.tolist()) if slot not in self._prosody], np.intp)
        if not len(new):
            return
        slots, last = due[new], self._ended[due[new]] // _WIDE_FRAME
        kept = now[new] // _WIDE_FRAME - last + _SPAN_FRAMES <= _FRAMES
        for slot in slots[~kept].tolist():
            self._prosody[slot] = Prosody(None, None)
        slots, last = slots[kept], last[kept]
        places = (last[:, None] - _SPAN_FRAMES + np.arange(_SPAN_FRAMES)) % _FRAMES
        sound = self._sound[slots[:, None], places].reshape(len(slots), SPAN_SAMPLES)
        for slot, prosody in zip(slots.tolist(), prosody_of(sound.astype(np.float32)), strict=True):
            self._prosody[slot] = prosody

    def _energy_db(self, slot: int, now: int) -> float:
        end = now // _WIDE_FRAME % _FRAMES
        begin, kept = end - _RECENT_FRAMES, self._sound[slot]
        sound = (kept[begin:end] if begin >= 0 else np.concatenate((kept[begin:], kept[:end]))).astype(np.float32)
        return 10 * math.log10(max(float(np.vdot(sound, sound)) / sound.size / _FULL_SCALE**2, _SOFTEST))
