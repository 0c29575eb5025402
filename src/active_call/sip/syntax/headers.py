"""Header fields: an ordered, case-insensitive list, and parsers for the values that SIP itself uses (RFC 3261 §7.3, §20, RFC 3581).

Values are stored as received, stripped, with each fold replaced by one space, so that Via and Record-Route can be copied unchanged. Parsed
values are frozen. `validation` knows which headers a message needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct, field

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.syntax.grammar import (
    LWS,
    find_bracket,
    format_parameters,
    is_token,
    parse_parameters,
    quote,
    split_list,
    split_outside,
    unquote,
)
from active_call.sip.syntax.uri import Uri, format_host_port, parse_host_port, parse_uri, scheme_of

COMPACT_FORMS = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
"""The IANA registry's compact forms."""

MAX_CSEQ = 2**32 - 1
"""RFC 3261 §20.16. A sender stays below 2**31 (§8.1.1.5)."""

MAX_KEPT = 256
"""Maximum length, in characters, of a value whose parse result is cached."""

_CSEQ = re.compile(r"([0-9]{1,20})[ \t]+(\S+)\Z")
_VIA = re.compile(r"[^\s/;,]+[ \t]*/[ \t]*[^\s/;,]+[ \t]*/[ \t]*([^\s/;,]+)[ \t]+([^;]+)")
_STARTS_AS_URI = re.compile(r"(?:sips?|tel):", re.IGNORECASE)
_BRACKETED_URI = re.compile(r"<[ \t]*[A-Za-z][A-Za-z0-9+.\-]*:[^<>]*>")
_NOT_IN_URI = re.compile(r'[\x00-\x20\x7f"<]')
_AROUND_COLON = re.compile(r"[ \t]*:[ \t]*")


@lru_cache(maxsize=512)
def header_key(name: str) -> str:
    """The comparison key of a header name: lower case, compact forms expanded. The cache holds the names that peers use frequently."""
    key = name.lower()
    return COMPACT_FORMS.get(key, key) if len(key) == 1 else key


@lru_cache(maxsize=512)
def is_header_name(name: str) -> bool:
    """Whether `name` is a token. Cached like `header_key`."""
    return is_token(name)


class Headers:
    """The header fields of one message, in order. Names compare case-insensitively and with compact forms; they are sent as written."""

    __slots__ = ("_by_key", "_fields")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: list[tuple[str, str, str]] = []
        self._by_key: dict[str, list[str]] | None = None
        """The values by key, built at the first look-up, because a message is queried about 50 times. Every change discards it."""
        for name, value in items:
            self.add(name, value)

    @classmethod
    def from_wire(cls, items: Iterable[tuple[str, str]]) -> Headers:
        """Build from fields that a parser has checked: valid names, no line breaks."""
        headers = cls()
        headers._fields = [(header_key(name), name, value) for name, value in items]
        return headers

    def get(self, name: str) -> str | None:
        """The first value with that name."""
        values = (self._by_key or self._index()).get(header_key(name))
        return values[0] if values else None

    def first(self, key: str) -> str | None:
        """As `get`, by `header_key`."""
        values = (self._by_key or self._index()).get(key)
        return values[0] if values else None

    def get_all(self, name: str) -> list[str]:
        """The value of each line with that name, not split."""
        values = (self._by_key or self._index()).get(header_key(name))
        return values.copy() if values else []

    def _index(self) -> dict[str, list[str]]:
        by_key: dict[str, list[str]] = {}
        for key, _, value in self._fields:
            if key in by_key:
                by_key[key].append(value)
            else:
                by_key[key] = [value]
        self._by_key = by_key
        return by_key

    @property
    def by_key(self) -> Mapping[str, Sequence[str]]:
        """The values of all lines by `header_key`, for a reader of many headers. Valid until the next change."""
        return self._by_key or self._index()

    def split(self, name: str) -> list[str]:
        """All comma-separated values of all lines with that name."""
        values = (self._by_key or self._index()).get(header_key(name))
        if values is None:
            return []
        return split_list(values[0]) if len(values) == 1 else [element for value in values for element in split_list(value)]

    def add(self, name: str, value: str) -> None:
        """Append a line. Raises LocalProtocolError for a name or value that would corrupt the message."""
        self._fields.append(_checked(name, value))
        self._by_key = None

    def prepend(self, name: str, value: str) -> None:
        """Insert a line before all others. Raises like `add`."""
        self._fields.insert(0, _checked(name, value))
        self._by_key = None

    def set(self, name: str, value: str) -> None:
        """Make `value` the only one with that name, at the position and with the spelling of the first, else at the end.

        Raises like `add`.
        """
        checked = _checked(name, value)
        if checked[0] not in [entry[0] for entry in self._fields]:
            self._fields.append(checked)
            self._by_key = None
            return
        kept: list[tuple[str, str, str]] = []
        placed = False
        for entry in self._fields:
            if entry[0] != checked[0]:
                kept.append(entry)
            elif not placed:
                kept.append((entry[0], entry[1], checked[2]))
                placed = True
        self._fields, self._by_key = kept, None

    def remove(self, name: str) -> None:
        """Remove all lines with that name."""
        key = header_key(name)
        self._fields, self._by_key = [entry for entry in self._fields if entry[0] != key], None

    def items(self) -> list[tuple[str, str]]:
        """Name as written and value of each line, in order."""
        return [(name, value) for _, name, value in self._fields]

    def copy(self) -> Headers:
        """An independent copy."""
        headers = Headers()
        headers._fields = self._fields.copy()
        return headers

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and [(k, v) for k, _, v in self._fields] == [(k, v) for k, _, v in other._fields]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self.items()!r})"


def _checked(name: str, value: str) -> tuple[str, str, str]:
    if not is_header_name(name):
        raise LocalProtocolError(f"header name {name!r} is not a token")
    if "\r" in value or "\n" in value:
        raise LocalProtocolError(f"the value of header {name} holds a line break")
    return header_key(name), name, value.strip(LWS)


class NameAddr(Struct, frozen=True):
    """A From, To, Contact, Route … value. `uri_text` is verbatim. `parameters` are the header's: names in lower case, values unquoted."""

    display: str | None
    uri_text: str
    parameters: dict[str, str | None] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.display, self.uri_text))  # without the parameters, a dict

    @property
    def uri(self) -> Uri:
        """The parsed URI. Raises ParseError if it is malformed or its scheme is not sip, sips or tel."""
        return parse_uri(self.uri_text)

    @property
    def tag(self) -> str | None:
        """The value of the `tag` parameter, None without one."""
        return self.parameters.get("tag")

    def __str__(self) -> str:
        return format_name_addr(self.uri_text, display=self.display, parameters=self.parameters)


def parse_name_addr(text: str, *, is_strict: bool = False) -> NameAddr:
    """Parse one name-addr or addr-spec with its header parameters (RFC 3261 §20.10). Raises ParseError.

    Without angle brackets everything after the first semicolon belongs to the header, and a URI with `?` or `,` is refused. An unquoted
    display name may contain characters that are not token characters. If the quotes of a display name do not balance, it ends at the only
    URI in angle brackets. Malformed header parameters are ignored unless `is_strict`: a tag must be unambiguous. Recent results are cached:
    each value of a message is parsed several times, and the values of a dialog repeat in each of its messages.
    """
    return _read_name_addr(text, is_strict) if len(text) <= MAX_KEPT else _read_name_addr.__wrapped__(text, is_strict)


@lru_cache(maxsize=1024)
def _read_name_addr(text: str, is_strict: bool) -> NameAddr:
    text = text.strip(LWS)
    opening = find_bracket(text)
    if opening is None:
        opening = _only_bracketed_uri(text)
    if opening < 0 or (_STARTS_AS_URI.match(text) and not any(blank in text[:opening] for blank in LWS)):
        return _parse_addr_spec(text, is_strict=is_strict)
    closing = text.find(">", opening)
    if closing < 0:
        raise ParseError("name-addr", expected="'>'", found=text)
    display = unquote(text[:opening].strip(LWS)) if opening else None
    parameters = parse_parameters(text[closing + 1 :], is_lenient=not is_strict)
    return NameAddr(display, _checked_uri_text(text[opening + 1 : closing]), parameters)


def _only_bracketed_uri(text: str) -> int:
    """The start of the only URI in angle brackets, in a value with unbalanced quotes. -1 if there is none or more than one."""
    found = [match.start() for match in _BRACKETED_URI.finditer(text)]
    return found[0] if len(found) == 1 else -1


def _parse_addr_spec(text: str, *, is_strict: bool) -> NameAddr:
    uri_text, semicolon, parameters = text.partition(";")
    uri_text = _checked_uri_text(uri_text)
    if "?" in uri_text or "," in uri_text:
        raise ParseError("addr-spec", expected="angle brackets around a URI with '?' or ','", found=text)
    return NameAddr(None, uri_text, parse_parameters(semicolon + parameters, is_lenient=not is_strict))


def _checked_uri_text(text: str) -> str:
    text = text.strip(LWS)
    scheme = scheme_of(text)
    if len(text) == len(scheme) + 1 or _NOT_IN_URI.search(text):
        raise ParseError("URI", expected="no blanks, quotes or brackets", found=text)
    return text


def format_name_addr(uri: str | Uri, *, display: str | None = None, parameters: dict[str, str | None] | None = None) -> str:
    """`"display" <uri>;parameters`. The URI always gets brackets, the display name always quotes."""
    name = f"{quote(display)} " if display else ""
    return f"{name}<{uri}>{format_parameters(parameters or {})}"


class Via(Struct, frozen=True):
    """One Via value. `transport` is in upper case (`UDP`, `TLS`, …). `text` is the value verbatim."""

    transport: str
    host: str
    port: int | None
    parameters: dict[str, str | None]
    text: str = ""

    def __hash__(self) -> int:
        return hash((self.transport, self.host, self.port, self.text))  # without the parameters, a dict

    @property
    def branch(self) -> str | None:
        """The value of the `branch` parameter, None without one."""
        return self.parameters.get("branch")

    @property
    def has_rport(self) -> bool:
        """Whether the parameter is present, with or without a value (RFC 3581 §3)."""
        return "rport" in self.parameters

    @property
    def rport(self) -> int | None:
        """The value of `rport`, None if it is missing or unusable."""
        value = self.parameters.get("rport")
        return int(value) if value and value.isascii() and value.isdigit() and len(value) <= 5 and int(value) <= 65_535 else None

    @property
    def received(self) -> str | None:
        """The address in `received`, without brackets."""
        value = self.parameters.get("received")
        return value.strip("[]") if value else None

    @property
    def sent_by(self) -> str:
        """Host and port as the sender wrote them (§18.1.1)."""
        return format_host_port(self.host, self.port)


def parse_via(text: str) -> Via:
    """Parse one Via value (RFC 3261 §20.42) with any protocol version and transport token. Raises ParseError."""
    text = text.strip(LWS)
    match = _VIA.match(text)
    if match is None:
        raise ParseError("Via", expected="protocol/version/transport and sent-by", found=text)
    host, port = parse_host_port(_AROUND_COLON.sub(":", match.group(2).strip(LWS)))
    return Via(match.group(1).upper(), host, port, parse_parameters(text[match.end() :]), text)


def with_via_received(via_text: str, received: str, rport: int | None) -> str:
    """The Via line with `received` in its first Via, and with `rport` if that Via asks for it (RFC 3261 §18.2.1, RFC 3581 §4).

    All other characters stay. `via_text` may be a whole line with several Vias.
    """
    first, *others = split_outside(via_text, ",")
    head, *parameters = split_outside(first, ";")
    kept: list[str] = []
    for piece in parameters:
        name = _name_of(piece)
        if name != "received":
            kept.append(f"rport={rport}" if name == "rport" and rport is not None else piece)
    return ",".join([";".join([head.rstrip(LWS), *kept, f"received={received}"]), *others])


def _name_of(parameter: str) -> str:
    return parameter.partition("=")[0].strip(LWS).lower()


class CSeq(Struct, frozen=True):
    """A sequence number below 2**32 and the method, case preserved."""

    number: int
    method: str

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


def parse_cseq(text: str) -> CSeq:
    """Parse a CSeq value. Raises ParseError. Recent results are cached: most calls have the same few."""
    return _read_cseq(text) if len(text) <= MAX_KEPT else _read_cseq.__wrapped__(text)


@lru_cache(maxsize=256)
def _read_cseq(text: str) -> CSeq:
    match = _CSEQ.match(text.strip(LWS))
    if match is None or not is_token(match.group(2)):
        raise ParseError("CSeq", expected="a number and a method", found=text)
    number = int(match.group(1))
    if number > MAX_CSEQ:
        raise ParseError("CSeq", expected="a number below 2**32", found=text)
    return CSeq(number, match.group(2))
