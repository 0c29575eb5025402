"""Keep the agent's own echo from counting as the caller's speech.

In: the detections of a tick and the sound around them. Out: the detections without those of an echo. A start that is an echo is held back
until its sound ends, or until the caller is heard over it: then the start is reported late. Only streams whose pauses are watched have an
agent; all others pass. See `detect.own_echo`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from active_call.media.detect.own_echo import OwnEcho
from active_call.media.detect.speech import Detection

LATE_MS: Final = 160
"""The caller's voice over an echo began about so long before it is noticed."""
_LATE_SAMPLES: Final = LATE_MS * 16

SoundOf = Callable[[int], NDArray[np.int16] | None]
"""The last `WINDOW` samples of a slot at 8 kHz; None if they are not kept."""


class EchoGate:
    """For all streams, by slot."""

    def __init__(self, n_slots: int) -> None:
        self.echo = OwnEcho(n_slots)
        self._held: dict[int, Detection] = {}
        """The starts that are held back."""

    def begin(self, slot: int) -> None:
        """A new stream, or the detection of one begins anew."""
        self._held.pop(slot, None)
        self.echo.begin(slot)

    def is_echo(self, slot: int, tick: int, sound_of: SoundOf) -> bool:
        """Whether the sound that begins in `slot` is an echo."""
        sound = sound_of(slot)
        return sound is not None and self.echo.starts(slot, tick, sound)

    def held_by(self, detections: list[Detection], tick: int, sound_of: SoundOf) -> list[int]:
        """Hold back the echoes among `detections`, which are removed from the list; returns their slots."""
        slots: list[int] = []
        for detection in list(detections):
            slot = detection.slot
            if detection.started and self.is_echo(slot, tick, sound_of):
                self._held[slot] = detection
                slots.append(slot)
                detections.remove(detection)
            elif not detection.started and self._held.pop(slot, None) is not None:
                detections.remove(detection)
        return slots

    def late_starts(self, tick: int, now: float, sound_of: SoundOf, end_of: Callable[[int], int]) -> list[Detection]:
        """The held starts over which the caller is heard now. `end_of`: the sample of a slot after this tick, counted as in detections."""
        late: list[Detection] = []
        for slot, detection in list(self._held.items()):
            sound = sound_of(slot)
            if sound is None or not self.echo.goes_on(slot, tick, sound):
                del self._held[slot]
                sample = max(detection.sample, end_of(slot) - _LATE_SAMPLES)
                late.append(replace(detection, sample=sample, at=max(detection.at, now - LATE_MS / 1000), duration_ms=LATE_MS))
        return late
