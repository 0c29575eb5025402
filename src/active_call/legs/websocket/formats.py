"""Sound formats on a socket: which exist, and how long the sound in a message is. The media process encodes and decodes it.

Messages may have any length, except that an Opus message is one packet (RFC 6716).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from active_call.base.errors import ActiveCallError, ParseError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.codec.messages import MESSAGE_CODECS, PCM_RATES_HZ
from active_call.codec.opus import RTP_CLOCK_HZ, payload_ticks

DEFAULT_PCM_RATE_HZ: Final = 16_000
_BYTES_PER_S: Final = 8000
"""Of G.711 and G.722."""


class FormatError(ActiveCallError):
    """The format does not exist, or a message is not in the format."""

    code = "bad_request"


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """The format of a call's sound, both ways. `codec`: see `codec.messages`; `message_rate_hz`: the rate of pcm in messages."""

    codec: str
    message_rate_hz: int
    rate_hz: int
    """The rate of the stream: 8000, 16000 or 48000."""

    @property
    def bytes_per_s(self) -> int:
        """Of messages; 0 for a codec whose packets say how long they are."""
        if self.codec == "pcm":
            return BYTES_PER_SAMPLE * self.message_rate_hz
        return 0 if self.codec == "opus" else _BYTES_PER_S

    def length_s(self, data: bytes) -> float:
        """The duration of a message of the client. Raises FormatError if it is visibly not in the format."""
        if self.codec != "opus":
            return len(data) / self.bytes_per_s
        try:
            return payload_ticks(data) / RTP_CLOCK_HZ
        except ParseError as error:
            raise FormatError(f"a binary message is not an Opus packet: {error}") from error

    def split_sample(self, data: bytes) -> bytes:
        """What must be kept of a message that is dropped, so that the samples after it are not cut in the middle."""
        return data[len(data) - len(data) % BYTES_PER_SAMPLE :] if self.codec == "pcm" else b""


def sound_format(codec: str | None, rate_hz: int | None = None) -> SoundFormat:
    """The format `codec` (pcm, pcmu, pcma, g722, opus); `rate_hz` is for pcm only. Raises FormatError."""
    name = (codec or "pcm").lower()
    if name not in MESSAGE_CODECS:
        raise FormatError(f"option.codec: unknown codec {codec!r}; expected one of {', '.join(MESSAGE_CODECS)}")
    if name != "pcm":
        if rate_hz is not None:
            raise FormatError(f"rate: only pcm has several rates; {name} has one")
        rate_hz = 8000 if name in ("pcmu", "pcma") else 16_000
        return SoundFormat(name, rate_hz, rate_hz)
    rate_hz = rate_hz or DEFAULT_PCM_RATE_HZ
    if rate_hz not in PCM_RATES_HZ:
        raise FormatError(f"rate: expected one of {', '.join(map(str, PCM_RATES_HZ))}, found {rate_hz}")
    return SoundFormat(name, rate_hz, 48_000 if rate_hz == 24_000 else rate_hz)
