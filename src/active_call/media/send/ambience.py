"""Background sound under the sent sound, softer while the agent speaks: all streams at once.

Rows of samples to be sent are changed in place. A thread loads files of samples (from the cache of decoded sounds), each once, and all
streams share them. State is in arrays by slot. This module knows no packets and no calls.

The level moves to `duck_level` while the agent is audible and for `HANG_MS` after that, so that it does not pump between words; else to
`normal_level`. `transition_speed` is the change per frame of 20 ms, applied linearly from sample to sample.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import BYTES_PER_SAMPLE, FRAME_MS, samples_in
from active_call.media.detect.speech import energy_voiced
from active_call.media.send.mixer import Samples

HANG_MS: Final = 400
MAX_SECONDS: Final = 900
"""Maximum length of a file. A longer one loops at this point."""

Slots = NDArray[np.intp]

logger = logging.getLogger(__name__)


class AmbienceFiles:
    """Files in memory, each once. `ask` and `take` are for the thread of the tick and never block. A separate thread reads."""

    def __init__(self, rate_hz: int) -> None:
        self._max_bytes = MAX_SECONDS * rate_hz * BYTES_PER_SAMPLE
        self._asked: SimpleQueue[tuple[str, int] | None] = SimpleQueue()
        self._read: SimpleQueue[tuple[str, Samples]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, path: str, offset: int) -> None:
        """Start reading the s16le samples of the file from byte `offset` on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="ambience", daemon=True)
            self._thread.start()
        self._asked.put((path, offset))

    def take(self) -> list[tuple[str, Samples]]:
        """Files read since the last call; empty sound for a file that could not be read."""
        return [self._read.get_nowait() for _ in range(self._read.qsize())]

    def close(self) -> None:
        """Stop the reading thread."""
        if self._thread is not None:
            self._asked.put(None)

    def _serve(self) -> None:
        while (item := self._asked.get()) is not None:
            path, offset = item
            try:
                with Path(path).open("rb") as file:
                    file.seek(offset)
                    data = file.read(self._max_bytes)
            except OSError as error:
                logger.warning("background sound could not be read", extra={"path": path, "reason": str(error)})
                data = b""
            self._read.put((path, np.frombuffer(data, "<i2", len(data) // BYTES_PER_SAMPLE).astype(np.int16)))


class Ambience:
    """Background sound for `n_slots` streams at `rate_hz`. Call `mix` once per tick. Slots without `begin` are not changed."""

    def __init__(self, n_slots: int, rate_hz: int = 8000, *, voiced: Callable[[Samples], NDArray[np.bool_]] = energy_voiced) -> None:
        self._files = AmbienceFiles(rate_hz)
        self._voiced = voiced
        self._n_frame = samples_in(FRAME_MS, rate_hz)
        self._numbers: dict[str, int] = {}
        """The numbers of files in use or being read."""
        self._last_number = 0
        self._sounds: dict[int, Samples] = {}
        self._number = np.zeros(n_slots, np.int64)
        """By slot: the file number, 0 for none."""
        self._position = np.zeros(n_slots, np.int64)
        self._level = np.zeros(n_slots, np.float32)
        self._duck = np.zeros(n_slots, np.float32)
        self._normal = np.zeros(n_slots, np.float32)
        self._speed = np.zeros(n_slots, np.float32)
        self._hang = np.zeros(n_slots, np.int64)
        self._ramp = (np.arange(1, self._n_frame + 1, dtype=np.float32) / self._n_frame)[None, :]

    @property
    def is_ready(self) -> bool:
        """Whether every requested file has been read and contains sound."""
        return len(self._sounds) == len(self._numbers)

    def begin(
        self, slot: int, path: str, offset: int, *, duck_level: float = 0.1, normal_level: float = 0.3, transition_speed: float = 0.01
    ) -> None:
        """Play the samples of the file at `path` from byte `offset` on in `slot`, in a loop, starting with a fade-in."""
        self.end(slot)
        if path not in self._numbers:
            self._last_number += 1
            self._numbers[path] = self._last_number
            self._files.ask(path, offset)
        self._number[slot] = self._numbers[path]
        self._position[slot] = self._hang[slot] = 0
        self._level[slot] = 0
        self._duck[slot], self._normal[slot], self._speed[slot] = duck_level, normal_level, max(transition_speed, 1e-4)

    def end(self, slot: int) -> None:
        """Stop the background of `slot`. The last stream that uses a file releases it."""
        number, self._number[slot] = int(self._number[slot]), 0
        if number and not (self._number == number).any():
            self._sounds.pop(number, None)
            self._numbers = {path: kept for path, kept in self._numbers.items() if kept != number}

    def mix(self, pcm: Samples, slots: Slots) -> None:
        """Add the background to `pcm` (k, samples), the rows of `slots` (k,), which must be distinct."""
        if not self._numbers:
            return
        for path, sound in self._files.take():
            if path in self._numbers and len(sound):
                self._sounds[self._numbers[path]] = sound
        numbers = self._number[slots]
        for number, sound in self._sounds.items():
            rows = np.flatnonzero(numbers == number)
            if len(rows):
                self._mix_one(pcm, slots, rows, sound)

    def _mix_one(self, pcm: Samples, slots: Slots, rows: Slots, sound: Samples) -> None:
        here, spoken = slots[rows], pcm[rows]
        places = (self._position[here][:, None] + np.arange(self._n_frame)) % len(sound)
        self._position[here] = (self._position[here] + self._n_frame) % len(sound)
        mixed = spoken + sound[places] * self._levels(here, self._voiced(spoken))
        pcm[rows] = np.clip(np.rint(mixed), -32768, 32767)

    def _levels(self, slots: Slots, speaks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Advance the levels by one frame. Returns the level at each sample, (k, samples)."""
        self._hang[slots] = np.where(speaks, HANG_MS // FRAME_MS, np.maximum(self._hang[slots] - 1, 0))
        before = self._level[slots]
        target = np.where(self._hang[slots] > 0, self._duck[slots], self._normal[slots])
        after = before + np.clip(target - before, -self._speed[slots], self._speed[slots])
        self._level[slots] = after
        return np.asarray(before[:, None] + (after - before)[:, None] * self._ramp, np.float32)

    def close(self) -> None:
        """Stop the reading thread."""
        self._files.close()
