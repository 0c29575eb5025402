"""Follow a 3xx: which Contact, how often, and which headers (RFC 3261 §8.1.3.4, §21.3).

The OutboundInvite goes in, then 3xx responses with their source addresses. The OutboundInvite for the next attempt comes out, or None, and
RedirectRefused for each Contact that is not followed. Sends nothing. The `redirects` policy of the invite decides which targets may be
called.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from active_call.base.addresses import Reach, reach_of
from active_call.base.errors import ParseError
from active_call.sip.events import HopRules, OutboundInvite, Redirection
from active_call.sip.routing import uri_of
from active_call.sip.syntax.headers import parse_name_addr
from active_call.sip.syntax.message import Response
from active_call.sip.syntax.uri import Uri, scheme_of

MAX_REDIRECTS = 1
"""Carriers redirect once, to one of their edges. A second redirection is probably a loop."""
MAX_CONTACTS = 8
"""Contacts read from one 3xx."""
FOR_ANY_PEER = frozenset(("privacy", "priority", "subject", "accept-language"))
"""Headers of a call that any peer may see. All others may be meant for the first peer only."""

Refused = Callable[[str, str, str], None]


class Redirections:
    """The redirections of one call. `on_refused` is called with URI, rule and reason of each Contact that is not followed."""

    def __init__(self, on_refused: Refused) -> None:
        self._on_refused = on_refused
        self._n_followed = 0
        self._been: set[tuple[str | None, str, int | None, str | None]] = set()

    def follow(self, spec: OutboundInvite, request_uri: str, response: Response, peer: str) -> tuple[OutboundInvite, str] | None:
        """The next OutboundInvite and Request-URI, from the first usable Contact of the first 3xx. None if there is none."""
        if self._n_followed >= MAX_REDIRECTS:
            return None
        self._n_followed += 1
        self._been.add(_place(uri_of(request_uri)))
        for text in response.headers.split("Contact")[:MAX_CONTACTS]:
            uri = _read(text)
            if uri is None:
                continue
            verdict = self._judge(spec, uri, peer)
            if verdict.uri:
                self._been.add(_place(uri))
                return _as_sent_on(spec, verdict), verdict.uri
            self._on_refused(str(uri), verdict.refused_by, verdict.why)
        return None

    def _judge(self, spec: OutboundInvite, uri: Uri, peer: str) -> Redirection:
        if _place(uri) in self._been:
            return Redirection("", refused_by="outbound_loop", why="the call has been there")
        if spec.redirects is not None:
            return spec.redirects(uri, peer)
        if uri.host.lower() != uri_of(spec.to_uri).host.lower() or "maddr" in uri.parameters:
            return Redirection("", refused_by="outbound_domain", why="the host is another than the one that was called")
        return Redirection(str(uri), rules=HopRules(reach_of(peer) or Reach.NOWHERE, not_ourselves=True))


def _read(text: str) -> Uri | None:
    """Parse a Contact that a call can be made to. One with headers or another method is unusable."""
    try:
        address = parse_name_addr(text).uri_text
        if scheme_of(address) not in ("sip", "sips"):
            return None
        uri = uri_of(address)
    except ParseError:
        return None
    method = uri.parameters.get("method", "INVITE") or ""
    if not uri.host or uri.headers is not None or method.upper() != "INVITE":
        return None
    return replace(uri, parameters={name: value for name, value in uri.parameters.items() if name != "method"})


def _as_sent_on(spec: OutboundInvite, verdict: Redirection) -> OutboundInvite:
    """The same call to another target, without the headers that only the first target may see."""
    rules = replace(verdict.rules, large_by_tcp=spec.rules.large_by_tcp)
    if verdict.keeps_secrets:
        return replace(spec, rules=rules)
    headers = tuple((name, value) for name, value in spec.headers if name.lower() in FOR_ANY_PEER)
    return replace(spec, rules=rules, headers=headers, credentials=(), proxy=None)


def _place(uri: Uri) -> tuple[str | None, str, int | None, str | None]:
    return uri.decoded_user, uri.host.lower(), uri.port, uri.transport
