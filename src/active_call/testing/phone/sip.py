"""The phone's own parser and writer for SIP and SDP: just enough to place a call, and as strict as a carrier.

Enters: octets of one whole message. Leaves: `Message`, and lists of what is wrong with it. It must not know the program's SIP: header
comparison is byte for byte here, as a proxy that matches its own Via and Record-Route does it. RFC 3261, RFC 3581, RFC 3264, RFC 4568.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_COMPACT = {
    "v": "via",
    "f": "from",
    "t": "to",
    "i": "call-id",
    "m": "contact",
    "l": "content-length",
    "c": "content-type",
    "k": "supported",
    "r": "refer-to",
}
_LISTS = frozenset({"via", "route", "record-route", "contact"})


@dataclass(slots=True)
class Message:
    """One SIP message. `headers` keep their order; names are lower case and long; comma lists of Via, Route, Record-Route and Contact are
    taken apart."""

    start: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    @property
    def is_response(self) -> bool:
        """A status line starts with the version."""
        return self.start.startswith("SIP/2.0 ")

    @property
    def status(self) -> int:
        """The status code of a response, 0 for a request."""
        return int(self.start.split(" ")[1]) if self.is_response else 0

    @property
    def reason(self) -> str:
        """The reason phrase of a response."""
        return self.start.split(" ", 2)[2] if self.is_response and self.start.count(" ") >= 2 else ""

    @property
    def method(self) -> str:
        """The method of a request, or the CSeq method of a response."""
        return self.get("cseq").split(" ")[-1] if self.is_response else self.start.split(" ")[0]

    @property
    def uri(self) -> str:
        """The Request-URI."""
        return "" if self.is_response else self.start.split(" ")[1]

    @property
    def sequence(self) -> int:
        """The number in CSeq; -1 when there is none."""
        number = self.get("cseq").split(" ")[0]
        return int(number) if number.isdigit() else -1

    def get(self, name: str) -> str:
        """The first value of a header, empty when absent."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> list[str]:
        """All values of a header in order."""
        return [value for key, value in self.headers if key == name]

    def encode(self) -> bytes:
        """The octets, Content-Length included."""
        lines = [self.start, *(f"{_written(name)}: {value}" for name, value in self.headers), f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body


def _written(name: str) -> str:
    special = {"cseq": "CSeq", "call-id": "Call-ID"}
    return special.get(name) or "-".join(part.capitalize() for part in name.split("-"))


def parse(octets: bytes) -> Message:
    """One whole message. Raises ValueError if it is not a SIP message."""
    head, separator, body = octets.partition(b"\r\n\r\n")
    if not separator:
        raise ValueError("no empty line after the headers")
    start, *lines = re.sub(r"\r\n[ \t]+", " ", head.decode()).split("\r\n")
    if not re.fullmatch(r"SIP/2\.0 [1-6]\d\d .*|[A-Z]+ \S+ SIP/2\.0", start):
        raise ValueError(f"no start line: {start!r}")
    message = Message(start, body=body)
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"no header: {line!r}")
        name = name.strip().lower()
        name = _COMPACT.get(name, name)
        values = _split_list(value) if name in _LISTS else [value]
        message.headers += [(name, one.strip()) for one in values]
    length = message.get("content-length")
    if length and int(length) > len(body):
        raise ValueError("body shorter than Content-Length")
    if length:
        message.body = body[: int(length)]
    return message


def take_from_stream(buffer: bytearray) -> tuple[bytes | None, int]:
    """The first whole message of a stream, taken out of the buffer, and how many keep-alive CRLF stood before it.

    Raises ValueError if Content-Length is missing (RFC 3261 section 18.3).
    """
    n_crlf = 0
    while buffer.startswith(b"\r\n"):
        del buffer[:2]
        n_crlf += 1
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None, n_crlf
    length = re.search(rb"\r\n(?:content-length|l)[ \t]*:\s*(\d+)", bytes(buffer[: end + 2]), re.IGNORECASE)
    if length is None:
        raise ValueError("a message on a stream without Content-Length")
    total = end + 4 + int(length.group(1))
    if len(buffer) < total:
        return None, n_crlf
    octets = bytes(buffer[:total])
    del buffer[:total]
    return octets, n_crlf


def _split_list(value: str) -> list[str]:
    """At the commas that are neither quoted nor inside angle brackets."""
    parts, depth, quoted, current = [], 0, False, ""
    for character in value:
        quoted ^= character == '"'
        depth += (character == "<") - (character == ">") if not quoted else 0
        if character == "," and not quoted and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [*parts, current]


def tag_of(value: str) -> str:
    """The tag of a From or To value, empty when absent."""
    found = re.search(r";\s*tag=([^;\s]+)", value.rpartition(">")[2] or value)
    return found.group(1) if found else ""


def uri_of(value: str) -> str:
    """The URI of a name-addr or addr-spec."""
    found = re.search(r"<([^>]*)>", value)
    return found.group(1) if found else value.split(";")[0].strip()


def host_port(uri: str) -> tuple[str, int, str]:
    """Host, port (0 when not given) and transport parameter of a SIP URI. Raises ValueError if it is not a SIP URI."""
    found = re.fullmatch(r"sips?:(?:[^@]*@)?(\[[^\]]+\]|[^:;?>]+)(?::(\d+))?([^?]*)(?:\?.*)?", uri)
    if not found:
        raise ValueError(f"not a SIP URI: {uri!r}")
    transport = re.search(r";transport=([a-z]+)", found.group(3).lower())
    return found.group(1).strip("[]"), int(found.group(2) or 0), transport.group(1) if transport else ""


# -- what a carrier would refuse ----------------------------------------------------------------------------------------------------------


def wrong_in_response(request: Message, response: Message) -> list[str]:
    """How a response fails to echo its request (RFC 3261 sections 8.2.6.2 and 12.1.1)."""
    wrong = []
    sent, got = request.all("via"), response.all("via")
    if len(sent) != len(got) or any(ours != theirs for ours, theirs in zip(sent[1:], got[1:], strict=False)):
        wrong.append(f"Via not echoed: {got} for {sent}")
    elif re.sub(r";(received=[^;]*|rport=[^;]*|rport(?=;|$))", "", got[0]) != re.sub(r";rport(=[^;]*)?(?=;|$)", "", sent[0]):
        wrong.append(f"top Via changed: {got[0]} for {sent[0]}")
    wrong += [
        f"{name} not echoed: {response.get(name)!r} for {request.get(name)!r}"
        for name in ("from", "call-id", "cseq")
        if response.get(name) != request.get(name)
    ]
    sent_to, got_to = request.get("to"), response.get("to")
    if uri_of(sent_to) != uri_of(got_to):
        wrong.append(f"To changed: {got_to!r} for {sent_to!r}")
    if response.status > 100 and not tag_of(got_to):
        wrong.append(f"{response.status} without a To tag")
    if tag_of(sent_to) and tag_of(sent_to) != tag_of(got_to):
        wrong.append("To tag of the dialog changed")
    if request.method == "INVITE" and 101 <= response.status < 300:
        if response.all("record-route") != request.all("record-route"):
            wrong.append(f"{response.status}: Record-Route not echoed: {response.all('record-route')}")
        if len(response.all("contact")) != 1:
            wrong.append(f"{response.status}: {len(response.all('contact'))} Contacts, expected one")
    return wrong


def wrong_in_contact(response: Message, dialled: tuple[str, int], transport: str) -> list[str]:
    """Whether the Contact of a 2xx leads back to the listener that was dialled."""
    uri = uri_of(response.get("contact"))
    try:
        host, port, named = host_port(uri)
    except ValueError as error:
        return [str(error)]
    wrong = []
    if (port or (5061 if transport == "tls" else 5060)) != dialled[1]:
        wrong.append(f"Contact {uri} names another port than the listener {dialled[1]}")
    if (named or "udp") != transport and not uri.startswith("sips:"):
        wrong.append(f"Contact {uri} names transport {named or 'udp'!r}, the call came by {transport}")
    if host in ("0.0.0.0", "::"):
        wrong.append(f"Contact {uri} is no address")
    return wrong


def wrong_in_request(request: Message, *, contact: str, routes: Sequence[str], last_sequence: int) -> list[str]:
    """What a gateway would refuse in an in-dialog request (RFC 3261 section 12.2.1.1)."""
    wrong = []
    if request.uri != contact:
        wrong.append(f"{request.method}: Request-URI {request.uri} is not our Contact {contact}")
    if request.all("route") != list(routes):
        wrong.append(f"{request.method}: Route {request.all('route')} is not the Record-Route set {list(routes)}")
    if request.method not in ("ACK", "CANCEL") and request.sequence <= last_sequence:
        wrong.append(f"{request.method}: CSeq {request.sequence} after {last_sequence}")
    if not request.get("max-forwards"):
        wrong.append(f"{request.method} without Max-Forwards")
    if "branch=z9hG4bK" not in request.get("via"):
        wrong.append(f"{request.method}: Via without the RFC 3261 branch")
    return wrong


# -- SDP ----------------------------------------------------------------------------------------------------------------------------------

OFFERED_TYPES = (0, 8, 101)
EVENT_TYPE = 101
SUITE = "AES_CM_128_HMAC_SHA1_80"


def offer(ip: str, port: int, key: bytes, *, origin: str, direction: str = "sendrecv", version: int = 1) -> bytes:
    """The offer of a trunk's media gateway; with a 30-byte key RTP/SAVP and one crypto line."""
    lines = [
        "v=0",
        f"o=root 8127 {version} IN IP4 {origin}",
        "s=Media Gateway",
        f"c=IN IP4 {ip}",
        "t=0 0",
        f"m=audio {port} {'RTP/SAVP' if key else 'RTP/AVP'} {' '.join(map(str, OFFERED_TYPES))}",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=ptime:20",
        "a=maxptime:20",
        f"a={direction}",
    ]
    if key:
        lines.insert(6, f"a=crypto:1 {SUITE} inline:{base64.b64encode(key).decode()}")
    return "\r\n".join([*lines, ""]).encode()


@dataclass(frozen=True, slots=True)
class Description:
    """The peer's SDP, read. `direction` as the peer wrote it."""

    remote: tuple[str, int] = ("", 0)
    types: tuple[int, ...] = ()
    key: bytes = b""
    direction: str = "sendrecv"


def read_description(body: bytes, *, secure: bool, is_answer: bool = True) -> tuple[Description, list[str]]:
    """An answer (or a later offer) and everything wrong with it as an answer to `offer`."""
    lines = body.decode(errors="replace").split("\r\n")
    wrong = [] if lines[-1] == "" else ["SDP does not end its last line"]
    kinds = [line[:2] for line in lines if line]
    if kinds[:1] != ["v="] or not {"o=", "s=", "t=", "m="} <= set(kinds):
        wrong.append("SDP lacks one of v= o= s= t= m=")
    media = [line for line in lines if line.startswith("m=")]
    if len(media) != 1:
        return Description(), [*wrong, f"SDP has {len(media)} m-lines, expected one"]
    found = re.fullmatch(r"m=audio (\d+) (\S+)((?: \d+)+)", media[0])
    if found is None:
        return Description(), [*wrong, f"SDP m-line is no audio: {media[0]}"]
    port, profile, types = int(found.group(1)), found.group(2), tuple(map(int, found.group(3).split()))
    if profile != ("RTP/SAVP" if secure else "RTP/AVP"):
        wrong.append(f"SDP profile {profile} does not answer the offered one")
    if is_answer and not set(types) <= set(OFFERED_TYPES):
        wrong.append(f"SDP payload types {types} exceed the offer")
    if not {0, 8} & set(types):
        wrong.append("SDP names no codec of the offer")
    if EVENT_TYPE in types and not any(re.match(r"a=rtpmap:101 telephone-event/8000", line) for line in lines):
        wrong.append("SDP has no rtpmap for payload type 101")
    addresses = [line.split(" ")[-1] for line in lines if line.startswith("c=IN IP")]
    if port == 0 or not addresses or addresses[-1] in ("0.0.0.0", "::"):
        wrong.append("SDP has no address to send to")
    key, wrong_key = _read_key(lines, secure=secure)
    direction = next((line[2:] for line in lines if line in ("a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive")), "sendrecv")
    return Description((addresses[-1] if addresses else "", port), types, key, direction), wrong + wrong_key


def _read_key(lines: Sequence[str], *, secure: bool) -> tuple[bytes, list[str]]:
    """The one crypto line of RFC 4568, tag 1 and our suite."""
    crypto = [line for line in lines if line.startswith("a=crypto:")]
    if not secure:
        return b"", ["SDP has a crypto line under RTP/AVP"] if crypto else []
    if len(crypto) != 1:
        return b"", [f"SDP has {len(crypto)} crypto lines, expected one"]
    found = re.fullmatch(rf"a=crypto:(\d+) {SUITE} inline:([A-Za-z0-9+/=]+)(?:\|\S+)?(?: .*)?", crypto[0])
    if found is None:
        return b"", [f"SDP crypto line is not of suite {SUITE}"]
    wrong = [] if found.group(1) == "1" else [f"SDP crypto tag {found.group(1)} is not the offered 1"]
    try:
        key = base64.b64decode(found.group(2), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 30:
        return b"", [*wrong, f"SDP key has {len(key)} octets, expected 30"]
    return key, wrong
