"""The supported codecs: names in SDP, static payload types (RFC 3551 §6) and sizes. Constants only."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Codec(Struct, frozen=True):
    """One payload format.

    `rtp_clock_hz` is the clock of timestamps and the rate in SDP; `sample_rate_hz` is that of the sound. They differ for G.722 (RFC 3551
    §4.5.2). Opus is decoded and encoded at any of its rates (RFC 7587 §4.1); 16 kHz is the rate for speech recognition and costs less than
    48. `frame_bytes` is the size of 20 ms, 0 if it varies. `static_payload_type` is -1 if the number is always negotiated. `channels` is
    the number in SDP; the sound is always mono.
    """

    name: str
    encoding_name: str
    static_payload_type: int
    rtp_clock_hz: int
    sample_rate_hz: int
    frame_bytes: int
    channels: int = 1

    @property
    def rtpmap(self) -> str:
        """The `a=rtpmap` value that identifies a dynamic payload type."""
        return f"{self.encoding_name}/{self.rtp_clock_hz}" + (f"/{self.channels}" if self.channels > 1 else "")


PCMU: Final = Codec("pcmu", "PCMU", 0, 8000, 8000, 160)
PCMA: Final = Codec("pcma", "PCMA", 8, 8000, 8000, 160)
G722: Final = Codec("g722", "G722", 9, 8000, 16000, 160)
OPUS: Final = Codec("opus", "opus", -1, 48000, 16000, 0, 2)
L16_8000: Final = Codec("l16_8000", "L16", -1, 8000, 8000, 320)
L16_16000: Final = Codec("l16_16000", "L16", -1, 16000, 16000, 640)
"""Linear samples, between our own processes and on local networks. RFC 3551's static types 10 and 11 (44.1 kHz) are not supported."""
TELEPHONE_EVENT: Final = Codec("telephone_event", "telephone-event", -1, 8000, 8000, 4)

AUDIO_CODECS: Final = (PCMU, PCMA, G722, OPUS, L16_8000, L16_16000)
CODECS: Final[dict[str, Codec]] = {codec.name: codec for codec in (*AUDIO_CODECS, TELEPHONE_EVENT)}
"""By our name."""
RTPMAPS: Final[dict[str, Codec]] = {codec.rtpmap.lower(): codec for codec in CODECS.values()}
"""By the rtpmap in lower case: encoding names are case-insensitive (RFC 8866 §6.6)."""
