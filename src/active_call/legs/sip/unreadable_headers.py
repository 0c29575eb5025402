"""Find informational headers whose values do not parse. They have no effect on a call and are counted.

An event with its message goes in, names of headers come out. The SIP core checks the headers that a call needs (From, To, Via, Contact of a
request …).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from active_call.base.errors import ParseError
from active_call.sip.dialog.session_expires import parse_session_expires
from active_call.sip.events import CallAnswered, CallEnded, IncomingCall, SipEvent
from active_call.sip.syntax.grammar import split_list
from active_call.sip.syntax.headers import header_key, parse_name_addr
from active_call.sip.syntax.message import Request, Response
from active_call.sip.syntax.reason import parse_reason
from active_call.sip.syntax.uri import SUPPORTED_SCHEMES, parse_uri, scheme_of

MAX_VALUES = 70
"""Maximum number of values read per header: as many as a request may have hops (RFC 3261 §20.22)."""


def _read_address(text: str) -> None:
    address = parse_name_addr(text)
    if scheme_of(address.uri_text) in SUPPORTED_SCHEMES:
        parse_uri(address.uri_text)


_READERS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    header_key(name): (name, read)
    for name, read in {
        "P-Asserted-Identity": _read_address,
        "P-Preferred-Identity": _read_address,
        "Remote-Party-ID": _read_address,
        "Diversion": _read_address,
        "History-Info": _read_address,
        "Referred-By": _read_address,
        "Reason": parse_reason,
        "Session-Expires": parse_session_expires,
    }.items()
}


def ignored_headers(event: SipEvent) -> list[str]:
    """The names of unparsable headers in an INVITE, its final response, or the request that ends a call; empty for other events."""
    match event:
        case IncomingCall(request=request):
            return _unreadable(request)
        case CallAnswered(response=response, unreadable_contact=contact):
            return [*(["Contact"] if contact else []), *_unreadable(response)]
        case CallEnded(message=message) if message is not None:
            return _unreadable(message)
        case _:
            return []


def _unreadable(message: Request | Response) -> list[str]:
    values = message.headers.by_key
    return [name for key, (name, read) in _READERS.items() if key in values and not _is_readable(values[key], read)]


def _is_readable(lines: Sequence[str], read: Callable[[str], object]) -> bool:
    try:
        for text in [element for line in lines[:MAX_VALUES] for element in split_list(line)][:MAX_VALUES]:
            read(text)
    except ParseError:
        return False
    return True
