"""When the caller speaks: the voice detector's probabilities turned into beginnings and ends of speech, for all streams at once.

Frames of 8 or 16 kHz with their slots and arrival times enter, Detections leave. It knows no calls and no clock. RFCs: none.

Theory. Each slot gathers frames of 20 ms into chunks of 32 ms and evaluates all chunks that are ready in one batch. A slot's states:

| state    | a chunk with                  | leads to                                                                         |
|----------|-------------------------------|----------------------------------------------------------------------------------|
| quiet    | p >= threshold                | rising (or straight to speaking, when a chunk is enough)                         |
| rising   | p >= threshold                | `min_speech_ms` of such chunks: speaking, a start is told                        |
| rising   | p < threshold - 0.15          | quiet                                                                            |
| speaking | p >= threshold - 0.15         | speaking, this is the last voiced chunk so far                                   |
| speaking | lower, for `silence_ms`       | quiet, an end is told                                                            |
| speaking | lower, behind `silence_ms` in which no packet was audible | quiet, an end is told                                |

The network takes some 0.1 s of silence for voice still, so that on a quiet line the packets tell an end sooner.

Where the detector is gated, chunks that are no louder than the noise of their line (`noise_gate`) are not evaluated while a slot is quiet:
they count as silence, and the network goes on afterwards from the quiet that it has heard before.

A chunk says only within 32 ms where speech began; the first packet with energy among those that reach into the first voiced chunk and the
one before it says it within a packet. All state is in arrays over slots; only slots that change state are looked at one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.media.detect.noise_gate import NoiseGate
from active_call.media.detect.silero import CHUNK_MS, SileroBatch

__all__ = ["Detection", "SileroBatch", "SpeechDetector", "energy_voiced"]

_SAMPLES_PER_MS: Final = 16
"""Places are told in samples of 16 kHz, whatever is looked at."""
CHUNK: Final = CHUNK_MS * _SAMPLES_PER_MS
FRAME: Final = 20 * _SAMPLES_PER_MS
_UNIT_MS: Final = 4
"""Frames, chunks and context are multiples of it: moving whole units is a plain copy."""
_FRAME_UNITS: Final = 20 // _UNIT_MS
_CHUNK_UNITS: Final = CHUNK_MS // _UNIT_MS
N_PHASES: Final = _CHUNK_UNITS
_CONTEXT_UNITS: Final = 1
_WINDOW_UNITS: Final = _CONTEXT_UNITS + _CHUNK_UNITS
_BUFFER_UNITS: Final = _WINDOW_UNITS + _FRAME_UNITS
_MEMORY: Final = 8
"""Packets whose arrival and energy are remembered: those of two chunks, and those that have come since."""
_WIDEST: Final = 5
"""So many packets can two chunks touch."""
_AUDIBLE: Final = 10 ** (-25 / 10)
"""Of the energy of the loudest packet: what is softer belongs to the noise or to the echo of the room."""
_LOUDEST_DECAY: Final = 0.99
"""A chunk: halves in about two seconds."""
_LEAST_SILENT_FRAMES: Final = 5
"""A plosive is as silent for 80 ms."""
_NEVER: Final = np.iinfo(np.int64).max
_RECENT: Final = 3
"""Chunks of which the probability is remembered."""
_HYSTERESIS: Final = 0.15
"""As in Silero's own iterator."""
_RENEW_AFTER: Final = 30 * 16000
"""Samples of clear non-speech after which the recurrent state begins anew: it drifts over minutes of silence or music."""
_CLEAR: Final = 0.1
_GATED_THRESHOLD: Final = 0.3
"""A stream with a lower threshold is evaluated all the time: there the gate's clear non-speech might count as speech."""
_VOICED_RMS: Final = 10 ** (-45 / 20)
"""Of full scale: softer than any speech on a phone line (about -20 to -35 dBov), louder than its noise."""

Slots = NDArray[np.intp]
_QUIET, _RISING, _SPEAKING = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Detection:
    """Speech has begun (`started`) or ended in `slot`.

    Begun: `sample` is its first sample, `at` the arrival of its first voiced packet, `duration_ms` how much was heard when it was told.
    Ended: `sample` is the one after its last, `at` the arrival of its last voiced packet, `duration_ms` its length. Samples count at 16 kHz
    since the reset. `confidence` is the mean probability of its voiced chunks.
    """

    slot: int
    started: bool
    sample: int
    at: float
    confidence: float
    duration_ms: int


def energy_voiced(frames: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return for each of `frames` (k, n) int16 whether it is audible, i.e. its level is above -45 dBov: (k,) bool."""
    samples = frames.astype(np.float32)
    return np.asarray(np.einsum("ij,ij->i", samples, samples) > frames.shape[1] * (_VOICED_RMS * 32768) ** 2)


class SpeechDetector:
    """Speech detection for `n_slots` streams with sound of `rate_hz`. A slot must be `reset` before its first frame."""

    def __init__(self, n_slots: int, rate_hz: int = 16_000, *, is_gated: bool = False) -> None:
        """`is_gated`: chunks no louder than the noise of their line are not evaluated."""
        self.rate_hz = rate_hz
        self._is_gated = is_gated
        self._gate = NoiseGate(n_slots)
        self._network = SileroBatch(n_slots, rate_hz)
        self._unit = _UNIT_MS * rate_hz // 1000
        self._buffer = np.zeros((n_slots, _BUFFER_UNITS, self._unit), np.float32)
        """Context, then the samples that wait."""
        self._taken = np.empty_like(self._buffer)
        self._units = np.full(n_slots, _CONTEXT_UNITS, np.intp)
        self._frames = np.zeros(n_slots, np.int64)
        """Frames since the reset."""
        self._chunk_end = np.zeros(n_slots, np.int64)
        """The sample at which the last chunk evaluated ended."""
        self._arrivals = np.zeros((n_slots, _MEMORY), np.float64)
        self._energy = np.zeros((n_slots, _MEMORY), np.float32)
        self._threshold = np.full(n_slots, 0.5, np.float32)
        self._min_speech = np.full(n_slots, 2, np.int64)
        """Voiced chunks that make a beginning."""
        self._silence = np.full(n_slots, 3, np.int64)
        """Unvoiced chunks that make an end."""
        self._silent_frames = np.full(n_slots, 5, np.int64)
        """Inaudible packets that make an end, too, once a chunk is unvoiced."""
        self._state = np.zeros(n_slots, np.int8)
        self._voiced = np.zeros(n_slots, np.int64)
        self._unvoiced = np.zeros(n_slots, np.int64)
        self._confidence = np.zeros(n_slots, np.float64)
        self._calm = np.zeros(n_slots, np.int64)
        self._loudest = np.zeros(n_slots, np.float32)
        """The energy of the loudest frame of this speech, slowly forgotten."""
        self._first_sample = np.zeros(n_slots, np.int64)
        self._first_at = np.zeros(n_slots, np.float64)
        self._last_sample = np.zeros(n_slots, np.int64)
        self._last_at = np.zeros(n_slots, np.float64)
        self._onset = np.zeros(n_slots, np.int64)
        """Voiced chunks after which the onset of speech is told (`take_onsets`); 0: it is not."""
        self._n_watched = 0
        self._onsets: list[tuple[int, bool]] = []
        self._recent = np.zeros((n_slots, _RECENT), np.float32)
        """The probabilities of the last chunks."""

    def reset(self, slot: int, threshold: float = 0.5, min_speech_ms: int = 64, silence_ms: int = 100, *, phase: int = 0) -> None:
        """Begin a stream in `slot`: forget what was heard and count samples from 0. Durations are rounded to chunks of 32 ms.

        `phase` (0 to 7) begins the first chunk so many times 4 ms before the sound, so that the chunks of streams that have begun together
        do not all fall due in the same five of eight ticks.
        """
        self._network.reset(slot)
        self._buffer[slot] = 0
        self._units[slot] = _CONTEXT_UNITS + phase
        self._chunk_end[slot] = -phase * _UNIT_MS * _SAMPLES_PER_MS
        for array in (self._frames, self._state, self._voiced, self._unvoiced, self._calm):
            array[slot] = 0
        self._confidence[slot] = 0
        self._energy[slot] = 0
        self._recent[slot] = 0
        self._gate.reset(slot)
        self.configure(slot, threshold, min_speech_ms, silence_ms)

    def configure(self, slot: int, threshold: float, min_speech_ms: int, silence_ms: int) -> None:
        """Change how `slot` is judged from its next chunk on, without forgetting anything."""
        self._threshold[slot] = threshold
        self._min_speech[slot] = max(1, round(min_speech_ms * 16 / CHUNK))
        self._silence[slot] = max(1, round(silence_ms * 16 / CHUNK))
        n_frames = max(_LEAST_SILENT_FRAMES, -(-silence_ms * 16 // FRAME))
        self._silent_frames[slot] = n_frames if n_frames <= _MEMORY else _NEVER

    def watch_onset(self, slot: int, voiced_ms: int | None) -> None:
        """Let `take_onsets` tell when speech in `slot` has lasted `voiced_ms`, which may be before it is sure; None: no longer."""
        n_chunks = 0 if voiced_ms is None else max(1, round(voiced_ms * 16 / CHUNK))
        self._n_watched += int(n_chunks > 0) - int(self._onset[slot] > 0)
        self._onset[slot] = n_chunks

    def take_onsets(self) -> list[tuple[int, bool]]:
        """Since the last call: slots that are watched, in which speech may have begun (True), or that have fallen silent before it was
        sure (False)."""
        if not self._onsets:
            return []
        onsets, self._onsets = self._onsets, []
        return onsets

    def is_speaking(self, slot: int) -> bool:
        """Whether a start has been told and no end."""
        return bool(self._state[slot] == _SPEAKING)

    def voice_probability(self, slot: int) -> float:
        """The highest probability of speech in the last 96 ms."""
        return float(self._recent[slot].max())

    def push(self, frames: NDArray[np.float32], slots: Slots, arrivals: NDArray[np.float64]) -> list[Detection]:
        """Take one frame of 20 ms for each of `slots` (k,), which must not repeat: float32 in [-1, 1), `arrivals` (k,) in seconds.

        A frame that is missing must be given as silence, with the time of its tick, so that samples count time.
        """
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
        self._buffer[slots[:, None], units[:, None] + np.arange(_FRAME_UNITS)] = frames.reshape(-1, _FRAME_UNITS, self._unit)
        self._units[slots] = units + _FRAME_UNITS
        place = self._frames[slots] % _MEMORY
        self._arrivals[slots, place] = arrivals
        self._energy[slots, place] = np.einsum("ij,ij->i", frames, frames)
        self._frames[slots] += 1

    def _take_windows(self, ready: Slots) -> NDArray[np.float32]:
        """Take one chunk with its context from each slot: (k, window), valid until the next call."""
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
        """Whether the last `_silent_frames` packets of each slot were all inaudible beside the loudest."""
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
        """The chunk just evaluated is the first voiced one: find the packet with which speech began."""
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
        """The chunk just evaluated is voiced: its last audible packet, if it has one, is the last voiced one so far."""
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
        """For the frames that reach into [start, end) of each slot: whether each is audible beside the loudest, and its number, (k, 5)."""
        frames = (start // FRAME)[:, None] + np.arange(_WIDEST)
        inside = frames * FRAME < end[:, None]
        energy = self._energy[slots[:, None], frames % _MEMORY] * inside
        self._loudest[slots] = np.maximum(self._loudest[slots] * _LOUDEST_DECAY, energy.max(axis=1))
        return inside & (energy >= self._loudest[slots, None] * _AUDIBLE), frames

    def _renew(self, ready: Slots, probabilities: NDArray[np.float32], state: NDArray[np.int8]) -> None:
        """Begin the recurrent state anew after a long time of clear non-speech."""
        calm = (self._calm[ready] + CHUNK) * ((probabilities < _CLEAR) & (state == _QUIET))
        long = calm >= _RENEW_AFTER
        if long.any():
            self._network.state[:, ready[long]] = 0
            calm[long] = 0
        self._calm[ready] = calm
