"""Voice activity detection: turn the detector's probabilities into starts and ends of speech, for all streams at once.

Frames of 8 or 16 kHz with their slots and arrival times go in, Detections come out. This module knows no calls and no clock. RFCs: none.

Theory. Each slot collects frames of 20 ms into chunks of 32 ms. All complete chunks are evaluated in one batch. The states of a slot:

| state    | a chunk with                  | next state                                                                       |
|----------|-------------------------------|----------------------------------------------------------------------------------|
| quiet    | p >= threshold                | rising (or speaking at once, if one chunk suffices)                              |
| rising   | p >= threshold                | after `min_speech_ms` of such chunks: speaking, reports a start                  |
| rising   | p < threshold - 0.15          | quiet                                                                            |
| speaking | p >= threshold - 0.15         | speaking; this is the last voiced chunk so far                                   |
| speaking | lower, for `silence_ms`       | quiet, reports an end                                                            |
| speaking | lower, after `silence_ms` without an audible packet | quiet, reports an end                                      |

The network classifies the first 0.1 s of silence as voice. On a quiet line the packet energy therefore detects the end sooner.

With the gate on, chunks no louder than the noise of their line (`noise_gate`) are not evaluated while a slot is quiet. They count as
silence, and the network later continues from its state before them.

A chunk locates the start of speech only within 32 ms. The first audible packet that overlaps the first voiced chunk or the one before it
locates it within a packet. All state is in arrays by slot. Only slots that change state are handled individually.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from active_call.media.detect.noise_gate import NoiseGate
from active_call.media.detect.silero import CHUNK_MS, SileroBatch

__all__ = ["Detection", "SileroBatch", "SpeechDetector", "energy_voiced"]

_SAMPLES_PER_MS: Final = 16
"""Positions are reported in 16 kHz samples, whatever the input rate."""
CHUNK: Final = CHUNK_MS * _SAMPLES_PER_MS
FRAME: Final = 20 * _SAMPLES_PER_MS
_UNIT_MS: Final = 4
"""Frames, chunks and context are multiples of it, so that moving whole units is a plain copy."""
_FRAME_UNITS: Final = 20 // _UNIT_MS
_CHUNK_UNITS: Final = CHUNK_MS // _UNIT_MS
N_PHASES: Final = _CHUNK_UNITS
_CONTEXT_UNITS: Final = 1
_WINDOW_UNITS: Final = _CONTEXT_UNITS + _CHUNK_UNITS
_BUFFER_UNITS: Final = _WINDOW_UNITS + _FRAME_UNITS
_MEMORY: Final = 8
"""Number of packets whose arrival and energy are stored: those of two chunks, and those received since."""
_WIDEST: Final = 5
"""Two chunks overlap at most this many packets."""
_AUDIBLE: Final = 10 ** (-25 / 10)
"""Relative to the energy of the loudest packet. Softer packets are noise or room echo."""
_LOUDEST_DECAY: Final = 0.99
"""Per chunk: halves in about two seconds."""
_LEAST_SILENT_FRAMES: Final = 5
"""The closure of a plosive is silent for up to 80 ms."""
_NEVER: Final = np.iinfo(np.int64).max
_RECENT: Final = 3
"""Number of chunks whose probability is stored."""
_HYSTERESIS: Final = 0.15
"""As in Silero's own iterator."""
_RENEW_AFTER: Final = 30 * 16000
"""Samples of clear non-speech after which the recurrent state is reset: it drifts over minutes of silence or music."""
_CLEAR: Final = 0.1
_GATED_THRESHOLD: Final = 0.3
"""A stream with a lower threshold is evaluated in every chunk: what the gate calls clear non-speech might count as speech there."""
_VOICED_RMS: Final = 10 ** (-45 / 20)
"""Relative to full scale: softer than speech on a phone line (about -20 to -35 dBov), louder than its noise."""

Slots = NDArray[np.intp]
_QUIET, _RISING, _SPEAKING = 0, 1, 2


class Detection(Struct, frozen=True):
    """Speech has started (`started`) or ended in `slot`.

    Start: `sample` is its first sample, `at` the arrival of its first voiced packet, `duration_ms` its length when it was reported. End:
    `sample` is the one after its last, `at` the arrival of its last voiced packet, `duration_ms` its length. Samples count at 16 kHz since
    the reset. `confidence` is the mean probability of the voiced chunks.
    """

    slot: int
    started: bool
    sample: int
    at: float
    confidence: float
    duration_ms: int


def _places_of_frames(buffer: NDArray[np.float32]) -> NDArray[np.float32]:
    """The places of `buffer` (slots, units, unit) where a frame may be, one behind each unit, (slots * units - 4, frame). They overlap."""
    n_slots, n_units, unit = buffer.shape
    shape = (n_slots * n_units - _FRAME_UNITS + 1, _FRAME_UNITS * unit)
    return as_strided(buffer, shape, (unit * buffer.itemsize, buffer.itemsize))


def energy_voiced(frames: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Whether each of `frames` (k, n) int16 is audible, i.e. its level is above -45 dBov: (k,) bool."""
    samples = frames.astype(np.float32)
    return np.asarray(np.einsum("ij,ij->i", samples, samples) > frames.shape[1] * (_VOICED_RMS * 32768) ** 2)


class SpeechDetector:
    """Speech detection for `n_slots` streams at `rate_hz`. Call `reset` before the first frame of a slot."""

    def __init__(self, n_slots: int, rate_hz: int = 16_000, *, is_gated: bool = False) -> None:
        """`is_gated`: skip chunks that are no louder than the noise of their line."""
        self.rate_hz = rate_hz
        self._is_gated = is_gated
        self._gate = NoiseGate(n_slots)
        self._network = SileroBatch(n_slots, rate_hz)
        self._unit = _UNIT_MS * rate_hz // 1000
        self._buffer = np.zeros((n_slots, _BUFFER_UNITS, self._unit), np.float32)
        """Context, then the samples that wait for evaluation."""
        self._places = _places_of_frames(self._buffer)
        self._taken = np.empty_like(self._buffer)
        self._units = np.full(n_slots, _CONTEXT_UNITS, np.intp)
        self._frames = np.zeros(n_slots, np.int64)
        """Frames since the reset."""
        self._chunk_end = np.zeros(n_slots, np.int64)
        """The end sample of the last evaluated chunk."""
        self._arrivals = np.zeros((n_slots, _MEMORY), np.float64)
        self._energy = np.zeros((n_slots, _MEMORY), np.float32)
        self._threshold = np.full(n_slots, 0.5, np.float32)
        self._min_speech = np.full(n_slots, 2, np.int64)
        """Voiced chunks that make a start."""
        self._silence = np.full(n_slots, 3, np.int64)
        """Unvoiced chunks that make an end."""
        self._silent_frames = np.full(n_slots, 5, np.int64)
        """The number of inaudible packets that also end speech, together with one unvoiced chunk."""
        self._state = np.zeros(n_slots, np.int8)
        self._voiced = np.zeros(n_slots, np.int64)
        self._unvoiced = np.zeros(n_slots, np.int64)
        self._confidence = np.zeros(n_slots, np.float64)
        self._calm = np.zeros(n_slots, np.int64)
        self._loudest = np.zeros(n_slots, np.float32)
        """Energy of the loudest frame of this speech, with a slow decay."""
        self._first_sample = np.zeros(n_slots, np.int64)
        self._first_at = np.zeros(n_slots, np.float64)
        self._last_sample = np.zeros(n_slots, np.int64)
        self._last_at = np.zeros(n_slots, np.float64)
        self._onset = np.zeros(n_slots, np.int64)
        """Voiced chunks after which the onset of speech is reported (`take_onsets`); 0: never."""
        self._n_watched = self._n_pushes = 0
        self._onsets: list[tuple[int, bool]] = []
        self._recent = np.zeros((n_slots, _RECENT), np.float32)
        """The probabilities of the last chunks."""

    def reset(self, slot: int, threshold: float = 0.5, min_speech_ms: int = 64, silence_ms: int = 100, *, phase: int = 0) -> None:
        """Start a stream in `slot`: clear its state and count samples from 0. Durations are rounded to chunks of 32 ms.

        `phase` (0 to 7) starts the first chunk that many times 4 ms before the sound.
        """
        self._network.reset(slot)
        self._buffer[slot] = 0
        self._set_phase(slot, phase)
        for array in (self._frames, self._state, self._voiced, self._unvoiced, self._calm):
            array[slot] = 0
        self._confidence[slot] = 0
        self._energy[slot] = 0
        self._recent[slot] = 0
        self._gate.reset(slot)
        self.configure(slot, threshold, min_speech_ms, silence_ms)

    def align(self, slot: int, group: int) -> None:
        """Choose the phase of a slot whose first frame comes with the next `push`: the chunks of the slots of one `group` (0 to 7) fall due
        in the same five of eight pushes. Each further group adds other pushes.
        """
        self._set_phase(slot, (group + self._n_pushes * _FRAME_UNITS) % N_PHASES)

    def _set_phase(self, slot: int, phase: int) -> None:
        self._units[slot] = _CONTEXT_UNITS + phase
        self._chunk_end[slot] = -phase * _UNIT_MS * _SAMPLES_PER_MS

    def configure(self, slot: int, threshold: float, min_speech_ms: int, silence_ms: int) -> None:
        """Change the settings of `slot` from its next chunk on. The state is kept."""
        self._threshold[slot] = threshold
        self._min_speech[slot] = max(1, round(min_speech_ms * 16 / CHUNK))
        self._silence[slot] = max(1, round(silence_ms * 16 / CHUNK))
        n_frames = max(_LEAST_SILENT_FRAMES, -(-silence_ms * 16 // FRAME))
        self._silent_frames[slot] = n_frames if n_frames <= _MEMORY else _NEVER

    def watch_onset(self, slot: int, voiced_ms: int | None) -> None:
        """Make `take_onsets` report speech in `slot` after `voiced_ms`, possibly before it is confirmed. None: stop."""
        n_chunks = 0 if voiced_ms is None else max(1, round(voiced_ms * 16 / CHUNK))
        self._n_watched += int(n_chunks > 0) - int(self._onset[slot] > 0)
        self._onset[slot] = n_chunks

    def take_onsets(self) -> list[tuple[int, bool]]:
        """Onsets since the last call in the watched slots.

        True: speech may have started. False: silence followed before it was confirmed.
        """
        if not self._onsets:
            return []
        onsets, self._onsets = self._onsets, []
        return onsets

    def is_speaking(self, slot: int) -> bool:
        """Whether a start was reported and no end."""
        return bool(self._state[slot] == _SPEAKING)

    def voice_probability(self, slot: int) -> float:
        """The highest probability of speech in the last 96 ms."""
        return float(self._recent[slot].max())

    def push(self, frames: NDArray[np.float32], slots: Slots, arrivals: NDArray[np.float64]) -> list[Detection]:
        """Take one frame of 20 ms for each of `slots` (k,), which must be distinct: float32 in [-1, 1), `arrivals` (k,) in seconds.

        Pass silence with the time of the tick for a missing frame, so that samples count time.
        """
        self._n_pushes += 1
        self._store(frames, slots, arrivals)
        ready = slots[self._units[slots] >= _CONTEXT_UNITS + _CHUNK_UNITS]
        if not len(ready):
            return []
        windows = self._take_windows(ready)
        self._chunk_end[ready] += CHUNK
        if not self._is_gated:
            return self._judge(ready, self._infer(windows, ready))
        chunks = windows[:, _CONTEXT_UNITS * self._unit :]
        energies = np.einsum("ij,ij->i", chunks, chunks) / chunks.shape[1]
        is_quiet = (self._state[ready] == _QUIET) & (self._threshold[ready] >= _GATED_THRESHOLD)
        seen = self._gate.must_see(energies, ready, is_quiet)
        if not seen.all():
            passed = ready[~seen]
            self._recent[passed, self._chunk_end[passed] // CHUNK % _RECENT] = 0
            windows, ready, energies = windows[seen], ready[seen], energies[seen]
            if not len(ready):
                return []
        probabilities = self._infer(windows, ready)
        self._gate.learn(energies, ready, probabilities)
        return self._judge(ready, probabilities)

    def _infer(self, windows: NDArray[np.float32], slots: Slots) -> NDArray[np.float32]:
        probabilities = self._network.infer_windows(windows, slots)
        self._recent[slots, self._chunk_end[slots] // CHUNK % _RECENT] = probabilities
        return probabilities

    def _store(self, frames: NDArray[np.float32], slots: Slots, arrivals: NDArray[np.float64]) -> None:
        units = self._units[slots]
        self._places[slots * _BUFFER_UNITS + units] = frames
        self._units[slots] = units + _FRAME_UNITS
        place = self._frames[slots] % _MEMORY
        self._arrivals[slots, place] = arrivals
        self._energy[slots, place] = np.einsum("ij,ij->i", frames, frames)
        self._frames[slots] += 1

    def _take_windows(self, ready: Slots) -> NDArray[np.float32]:
        """Take one chunk with its context from each slot: (k, window). Valid until the next call."""
        taken = self._buffer.take(ready, axis=0, out=self._taken[: len(ready)], mode="clip")
        self._buffer[ready, : _BUFFER_UNITS - _CHUNK_UNITS] = taken[:, _CHUNK_UNITS:]
        self._units[ready] -= _CHUNK_UNITS
        return taken.reshape(-1, _BUFFER_UNITS * self._unit)[:, : _WINDOW_UNITS * self._unit]

    # -- the state machine -----------------------------------------------------------------------------------------------------------------

    def _judge(self, ready: Slots, probabilities: NDArray[np.float32]) -> list[Detection]:
        state = self._state[ready]
        threshold = self._threshold[ready]
        above = probabilities >= threshold
        stays = probabilities >= threshold - _HYSTERESIS
        self._renew(ready, probabilities, state)
        if not (above.any() or state.any()):
            return []
        voiced = above & (state != _SPEAKING) | stays & (state == _SPEAKING)
        falls = ~stays & (state == _RISING)
        self._state[ready[falls]] = _QUIET
        begins = ready[above & (state == _QUIET)]
        if len(begins):
            self._begin(begins)
        heard = ready[voiced]
        self._voiced[heard] += 1
        self._unvoiced[heard] = 0
        self._confidence[heard] += probabilities[voiced]
        self._mark_last(heard)
        if self._n_watched:
            onset = heard[(self._onset[heard] > 0) & (self._voiced[heard] == self._onset[heard])]
            self._onsets += [(int(slot), True) for slot in onset]
            self._onsets += [(int(slot), False) for slot in ready[falls] if self._onset[slot]]
        unheard = ready[(state == _SPEAKING) & ~stays]
        self._unvoiced[unheard] += 1
        return self._take_changes(heard, unheard)

    def _take_changes(self, heard: Slots, unheard: Slots) -> list[Detection]:
        started = heard[(self._state[heard] == _RISING) & (self._voiced[heard] >= self._min_speech[heard])]
        ended = unheard[(self._unvoiced[unheard] >= self._silence[unheard]) | self._is_inaudible(unheard)]
        self._state[started] = _SPEAKING
        self._state[ended] = _QUIET
        self._calm[ended] = 0
        starts = [self._detection(int(slot), started=True) for slot in started]
        return starts + [self._detection(int(slot), started=False) for slot in ended]

    def _is_inaudible(self, slots: Slots) -> NDArray[np.bool_]:
        """Whether the last `_silent_frames` packets of each slot were all inaudible relative to the loudest."""
        frames = self._frames[slots, None] - 1 - np.arange(_MEMORY)
        audible = self._energy[slots[:, None], frames % _MEMORY] >= self._loudest[slots, None] * _AUDIBLE
        n_silent = np.where(audible.any(axis=1), audible.argmax(axis=1), _MEMORY)
        return np.asarray(n_silent >= self._silent_frames[slots], np.bool_)

    def _detection(self, slot: int, *, started: bool) -> Detection:
        return Detection(
            slot=slot,
            started=started,
            sample=int(self._first_sample[slot] if started else self._last_sample[slot]),
            at=float(self._first_at[slot] if started else self._last_at[slot]),
            confidence=float(self._confidence[slot] / self._voiced[slot]),
            duration_ms=int(self._last_sample[slot] - self._first_sample[slot]) // 16,
        )

    def _begin(self, slots: Slots) -> None:
        """The chunk just evaluated is the first voiced one: find the packet in which speech started."""
        self._state[slots] = _RISING
        self._voiced[slots] = self._unvoiced[slots] = 0
        self._confidence[slots] = 0
        chunk_end = self._chunk_end[slots]
        self._loudest[slots] = 0
        audible, frames = self._audible_frames(slots, np.maximum(chunk_end - 2 * CHUNK, 0), chunk_end)
        first = frames[np.arange(len(slots)), audible.argmax(axis=1)]
        self._first_sample[slots] = first * FRAME
        self._first_at[slots] = self._arrivals[slots, first % _MEMORY]

    def _mark_last(self, slots: Slots) -> None:
        """The chunk just evaluated is voiced: if it has an audible packet, the last one is the last voiced packet so far."""
        chunk_end = self._chunk_end[slots]
        audible, frames = self._audible_frames(slots, np.maximum(chunk_end - CHUNK, 0), chunk_end)
        last = frames[np.arange(len(slots)), _WIDEST - 1 - audible[:, ::-1].argmax(axis=1)]
        found = audible.any(axis=1)
        slots, last = slots[found], last[found]
        self._last_sample[slots] = np.minimum((last + 1) * FRAME, chunk_end[found])
        self._last_at[slots] = self._arrivals[slots, last % _MEMORY]

    def _audible_frames(
        self, slots: Slots, start: NDArray[np.int64], end: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Whether each frame that overlaps [start, end) of a slot is audible relative to the loudest, and its number, (k, 5)."""
        frames = (start // FRAME)[:, None] + np.arange(_WIDEST)
        inside = frames * FRAME < end[:, None]
        energy = self._energy[slots[:, None], frames % _MEMORY] * inside
        self._loudest[slots] = np.maximum(self._loudest[slots] * _LOUDEST_DECAY, energy.max(axis=1))
        return inside & (energy >= self._loudest[slots, None] * _AUDIBLE), frames

    def _renew(self, ready: Slots, probabilities: NDArray[np.float32], state: NDArray[np.int8]) -> None:
        """Reset the recurrent state after a long time of clear non-speech."""
        calm = (self._calm[ready] + CHUNK) * ((probabilities < _CLEAR) & (state == _QUIET))
        long = calm >= _RENEW_AFTER
        if long.any():
            self._network.state[:, ready[long]] = 0
            calm[long] = 0
        self._calm[ready] = calm
