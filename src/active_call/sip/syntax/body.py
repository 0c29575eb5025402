"""Where in a message body the session description is (RFC 3261 §7.4, RFC 2046 §5.1, RFC 5621).

Headers and body bytes enter, SDP bytes or None leave. It knows multipart framing, not SDP.
"""

from __future__ import annotations

from active_call.base.errors import ParseError
from active_call.sip.syntax.grammar import LWS, decode_text, encode_text, parse_parameters
from active_call.sip.syntax.headers import Headers

SDP_TYPE = "application/sdp"
_MAX_NESTING = 3
"""Multipart inside multipart is followed this deep; real messages stop at one."""


def find_session_description(headers: Headers, body: bytes) -> bytes | None:
    """The SDP in `body`: all of it, the first such part of a multipart, or an untyped body that begins with `v=0`."""
    return _find(headers.get("Content-Type"), body, _MAX_NESTING)


def split_multipart(boundary: str, body: bytes) -> list[tuple[str | None, bytes]]:
    """Content type and content of each part, in order; preamble and epilogue are left out, a missing final delimiter is tolerated."""
    delimiter = b"\r\n--" + encode_text(boundary)
    parts: list[tuple[str | None, bytes]] = []
    for section in (b"\r\n" + body).split(delimiter)[1:]:
        if section.startswith(b"--"):
            break
        _, _, content = section.partition(b"\r\n")
        if content.startswith(b"\r\n"):
            parts.append((None, content[2:]))
            continue
        head, _, content = content.partition(b"\r\n\r\n")
        parts.append((_content_type(head), content))
    return parts


def _find(content_type: str | None, body: bytes, depth: int) -> bytes | None:
    if content_type is None:
        return body if body.lstrip().startswith(b"v=0") else None
    media_type, semicolon, parameters = content_type.partition(";")
    media_type = media_type.strip(LWS).lower()
    if media_type == SDP_TYPE:
        return body or None
    if not media_type.startswith("multipart/") or depth == 0:
        return None
    try:
        boundary = parse_parameters(semicolon + parameters).get("boundary")
    except ParseError:
        return None
    if not boundary:
        return None
    for part_type, content in split_multipart(boundary, body):
        if part_type is not None and (found := _find(part_type, content, depth - 1)) is not None:
            return found
    return None


def _content_type(head: bytes) -> str | None:
    for line in decode_text(head).replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip(LWS).lower() in ("content-type", "c"):
            return value.strip(LWS)
    return None
