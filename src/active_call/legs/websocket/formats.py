"""Sound formats on a socket. Bytes of messages go in, PCM at the stream's rate comes out, and vice versa.

A format keeps the state of one direction of one call. Messages may have any length: an incomplete sample or byte pair waits for the next
message. An Opus message is one packet (RFC 6716).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from active_call.base.errors import ActiveCallError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.codec import g711
from active_call.codec.g722 import G722Encoder, new_decode
from active_call.codec.opus import OpusDecoder, OpusEncoder
from active_call.codec.polyphase import OneStreamResampler

PCM_RATES_HZ: Final = (8000, 16_000, 24_000, 48_000)
DEFAULT_PCM_RATE_HZ: Final = 16_000


class FormatError(ActiveCallError):
    """The format does not exist, or a message is not in the format."""

    code = "bad_request"


class SoundFormat(Protocol):
    """One call's sound, both ways."""

    @property
    def rate_hz(self) -> int:
        """The rate of the PCM: 8000, 16000 or 48000."""
        ...

    def decode(self, data: bytes) -> bytes:
        """Decode a message of the client to s16le mono. Raises FormatError."""
        ...

    def encode(self, pcm: bytes) -> bytes:
        """Encode 20 ms of s16le mono as a message."""
        ...


def sound_format(codec: str | None, rate_hz: int | None = None) -> SoundFormat:
    """The format `codec` (pcm, pcmu, pcma, g722, opus); `rate_hz` is for pcm only. Raises FormatError."""
    name = (codec or "pcm").lower()
    if rate_hz is not None and name != "pcm":
        raise FormatError(f"rate: only pcm has several rates; {name} has one")
    if name == "pcm":
        return PcmFormat(rate_hz or DEFAULT_PCM_RATE_HZ)
    if name not in _FORMATS:
        raise FormatError(f"option.codec: unknown codec {codec!r}; expected one of {', '.join(('pcm', *_FORMATS))}")
    return _FORMATS[name]()


class PcmFormat:
    """s16le mono at 8, 16, 24 or 48 kHz. 24 kHz is converted through 48 kHz."""

    def __init__(self, rate_hz: int = DEFAULT_PCM_RATE_HZ) -> None:
        if rate_hz not in PCM_RATES_HZ:
            raise FormatError(f"rate: expected one of {', '.join(map(str, PCM_RATES_HZ))}, found {rate_hz}")
        self.rate_hz = 48_000 if rate_hz == 24_000 else rate_hz
        self._rest = b""
        is_same = rate_hz == self.rate_hz
        self._in = None if is_same else OneStreamResampler(rate_hz, self.rate_hz)
        self._out = None if is_same else OneStreamResampler(self.rate_hz, rate_hz)

    def decode(self, data: bytes) -> bytes:
        """See `SoundFormat`."""
        if self._rest or len(data) % BYTES_PER_SAMPLE:
            data = self._rest + data
            whole = len(data) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
            data, self._rest = data[:whole], data[whole:]
        return data if self._in is None or not data else _resampled(self._in, data)

    def encode(self, pcm: bytes) -> bytes:
        """See `SoundFormat`."""
        return pcm if self._out is None else _resampled(self._out, pcm)


def _resampled(resampler: OneStreamResampler, pcm: bytes) -> bytes:
    return resampler.process(np.frombuffer(pcm, "<i2")).astype("<i2", copy=False).tobytes()


class G711Format:
    """G.711 at 8 kHz."""

    rate_hz = 8000

    def __init__(self, is_alaw: bool) -> None:
        self._is_alaw = is_alaw

    def decode(self, data: bytes) -> bytes:
        """See `SoundFormat`."""
        return g711.decode_bytes(data, is_alaw=self._is_alaw)

    def encode(self, pcm: bytes) -> bytes:
        """See `SoundFormat`."""
        return g711.encode_bytes(pcm, is_alaw=self._is_alaw)


class G722Format:
    """G.722 at 64 kbit/s, 16 kHz."""

    rate_hz = 16_000

    def __init__(self) -> None:
        self._decode, self._encoder = new_decode(), G722Encoder()

    def decode(self, data: bytes) -> bytes:
        """See `SoundFormat`."""
        return self._decode(data).astype("<i2").tobytes()

    def encode(self, pcm: bytes) -> bytes:
        """See `SoundFormat`."""
        return self._encoder.encode(np.frombuffer(pcm, "<i2"))


class OpusFormat:
    """Opus, one packet per message, decoded at 16 kHz."""

    rate_hz = 16_000

    def __init__(self) -> None:
        self._decoder, self._encoder = OpusDecoder(self.rate_hz), OpusEncoder(self.rate_hz)

    def decode(self, data: bytes) -> bytes:
        """See `SoundFormat`."""
        try:
            return self._decoder.decode(data).astype("<i2").tobytes()
        except Exception as error:
            raise FormatError(f"a binary message is not an Opus packet: {error}") from error

    def encode(self, pcm: bytes) -> bytes:
        """See `SoundFormat`."""
        return self._encoder.encode(np.frombuffer(pcm, "<i2"))


_FORMATS: Final[dict[str, Callable[[], SoundFormat]]] = {
    "pcmu": lambda: G711Format(is_alaw=False),
    "pcma": lambda: G711Format(is_alaw=True),
    "g722": G722Format,
    "opus": OpusFormat,
}
