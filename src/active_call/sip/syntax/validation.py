"""Check whether a parsed request may be processed, else which code refuses it (RFC 3261 §8.1.1, §8.2, §16.3; RFC 4475).

A parsed `Request` or `Response` goes in; BadRequest or nothing comes out. This module checks the form only. `access/screening` checks
methods and extensions; `access/request_admission` checks the source address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from active_call.base.errors import ParseError
from active_call.sip.syntax.bad_request import BadRequest
from active_call.sip.syntax.grammar import find_bracket
from active_call.sip.syntax.headers import NameAddr, header_key, parse_name_addr, parse_via
from active_call.sip.syntax.message import Request, Response
from active_call.sip.syntax.uri import SUPPORTED_SCHEMES, parse_uri, scheme_of

MAX_BODY_BYTES = 65_535
_TAKEN_APART = {header_key(name): name for name in ("Via", "From", "To", "Contact", "Route", "Record-Route")}
MAX_ELEMENTS = 70
"""Maximum number of values of one of these headers: as many hops as Max-Forwards allows."""
MAX_TAKEN_APART_BYTES = 8192
"""Maximum size of all lines of one of these headers."""
MAX_DELIMITERS = 1000
"""Maximum number of quotes, brackets, commas and semicolons in all these headers, because each costs a parsing step. 70 hops need about 5
each in Via, and the same in Record-Route.
"""
_NO_CONTACT = frozenset(("ACK", "BYE", "CANCEL", "INFO", "MESSAGE", "PRACK"))
"""Methods whose Contact and Record-Route are not used and therefore not checked."""
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_MANDATORY = {header_key(name): name for name in ("Via", "From", "To", "Call-ID", "CSeq")}
_SINGLE = {header_key(name): name for name in ("From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Type")}


def validate_request(request: Request, *, max_body_bytes: int = MAX_BODY_BYTES) -> None:
    """Check the headers that every UAS needs. Raises BadRequest: 400, 413, 416 or 505.

    A missing From tag, branch cookie or Max-Forwards is accepted (RFC 2543 peers), and so are unknown URI schemes in From and To.
    """
    if request.version != "SIP/2.0":
        raise BadRequest(505, "Version Not Supported", found=request.version)
    values = request.headers.by_key
    _check_presence(values)
    _check_sizes(values)
    _check_routing_headers(request)
    _check_request_uri(request.uri)
    if len(request.body) > max_body_bytes:
        raise BadRequest(413, "Request Entity Too Large", found=str(len(request.body)))


def validate_response(response: Response) -> None:
    """Check that the response can be matched to a transaction and a dialog. Raises ParseError if it must be dropped."""
    if response.version != "SIP/2.0":
        raise ParseError("version", expected="SIP/2.0", found=response.version)
    values = response.headers.by_key
    for key, name in _MANDATORY.items():
        if key not in values:
            raise ParseError(f"Missing {name}")
    _check_sizes(values)
    _ = response.cseq, response.from_, response.to, response.top_via


def _check_presence(values: Mapping[str, Sequence[str]]) -> None:
    missing = [name for key, name in _MANDATORY.items() if key not in values or not values[key][0]]
    if missing:
        raise BadRequest(400, "Missing " + ", ".join(missing))
    for key, name in _SINGLE.items():
        if key in values and values[key][1:]:
            raise BadRequest(400, f"Multiple {name}")


def _check_sizes(values: Mapping[str, Sequence[str]]) -> None:
    """Limit the size of the headers that are parsed, because the sender controls the cost of parsing."""
    found: list[str] = []
    for key in _TAKEN_APART:
        if key in values:
            found += values[key]
    if len(found) <= MAX_ELEMENTS and sum(map(len, found)) <= MAX_DELIMITERS:  # nearly always: no limit can be exceeded
        return
    for key, name in _TAKEN_APART.items():
        lines = values.get(key, ())
        if len(lines) > MAX_ELEMENTS or sum(map(len, lines)) > MAX_TAKEN_APART_BYTES:
            raise BadRequest(400, f"Too Much In {name}", found=f"{len(lines)} lines, {sum(map(len, lines))} characters")
    n_delimiters = sum(line.count('"') + line.count("<") + line.count(";") + line.count(",") for line in found)
    if n_delimiters > MAX_DELIMITERS:
        raise BadRequest(400, "Too Many Delimiters", found=str(n_delimiters))


def _check_routing_headers(request: Request) -> None:
    headers = request.headers
    try:
        _ = request.top_via
        for text in _few(headers.split("Via"), "Via")[1:]:
            parse_via(text)
    except ParseError as error:
        raise BadRequest(400, "Malformed Via", found=error.found) from error
    for name in ("From", "To"):
        try:
            _check_uri(request.from_ if name == "From" else request.to)
        except ParseError as error:
            raise BadRequest(400, f"Malformed {name}", found=error.found) from error
    if find_bracket(headers.get("To") or "") is None:
        raise BadRequest(400, "Malformed To", found=headers.get("To") or "")  # RFC 4475 §3.1.2.6; From is the caller's own name
    if _CONTROL.search(request.call_id):
        raise BadRequest(400, "Malformed Call-ID", found=request.call_id)
    for name in ("Route",) if request.method in _NO_CONTACT else ("Contact", "Route", "Record-Route"):
        for text in _few(headers.split(name), name):
            try:
                if text != "*":
                    _check_uri(parse_name_addr(text))
            except ParseError as error:
                raise BadRequest(400, f"Malformed {name}", found=error.found) from error
    _check_cseq(request)
    hops = headers.get("Max-Forwards")
    if hops is not None and not (hops.isascii() and hops.isdigit() and len(hops) <= 9 and int(hops) <= 255):
        raise BadRequest(400, "Malformed Max-Forwards", found=hops)


def _few(elements: list[str], name: str) -> list[str]:
    if len(elements) > MAX_ELEMENTS:
        raise BadRequest(400, f"Too Much In {name}", found=f"{len(elements)} elements")
    return elements


def _check_uri(value: NameAddr) -> None:
    """Check that the URI is well-formed if its scheme is one that we parse. Raises ParseError."""
    try:
        parse_uri(value.uri_text)
    except ParseError:
        if scheme_of(value.uri_text) in SUPPORTED_SCHEMES:
            raise


def _check_cseq(request: Request) -> None:
    try:
        cseq = request.cseq
    except ParseError as error:
        raise BadRequest(400, "Malformed CSeq", found=error.found) from error
    if cseq.method != request.method:
        raise BadRequest(400, "CSeq method does not match", found=str(cseq))


def _check_request_uri(text: str) -> None:
    try:
        scheme = scheme_of(text)
    except ParseError as error:
        raise BadRequest(400, "Malformed Request-URI", found=text) from error
    if scheme not in SUPPORTED_SCHEMES:
        raise BadRequest(416, "Unsupported URI Scheme", found=text)
    try:
        uri = parse_uri(text)
    except ParseError as error:
        raise BadRequest(400, "Malformed Request-URI", found=text) from error
    if uri.headers is not None:
        raise BadRequest(400, "Headers in the Request-URI", found=text)
