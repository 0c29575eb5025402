"""G.711 for all streams at once: one table look-up per direction (ITU-T G.711).

Payload bytes go in and linear samples come out, and vice versa. Rows are streams, each mu-law or A-law. This module knows no packets.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SILENCE_PCMU: Final = 0xFF
SILENCE_PCMA: Final = 0xD5
"""The byte of the smallest positive sample."""
SILENCE: Final = (bytes([SILENCE_PCMU]) * 160, bytes([SILENCE_PCMA]) * 160)
"""A frame of silence, by `is_alaw`."""
QUIET_PCMU: Final = bytes(range(0x70, 0x80)) + bytes(range(0xF0, 0x100))
QUIET_PCMA: Final = bytes(range(0x50, 0x60)) + bytes(range(0xD0, 0xE0))
"""The bytes of the lowest segment, about -50 dBov and below: a frame of only these is a pause."""

_MU_BIAS: Final = 33
_MU_CLIP: Final = 8158
"""In 14-bit samples: the last decision value of G.711 table 2 is 8159, and everything above it has the same code."""


def _build_decode_table() -> NDArray[np.int16]:
    code = np.arange(256)
    inverted = ~code & 0xFF
    magnitude = ((((inverted & 0x0F) << 1) + _MU_BIAS) << (inverted >> 4 & 7)) - _MU_BIAS
    mu_law = np.where(inverted & 0x80, -magnitude, magnitude) << 2
    toggled = code ^ 0x55
    segment, step = toggled >> 4 & 7, ((toggled & 0x0F) << 1) + 1
    magnitude = np.where(segment > 0, (step + 32) << np.maximum(segment - 1, 0), step)
    a_law = np.where(toggled & 0x80, magnitude, -magnitude) << 3
    return np.concatenate((mu_law, a_law)).astype(np.int16)


def _build_encode_table() -> NDArray[np.uint8]:
    pcm = np.arange(1 << 16).astype(np.uint16).view(np.int16).astype(np.int64)
    return np.concatenate((_encode_mu_law(pcm), _encode_a_law(pcm))).astype(np.uint8)


def _encode_mu_law(pcm: NDArray[np.int64]) -> NDArray[np.int64]:
    sample = pcm >> 2
    magnitude = np.minimum(np.abs(sample), _MU_CLIP) + _MU_BIAS
    segment = np.searchsorted(64 << np.arange(8), magnitude, side="right")
    code = segment << 4 | (magnitude >> (segment + 1) & 0x0F)
    return np.asarray(np.where(sample < 0, 0x7F, 0xFF) ^ code)


def _encode_a_law(pcm: NDArray[np.int64]) -> NDArray[np.int64]:
    sample = pcm >> 3
    magnitude = np.where(sample >= 0, sample, -sample - 1)
    segment = np.searchsorted(32 << np.arange(8), magnitude, side="right")
    code = segment << 4 | (magnitude >> np.maximum(segment, 1) & 0x0F)
    return np.asarray(np.where(sample >= 0, 0xD5, 0x55) ^ code)


_DECODE: Final = _build_decode_table()
_ENCODE: Final = _build_encode_table()


def decode(payload: NDArray[np.uint8], is_alaw: NDArray[np.bool_], out: NDArray[np.int16] | None = None) -> NDArray[np.int16]:
    """Return the samples of `payload` (streams, n) uint8 as (streams, n) int16. Row i is A-law if `is_alaw[i]`, else mu-law.

    `out`, contiguous and of the same shape, receives them if given.
    """
    if not is_alaw.any():  # nearly always
        return _DECODE.take(payload, out=out, mode="clip")
    index = np.add(payload, np.multiply(is_alaw, 256, dtype=np.intp)[:, None], dtype=np.intp)
    return _DECODE.take(index, out=out, mode="clip")


def encode(pcm: NDArray[np.int16], is_alaw: NDArray[np.bool_], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Return the payload bytes of `pcm` (streams, n) int16 as (streams, n) uint8. Row i becomes A-law if `is_alaw[i]`, else mu-law.

    `out`, contiguous and of the same shape, receives them if given.
    """
    if not is_alaw.any():
        return _ENCODE.take(pcm.view(np.uint16), out=out, mode="clip")
    index = np.add(pcm.view(np.uint16), np.multiply(is_alaw, 1 << 16, dtype=np.intp)[:, None], dtype=np.intp)
    return _ENCODE.take(index, out=out, mode="clip")


_DECODE_ONE: Final = (_DECODE[:256].astype("<i2"), _DECODE[256:].astype("<i2"))
_ENCODE_ONE: Final = (_ENCODE[: 1 << 16], _ENCODE[1 << 16 :])
"""The µ-law and A-law halves of the tables, indexed by `is_alaw`."""


def decode_bytes(payload: bytes, *, is_alaw: bool) -> bytes:
    """Decode the `payload` of one stream to s16le."""
    return _DECODE_ONE[is_alaw].take(np.frombuffer(payload, np.uint8)).tobytes()


def encode_bytes(pcm: bytes, *, is_alaw: bool) -> bytes:
    """Encode the s16le `pcm` of one stream to a payload."""
    return _ENCODE_ONE[is_alaw].take(np.frombuffer(pcm, "<u2")).tobytes()
