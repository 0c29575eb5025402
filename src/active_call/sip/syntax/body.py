"""Find the session description in a message body (RFC 3261 §7.4, RFC 2046 §5.1, RFC 5621).

Headers and body bytes go in, SDP bytes or None come out. This module knows multipart framing, not SDP.
"""

from __future__ import annotations

from active_call.base.errors import ParseError
from active_call.sip.syntax.grammar import LWS, decode_text, encode_text, parse_parameters
from active_call.sip.syntax.headers import Headers

SDP_TYPE = "application/sdp"
_MAX_NESTING = 3
"""Limit for multipart inside multipart. Real messages have one level."""


def find_session_description(headers: Headers, body: bytes) -> bytes | None:
    """The SDP in `body`: the whole body, the first SDP part of a multipart, or an untyped body that begins with `v=0`."""
    return _find(headers.get("Content-Type"), body, _MAX_NESTING)


def unreadable_part(headers: Headers, body: bytes) -> str | None:
    """The type of the first multipart part that is marked `handling=required` and that we cannot process; None if there is none.

    A part without that parameter is ignored (RFC 3204 §5.2 leaves this to the receiver): carriers add ISUP, locations and the like.
    """
    return _unreadable(headers.get("Content-Type") or "", body, _MAX_NESTING)


def is_optional(disposition: str | None) -> bool:
    """Whether a Content-Disposition allows its body to be ignored (RFC 3261 §20.11)."""
    return _handling(disposition) == "optional"


def split_multipart(boundary: str, body: bytes) -> list[tuple[str | None, bytes]]:
    """Content type and content of each part, in order. Preamble and epilogue are dropped; a missing final delimiter is tolerated."""
    return [(_field(head, "content-type", "c"), content) for head, content in _parts(boundary, body)]


def _parts(boundary: str, body: bytes) -> list[tuple[bytes, bytes]]:
    """The header lines and the content of each part."""
    delimiter = b"\r\n--" + encode_text(boundary)
    parts: list[tuple[bytes, bytes]] = []
    for section in (b"\r\n" + body).split(delimiter)[1:]:
        if section.startswith(b"--"):
            break
        _, _, content = section.partition(b"\r\n")
        if content.startswith(b"\r\n"):
            parts.append((b"", content[2:]))
            continue
        head, _, content = content.partition(b"\r\n\r\n")
        parts.append((head, content))
    return parts


def _find(content_type: str | None, body: bytes, depth: int) -> bytes | None:
    if content_type is None:
        return body if body.lstrip().startswith(b"v=0") else None
    if _media_type(content_type) == SDP_TYPE:
        return body or None
    boundary = _boundary(content_type) if depth else None
    if not boundary:
        return None
    for part_type, content in split_multipart(boundary, body):
        if part_type is not None and (found := _find(part_type, content, depth - 1)) is not None:
            return found
    return None


def _unreadable(content_type: str, body: bytes, depth: int) -> str | None:
    boundary = _boundary(content_type) if depth else None
    if not boundary:
        return None
    for head, content in _parts(boundary, body):
        part_type = _field(head, "content-type", "c") or "text/plain"  # RFC 2046 §5.1
        if _media_type(part_type).startswith("multipart/"):
            found = _unreadable(part_type, content, depth - 1)
            if found is not None:
                return found
        elif _media_type(part_type) != SDP_TYPE and _handling(_field(head, "content-disposition")) == "required":
            return _media_type(part_type)
    return None


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip(LWS).lower()


def _boundary(content_type: str) -> str | None:
    """The boundary of a multipart type. None if the type is not multipart or has no boundary."""
    _, semicolon, parameters = content_type.partition(";")
    if not _media_type(content_type).startswith("multipart/"):
        return None
    try:
        return parse_parameters(semicolon + parameters).get("boundary")
    except ParseError:
        return None


def _handling(disposition: str | None) -> str:
    _, semicolon, parameters = (disposition or "").partition(";")
    try:
        return (parse_parameters(semicolon + parameters, is_lenient=True).get("handling") or "").lower()
    except ParseError:
        return ""


def _field(head: bytes, *names: str) -> str | None:
    """The value of the first header line of a part with one of these names (lower case)."""
    for line in decode_text(head).replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip(LWS).lower() in names:
            return value.strip(LWS)
    return None
