"""The codecs in SDP: the mapping between payload types and codecs (RFC 3551 §6, RFC 4733, RFC 7587).

A media section goes in, matches come out. A new codec is one line in `CODECS`; `LocalMedia.codecs` decides whether it is offered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from active_call.sdp.description import Attribute, MediaDescription, RtpMap

TELEPHONE_EVENT = "telephone-event"
EVENTS_FMTP = "0-16"
"""The supported events: digits, *, #, A to D, and flash."""
COMFORT_NOISE = 13
"""RFC 3551 §6. We never treat it as sound, whatever its rtpmap says."""


class Codec(Struct, frozen=True):
    """One codec in SDP. `payload_type` is the static one, or our choice in an offer.

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
        """`ENCODING/clock`, with the number of channels if it is not 1."""
        return f"{self.encoding}/{self.clock_hz}" + (f"/{self.channels}" if self.channels > 1 else "")

    def is_named_by(self, rtpmap: RtpMap) -> bool:
        """Whether that `a=rtpmap` means this codec. Opus without its `/2` is also accepted: there is no other (RFC 7587 §7)."""
        same_shape = self.clock_hz == rtpmap.clock_hz and rtpmap.channels in (self.channels, 1)
        return same_shape and self.encoding.lower() == rtpmap.name.lower()


CODECS = {
    codec.name: codec
    for codec in (
        Codec("pcmu", "PCMU", 0),
        Codec("pcma", "PCMA", 8),
        Codec("g722", "G722", 9),
        Codec("opus", "opus", 107, clock_hz=48_000, channels=2, fmtp="useinbandfec=1"),
        Codec("l16_16000", "L16", 116, clock_hz=16_000),
        Codec("l16_8000", "L16", 115),
    )
}
EVENT_PAYLOAD_TYPES = {8000: 101, 48_000: 110, 16_000: 111}
"""Our payload types for telephone-event, by clock. 101 is the common one at 8000 Hz."""

_STATIC = {
    0: RtpMap(0, "PCMU", 8000),
    3: RtpMap(3, "GSM", 8000),
    4: RtpMap(4, "G723", 8000),
    8: RtpMap(8, "PCMA", 8000),
    9: RtpMap(9, "G722", 8000),
    10: RtpMap(10, "L16", 44_100, 2),
    11: RtpMap(11, "L16", 44_100),
    COMFORT_NOISE: RtpMap(COMFORT_NOISE, "CN", 8000),
    15: RtpMap(15, "G728", 8000),
    18: RtpMap(18, "G729", 8000),
}
"""RFC 3551 §6: the types that need no `a=rtpmap`. Unsupported ones are listed for error messages."""
_DYNAMIC: tuple[int, ...] = (*range(96, 128), *range(35, 64))
"""RFC 3551 §3 and §6: dynamic payload types; the second range is for when the first is used up."""


EVENT_CLOCKS_HZ = range(1000, 192_001)
"""Clocks that a telephone-event may have (RFC 4733 §2.5.1): those of audio codecs. The media process accepts no others."""


class Format(Struct, frozen=True):
    """One payload type and its content: a codec name, or `TELEPHONE_EVENT`."""

    payload_type: int
    name: str
    clock_hz: int


def offered_maps(section: MediaDescription) -> list[RtpMap]:
    """The codecs of the payload types in the `m=` line, in order, without unknown types and telephone events with an impossible clock."""
    maps = section.rtpmaps()
    types = dict.fromkeys(section.payload_types)
    found = (_STATIC[13] if number == COMFORT_NOISE else maps.get(number) or _STATIC.get(number) for number in types)
    return [rtpmap for rtpmap in found if rtpmap is not None and _is_possible(rtpmap)]


def _is_possible(rtpmap: RtpMap) -> bool:
    return rtpmap.name.lower() != TELEPHONE_EVENT or rtpmap.clock_hz in EVENT_CLOCKS_HZ


def first_common_codec(maps: Sequence[RtpMap], names: tuple[str, ...]) -> tuple[Codec, int] | None:
    """The first codec in the order of `offered_maps` that is among `names`, and its payload type."""
    ours = [CODECS[name] for name in names if name in CODECS]
    for rtpmap in maps:
        for codec in ours:
            if codec.is_named_by(rtpmap):
                return codec, rtpmap.payload_type
    return None


def find_codec(maps: Sequence[RtpMap], codec: Codec) -> int | None:
    """The payload type of that codec among `offered_maps`."""
    return next((rtpmap.payload_type for rtpmap in maps if codec.is_named_by(rtpmap)), None)


def find_event(maps: Sequence[RtpMap], clock_hz: int) -> RtpMap | None:
    """The telephone-event with the clock of a codec, else the first one (Twilio offers only 8000 Hz, even with Opus)."""
    events = [rtpmap for rtpmap in maps if rtpmap.name.lower() == TELEPHONE_EVENT]
    return next((event for event in events if event.clock_hz == clock_hz), events[0] if events else None)


def receivable_formats(maps: Iterable[RtpMap], names: tuple[str, ...]) -> tuple[Format, ...]:
    """What may arrive with which payload type: the codecs among `names` and the telephone events. Of equal types the first one counts."""
    codecs = [CODECS[name] for name in names if name in CODECS]
    formats: dict[int, Format] = {}
    for rtpmap in maps:
        is_event = rtpmap.name.lower() == TELEPHONE_EVENT
        name = TELEPHONE_EVENT if is_event else next((codec.name for codec in codecs if codec.is_named_by(rtpmap)), None)
        if name is not None:
            formats.setdefault(rtpmap.payload_type, Format(rtpmap.payload_type, name, rtpmap.clock_hz))
    return tuple(formats.values())


def choose_numbers(names: tuple[str, ...], previous: MediaDescription | None) -> tuple[list[tuple[Codec, int]], list[tuple[int, int]]]:
    """The payload types for offering the codecs, and telephone-event by clock: `(codec, number)` and `(clock, number)`.

    A number keeps its meaning for the life of the stream (RFC 3264 §8.3.2). So what is in our `previous` description keeps its number, and
    everything else gets new ones.
    """
    taken = {} if previous is None else {rtpmap.payload_type: rtpmap for rtpmap in offered_maps(previous)}
    codecs = [CODECS[name] for name in names]
    numbered: list[tuple[Codec, int]] = []
    for codec in codecs:
        known = next((number for number, rtpmap in taken.items() if codec.is_named_by(rtpmap)), None)
        number = _free(codec.payload_type, taken) if known is None else known
        taken[number] = RtpMap(number, codec.encoding, codec.clock_hz, codec.channels)
        numbered.append((codec, number))
    events: list[tuple[int, int]] = []
    for clock_hz in dict.fromkeys(codec.clock_hz for codec in codecs):
        known = next((n for n, rtpmap in taken.items() if (rtpmap.name.lower(), rtpmap.clock_hz) == (TELEPHONE_EVENT, clock_hz)), None)
        number = _free(EVENT_PAYLOAD_TYPES[clock_hz], taken) if known is None else known
        taken[number] = RtpMap(number, TELEPHONE_EVENT, clock_hz)
        events.append((clock_hz, number))
    return numbered, events


def _free(preferred: int, taken: dict[int, RtpMap]) -> int:
    return next(number for number in (preferred, *_DYNAMIC) if number not in taken)


def describe_codec(codec: Codec, payload_type: int) -> list[Attribute]:
    """The attributes of a codec under that payload type."""
    lines = [Attribute("rtpmap", f"{payload_type} {codec.rtpmap}")]
    return lines if codec.fmtp is None else [*lines, Attribute("fmtp", f"{payload_type} {codec.fmtp}")]


def describe_event(payload_type: int, clock_hz: int) -> list[Attribute]:
    """The attributes of telephone-event under that payload type."""
    return [
        Attribute("rtpmap", f"{payload_type} {TELEPHONE_EVENT}/{clock_hz}"),
        Attribute("fmtp", f"{payload_type} {EVENTS_FMTP}"),
    ]
