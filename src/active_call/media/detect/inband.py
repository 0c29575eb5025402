"""Detect in-band DTMF digits and call progress tones for the streams that ask for it.

8 kHz frames of all started streams go in, reports come out. The detectors keep their state in arrays by slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.media.detect.call_progress import ToneDetector
from active_call.media.detect.inband_dtmf import InbandDigits
from active_call.media.link.messages import DigitReceived, HearTones, Link, ToneReported

Slots = NDArray[np.intp]

INBAND_DURATION_MS: Final = 0
"""A digit is reported while it sounds, so its duration is not known yet."""


class InbandDetectors:
    """For `n_slots` streams."""

    def __init__(self, n_slots: int, emit: Callable[[Link], None]) -> None:
        self._emit = emit
        self._digits = InbandDigits(n_slots)
        self._tones = ToneDetector(n_slots)
        self._wants_digits: NDArray[np.bool_] = np.zeros(n_slots, np.bool_)
        self._wants_tones: NDArray[np.bool_] = np.zeros(n_slots, np.bool_)
        self.is_idle = True
        """Whether no stream asks for detection."""

    def use(self, slot: int, order: HearTones) -> None:
        """Set what to detect in `slot`."""
        if order.tones and not self._wants_tones[slot]:
            self._tones.reset(slot)
        if order.digits and not self._wants_digits[slot]:
            self._digits.reset(slot)
        self._wants_digits[slot], self._wants_tones[slot] = order.digits, order.tones
        self.is_idle = not (self._wants_digits.any() or self._wants_tones.any())

    def forget(self, slot: int) -> None:
        """Reset `slot` for a new stream."""
        self._wants_digits[slot] = self._wants_tones[slot] = False

    def run(self, frames: NDArray[np.int16], slots: Slots, number_of: Callable[[int], int], now: float) -> None:
        """Take one frame (160 samples) for each of `slots`. `number_of` maps a slot to its stream number."""
        rows = np.flatnonzero(self._wants_digits[slots])
        if len(rows):
            for digit in self._digits.push(frames[rows], slots[rows]):
                self._emit(DigitReceived(number_of(digit.slot), digit.digit, INBAND_DURATION_MS, now - digit.age_ms / 1000))
        rows = np.flatnonzero(self._wants_tones[slots])
        if len(rows):
            for tone in self._tones.push(frames[rows], slots[rows]):
                self._emit(ToneReported(number_of(tone.slot), tone.kind, tone.confidence, tone.frequency_hz, tone.duration_ms, now))
