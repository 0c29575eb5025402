"""Automatic gain control for quiet callers, all streams at once, modelled on WebRTC's AGC2 (adaptive digital).

20 ms frames with their slots go in, frames come out without delay. State is in arrays by slot. This module knows no calls and no clock. The
options are those of the contract's `agc`.

Theory. While the caller speaks, the peak level is tracked. The target gain raises it to `headroom_db` below full scale, limited by
`max_gain_db` and by `max_output_noise_level_dbfs` for the noise between words. The gain moves towards the target by at most
`max_gain_change_db_per_second`. It rises only after `adjacent_speech_frames_threshold` consecutive speech frames of 10 ms, and never in
pauses. It never attenuates. A limiter with 5 ms look-ahead within the frame keeps peaks below full scale.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from active_call.base.pcm import FRAME_MS, samples_in

FRAMES_PER_SECOND: Final = 1000 // FRAME_MS
_SPEECH_ABOVE_NOISE_DB: Final = 9.0
_SPEECH_DBFS: Final = -65.0
"""Softer sound never counts as speech."""
_FULL_SCALE_DBFS: Final = -90.0
_LEVEL_KEEPS: Final = 0.95
"""Per speech frame: 0.4 s."""
_RISE_KEEPS: Final = 0.7
"""Louder peaks are followed faster than softer ones."""
_NOISE_RISES_DB: Final = 0.02
"""Per frame: 1 dB in a second, so that speech does not count as noise."""
_NOISE_FALLS: Final = 0.2
_LIMIT: Final = np.float32(10 ** (-1 / 20))
_BLOCKS: Final = 4
"""Blocks per frame for the limiter: 5 ms each."""

Frames = NDArray[np.float32]
Slots = NDArray[np.intp]


class GainSettings(Struct, frozen=True):
    """The contract's `agc` options."""

    headroom_db: float = 5.0
    max_gain_db: float = 50.0
    initial_gain_db: float = 15.0
    max_gain_change_db_per_second: float = 6.0
    max_output_noise_level_dbfs: float = -50.0
    adjacent_speech_frames_threshold: int = 12
    enable_limiter: bool = True


_DEFAULTS: Final = GainSettings()


class GainControl:
    """For `n_slots` streams at `rate_hz`. Call `reset` before the first frame of a slot."""

    def __init__(self, n_slots: int, rate_hz: int = 8000) -> None:
        n = samples_in(FRAME_MS, rate_hz)
        self._headroom = np.zeros(n_slots)
        self._max_gain = np.zeros(n_slots)
        self._step = np.zeros(n_slots)
        self._max_noise = np.zeros(n_slots)
        self._n_needed = np.zeros(n_slots, np.int64)
        self._limits = np.zeros(n_slots, np.bool_)
        self._gain_db = np.zeros(n_slots)
        self._speech_dbfs = np.zeros(n_slots)
        self._noise_dbfs = np.zeros(n_slots)
        self._n_speech = np.zeros(n_slots, np.int64)
        self._held = np.ones(n_slots, np.float32)
        """The limiter's factor for the last sample."""
        self._ramp = (np.arange(1, n + 1, dtype=np.float32) / n)[None, :]
        self._block_ramp = (np.arange(1, n // _BLOCKS + 1, dtype=np.float32) / (n // _BLOCKS))[None, None, :]

    def reset(self, slot: int, settings: GainSettings = _DEFAULTS) -> None:
        """Start a stream in `slot`."""
        self._headroom[slot] = settings.headroom_db
        self._max_gain[slot] = max(settings.max_gain_db, 0.0)
        self._step[slot] = settings.max_gain_change_db_per_second / FRAMES_PER_SECOND
        self._max_noise[slot] = settings.max_output_noise_level_dbfs
        self._n_needed[slot] = max(settings.adjacent_speech_frames_threshold * 10 // FRAME_MS, 1)
        self._limits[slot] = settings.enable_limiter
        self._gain_db[slot] = min(max(settings.initial_gain_db, 0.0), self._max_gain[slot])
        self._speech_dbfs[slot] = -settings.headroom_db - self._gain_db[slot]
        self._noise_dbfs[slot] = _FULL_SCALE_DBFS
        self._n_speech[slot] = 0
        self._held[slot] = 1.0

    def gain_db(self, slot: int) -> float:
        """The current gain in `slot`."""
        return float(self._gain_db[slot])

    def process(self, frames: Frames, slots: Slots, speaks: NDArray[np.bool_] | None = None) -> Frames:
        """Return (k, n) float32 in [-1, 1] for `frames` (k, n) of `slots` (k,), which must be distinct.

        `speaks` (k,): result of a voice detector, if available. Otherwise sound above the noise counts as speech.
        """
        levels = np.sqrt(np.einsum("ij,ij->i", frames, frames) / frames.shape[1])
        rms_dbfs = 20 * np.log10(np.maximum(levels, 10 ** (_FULL_SCALE_DBFS / 20)))
        peak_dbfs = 20 * np.log10(np.maximum(np.abs(frames).max(axis=1), 10 ** (_FULL_SCALE_DBFS / 20)))
        noise = self._follow_noise(rms_dbfs, slots)
        if speaks is None:
            speaks = (rms_dbfs > noise + _SPEECH_ABOVE_NOISE_DB) & (rms_dbfs > _SPEECH_DBFS)
        before, after = self._move(peak_dbfs, noise, speaks, slots)
        low, high = 10 ** (before / 20), 10 ** (after / 20)
        louder = frames * (low[:, None] + (high - low)[:, None] * self._ramp).astype(np.float32)
        return np.clip(self._limited(louder, slots), -1, 1)

    def _follow_noise(self, rms_dbfs: NDArray[np.float32], slots: Slots) -> NDArray[np.float64]:
        """Track the level between words: it falls fast and rises slowly."""
        noise = self._noise_dbfs[slots]
        is_first = noise <= _FULL_SCALE_DBFS
        moved = np.where(rms_dbfs < noise, noise + _NOISE_FALLS * (rms_dbfs - noise), noise + _NOISE_RISES_DB)
        noise = np.where(is_first, rms_dbfs, np.minimum(moved, np.maximum(rms_dbfs, noise)))
        self._noise_dbfs[slots] = noise
        return np.asarray(noise)

    def _move(
        self, peak_dbfs: NDArray[np.float32], noise: NDArray[np.float64], speaks: NDArray[np.bool_], slots: Slots
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The gain at the start and at the end of the frame, in dB."""
        n_speech = np.where(speaks, self._n_speech[slots] + 1, 0)
        self._n_speech[slots] = n_speech
        is_sure = n_speech >= self._n_needed[slots]
        speech = self._speech_dbfs[slots]
        keeps = np.where(peak_dbfs > speech, _RISE_KEEPS, _LEVEL_KEEPS)
        speech = np.where(is_sure, keeps * speech + (1 - keeps) * peak_dbfs, speech)
        self._speech_dbfs[slots] = speech
        wanted = np.clip(-self._headroom[slots] - speech, 0, self._max_gain[slots])
        wanted = np.minimum(wanted, np.maximum(self._max_noise[slots] - noise, 0))
        before = self._gain_db[slots]
        step = self._step[slots]
        after = before + np.clip(wanted - before, -step, np.where(is_sure, step, 0))
        self._gain_db[slots] = after
        return before, after

    def _limited(self, frames: Frames, slots: Slots) -> Frames:
        """Limit `frames` below full scale, with linear gain ramps between blocks."""
        blocks = frames.reshape(len(frames), _BLOCKS, -1)
        peaks = np.abs(blocks).max(axis=2)
        wanted = np.where(self._limits[slots, None], np.minimum(_LIMIT / np.maximum(peaks, _LIMIT), 1), 1).astype(np.float32)
        held = self._held[slots]
        if wanted.min() >= 1 and held.min() >= 1:
            return frames
        ends = np.minimum(wanted, np.concatenate([wanted[:, 1:], wanted[:, -1:]], axis=1))
        starts = np.concatenate([np.minimum(held, wanted[:, 0])[:, None], ends[:, :-1]], axis=1)
        self._held[slots] = ends[:, -1]
        lines = starts[:, :, None] + (ends - starts)[:, :, None] * self._block_ramp
        return np.asarray((blocks * lines).reshape(frames.shape), np.float32)
