"""Dialogs: the state that two user agents share from an INVITE to its BYE (RFC 3261 §12).

The INVITE and the response that create a dialog go in, then later requests and target refreshes. In-dialog requests and their next hop come
out. This module knows no transactions and no call states.

    early      created by a 101-199 with a To tag   one INVITE may create several (forking)
    confirmed  created or confirmed by a 2xx        the UAC computes the route set again, once (§13.2.2.4)

After that the route set is fixed. A target refresh (INVITE, UPDATE) changes only the remote target. Route set and target are kept verbatim:
the Contacts of carriers are often private addresses that only their Record-Routes can reach.
"""

from __future__ import annotations

from typing import Final

from active_call.base.errors import ParseError
from active_call.base.rate import Rate
from active_call.sip.dialog.next_hop import next_hop
from active_call.sip.events import Flow, Target, TransportName
from active_call.sip.listeners import SECURED
from active_call.sip.routing import is_loose
from active_call.sip.syntax.headers import Headers, parse_name_addr
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.origin import Origin

MAX_FORWARDS = "70"
DialogKey = tuple[str, str, str]
"""Call-ID, local tag, remote tag: what identifies a dialog (§12)."""
NO_CONTACT = frozenset(("BYE", "MESSAGE", "INFO", "ACK", "CANCEL", "PRACK"))
"""Methods whose requests carry no Contact: it is not allowed or has no meaning (RFC 3261 table 2, RFC 3428 §4)."""
MAX_REQUESTS_PER_S: Final = 50
"""Requests of the peer inside one dialog. A machine that sends each digit by INFO needs a fifth of that. Each request takes 1 ms of the
control process, which all calls share.
"""


class Dialog:
    """One side's view of a dialog. `local` and `remote` are whole From/To values including tags."""

    __slots__ = (
        "_rate",
        "call_id",
        "contact_user",
        "flow",
        "is_address_validated",
        "is_confirmed",
        "is_ours",
        "large_by_tcp",
        "local",
        "local_cseq",
        "local_host",
        "local_tag",
        "remote",
        "remote_cseq",
        "remote_tag",
        "remote_target",
        "route_set",
        "user_agent",
    )

    def __init__(self, call_id: str, local: str, local_tag: str, remote: str, remote_tag: str, flow: Flow) -> None:
        self.call_id = call_id
        self.local = local
        self.local_tag = local_tag
        self.remote = remote
        self.remote_tag = remote_tag
        self.flow = flow
        self.is_address_validated = True
        """See `Origin.is_address_validated`."""
        self.route_set: tuple[str, ...] = ()
        self.remote_target = ""
        self.local_cseq = 0
        self.remote_cseq: int | None = None
        self.is_confirmed = False
        self.is_ours = False
        self.large_by_tcp = True
        self.contact_user = ""
        self.local_host: str | None = None
        self.user_agent = ""
        self._rate: Rate | None = None

    @classmethod
    def of_server(cls, invite: Request, local_tag: str, flow: Flow) -> Dialog:
        """The UAS's dialog (§12.1.1). The INVITE has been validated and has a Contact."""
        to = invite.headers.get("To") or ""
        remote = invite.headers.get("From") or ""
        dialog = cls(invite.call_id, f"{to};tag={local_tag}", local_tag, remote, invite.from_.tag or "", flow)
        dialog.route_set = tuple(invite.headers.split("Record-Route"))
        dialog.refresh_target(invite)
        dialog.remote_cseq = invite.cseq.number
        dialog.user_agent = invite.headers.get("User-Agent") or ""
        return dialog

    @classmethod
    def of_client(cls, invite: Request, response: Response, flow: Flow, local_tag: str) -> Dialog:
        """The UAC's dialog (§12.1.2). It is early or confirmed, depending on the response."""
        remote = response.headers.get("To") or ""
        local = invite.headers.get("From") or ""
        dialog = cls(invite.call_id, local, local_tag, remote, response.to.tag or "", flow)
        dialog.is_ours = True
        dialog.local_cseq = invite.cseq.number
        dialog.remote_target = invite.uri
        dialog.learn(response, flow)
        return dialog

    @property
    def key(self) -> DialogKey:
        """The key that identifies the dialog (§12)."""
        return self.call_id, self.local_tag, self.remote_tag

    def learn(self, response: Response, flow: Flow) -> None:
        """Take route set, target and state from a response to the INVITE that created this dialog. No effect once it is confirmed."""
        if self.is_confirmed:
            return
        self.is_confirmed = response.code >= 200
        self.move(flow)
        routes = tuple(reversed(response.headers.split("Record-Route")))
        if routes or self.is_confirmed:
            self.route_set = routes
        self.user_agent = response.headers.get("Server") or response.headers.get("User-Agent") or self.user_agent
        self.refresh_target(response)

    def refresh_target(self, message: Request | Response) -> None:
        """Take the remote target verbatim from a Contact. A message without a usable Contact has no effect."""
        contacts = message.headers.split("Contact")
        if not contacts:
            return
        try:
            self.remote_target = parse_name_addr(contacts[0]).uri_text
        except ParseError:
            return

    def has_room(self, now: float) -> bool:
        """Whether one more request of the peer may be taken now; if so, it is counted against `MAX_REQUESTS_PER_S`."""
        if self._rate is None:
            self._rate = Rate(MAX_REQUESTS_PER_S)
        return self._rate.take(now)

    def accepts_cseq(self, number: int) -> bool:
        """Whether a request with that CSeq number is in order (§12.2.2). Records the highest number."""
        if self.remote_cseq is not None and number < self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def new_request(self, method: str, cseq: int | None = None) -> Request:
        """A new in-dialog request without Via and Contact (§12.2.1.1). `cseq` None takes the next number."""
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        uri, routes = self.remote_target, self.route_set
        if routes and not is_loose(routes[0]):
            uri, routes = _request_uri_of(routes[0]), (*routes[1:], f"<{self.remote_target}>")
        headers = Headers()
        headers.add("Max-Forwards", MAX_FORWARDS)
        for route in routes:
            headers.add("Route", route)
        headers.add("From", self.local)
        headers.add("To", self.remote)
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", f"{cseq} {method}")
        return Request(method, uri, headers, b"")

    def move(self, flow: Flow) -> None:
        """Expect the peer's messages on `flow` from now on. A dialog that was set up over TLS stays on TLS."""
        if self.flow.transport not in SECURED or flow.transport in SECURED:
            self.flow = flow

    def next_hop(self, default: TransportName) -> Target:
        """Where in-dialog requests go: the first route, else the remote target. See `next_hop`."""
        text = self.route_set[0] if self.route_set else self.remote_target
        return next_hop(text, self.flow, default, is_ours=self.is_ours, large_by_tcp=self.large_by_tcp)

    def origin(self, method: str) -> Origin:
        """The sender identity (Via, Contact) for a request of that method."""
        return Origin(None if method in NO_CONTACT else self.contact_user, self.flow.local, self.local_host, self.is_address_validated)


def _request_uri_of(route: str) -> str:
    """The URI of a strict router as a Request-URI, without the parts that are not allowed there (§12.2.1.1, §19.1.1)."""
    try:
        text = parse_name_addr(route).uri_text
    except ParseError:
        return route.strip("<>")
    kept = [part for part in text.partition("?")[0].split(";") if not part.lower().startswith("method=")]
    return ";".join(kept)
