"""A simulated recogniser: every 300 ms of loud sound is the next word. Pure.

In: sound in the vendor's format. Out: words with their times, so that a test can derive the expected words and times from its own sound. A
pause longer than `pause_s` ends a segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.codec.g711 import decode

WORDS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
WORD_S: Final = 0.3
BLOCK_S: Final = 0.02
LOUD: Final = 500
"""Mean magnitude of a loud block of 20 ms."""
CONFIDENCE: Final = 0.875
_MU_LAW: Final = np.array([False])


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word, and its position in the received sound, in seconds."""

    text: str
    start_s: float
    end_s: float
    confidence: float = CONFIDENCE


class Hearing:
    """Recognises one stream of sound: s16le or µ-law, mono, at `rate_hz`."""

    def __init__(self, rate_hz: int, *, is_mulaw: bool = False, n_words: int = 0) -> None:
        self.rate_hz = rate_hz
        self._is_mulaw = is_mulaw
        self._block = round(rate_hz * BLOCK_S)
        self._block_bytes = self._block * (1 if is_mulaw else 2)
        self._rest = np.zeros(0, np.int16)
        self._n_blocks = 0
        self._loud_blocks = 0
        self._word_from = 0
        self._silent_blocks = 0
        self._n_words = n_words
        self.words: list[HeardWord] = []
        """Words that `take` has not returned yet."""

    @property
    def heard_s(self) -> float:
        """The duration of the received sound."""
        return (self._n_blocks * self._block + len(self._rest)) / self.rate_hz

    @property
    def silence_s(self) -> float:
        """The duration of the current silence."""
        return self._silent_blocks * BLOCK_S

    @property
    def is_speaking(self) -> bool:
        """Loud sound has arrived since the last `take`."""
        return bool(self.words or self._loud_blocks)

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    def feed(self, data: bytes) -> list[HeardWord]:
        """Process `data`; returns the new words."""
        if not self._loud_blocks and not len(self._rest) and data.count(data[:1]) == len(data) and len(data) % self._block_bytes == 0:
            n_blocks = len(data) // self._block_bytes  # a constant value is silence
            self._n_blocks += n_blocks
            self._silent_blocks += n_blocks
            return []
        samples = self._decode(data)
        samples = np.concatenate([self._rest, samples])
        n_blocks = len(samples) // self._block
        blocks = samples[: n_blocks * self._block].reshape(n_blocks, self._block)
        self._rest = samples[n_blocks * self._block :]
        before = len(self.words)
        loud = np.abs(blocks.astype(np.int32)).mean(axis=1) > LOUD if n_blocks else np.zeros(0, bool)
        if not loud.any() and not self._loud_blocks:
            self._n_blocks += n_blocks
            self._silent_blocks += n_blocks
            return []
        for is_loud in loud.tolist():
            self._take_block(is_loud)
        return self.words[before:]

    def _decode(self, data: bytes) -> NDArray[np.int16]:
        return decode(np.frombuffer(data, np.uint8)[None, :], _MU_LAW)[0] if self._is_mulaw else np.frombuffer(data, "<i2")

    def take(self) -> Sequence[HeardWord]:
        """Return the words so far and clear them."""
        if self._loud_blocks * BLOCK_S >= WORD_S / 2:
            self._end_word()
        taken, self.words = self.words, []
        self._loud_blocks = 0
        return taken

    def _take_block(self, is_loud: bool) -> None:
        if is_loud:
            if not self._loud_blocks:
                self._word_from = self._n_blocks
            self._loud_blocks += 1
            self._silent_blocks = 0
        else:
            self._silent_blocks += 1
        self._n_blocks += 1
        if self._loud_blocks * BLOCK_S >= WORD_S:
            self._end_word()

    def _end_word(self) -> None:
        text = WORDS[self._n_words % len(WORDS)]
        self._n_words += 1
        self.words.append(HeardWord(text, round(self._word_from * BLOCK_S, 3), round(self._n_blocks * BLOCK_S, 3)))
        self._loud_blocks = 0
