"""The interface of a codec for one stream: an encoder and a decoder, and how to get them by the codec's name.

Samples are mono int16 at the codec's `sample_rate_hz`. G.711 has these too, for tests and for single streams. If many streams share a tick,
`g711` and `conceal` do the same for all of them at once.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from active_call.codec import g711, g722, l16
from active_call.codec.opus import OpusDecoder, OpusEncoder
from active_call.codec.table import CODECS
from active_call.codec.waveform import WaveformDecoder

Samples = NDArray[np.int16]


class Encoder(Protocol):
    """Encodes the sound of one stream to payloads."""

    sample_rate_hz: int

    def encode(self, samples: Samples) -> bytes:
        """Return the payload of one packet with these samples. Raises ValueError for a number of samples that the codec cannot pack."""
        ...


class Decoder(Protocol):
    """Decodes the payloads of one stream to sound. Every method returns a new array and advances the stream."""

    sample_rate_hz: int

    def duration_s(self, payload: bytes) -> float:
        """The duration of that payload, without decoding it. Raises ParseError if it is malformed."""
        ...

    def decode(self, payload: bytes) -> Samples:
        """Return its samples. Raises ParseError, with nothing changed, if it is malformed."""
        ...

    def conceal(self, n_samples: int) -> Samples:
        """Return `n_samples` of concealment for a missing payload."""
        ...

    def decode_fec(self, next_payload: bytes, n_samples: int) -> Samples:
        """Like `conceal`, using the FEC data in the payload after the missing one. That payload must be decoded next."""
        ...

    def reset(self) -> None:
        """Reset for another stream."""
        ...


class _G711Encoder:
    sample_rate_hz = 8000

    def __init__(self, is_alaw: bool) -> None:
        self._is_alaw = np.array([is_alaw])

    def encode(self, samples: Samples) -> bytes:
        return g711.encode(np.ascontiguousarray(samples)[None], self._is_alaw).tobytes()


class _L16Encoder:
    def __init__(self, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz

    def encode(self, samples: Samples) -> bytes:
        return l16.encode(samples)


def _g711_decode(is_alaw: bool) -> WaveformDecoder:
    law = np.array([is_alaw])
    return WaveformDecoder(8000, 1, lambda: lambda payload: g711.decode(np.frombuffer(payload, np.uint8)[None], law)[0])


_G711: Final = {"pcmu": False, "pcma": True}


def new_encoder(name: str) -> Encoder:
    """An encoder of the codec with that name. Raises ValueError for an unknown one, OpusError if libopus is missing."""
    match name:
        case "pcmu" | "pcma":
            return _G711Encoder(_G711[name])
        case "g722":
            return g722.G722Encoder()
        case "l16_8000" | "l16_16000":
            return _L16Encoder(CODECS[name].sample_rate_hz)
        case "opus":
            return OpusEncoder()
        case _:
            raise ValueError(f"no encoder for {name!r}")


def new_decoder(name: str) -> Decoder:
    """A decoder of the codec with that name. Raises as `new_encoder`."""
    match name:
        case "pcmu" | "pcma":
            return _g711_decode(_G711[name])
        case "g722":
            return WaveformDecoder(16_000, 2, g722.new_decode)
        case "l16_8000" | "l16_16000":
            return WaveformDecoder(CODECS[name].sample_rate_hz, 0.5, lambda: l16.decode)
        case "opus":
            return OpusDecoder()
        case _:
            raise ValueError(f"no decoder for {name!r}")
