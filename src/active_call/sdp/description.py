"""Session descriptions: bytes in, frozen values out, and back (RFC 8866, RFC 3605, RFC 4568 §9).

It parses the lines that calls need and ignores the others. Line ends may be CRLF or LF, because peers send both. The order of lines does
not matter, except that `m=` starts a media section. `negotiation` handles offer/answer.
"""

from __future__ import annotations

import ipaddress
import re
from itertools import pairwise

from msgspec import Struct

from active_call.base.errors import ParseError

MAX_DESCRIPTION_BYTES = 65_536
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")

_MEDIA = re.compile(r"([A-Za-z0-9\-_.]+)[ \t]+([0-9]{1,5})(?:/([0-9]{1,5}))?[ \t]+(\S+)(?:[ \t]+(.*?))?[ \t]*\Z")
_CONNECTION = re.compile(r"IN[ \t]+(IP4|IP6)[ \t]+(\S+)[ \t]*\Z", re.IGNORECASE)
_RTPMAP = re.compile(r"([0-9]{1,3})[ \t]+([^\s/]+)/([0-9]{1,9})(?:/([0-9]{1,3}))?[ \t]*\Z")
_FMTP = re.compile(r"([0-9]{1,3})[ \t]+(.*)\Z")
_CRYPTO = re.compile(r"([0-9]{1,9})[ \t]+(\S+)[ \t]+(\S+)(?:[ \t]+(.*))?\Z")
_RTCP = re.compile(r"([0-9]{1,5})(?:[ \t]+IN[ \t]+IP[46][ \t]+(\S+))?[ \t]*\Z", re.IGNORECASE)


class Attribute(Struct, frozen=True):
    """One `a=` line; `value` None for a flag."""

    name: str
    value: str | None = None


class Origin(Struct, frozen=True):
    """The `o=` line. Its address is not a media address."""

    username: str
    session_id: str
    version: str
    address: str


class RtpMap(Struct, frozen=True):
    """One `a=rtpmap`: encoding name as written, clock in Hz, channels."""

    payload_type: int
    name: str
    clock_hz: int
    channels: int = 1


class Crypto(Struct, frozen=True):
    """One `a=crypto` line, not interpreted: tag, suite as written, key parameters, session parameters."""

    tag: int
    suite: str
    key_parameters: str
    session_parameters: str = ""


class MediaDescription(Struct, frozen=True):
    """One media section. `address` is its own `c=` address, None if the session's applies. `port` 0 means refused or disabled."""

    media: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    address: str | None = None
    attributes: tuple[Attribute, ...] = ()
    port_count: int = 1

    def get(self, name: str) -> str | None:
        """The value of the first attribute with that name; "" for a flag, None if it is absent."""
        return _first(self.attributes, name)

    def get_all(self, name: str) -> list[str]:
        """The values of all attributes with that name."""
        return [attribute.value or "" for attribute in self.attributes if attribute.name == name]

    @property
    def direction(self) -> str | None:
        """The section's own direction attribute, None if it has none."""
        return _direction(self.attributes)

    @property
    def payload_types(self) -> tuple[int, ...]:
        """The numeric payload types of an RTP section, in order."""
        return tuple(int(text) for text in self.formats if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 127)

    def rtpmaps(self) -> dict[int, RtpMap]:
        """The valid `a=rtpmap` lines by payload type. Of several for one type the first counts."""
        maps: dict[int, RtpMap] = {}
        for value in self.get_all("rtpmap"):
            if match := _RTPMAP.match(value):
                payload_type, name, clock, channels = match.groups()
                maps.setdefault(int(payload_type), RtpMap(int(payload_type), name, int(clock), int(channels or 1)))
        return maps

    def fmtp(self, payload_type: int) -> str | None:
        """The format parameters of a payload type as written, including spaces."""
        for value in self.get_all("fmtp"):
            if (match := _FMTP.match(value)) and int(match.group(1)) == payload_type:
                return match.group(2).strip()
        return None

    def cryptos(self) -> list[Crypto]:
        """The well-formed `a=crypto` lines in order. Others are ignored (RFC 4568 §7.1.2)."""
        matches = (_CRYPTO.match(value) for value in self.get_all("crypto"))
        return [Crypto(int(m.group(1)), m.group(2), m.group(3), (m.group(4) or "").strip()) for m in matches if m]

    def rtcp(self) -> tuple[int, str | None] | None:
        """Port and address of `a=rtcp` (RFC 3605), None if it is absent or malformed."""
        match = _RTCP.match(self.get("rtcp") or "")
        if match is None or int(match.group(1)) > 65_535:
            return None
        return int(match.group(1)), match.group(2)

    def milliseconds(self, name: str) -> int | None:
        """`ptime` or `maxptime` in whole milliseconds, None if it is absent or invalid."""
        try:
            value = float(self.get(name) or "")
        except ValueError:
            return None
        return int(value) if 1 <= value <= 1000 else None


class SessionDescription(Struct, frozen=True):
    """A whole description. `address` is the session's `c=`, None if it has none."""

    origin: Origin
    name: str = "-"
    address: str | None = None
    timing: str = "0 0"
    attributes: tuple[Attribute, ...] = ()
    media: tuple[MediaDescription, ...] = ()

    def address_of(self, section: MediaDescription) -> str | None:
        """The media address of that section: its own `c=`, else the session's."""
        return section.address if section.address is not None else self.address

    def direction_of(self, section: MediaDescription) -> str:
        """The direction of that section: its own, else the session's, else sendrecv (RFC 8866 §6.7)."""
        return section.direction or _direction(self.attributes) or "sendrecv"

    def attribute_of(self, section: MediaDescription, name: str) -> str | None:
        """The value of an attribute at media level, else at session level."""
        own = section.get(name)
        return own if own is not None else _first(self.attributes, name)


def parse_description(data: bytes) -> SessionDescription:
    """Parse a session description. Raises ParseError.

    `v=0` must come first. `o=`, every `c=` and every `m=` must be well-formed. Other lines are kept or ignored.
    """
    lines = _lines(data)
    if not lines or lines[0] != ("v", "0"):
        raise ParseError("SDP", expected="v=0", found=data[:40].decode("utf-8", "replace"))
    bounds = [*(index for index, (kind, _) in enumerate(lines) if kind == "m"), len(lines)]
    head = lines[1 : bounds[0]]
    origin = next((value for kind, value in head if kind == "o"), None)
    if origin is None:
        raise ParseError("SDP", expected="o=")
    return SessionDescription(
        origin=_parse_origin(origin),
        name=next((value for kind, value in head if kind == "s"), "-"),
        address=_address(head),
        timing=next((value for kind, value in head if kind == "t"), "0 0"),
        attributes=_attributes(head),
        media=tuple(_parse_media(lines[start:end]) for start, end in pairwise(bounds)),
    )


def format_description(description: SessionDescription) -> bytes:
    """The description as bytes with CRLF line ends, lines in the order of RFC 8866 §5."""
    origin = description.origin
    lines = [
        "v=0",
        f"o={origin.username} {origin.session_id} {origin.version} IN {_address_type(origin.address)} {origin.address}",
        f"s={description.name or '-'}",
        *_connection_lines(description.address),
        f"t={description.timing}",
        *_attribute_lines(description.attributes),
    ]
    for section in description.media:
        ports = str(section.port) if section.port_count == 1 else f"{section.port}/{section.port_count}"
        lines.append(f"m={section.media} {ports} {section.protocol} {' '.join(section.formats)}".rstrip())
        lines += _connection_lines(section.address)
        lines += _attribute_lines(section.attributes)
    return "\r\n".join([*lines, ""]).encode("utf-8", "replace")


def is_unspecified(address: str) -> bool:
    """Whether the address is the old form of hold: 0.0.0.0, also embedded in IPv6, or :: (RFC 3264 §8.4)."""
    if address.strip("0.:fF"):
        return False  # the common case: it contains another digit
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_unspecified


def _lines(data: bytes) -> list[tuple[str, str]]:
    if len(data) > MAX_DESCRIPTION_BYTES:
        raise ParseError("SDP", expected=f"at most {MAX_DESCRIPTION_BYTES} bytes")
    lines: list[tuple[str, str]] = []
    for line in data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line[1:2] == "=":
            lines.append((line[0], line[2:].strip(" \t")))
        elif line.strip(" \t\x00"):
            raise ParseError("SDP line", expected="<letter>=<value>", found=line)
    return lines


def _parse_origin(text: str) -> Origin:
    words = text.split()
    if len(words) < 6:
        raise ParseError("o=", expected="six fields", found=text)
    return Origin(" ".join(words[:-5]), words[-5], words[-4], words[-1])


def _parse_media(lines: list[tuple[str, str]]) -> MediaDescription:
    match = _MEDIA.match(lines[0][1])
    if match is None or int(match.group(2)) > 65_535:
        raise ParseError("m=", expected="media, port, protocol and formats", found=lines[0][1])
    media, port, count, protocol, formats = match.groups()
    return MediaDescription(
        media=media.lower(),
        port=int(port),
        protocol=protocol.upper() if protocol.upper().startswith("RTP/") else protocol,  # `udptl` is registered in lower case
        formats=tuple((formats or "").split()),
        address=_address(lines[1:]),
        attributes=_attributes(lines[1:]),
        port_count=int(count) if count else 1,
    )


def _address(lines: list[tuple[str, str]]) -> str | None:
    """The address of the first `c=`, without a multicast TTL and without brackets."""
    text = next((value for kind, value in lines if kind == "c"), None)
    if text is None:
        return None
    match = _CONNECTION.match(text)
    if match is None:
        raise ParseError("c=", expected="IN IP4 or IN IP6 and an address", found=text)
    address = match.group(2).partition("/")[0].strip("[]")
    is_v4 = re.fullmatch(r"[0-9.]+", address) is not None
    if ":" in address or (match.group(1).upper() == "IP6" and is_v4):  # anything else may be a host name
        try:
            ipaddress.IPv6Address(address)
        except ValueError as error:
            raise ParseError("c=", expected="an IPv6 address", found=text) from error
    return address


def _attributes(lines: list[tuple[str, str]]) -> tuple[Attribute, ...]:
    pairs = (value.partition(":") for kind, value in lines if kind == "a")
    return tuple(Attribute(name.strip(" \t").lower(), value.strip(" \t") if colon else None) for name, colon, value in pairs)


def _first(attributes: tuple[Attribute, ...], name: str) -> str | None:
    return next((attribute.value or "" for attribute in attributes if attribute.name == name), None)


def _direction(attributes: tuple[Attribute, ...]) -> str | None:
    return next((attribute.name for attribute in attributes if attribute.name in DIRECTIONS), None)


def _address_type(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


def _connection_lines(address: str | None) -> list[str]:
    return [] if address is None else [f"c=IN {_address_type(address)} {address}"]


def _attribute_lines(attributes: tuple[Attribute, ...]) -> list[str]:
    return [f"a={a.name}" if a.value is None else f"a={a.name}:{a.value}" for a in attributes]
