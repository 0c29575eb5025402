"""The codecs that calls are made of: their names in SDP, static payload types (RFC 3551 section 6) and sizes. Constants only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Codec:
    """One payload format.

    `rtp_clock_hz` counts timestamps and stands in SDP; `sample_rate_hz` is that of the sound. They differ for G.722 (RFC 3551 section
    4.5.2). `frame_bytes` is the size of 20 ms, 0 when it varies. `static_payload_type` is -1 when the number is always negotiated.
    """

    name: str
    encoding_name: str
    static_payload_type: int
    rtp_clock_hz: int
    sample_rate_hz: int
    frame_bytes: int
    channels: int = 1


PCMU: Final = Codec("pcmu", "PCMU", 0, 8000, 8000, 160)
PCMA: Final = Codec("pcma", "PCMA", 8, 8000, 8000, 160)
G722: Final = Codec("g722", "G722", 9, 8000, 16000, 160)
OPUS: Final = Codec("opus", "opus", -1, 48000, 48000, 0, 2)
TELEPHONE_EVENT: Final = Codec("telephone_event", "telephone-event", -1, 8000, 8000, 4)

CODECS: Final[dict[str, Codec]] = {codec.name: codec for codec in (PCMU, PCMA, G722, OPUS, TELEPHONE_EVENT)}
"""By our name."""
STATIC_PAYLOAD_TYPES: Final[dict[int, Codec]] = {codec.static_payload_type: codec for codec in (PCMU, PCMA, G722)}
"""By the number that needs no rtpmap."""
