"""The codecs by their names in SDP: which payload type is which codec (RFC 3551 §6, RFC 4733, RFC 7587).

A media section enters, matches leave. A new codec is one line in `CODECS`; whether it is offered is decided by `LocalMedia.codecs`.
"""

from __future__ import annotations

from dataclasses import dataclass

from active_call.sdp.description import Attribute, MediaDescription, RtpMap

TELEPHONE_EVENT = "telephone-event"
EVENTS_FMTP = "0-16"
"""The events we take: digits, *, #, A to D, and flash."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec as SDP knows it. `payload_type` is the static one, or the one we pick when we offer it.

    `clock_hz` is the RTP clock, which for G.722 is not the sampling rate (RFC 3551 §4.5.2).
    """

    name: str
    encoding: str
    payload_type: int
    clock_hz: int = 8000
    channels: int = 1
    fmtp: str | None = None

    @property
    def rtpmap(self) -> str:
        """`ENCODING/clock` with the channels where there are several."""
        return f"{self.encoding}/{self.clock_hz}" + (f"/{self.channels}" if self.channels > 1 else "")

    def is_named_by(self, rtpmap: RtpMap) -> bool:
        """Whether that `a=rtpmap` means this codec."""
        same_shape = (self.clock_hz, self.channels) == (rtpmap.clock_hz, rtpmap.channels)
        return same_shape and self.encoding.lower() == rtpmap.name.lower()


CODECS = {
    codec.name: codec
    for codec in (
        Codec("pcmu", "PCMU", 0),
        Codec("pcma", "PCMA", 8),
        Codec("g722", "G722", 9),
        Codec("opus", "opus", 107, clock_hz=48_000, channels=2, fmtp="useinbandfec=1"),
    )
}
EVENT_PAYLOAD_TYPES = {8000: 101, 48_000: 110}
"""What we offer telephone-event as, by clock; 101 is what everybody uses at 8000 Hz."""

_STATIC = {
    0: RtpMap(0, "PCMU", 8000),
    3: RtpMap(3, "GSM", 8000),
    4: RtpMap(4, "G723", 8000),
    8: RtpMap(8, "PCMA", 8000),
    9: RtpMap(9, "G722", 8000),
    13: RtpMap(13, "CN", 8000),
    18: RtpMap(18, "G729", 8000),
}
"""RFC 3551 §6: the types that need no `a=rtpmap`; those that we cannot use are here to be named in errors."""


def offered_maps(section: MediaDescription) -> list[RtpMap]:
    """What each payload type of the `m=` line stands for, in order; types that nothing explains are left out."""
    maps = section.rtpmaps()
    found = (maps.get(payload_type) or _STATIC.get(payload_type) for payload_type in section.payload_types)
    return [rtpmap for rtpmap in found if rtpmap is not None]


def first_common_codec(section: MediaDescription, names: tuple[str, ...]) -> tuple[Codec, int] | None:
    """The first codec of the section's order that is among `names`, and its payload type there."""
    ours = [CODECS[name] for name in names if name in CODECS]
    for rtpmap in offered_maps(section):
        for codec in ours:
            if codec.is_named_by(rtpmap):
                return codec, rtpmap.payload_type
    return None


def find_codec(section: MediaDescription, codec: Codec) -> int | None:
    """The payload type of that codec in the section."""
    return next((rtpmap.payload_type for rtpmap in offered_maps(section) if codec.is_named_by(rtpmap)), None)


def find_event(section: MediaDescription, clock_hz: int) -> RtpMap | None:
    """The telephone-event that goes with a codec of that clock, else the first there is (Twilio offers 8000 Hz only, beside Opus)."""
    events = [rtpmap for rtpmap in offered_maps(section) if rtpmap.name.lower() == TELEPHONE_EVENT]
    return next((event for event in events if event.clock_hz == clock_hz), events[0] if events else None)


def describe_codec(codec: Codec, payload_type: int) -> list[Attribute]:
    """The attributes that explain a codec under that payload type."""
    lines = [Attribute("rtpmap", f"{payload_type} {codec.rtpmap}")]
    return lines if codec.fmtp is None else [*lines, Attribute("fmtp", f"{payload_type} {codec.fmtp}")]


def describe_event(payload_type: int, clock_hz: int) -> list[Attribute]:
    """The attributes that explain telephone-event under that payload type."""
    return [
        Attribute("rtpmap", f"{payload_type} {TELEPHONE_EVENT}/{clock_hz}"),
        Attribute("fmtp", f"{payload_type} {EVENTS_FMTP}"),
    ]
