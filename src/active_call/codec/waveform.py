"""Codecs with equal-sized units in the payload (G.711, G.722, L16): decode one stream's payloads, and conceal missing ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from active_call.base.errors import ParseError
from active_call.codec.conceal import Concealer

Samples = NDArray[np.int16]
_SLOT = np.zeros(1, np.intp)
_CAME = np.array([False])
_LOST = np.array([True])
_PIECE_MS = 20
_REMEMBERED_MS = 40


class WaveformDecoder:
    """`samples_per_byte` determines durations; `new_decode` returns the decode function of a new stream.

    The last decoded sound is only stored, and not analysed until something is missing.
    """

    __slots__ = ("_concealer", "_decode", "_is_losing", "_n_recent", "_new_decode", "_recent", "_samples_per_byte", "sample_rate_hz")

    def __init__(self, sample_rate_hz: int, samples_per_byte: float, new_decode: Callable[[], Callable[[bytes], Samples]]) -> None:
        self.sample_rate_hz = sample_rate_hz
        self._samples_per_byte = samples_per_byte
        self._new_decode = new_decode
        self._decode = new_decode()
        self._concealer = Concealer(1, sample_rate_hz)
        self._recent: list[Samples] = []
        self._n_recent = 0
        self._is_losing = False

    def duration_s(self, payload: bytes) -> float:
        """The duration of the payload. Raises ParseError if it is empty or ends within a sample."""
        n_samples = len(payload) * self._samples_per_byte
        if not n_samples or n_samples % 1:
            raise ParseError("payload", expected="whole samples", found=f"{len(payload)} bytes")
        return n_samples / self.sample_rate_hz

    def decode(self, payload: bytes) -> Samples:
        """Return the samples. Raises ParseError as `duration_s`."""
        self.duration_s(payload)
        samples = self._decode(payload)
        if self._is_losing:
            self._is_losing = False
            samples = samples.copy()
            self._concealer.process(self._pieces(samples)[0], _SLOT, _CAME)
        self._remember(samples)
        return samples

    def conceal(self, n_samples: int) -> Samples:
        """Return concealment that continues the last sound and fades out."""
        samples = np.zeros(n_samples, np.int16)
        if not self._is_losing:
            self._is_losing = True
            self._concealer.prime(0, np.concatenate(self._recent) if self._recent else samples[:0])
        for piece in self._pieces(samples):
            self._concealer.process(piece, _SLOT, _LOST)
        self._remember(samples)
        return samples

    def decode_fec(self, next_payload: bytes, n_samples: int) -> Samples:
        """As `conceal`."""
        return self.conceal(n_samples)

    def reset(self) -> None:
        """Reset for another stream."""
        self._decode = self._new_decode()
        self._recent, self._n_recent, self._is_losing = [], 0, False

    def _remember(self, samples: Samples) -> None:
        """Store the last played sound, at least 40 ms."""
        self._recent.append(samples)
        self._n_recent += len(samples)
        while self._n_recent - len(self._recent[0]) >= _REMEMBERED_MS * self.sample_rate_hz // 1000:
            self._n_recent -= len(self._recent.pop(0))

    def _pieces(self, samples: Samples) -> list[Samples]:
        """Views (1, n) of at most 20 ms, because the concealer takes no more than its history."""
        size = _PIECE_MS * self.sample_rate_hz // 1000
        return [samples[None, at : at + size] for at in range(0, len(samples), size)]
