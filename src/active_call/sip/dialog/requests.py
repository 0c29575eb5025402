"""Our requests other than INVITE, ACK and CANCEL, repeated with credentials if challenged.

A function that builds the request and its next hop for each attempt goes in. Exactly one outcome goes to a callback: the final response,
408 without a response, 503 if the request could not be sent (RFC 3261 §8.1.3, §22.2).
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.credentials import Authenticator
from active_call.sip.dialog.dialog import MAX_FORWARDS, Dialog
from active_call.sip.events import Credentials, Flow, HeaderList, HopRules, Target, TransportName
from active_call.sip.ports import SendingPort
from active_call.sip.routing import is_loose, target_of, transport_of, uri_of
from active_call.sip.syntax.headers import Headers, format_name_addr
from active_call.sip.syntax.message import Request, Response
from active_call.sip.syntax.uri import Uri
from active_call.sip.transaction.failover import FailoverRequest
from active_call.sip.transaction.origin import Origin

Attempt = tuple[Request, Target, Origin]
Outcome = Callable[[int, str, Response | None, Flow | None, float], None]


class OutgoingRequest:
    """One request through all its attempts."""

    def __init__(self, port: SendingPort, make: Callable[[], Attempt], credentials: tuple[Credentials, ...], on_outcome: Outcome) -> None:
        self._port = port
        self._make = make
        self._authenticator = Authenticator(credentials, port.randomness)
        self._on_outcome = on_outcome

    def send(self, now: float) -> None:
        """Build and send the next attempt. Raises LocalProtocolError if it cannot be built."""
        request, target, origin = self._make()
        self._authenticator.add_to(request)
        self._port.send_request(request, target, self, now, origin)

    def on_response(self, request: FailoverRequest, response: Response, flow: Flow, now: float) -> None:
        """Report a final response as the outcome, unless it is a challenge that can be met."""
        del request
        if response.code < 200 or self._authenticator.answer_challenge(response, self.send, now):
            return
        self._on_outcome(response.code, response.reason, response, flow, now)

    def on_no_response(self, request: FailoverRequest, code: int, reason: str, now: float) -> None:
        """The request got no final response or could not be sent."""
        del request
        self._on_outcome(code, reason, None, None, now)


def in_dialog(port: SendingPort, dialog: Dialog, method: str, headers: HeaderList, body: bytes = b"", content_type: str = "") -> Attempt:
    """An in-dialog request with the next sequence number."""
    request = dialog.new_request(method)
    add_body(request, headers, body, content_type)
    if port.config.user_agent and "User-Agent" not in request.headers:
        request.headers.add("User-Agent", port.config.user_agent)
    return request, dialog.next_hop(port.default_transport()), dialog.origin(method)


def outside(
    port: SendingPort,
    method: str,
    uri: str,
    *,
    from_value: str,
    to_uri: str,
    call_id: str,
    cseq: int,
    proxy: str | None,
    transport: TransportName | None = None,
    rules: HopRules | None = None,
) -> tuple[Request, Target]:
    """A request outside any dialog (RFC 3261 §8.1.1), without Via and Contact, and its next hop.

    `proxy` becomes a preloaded Route; a bare URI is treated as a loose router. Raises LocalProtocolError for a URI without a usable host.
    """
    headers = Headers()
    headers.add("Max-Forwards", MAX_FORWARDS)
    hop_text = uri
    _parsed(uri)
    if proxy is not None:
        hop_text = proxy if "<" in proxy else f"<{proxy}>"
        if not is_loose(hop_text):
            hop_text = f"<{_parsed(hop_text)};lr>"
        headers.add("Route", hop_text)
    headers.add("From", from_value)
    headers.add("To", format_name_addr(to_uri))
    headers.add("Call-ID", call_id)
    headers.add("CSeq", f"{cseq} {method}")
    headers.add("User-Agent", port.config.user_agent)
    hop = _hop(port, hop_text, transport)
    return Request(method, uri, headers, b""), hop if rules is None else replace(hop, rules=rules)


def add_body(request: Request, headers: HeaderList, body: bytes = b"", content_type: str = "") -> None:
    """Append the caller's headers and a body with its type. Raises LocalProtocolError for a header that would corrupt the message."""
    for name, value in headers:
        request.headers.add(name, value)
    request.body = body
    if body and content_type and "Content-Type" not in request.headers:
        request.headers.add("Content-Type", content_type)


def _hop(port: SendingPort, text: str, transport: TransportName | None) -> Target:
    uri = _parsed(text)
    if not uri.host:
        raise LocalProtocolError(f"{text!r} has no host; a proxy is needed")
    if transport is not None:
        return replace(target_of(uri, transport), any_transport=False)
    return target_of(uri, transport_of(uri, port.default_transport()))


def _parsed(text: str) -> Uri:
    try:
        return uri_of(text)
    except ParseError as error:
        raise LocalProtocolError(f"{text!r} is not an address to send to: {error}") from error
