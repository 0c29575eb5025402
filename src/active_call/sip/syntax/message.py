"""SIP messages: bytes in, `Request` or `Response` out, and back (RFC 3261 §7, §18.3; tolerance and strictness per RFC 4475).

`parse_message` parses one complete message: a datagram, or what `framing` has split from a stream. `validation` then checks whether a
parsed request may be processed. This module knows no transactions, no dialogs and no peers.
"""

from __future__ import annotations

from active_call.base.errors import ParseError
from active_call.sip.syntax.bad_request import BadRequest
from active_call.sip.syntax.body import find_session_description
from active_call.sip.syntax.grammar import LWS, decode_text, encode_text, is_token, split_list
from active_call.sip.syntax.headers import CSeq, Headers, NameAddr, Via, is_header_name, parse_cseq, parse_name_addr, parse_via
from active_call.sip.syntax.uri import Uri, parse_uri

SIP_VERSION = "SIP/2.0"
MIN_CODE, MAX_CODE = 100, 699
_BLANKS = (" ", "\t")


class _Message:
    """What requests and responses share. `headers` and `body` may be changed; the parsed properties follow the headers."""

    __slots__ = ("_cseq", "_from", "_to", "_via", "body", "headers", "version")

    def __init__(self, headers: Headers | None, body: bytes, version: str) -> None:
        self.headers = Headers() if headers is None else headers
        self.body = body
        self.version = version
        self._cseq: tuple[str, CSeq] | None = None
        self._from: tuple[str, NameAddr] | None = None
        self._to: tuple[str, NameAddr] | None = None
        self._via: tuple[str, Via] | None = None

    @property
    def call_id(self) -> str:
        """The Call-ID. Raises ParseError if it is missing."""
        text = self.headers.first("call-id")
        if text is None:
            raise ParseError("Missing Call-ID")
        return text

    @property
    def cseq(self) -> CSeq:
        """The parsed CSeq. Raises ParseError if it is missing or malformed."""
        text = self.headers.first("cseq")
        if text is None:
            raise ParseError("Missing CSeq")
        known = self._cseq
        if known is None or known[0] != text:
            known = self._cseq = (text, parse_cseq(text))
        return known[1]

    @property
    def from_(self) -> NameAddr:
        """The parsed From. Raises ParseError if it is missing or malformed."""
        text = self.headers.first("from")
        if text is None:
            raise ParseError("Missing From")
        known = self._from
        if known is None or known[0] != text:
            known = self._from = (text, parse_name_addr(text, is_strict=True))
        return known[1]

    @property
    def to(self) -> NameAddr:
        """The parsed To. Raises ParseError if it is missing or malformed."""
        text = self.headers.first("to")
        if text is None:
            raise ParseError("Missing To")
        known = self._to
        if known is None or known[0] != text:
            known = self._to = (text, parse_name_addr(text, is_strict=True))
        return known[1]

    @property
    def top_via(self) -> Via:
        """The first Via of the first Via line, without empty list elements. Raises ParseError if it is missing or malformed."""
        text = self.headers.first("via")
        if text is None:
            raise ParseError("Missing Via")
        known = self._via
        if known is None or known[0] != text:
            known = self._via = (text, parse_via(next(iter(split_list(text)), "")))
        return known[1]

    def _to_bytes(self, start_line: str) -> bytes:
        self.headers.set("Content-Length", str(len(self.body)))
        lines = [start_line, *[f"{name}: {value}" for name, value in self.headers.items()], "", ""]
        return encode_text("\r\n".join(lines)) + self.body


class Request(_Message):
    """A request. `uri` is the Request-URI verbatim."""

    __slots__ = ("method", "uri")

    def __init__(self, method: str, uri: str, headers: Headers | None = None, body: bytes = b"", version: str = SIP_VERSION) -> None:
        super().__init__(headers, body, version)
        self.method = method
        self.uri = uri

    @property
    def parsed_uri(self) -> Uri:
        """The Request-URI. Raises ParseError."""
        return parse_uri(self.uri)

    def to_bytes(self) -> bytes:
        """The message as sent. Content-Length is set to the size of the body."""
        return self._to_bytes(f"{self.method} {self.uri} {self.version}")

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri}>"


class Response(_Message):
    """A response. `code` is between 100 and 699; `reason` may be empty."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str, headers: Headers | None = None, body: bytes = b"", version: str = SIP_VERSION) -> None:
        super().__init__(headers, body, version)
        self.code = code
        self.reason = reason

    def to_bytes(self) -> bytes:
        """The message as sent. Content-Length is set to the size of the body."""
        return self._to_bytes(f"{self.version} {self.code} {self.reason}")

    def __repr__(self) -> str:
        return f"<Response {self.code} {self.reason}>"


def parse_message(data: bytes) -> Request | Response:
    """Parse one message at the start of `data`. Leading CRLFs are skipped; bytes after Content-Length are ignored (RFC 3261 §7.5, §18.3).

    Raises ParseError. For a request that fails, `parse_leniently` still returns what a 400 needs.
    """
    head, body = _cut(data)
    start_line, *lines = decode_text(head).split("\r\n")
    message = _parse_start_line(start_line)
    message.headers = Headers.from_wire(_parse_fields(lines, skips=isinstance(message, Response)))
    message.body = _cut_body(message.headers, body)
    return message


def parse_leniently(data: bytes) -> Request | None:
    """The readable part of a broken request: start line, first readable Via lines, From, To, Call-ID and CSeq.

    None if it is not a request or has no Via, because then no answer could be routed back.
    """
    head = data.lstrip(b"\r\n").partition(b"\r\n\r\n")[0]
    start_line, *lines = decode_text(head).split("\r\n")
    words = start_line.split()
    if len(words) < 3 or not words[-1].upper().startswith("SIP/") or not is_token(words[0]) or words[0].upper().startswith("SIP/"):
        return None
    request = Request(words[0], " ".join(words[1:-1]), version=words[-1])
    for line in _unfold(lines):
        name, colon, value = line.partition(":")
        name = name.strip(LWS)
        if not colon or not is_token(name) or "\r" in value or "\n" in value:
            continue
        single = Headers.from_wire([(name, value.strip(LWS))])
        if "Via" in single or any(wanted in single and wanted not in request.headers for wanted in ("From", "To", "Call-ID", "CSeq")):
            request.headers.add(name, value)
    return request if "Via" in request.headers else None


def session_description(message: Request | Response) -> bytes | None:
    """The SDP in the message: its body, a part of a multipart body, or an untyped body that begins with `v=0`."""
    return find_session_description(message.headers, message.body)


def _cut(data: bytes) -> tuple[bytes, bytes]:
    data = data.lstrip(b"\r\n") if data[:1] in (b"\r", b"\n") else data
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise ParseError("message", expected="an empty line behind the headers", found=decode_text(data[-80:]))
    return data[:end], data[end + 4 :]


def _parse_start_line(line: str) -> Request | Response:
    words = line.split(" ", 2)
    if len(words) >= 2 and _is_version(words[0]):
        digits = words[1]
        if not (len(digits) == 3 and digits.isascii() and digits.isdigit() and MIN_CODE <= int(digits) <= MAX_CODE):
            raise ParseError("status code", expected="three digits from 100 to 699", found=line)
        return Response(int(digits), words[2].strip(LWS) if len(words) == 3 else "", version=words[0].upper())
    if len(words) != 3 or not is_token(words[0]) or not words[1] or not _is_version(words[2]):
        raise BadRequest(400, "Malformed Request-Line", found=line)
    return Request(words[0], words[1], version=words[2].upper())


def _is_version(text: str) -> bool:
    if text == SIP_VERSION:
        return True
    if "/" not in text:  # the method of a request
        return False
    prefix, _, number = text.partition("/")
    major, dot, minor = number.partition(".")
    return prefix.upper() == "SIP" and dot == "." and _is_number(major) and _is_number(minor)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4


def _unfold(lines: list[str]) -> list[str]:
    if not [line for line in lines if line[:1] in _BLANKS]:
        return lines
    unfolded: list[list[str]] = []
    for line in lines:
        if line[:1] in _BLANKS and unfolded:
            unfolded[-1].append(line.strip(LWS))
        else:
            unfolded.append([line])
    return [" ".join(parts) if len(parts) > 1 else parts[0] for parts in unfolded]


def _parse_fields(lines: list[str], *, skips: bool) -> list[tuple[str, str]]:
    """Name and value of each line. A line that is not a header is an error, or with `skips` is ignored.

    Responses are parsed with `skips`: a broken response cannot be answered, and its call must not time out for an unused line.
    """
    fields: list[tuple[str, str]] = []
    for line in _unfold(lines):
        name, colon, value = line.partition(":")
        if name[-1:] in " \t":
            name = name.rstrip(" \t")
        is_named = bool(colon) and is_header_name(name)
        if is_named and "\r" not in value and "\n" not in value:
            fields.append((name, value.strip(LWS)))
        elif not skips:
            raise BadRequest(400, f"Bare line break in {name}" if is_named else "Malformed header line", found=line)
    return fields


def _cut_body(headers: Headers, rest: bytes) -> bytes:
    lengths = set(headers.get_all("Content-Length"))
    if not lengths:
        return rest
    if len(lengths) > 1:
        raise BadRequest(400, "Conflicting Content-Length", found=", ".join(sorted(lengths)))
    text = lengths.pop()
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise BadRequest(400, "Malformed Content-Length", found=text)
    length = int(text)
    if length > len(rest):
        raise BadRequest(400, "Content-Length beyond the end of the message", found=text)
    return rest[:length]
