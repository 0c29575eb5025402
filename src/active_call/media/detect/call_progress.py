"""Detect call progress tones: ringback, busy, congestion, dial tone, SIT, fax, and an answering machine's beep.

8 kHz frames with their slots go in, `ToneHeard` comes out. All streams are processed at once. Only slots in which a sound begins, ends or
reaches a decisive length are handled individually. This module knows no calls and no clock. ITU-T E.180, E.182 (cadences), T.30 (CNG, CED),
V.25.

Theory. The frames of `tone_spectrum` form segments: silence, a tone, or any other sound. Two frames of a new kind end a segment, so a
single noisy frame does not. The frequencies and the lengths of tones and pauses determine the kind:

| kind       | sound                                        | reported                                                                  |
|------------|----------------------------------------------|---------------------------------------------------------------------------|
| ringback   | 0.35 to 2.3 s of a network tone              | after 1.5 s of the pause, again in each period                            |
| busy       | 0.3 to 0.8 s on and about as long off        | after two periods, again in each                                          |
| congestion | the same, but shorter, or unequal on and off | after two periods, unequal ones after three, again in each                |
| dial       | a network tone without a pause               | after 3 s                                                                 |
| sit        | three rising tones of a third of a second    | with the third                                                            |
| fax        | 1100 Hz, 0.5 s every 3.5 s (CNG)             | with the second                                                           |
| answer     | 2100 Hz (CED, ANSam) of a fax or modem       | after 1 s                                                                 |
| beep       | one steady tone of 0.12 to 2 s               | at its end; not at network frequencies                                    |

A network tone is at 350 to 500 Hz (single, pair or modulated) or is the pair 480 and 620 Hz. The confidence grows with every period.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from active_call.base.pcm import FRAME_MS
from active_call.media.detect.tone_spectrum import OTHER, SILENCE, TONE, Slots, Spectrum, ToneSpectrum

__all__ = ["ToneDetector", "ToneHeard", "ToneKind"]

ToneKind = Literal["ringback", "busy", "congestion", "dial", "sit", "fax", "answer", "beep"]

_CHANGE_FRAMES: Final = 2
_NEAR_HZ: Final = 25.0
_SINGLE_WIDTH_HZ: Final = 22.0
_STEADY_HZ: Final = 4.0
"""Maximum standard deviation of a beep's frequency. A voice varies more, and consists of more than one tone."""
_REMEMBERED: Final = 8
_PAUSE_MS: Final = 1500
_DIAL_MS: Final = 3000
_ANSWER_MS: Final = 1000
_SIT_HZ: Final = ((900, 1000), (1350, 1450), (1740, 1820))


class ToneHeard(Struct, frozen=True):
    """`kind` in `slot`, with a confidence (0 to 1). `frequency_hz` is the centre frequency, `duration_ms` the length of the last tone."""

    slot: int
    kind: ToneKind
    confidence: float
    frequency_hz: float
    duration_ms: int


class _Segment(Struct, frozen=True):
    kind: int
    middle_hz: float = 0.0
    width_hz: float = 0.0
    spread_hz: float = 0.0
    duration_ms: int = 0

    @property
    def is_network(self) -> bool:
        """Whether the frequencies are those of a telephone network tone."""
        pair_of_busy = 530 <= self.middle_hz <= 570 and self.width_hz > 50
        return self.kind == TONE and (380 <= self.middle_hz <= 475 or pair_of_busy)

    @property
    def is_single(self) -> bool:
        return self.kind == TONE and self.width_hz < _SINGLE_WIDTH_HZ

    def lasts(self, low_ms: float, high_ms: float) -> bool:
        return low_ms <= self.duration_ms <= high_ms


class ToneDetector:
    """For `n_slots` streams. A slot must be `reset` before its first frame."""

    def __init__(self, n_slots: int) -> None:
        self._spectrum = ToneSpectrum(n_slots)
        self._kind = np.full(n_slots, OTHER, np.int8)
        self._frames = np.zeros(n_slots, np.int64)
        """Frames of the current segment."""
        self._pending = np.zeros(n_slots, np.int64)
        """Frames of another kind since the last frame of the current segment."""
        self._sum_hz = np.zeros(n_slots, np.float64)
        self._sum_width = np.zeros(n_slots, np.float64)
        self._n_tonal = np.zeros(n_slots, np.int64)
        self._sum_square_hz = np.zeros(n_slots, np.float64)
        self._past: list[deque[_Segment]] = [deque(maxlen=_REMEMBERED) for _ in range(n_slots)]
        self._n_rings = np.zeros(n_slots, np.int64)
        self._n_beats = np.zeros(n_slots, np.int64)
        """Consecutive periods of ringback, or of busy or congestion."""
        self._is_unequal = np.zeros(n_slots, np.bool_)
        """Whether a tone and its pause had different lengths in these periods."""

    def reset(self, slot: int) -> None:
        """Start a stream in `slot`."""
        self._spectrum.reset(slot)
        self._past[slot].clear()
        self._n_rings[slot] = self._n_beats[slot] = self._pending[slot] = 0
        self._is_unequal[slot] = False
        self._begin(slot, OTHER, 0.0, 0.0)

    def push(self, frames: NDArray[np.int16], slots: Slots) -> list[ToneHeard]:
        """Take one frame for each of `slots` (k,), which must be distinct: `frames` (k, 160) int16. Pass silence for a missing frame."""
        seen = self._spectrum.analyse(frames, slots)
        belongs = self._belongs(seen, slots)
        before = self._frames[slots]
        after = before + np.where(belongs, self._pending[slots] + 1, 0)
        self._frames[slots] = after
        pending = np.where(belongs, 0, self._pending[slots] + 1)
        self._pending[slots] = pending
        self._note(seen, slots, belongs)
        told: list[ToneHeard] = []
        for row in np.flatnonzero(pending >= _CHANGE_FRAMES).tolist():
            slot = int(slots[row])
            told += self._end_segment(slot, int(seen.kind[row]))
            self._begin(slot, int(seen.kind[row]), float(seen.middle_hz[row]), float(seen.width_hz[row]))
        for row in np.flatnonzero(_passes(before, after)).tolist():
            told += self._lasting(int(slots[row]), int(before[row]), int(after[row]))
        return told

    # -- segments --------------------------------------------------------------------------------------------------------------------------

    def _belongs(self, seen: Spectrum, slots: Slots) -> NDArray[np.bool_]:
        same = seen.kind == self._kind[slots]
        mean_hz = self._sum_hz[slots] / np.maximum(self._n_tonal[slots], 1)
        return np.asarray(same & ((seen.kind != TONE) | (np.abs(seen.middle_hz - mean_hz) < _NEAR_HZ)))

    def _note(self, seen: Spectrum, slots: Slots, belongs: NDArray[np.bool_]) -> None:
        rows = belongs & (seen.kind == TONE)
        if rows.any():
            here, middle = slots[rows], seen.middle_hz[rows]
            self._sum_hz[here] += middle
            self._sum_width[here] += seen.width_hz[rows]
            self._n_tonal[here] += 1
            self._sum_square_hz[here] += np.square(middle, dtype=np.float64)

    def _begin(self, slot: int, kind: int, middle_hz: float, width_hz: float) -> None:
        self._kind[slot] = kind
        self._frames[slot] = self._pending[slot]
        self._pending[slot] = 0
        is_tone = kind == TONE
        self._n_tonal[slot] = int(is_tone)
        self._sum_hz[slot], self._sum_width[slot] = middle_hz, width_hz
        self._sum_square_hz[slot] = middle_hz**2

    def _segment(self, slot: int, n_frames: int) -> _Segment:
        """The current segment with `n_frames`. A window includes the previous frame, so tones appear longer by one frame."""
        kind, n = int(self._kind[slot]), max(int(self._n_tonal[slot]), 1)
        middle_hz = float(self._sum_hz[slot]) / n
        correction_ms = -FRAME_MS if kind == TONE else FRAME_MS
        return _Segment(
            kind,
            middle_hz=middle_hz,
            width_hz=float(self._sum_width[slot]) / n,
            spread_hz=max(float(self._sum_square_hz[slot]) / n - middle_hz**2, 0.0) ** 0.5,
            duration_ms=max(n_frames * FRAME_MS + correction_ms, 0),
        )

    # -- classification
    # ----------------------------------------------------------------------------------------------------------------------

    def _end_segment(self, slot: int, next_kind: int) -> Iterator[ToneHeard]:
        segment = self._segment(slot, int(self._frames[slot]))
        past = self._past[slot]
        past.append(segment)
        if segment.kind == OTHER and segment.duration_ms > 200:
            self._n_rings[slot] = self._n_beats[slot] = 0
        if segment.kind == SILENCE:
            yield from self._short_pause(slot, segment)
        if segment.kind != TONE:
            return
        if _is_cng(segment) and any(_is_cng(earlier) for earlier in list(past)[-4:-1]):
            yield ToneHeard(slot, "fax", 0.95, segment.middle_hz, segment.duration_ms)
        elif next_kind != TONE and _is_beep(segment) and not (len(past) > 1 and past[-2].kind == TONE):
            yield ToneHeard(slot, "beep", 0.9 if segment.lasts(200, 1500) else 0.6, segment.middle_hz, segment.duration_ms)

    def _short_pause(self, slot: int, pause: _Segment) -> Iterator[ToneHeard]:
        """A pause between two tones of the same kind has ended: this may be a period of busy or congestion."""
        past = self._past[slot]
        tone = past[-2] if len(past) > 1 else None
        if tone is None or not (tone.is_network and tone.lasts(140, 820) and pause.lasts(140, 820)):
            self._n_beats[slot] = 0
            self._is_unequal[slot] = False
            return
        self._n_beats[slot] += 1
        self._is_unequal[slot] |= not 0.6 * tone.duration_ms <= pause.duration_ms <= 1.6 * tone.duration_ms
        n_needed = 3 if self._is_unequal[slot] else 2
        if self._n_beats[slot] >= n_needed:
            kind = self._busy_or_congestion(slot, (tone.duration_ms + pause.duration_ms) / 2)
            yield ToneHeard(slot, kind, _confidence(int(self._n_beats[slot]) - n_needed), tone.middle_hz, tone.duration_ms)

    def _busy_or_congestion(self, slot: int, on_ms: float) -> ToneKind:
        return "congestion" if self._is_unequal[slot] or on_ms < 300 else "busy"

    def _lasting(self, slot: int, before: int, after: int) -> Iterator[ToneHeard]:
        """The current segment has reached a decisive length."""
        segment, past = self._segment(slot, after), self._past[slot]
        was_ms = self._segment(slot, before).duration_ms
        if segment.kind == SILENCE and was_ms < _PAUSE_MS <= segment.duration_ms:
            tone = past[-1] if past else None
            if tone is not None and tone.is_network and tone.lasts(340, 2300) and self._n_beats[slot] < 2:
                self._n_rings[slot] += 1
                yield ToneHeard(slot, "ringback", _confidence(int(self._n_rings[slot]) - 1), tone.middle_hz, tone.duration_ms)
        if segment.kind != TONE:
            return
        if segment.is_network and was_ms < _DIAL_MS <= segment.duration_ms:
            yield ToneHeard(slot, "dial", 0.9, segment.middle_hz, segment.duration_ms)
        if 2075 <= segment.middle_hz <= 2125 and was_ms < _ANSWER_MS <= segment.duration_ms:
            yield ToneHeard(slot, "answer", 0.9, segment.middle_hz, segment.duration_ms)
        if was_ms < _SIT_MS <= segment.duration_ms and _is_sit([*list(past)[-2:], segment]):
            yield ToneHeard(slot, "sit", 0.95, segment.middle_hz, segment.duration_ms)


_SIT_MS: Final = 200
_MARKS: Final = tuple((ms + correction) // FRAME_MS for ms in (_PAUSE_MS, _DIAL_MS, _ANSWER_MS, _SIT_MS) for correction in (-20, 20))


def _passes(before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a segment has just reached one of the decisive lengths."""
    passed = np.zeros(len(before), np.bool_)
    for mark in _MARKS:
        passed |= (before < mark) & (mark <= after)
    return passed


def _confidence(n_more: int) -> float:
    return min(0.7 + 0.15 * n_more, 1.0)


def _is_cng(segment: _Segment) -> bool:
    return segment.is_single and 1062 <= segment.middle_hz <= 1138 and segment.lasts(400, 620)


def _is_sit(segments: list[_Segment]) -> bool:
    """Whether these are three tones in ascending order, about a third of a second each. The last one may still sound."""
    return len(segments) == 3 and all(
        segment.is_single and low <= segment.middle_hz <= high and segment.lasts(150, 500)
        for segment, (low, high) in zip(segments, _SIT_HZ, strict=True)
    )


def _is_beep(segment: _Segment) -> bool:
    """Whether this is one steady tone that is neither a network tone nor a fax or modem tone."""
    is_steady = segment.is_single and segment.spread_hz < _STEADY_HZ and segment.lasts(120, 2000)
    return is_steady and segment.middle_hz > 350 and not (segment.is_network or _is_cng(segment) or 2075 <= segment.middle_hz <= 2125)
