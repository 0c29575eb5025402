"""Recognise the agent's own voice when it comes back from the caller's side: a speaker phone, a softphone without a headset, a bad line.

In: the frames that were sent and those that were heard, at 8 kHz; starts of speech while something plays. Out: whether the sound is only
an echo. This module knows no calls and no clock. RFCs: none.

Theory. An echo correlates with what was sent at one delay, whatever its level. The correlation is whitened (GCC-PHAT), so that two voices
of the same pitch do not correlate: unrelated speech reaches a share of 0.19 in one of 100 starts (0.11 in the median), an echo 0.26 in 19
of 20 (0.4 in the median), also in a reverberant room. An echo that was found three times at one delay is known, with its level: a sound
that is much louder than it is the caller's. A correlation costs 0.2 to 0.5 ms of CPU. It is made only when speech starts while something
plays, and now and then while an echo lasts.

| sound that begins while something plays                  | is                                                       |
|----------------------------------------------------------|----------------------------------------------------------|
| correlates, no echo is known                             | an echo until the next comparison, which decides         |
| is up to `AS_LOUD` times as loud as the known echo       | echo                                                     |
| correlates, up to `LOUDER` times as loud                 | echo                                                     |
| the first of a call, soon after our own sound began      | compared for `WAIT_TICKS`, then the caller's voice       |
| anything else                                            | the caller's voice                                       |

An echo becomes the caller's voice when it is `LOUDER` for `LOUD_TICKS`, or louder than `AS_LOUD` and not correlated in `MISSES` comparisons
in a row.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FRAME: Final = 160
"""20 ms at 8 kHz."""
WINDOW: Final = 2048
"""Samples of the heard sound that are compared: 256 ms."""
_KEPT: Final = 64
"""Frames of sent sound: 1.28 s."""
_LONGEST: Final = 6000
"""The longest delay, in samples: 0.75 s, with the network and the jitter buffer."""
_SIZE: Final = 8192
_FADE_IN: Final = np.hanning(256)[:128]
_BAND: Final = slice(round(300 / 8000 * _SIZE), round(3400 / 8000 * _SIZE))
"""The bins of the telephone band."""
SHARE: Final = 0.21
"""The least correlation of an echo whose delay is not known yet."""
SHARE_AT_DELAY: Final = 0.1
"""The same at the known delay."""
SHARE_UNSURE: Final = 0.18
"""The same 80 ms later at a delay that was found, but is not known yet: unrelated speech reaches 0.17 in one of 100, an echo 0.2 in 99."""
_NEAR: Final = 40
"""Samples around the known delay: 5 ms."""
LOUDER: Final = 1.6
"""The caller's voice over an echo is at least so much louder than the loudest part of the echo (4 dB)."""
AS_LOUD: Final = 1.15
"""A sound up to so much louder than the known echo may be one, even without correlation."""
LOUD_TICKS: Final = 4
_LOUD_FRAMES: Final = 4
"""The level is measured over 80 ms."""
_DECAY_FRAMES: Final = 8
"""The echo of a room outlasts its sound by so much."""
_EARLY_FRAMES: Final = 2
"""The delay may become shorter by so much when the jitter buffer changes."""
_SOFT: Final = 120.0
"""An rms below it (-49 dB) is the noise of a line."""
_LEARNING: Final = 0.2
_MOST_GAIN: Final = 0.9
"""No echo is as loud as what was sent (-1 dB). This rules out most chance correlations with a caller's voice."""
_KNOWN_AFTER: Final = 3
"""Comparisons in which an echo was found at one delay."""
_FORGOTTEN_AFTER: Final = 3
"""Starts of speech in a row that were no echo: there is none any more."""
_SELDOM: Final = 4
"""From then on, one of so many starts is compared: a caller without an echo costs little."""
_UNSURE_TICKS: Final = 4
"""An echo that is not known yet is compared again so soon."""
WAIT_TICKS: Final = 8
"""The first sound of a call that begins soon after ours is compared for so long before it counts as the caller's: a few syllables decide
better than one. A greeting is protected meanwhile anyway."""
WAIT_LOOKS: Final = (3, 6, WAIT_TICKS)
"""It is compared in these ticks, not before: a syllable that has just begun says little. Every caller who answers a greeting passes here,
and each comparison makes a tick of all calls longer."""
EVERY_TICKS: Final = 8
"""While an echo lasts, it is compared again so often."""
MOST_IN_TICK: Final = 6
"""Comparisons of all streams in one tick, so that many callers who begin at once do not delay it. Further starts are not held back."""
MISSES: Final = 2
"""An echo that does not correlate so many times in a row has ended."""

Frames = NDArray[np.int16]


class OwnEcho:
    """For all streams, by slot. Call `begin` first, and `sent` in every tick."""

    def __init__(self, n_slots: int) -> None:
        self._sent = np.zeros((n_slots, _KEPT, FRAME), np.int16)
        self._delay = np.full(n_slots, -1, np.int64)
        """In samples; -1: no echo was heard."""
        self._gain = np.zeros(n_slots)
        """The level of the echo relative to what was sent."""
        self._n_found = np.zeros(n_slots, np.int64)
        """Comparisons that found the echo at this delay."""
        self._n_waited = np.zeros(n_slots, np.int64)
        """Ticks in which the first sound was compared; `WAIT_TICKS`: it was decided."""
        self._n_not_found = np.zeros(n_slots, np.int64)
        """Starts of speech in a row that were no echo."""
        self._n_loud = np.zeros(n_slots, np.int64)
        self._n_missed = np.zeros(n_slots, np.int64)
        self._tick = -1
        self._n_compared = 0
        """In this tick."""

    def begin(self, slot: int) -> None:
        """A new stream, without history."""
        self._sent[slot] = 0
        self._n_waited[slot] = 0
        self._forget(slot)

    def _forget(self, slot: int) -> None:
        self._delay[slot], self._gain[slot] = -1, 0.0
        self._n_found[slot] = self._n_not_found[slot] = 0

    def sent(self, tick: int, slots: NDArray[np.intp], frames: Frames) -> None:
        """The frames (k, 160) that were sent in `tick` to `slots` (k,)."""
        self._sent[slots, tick % _KEPT] = frames

    def starts(self, slot: int, tick: int, heard: Frames) -> bool:
        """Whether a start of speech in `tick` is an echo. `heard`: the last `WINDOW` samples."""
        sent = self._sound(slot, tick)
        if _rms(sent) < _SOFT:
            return False
        self._n_loud[slot] = self._n_missed[slot] = 0
        is_known = self._is_known(slot)
        if is_known and not self._is_louder(slot, sent, heard, AS_LOUD):
            return True
        if self._n_waited[slot] < WAIT_TICKS and _rms(sent[: 10 * FRAME]) < _SOFT:
            return True
        if self._is_unlikely(slot):
            self._n_not_found[slot] += 1
            return False
        if not self._may_compare(tick):
            return False
        is_echo = self._correlates(slot, sent, heard) and not (is_known and self._is_louder(slot, sent, heard, LOUDER))
        self._n_waited[slot] = WAIT_TICKS
        self._n_not_found[slot] = 0 if is_echo else self._n_not_found[slot] + 1
        if self._n_not_found[slot] == _FORGOTTEN_AFTER:
            self._delay[slot], self._gain[slot], self._n_found[slot] = -1, 0.0, 0
        return is_echo

    def goes_on(self, slot: int, tick: int, heard: Frames) -> bool:
        """Whether a sound that began as an echo is still one, to be asked in every tick. `heard`: the last `WINDOW` samples."""
        sent = self._sound(slot, tick)
        if self._n_waited[slot] < WAIT_TICKS:
            self._n_waited[slot] += 1
            is_echo = int(self._n_waited[slot]) in WAIT_LOOKS and self._may_compare(tick) and self._correlates(slot, sent, heard)
            self._n_waited[slot] = WAIT_TICKS if is_echo else self._n_waited[slot]
            return is_echo or bool(self._n_waited[slot] < WAIT_TICKS)
        if not self._is_known(slot):
            if (tick - slot) % _UNSURE_TICKS or not self._may_compare(tick) or self._correlates(slot, sent, heard):
                return True
            self._forget(slot)
            return False
        self._n_loud[slot] = self._n_loud[slot] + 1 if self._is_louder(slot, sent, heard, LOUDER) else 0
        if self._n_loud[slot] >= LOUD_TICKS:
            return False
        if (tick - slot) % EVERY_TICKS == 0 and self._may_compare(tick):
            is_echo = not self._is_louder(slot, sent, heard, AS_LOUD) or self._correlates(slot, sent, heard)
            self._n_missed[slot] = 0 if is_echo else self._n_missed[slot] + 1
        return bool(self._n_missed[slot] < MISSES)

    def _may_compare(self, tick: int) -> bool:
        """Whether `tick` has time for one more comparison; it is counted."""
        if tick != self._tick:
            self._tick, self._n_compared = tick, 0
        self._n_compared += 1
        return self._n_compared <= MOST_IN_TICK

    def _is_unlikely(self, slot: int) -> bool:
        """Whether a start is not compared, because those before it were no echo."""
        n_not_found = int(self._n_not_found[slot])
        return n_not_found >= _FORGOTTEN_AFTER and n_not_found % _SELDOM > 0

    def _is_known(self, slot: int) -> bool:
        return bool(self._n_found[slot] >= _KNOWN_AFTER)

    def _sound(self, slot: int, tick: int) -> Frames:
        """The sent sound up to `tick`, the oldest first."""
        at = (tick + 1) % _KEPT
        ring = self._sent[slot]
        return np.concatenate((ring[at:], ring[:at])).reshape(-1)

    def _correlates(self, slot: int, sent: Frames, heard: Frames) -> bool:
        """Whether `heard` is an echo of `sent` by its correlation; learns its delay and level."""
        shares = _shares(heard, sent[-(WINDOW + _LONGEST) :])
        known, best = int(self._delay[slot]), int(shares.argmax())
        near = slice(max(0, known - _NEAR), known + _NEAR + 1)
        least = SHARE_AT_DELAY if self._is_known(slot) else SHARE_UNSURE
        is_there = known >= 0 and bool(shares[near].max() >= least)
        if not is_there and shares[best] < SHARE:
            return False
        delay = near.start + int(shares[near].argmax()) if is_there else best
        before = _rms(sent[len(sent) - WINDOW - delay : len(sent) - delay])
        gain = _rms(heard) / max(before, _SOFT)
        if not is_there:
            if gain > _MOST_GAIN:
                return False
            self._delay[slot], self._gain[slot], self._n_found[slot] = delay, gain, 1
        elif not (self._is_known(slot) and self._is_louder(slot, sent, heard, LOUDER)):
            self._delay[slot] = delay
            self._gain[slot] += _LEARNING * (min(gain, _MOST_GAIN) - self._gain[slot])
            self._n_found[slot] += 1
        return True

    def _is_louder(self, slot: int, sent: Frames, heard: Frames, factor: float) -> bool:
        """Whether the end of `heard` is more than `factor` times the echo, of which delay and level were found."""
        last = len(sent) // FRAME - int(self._delay[slot]) // FRAME
        first = max(0, last - _LOUD_FRAMES - _DECAY_FRAMES)
        energies = _energies(sent[first * FRAME : (last + _EARLY_FRAMES) * FRAME].reshape(-1, FRAME))
        sums = np.convolve(energies, np.ones(min(_LOUD_FRAMES, len(energies))), "valid") if len(energies) else np.zeros(1)
        loudest = float(np.sqrt(sums.max() / (_LOUD_FRAMES * FRAME)))
        return _rms(heard[-_LOUD_FRAMES * FRAME :]) > max(_SOFT, factor * float(self._gain[slot]) * loudest)


def _energies(frames: Frames) -> NDArray[np.float32]:
    samples = frames.astype(np.float32)
    energies: NDArray[np.float32] = np.einsum("ij,ij->i", samples, samples)
    return energies


def _rms(sound: Frames) -> float:
    samples = sound.astype(np.float32).reshape(-1)
    return float(np.sqrt(np.vdot(samples, samples) / samples.size)) if samples.size else 0.0


def _shares(heard: Frames, sent: Frames) -> NDArray[np.float64]:
    """The whitened correlation of `heard` with `sent` for each delay in samples: 1 for the same sound."""
    faded = heard.astype(np.float32)
    faded[: len(_FADE_IN)] *= _FADE_IN
    product = np.conj(np.fft.rfft(faded, _SIZE)[_BAND]) * np.fft.rfft(sent.astype(np.float32), _SIZE)[_BAND]
    size = np.abs(product)
    if not size.any():
        return np.zeros(_LONGEST + 1)
    product /= size + 0.01 * size.max()
    spectrum = np.zeros(_SIZE // 2 + 1, np.complex128)
    spectrum[_BAND] = product
    shares: NDArray[np.float64] = np.fft.irfft(spectrum, _SIZE)[: _LONGEST + 1] * (_SIZE / 2) / np.abs(product).sum()
    return shares[::-1]
