"""The trunk's session descriptions: offers and answers as carriers write them, and a strict reading of the peer's.

Enters: switches, addresses, SDP octets. Leaves: octets, a `Session`, and (name, detail) of what is wrong. RFC 4566, 3264, 4568, 4733.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from active_call.testing.trunk.switches import Switches

SUITES = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
RTPMAPS = {
    0: "PCMU/8000",
    8: "PCMA/8000",
    9: "G722/8000",
    18: "G729/8000",
    96: "telephone-event/8000",
    101: "telephone-event/8000",
    102: "opus/48000/2",
    103: "telephone-event/48000",
    107: "opus/48000/2",
    126: "telephone-event/8000",
}
SOUND_TYPES = (0, 8, 9, 18, 102, 107)
OPPOSITE = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
_FORMATS = {
    102: "useinbandfec=1; maxaveragebitrate=30000; maxplaybackrate=48000; ptime=20",
    103: "0-15",
    107: "useinbandfec=1",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the trunk's sound is. An empty key: RTP in the clear."""

    ip: str
    port: int
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Media:
    """One m-line with what stands below it, the session's level already applied."""

    kind: str
    port: int
    profile: str
    formats: tuple[str, ...]
    address: str = ""
    direction: str = "sendrecv"
    maps: dict[int, str] = field(default_factory=dict)
    crypto: tuple[tuple[int, str, bytes], ...] = ()
    """(tag, suite, key and salt)."""
    ptime_ms: int = 0

    @property
    def types(self) -> tuple[int, ...]:
        """The payload types."""
        return tuple(int(one) for one in self.formats if one.isdigit())


@dataclass(frozen=True, slots=True)
class Session:
    """A whole description, read. `version` of o=, -1 when there is none."""

    version: int
    media: tuple[Media, ...]
    wrong: tuple[str, ...] = ()

    @property
    def sound(self) -> Media | None:
        """The first audio that was not refused."""
        return next((one for one in self.media if one.kind == "audio" and one.port), None)


# -- writing ------------------------------------------------------------------------------------------------------------------------------


def offer(switches: Switches, place: Place, *, direction: str = "sendrecv", version: int = 1, zero_address: bool = False) -> bytes:
    """An offer as the profile writes it; `zero_address` puts the old hold's c=0.0.0.0."""
    sound = _sound_lines(switches, place, switches.payload_types, direction, ((1, SUITES[0]),) if place.key else ())
    blocks = [sound]
    for kind in switches.other_media:
        block = _other_lines(kind.strip("<"), place)
        blocks = [block, *blocks] if kind.startswith("<") else [*blocks, block]
    return _session(switches, "0.0.0.0" if zero_address else place.ip, blocks, place, version)


def answer(switches: Switches, place: Place, offered: Session, *, version: int = 1, direction: str = "") -> bytes:
    """The answer to an offer: the first codec that the trunk knows in the offerer's order, its telephone-event, the first known suite."""
    blocks = []
    taken = False
    for media in offered.media:
        codec = next((one for one in media.types if one in switches.payload_types and one in SOUND_TYPES), None)
        if taken or media.kind != "audio" or not media.port or codec is None:
            blocks.append([f"m={media.kind} 0 {media.profile} {' '.join(media.formats) or '0'}"])
            continue
        taken = True
        events = [one for one, text in media.maps.items() if text.lower() == "telephone-event/8000"][:1]
        crypto = next(((tag, suite) for tag, suite, _ in media.crypto if suite in SUITES), None)
        chosen = (crypto,) if crypto and place.key else ()
        blocks.append(_sound_lines(switches, place, (codec, *events), direction or OPPOSITE[media.direction], chosen))
    return _session(switches, place.ip, blocks, place, version)


def _session(switches: Switches, connection: str, blocks: list[list[str]], place: Place, version: int) -> bytes:
    origin = "172.18.155.180" if switches.private_origin else place.ip
    name = "Telnyx" if switches.carrier_headers == "telnyx" else "Media Gateway"
    user = "Telnyx" if switches.carrier_headers == "telnyx" else "root"
    lines = ["v=0", f"o={user} 8127 {version} IN IP4 {origin}", f"s={name}"]
    if not switches.connection_at_media:
        lines.append(f"c=IN IP4 {connection}")
    lines.append("t=0 0")
    for block in blocks:
        lines.append(block[0])
        if switches.connection_at_media:
            lines.append(f"c=IN IP4 {connection}")
        lines += block[1:]
    return "\r\n".join([*lines, ""]).encode()


def _sound_lines(switches: Switches, place: Place, types: Sequence[int], direction: str, crypto: Sequence[tuple[int, str]]) -> list[str]:
    lines = [f"m=audio {place.port} {'RTP/SAVP' if crypto else 'RTP/AVP'} {' '.join(map(str, types))}"]
    lines += [f"a=crypto:{tag} {suite} inline:{base64.b64encode(place.key).decode()}" for tag, suite in crypto]
    for one in types:
        lines.append(f"a=rtpmap:{one} {RTPMAPS.get(one, 'telephone-event/8000')}")
        if one not in SOUND_TYPES or one in _FORMATS:
            lines.append(f"a=fmtp:{one} {_FORMATS.get(one, '0-16')}")
    if switches.rtcp_attribute:
        lines.append(f"a=rtcp:{place.port + 1} IN IP4 {place.ip}")
    return [*lines, f"a=ptime:{switches.ptime_ms}", f"a=maxptime:{max(switches.ptime_ms, 20)}", f"a={direction}"]


def _other_lines(kind: str, place: Place) -> list[str]:
    if kind == "image":
        return [f"m=image {place.port + 2} udptl t38", "a=T38FaxVersion:0", "a=T38MaxBitRate:14400"]
    if kind == "video":
        return [f"m=video {place.port + 2} RTP/AVP 97", "a=rtpmap:97 H264/90000", "a=sendrecv"]
    return [f"m=audio {place.port + 2} RTP/AVP 0 8", "a=sendrecv"]


# -- reading ------------------------------------------------------------------------------------------------------------------------------


def read(body: bytes) -> Session:
    """A description of the peer, with what is malformed in it."""
    lines = body.decode(errors="replace").split("\r\n")
    wrong = [] if lines[-1] == "" else ["SDP does not end its last line"]
    lines = [line for line in lines if line]
    kinds = [line[:2] for line in lines]
    if kinds[:3] != ["v=", "o=", "s="] or "t=" not in kinds or "m=" not in kinds:
        return Session(-1, (), (*wrong, "SDP lacks one of v= o= s= t= m=, or begins otherwise"))
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    head = lines[: starts[0]]
    media = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        one = _read_media(head, lines[start:end])
        if one is None:
            wrong.append(f"SDP m-line cannot be read: {lines[start]}")
        else:
            media.append(one)
    origin = lines[1].split(" ")
    version = int(origin[2]) if len(origin) == 6 and origin[2].isdigit() else -1
    return Session(version, tuple(media), tuple(wrong if version >= 0 else [*wrong, f"SDP origin cannot be read: {lines[1]}"]))


def _read_media(head: Sequence[str], block: Sequence[str]) -> Media | None:
    found = re.fullmatch(r"m=(\w+) (\d+)(?:/\d+)? (\S+) (.+)", block[0])
    if found is None:
        return None
    both = [*head, *block]
    address = next((line.split(" ")[-1] for line in reversed(both) if line.startswith("c=IN IP")), "")
    direction = next((line[2:] for line in reversed(both) if line[2:] in OPPOSITE), "sendrecv")
    ptime = next((int(line[8:]) for line in block if re.fullmatch(r"a=ptime:\d+", line)), 0)
    maps = {int(one.group(1)): one.group(2) for line in block if (one := re.match(r"a=rtpmap:(\d+) (\S+)", line))}
    crypto = tuple(filter(None, (_read_crypto(line) for line in block if line.startswith("a=crypto:"))))
    return Media(
        found.group(1), int(found.group(2)), found.group(3), tuple(found.group(4).split()), address, direction, maps, crypto, ptime
    )


def _read_crypto(line: str) -> tuple[int, str, bytes] | None:
    found = re.fullmatch(r"a=crypto:(\d{1,9}) (\w+) inline:([A-Za-z0-9+/=]+)(?:\|\S+)?(?: .*)?", line)
    if found is None:
        return None
    try:
        return int(found.group(1)), found.group(2), base64.b64decode(found.group(3), validate=True)
    except binascii.Error:
        return None


# -- judging ------------------------------------------------------------------------------------------------------------------------------


def wrong_in_answer(offered: bytes, answered: bytes, *, held: bool = False) -> list[tuple[str, str]]:
    """(name, detail) of what is wrong with an answer to `offered` (RFC 3264 section 6). `held`: the offer had c=0.0.0.0."""
    ours, theirs = read(offered), read(answered)
    found = [("sdp", text) for text in theirs.wrong]
    if [one.kind for one in theirs.media] != [one.kind for one in ours.media]:
        return [*found, ("sdp", f"m-lines {[one.kind for one in theirs.media]} do not answer {[one.kind for one in ours.media]}")]
    for mine, other in zip(ours.media, theirs.media, strict=True):
        if other.profile != mine.profile:
            found.append(("sdp-profile", f"{other.kind}: {other.profile} answers {mine.profile}"))
        if other.port and mine.port == 0:
            found.append(("sdp", f"{other.kind}: a refused m-line is answered with port {other.port}"))
        if other.port and other.kind == "audio":
            found += _wrong_in_sound(mine, other, held=held)
    if theirs.sound is None:
        found.append(("sdp", "no sound is left in the answer"))
    return found


def _wrong_in_sound(mine: Media, other: Media, *, held: bool) -> list[tuple[str, str]]:
    found = []
    if not set(other.types) <= set(mine.types):
        found.append(("sdp-types", f"payload types {other.types} exceed the offered {mine.types}"))
    if not set(other.types) & set(SOUND_TYPES):
        found.append(("sdp-types", f"no codec in {other.types}"))
    for one in other.types:
        written = other.maps.get(one, RTPMAPS.get(one) if one in (0, 8, 9, 18) else None)
        if written is None or written.lower() != mine.maps.get(one, RTPMAPS.get(one, "")).lower():
            found.append(("sdp-types", f"payload type {one} is {written}, offered as {mine.maps.get(one)}"))
    if not other.address or other.address in ("0.0.0.0", "::"):
        found.append(("sdp", f"no address to send to: {other.address!r}"))
    allowed = {
        "sendrecv": {"sendrecv", "sendonly", "recvonly", "inactive"},
        "sendonly": {"recvonly", "inactive"},
        "recvonly": {"sendonly", "inactive"},
        "inactive": {"inactive"},
    }
    if other.direction not in allowed[mine.direction]:
        found.append(("sdp-direction", f"{other.direction} answers {mine.direction}"))
    if mine.direction == "sendrecv" and other.direction != "sendrecv" and not held:
        found.append(("sdp-direction", f"{other.direction} answers a plain sendrecv: the call stays silent"))
    return found + wrong_crypto(mine, other)


def wrong_crypto(mine: Media, other: Media) -> list[tuple[str, str]]:
    """What is wrong with the answer's crypto line (RFC 4568 section 5.1.2)."""
    if not mine.crypto:
        return [("sdp-crypto", "a crypto line answers an offer without one")] if other.crypto else []
    if len(other.crypto) != 1:
        return [("sdp-crypto", f"{len(other.crypto)} crypto lines, expected one")]
    tag, suite, key = other.crypto[0]
    found = []
    if (tag, suite) not in [(one[0], one[1]) for one in mine.crypto]:
        found.append(("sdp-crypto", f"crypto {tag} {suite} was not offered"))
    if len(key) != 30:
        found.append(("sdp-crypto", f"a key of {len(key)} octets, expected 30"))
    if key in [one[2] for one in mine.crypto]:
        found.append(("sdp-crypto", "our own key came back"))
    return found
