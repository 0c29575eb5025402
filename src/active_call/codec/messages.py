"""Sound in whole messages, as on a WebSocket: the messages of one stream become samples, and frames become messages.

A codec keeps the state of one stream, both ways. Messages of the peer may have any length: an incomplete sample waits for the next
message. An Opus message is one packet (RFC 6716). The connection loses nothing, so Opus is encoded without FEC, and with the part of the
codec that needs the least time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.codec import g711
from active_call.codec.g722 import G722Encoder, new_decode
from active_call.codec.opus import OpusDecoder, OpusEncoder, OpusSettings
from active_call.codec.opus_silence import SilentPayloads
from active_call.codec.polyphase import OneStreamResampler

PCM_RATES_HZ: Final = (8000, 16_000, 24_000, 48_000)

OPUS_SETTINGS: Final = OpusSettings(bitrate=48_000, complexity=0, fec=False, is_low_delay=True)

Samples = NDArray[np.int16]


class MessageCodec(Protocol):
    """The codec of one stream, both ways."""

    @property
    def rate_hz(self) -> int:
        """The rate of the samples: 8000, 16000 or 48000."""
        ...

    def decode(self, message: bytes) -> Samples:
        """Decode a message of the peer. Raises ParseError, with nothing changed, if it is malformed."""
        ...

    def encode(self, frame: Samples) -> bytes:
        """Encode 20 ms."""
        ...

    def set_shedding(self, is_shedding: bool) -> None:
        """Encode with less effort if the codec can do that. False: as usual again."""
        ...


def new_message_codec(name: str, rate_hz: int) -> MessageCodec:
    """The codec `name` (pcm, pcmu, pcma, g722, opus); `rate_hz` is for pcm only. Raises ValueError if it does not exist, and OpusError if
    libopus is missing.
    """
    if name == "pcm":
        return PcmMessages(rate_hz)
    if name not in _CODECS:
        raise ValueError(f"codec: no codec {name!r}")
    return _CODECS[name]()


class _SameEffort:
    def set_shedding(self, is_shedding: bool) -> None:
        """See `MessageCodec`: there is nothing to save."""


class PcmMessages(_SameEffort):
    """s16le mono at 8, 16, 24 or 48 kHz. 24 kHz is converted through 48 kHz."""

    def __init__(self, rate_hz: int) -> None:
        if rate_hz not in PCM_RATES_HZ:
            raise ValueError(f"rate_hz: no pcm at {rate_hz} Hz")
        self.rate_hz = 48_000 if rate_hz == 24_000 else rate_hz
        self._rest = b""
        is_same = rate_hz == self.rate_hz
        self._in = None if is_same else OneStreamResampler(rate_hz, self.rate_hz)
        self._out = None if is_same else OneStreamResampler(self.rate_hz, rate_hz)

    def decode(self, message: bytes) -> Samples:
        """See `MessageCodec`."""
        if self._rest or len(message) % BYTES_PER_SAMPLE:
            message = self._rest + message
            whole = len(message) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
            message, self._rest = message[:whole], message[whole:]
        samples: Samples = np.frombuffer(message, "<i2")
        return samples if self._in is None or not len(samples) else self._in.process(samples)

    def encode(self, frame: Samples) -> bytes:
        """See `MessageCodec`."""
        samples = frame if self._out is None else self._out.process(frame)
        return samples.astype("<i2", copy=False).tobytes()


class G711Messages(_SameEffort):
    """G.711 at 8 kHz."""

    rate_hz = 8000

    def __init__(self, is_alaw: bool) -> None:
        self._is_alaw = is_alaw

    def decode(self, message: bytes) -> Samples:
        """See `MessageCodec`."""
        return np.frombuffer(g711.decode_bytes(message, is_alaw=self._is_alaw), "<i2")

    def encode(self, frame: Samples) -> bytes:
        """See `MessageCodec`."""
        return g711.encode_bytes(frame.tobytes(), is_alaw=self._is_alaw)


class G722Messages(_SameEffort):
    """G.722 at 64 kbit/s, 16 kHz."""

    rate_hz = 16_000

    def __init__(self) -> None:
        self._decode, self._encoder = new_decode(), G722Encoder()

    def decode(self, message: bytes) -> Samples:
        """See `MessageCodec`."""
        return self._decode(message)

    def encode(self, frame: Samples) -> bytes:
        """See `MessageCodec`."""
        return self._encoder.encode(frame)


class OpusMessages:
    """Opus, one packet per message, decoded at 16 kHz."""

    rate_hz = 16_000

    def __init__(self) -> None:
        self._decoder, self._encoder = OpusDecoder(self.rate_hz), OpusEncoder(self.rate_hz, OPUS_SETTINGS)
        self._silence = SilentPayloads(self._encoder)

    def decode(self, message: bytes) -> Samples:
        """See `MessageCodec`."""
        return self._decoder.decode(message)

    def encode(self, frame: Samples) -> bytes:
        """See `MessageCodec`."""
        if frame.any():
            self._silence.end()
            return self._encoder.encode(frame)
        payload = self._silence.take()
        if payload is None:
            payload = self._encoder.encode(frame)
            self._silence.note(payload)
        return payload

    def set_shedding(self, is_shedding: bool) -> None:
        """See `MessageCodec`."""
        self._encoder.set_shedding(is_shedding)
        self._silence.end()


_CODECS: Final[dict[str, Callable[[], MessageCodec]]] = {
    "pcmu": lambda: G711Messages(is_alaw=False),
    "pcma": lambda: G711Messages(is_alaw=True),
    "g722": G722Messages,
    "opus": OpusMessages,
}
MESSAGE_CODECS: Final = ("pcm", *_CODECS)
"""The names."""
