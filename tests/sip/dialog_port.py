"""A call that is none: a `DialogPort` in virtual time that writes down what a part asks of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.ports import SessionDescriptions
from active_call.sip.events import EndpointConfig
from active_call.sip.syntax.headers import Headers
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.timers import Timers


@dataclass
class SentRequest:
    """What `send_request` was called with."""

    method: str
    headers: dict
    body: bytes
    content_type: str
    dialog: object
    on_outcome: object


@dataclass
class SentInvite:
    """A re-INVITE that was sent; stands in for a ClientInvite."""

    headers: dict
    sdp: bytes | None
    give_up_s: float
    acknowledged: list = field(default_factory=list)
    is_cancelled: bool = False

    def acknowledge(self, dialog, now, sdp=None):
        self.acknowledged.append(sdp)

    def cancel(self, now, headers=()):
        self.is_cancelled = True


class FakePort:
    """See the module. `decided` is what timers and outcomes have returned."""

    handle = "call"

    def __init__(self, flow, randomness, *, local=b"ours", remote=b"theirs", **config):
        self.config = EndpointConfig(listeners=(), user_agent="u", **config)
        self.randomness = randomness
        self.timers = Timers()
        self.now = 0.0
        self.dialog = Dialog("id", "<sip:us@a>;tag=1", "1", "<sip:them@b>;tag=2", "2", flow)
        self.dialog.remote_target = "sip:them@b"
        self.descriptions = SessionDescriptions(local, remote)
        self.is_active = self.is_answered = True
        self.is_first_invite_open = False
        self.may_send = True
        self.requests, self.invites, self.replies, self.events, self.decided = [], [], [], [], []

    def emit(self, event):
        self.events.append(event)

    def respond(self, transaction, reply, now):
        self.replies.append(reply)
        return True

    def set_timer(self, at, decide):
        return self.timers.start(at, lambda now: self.decided.append(decide(now)))

    def cancel_timer(self, timer):
        self.timers.cancel(timer)

    def send_request(self, method, headers, now, *, body=b"", content_type="", dialog=None, on_outcome=None):
        self.requests.append(SentRequest(method, dict(headers), body, content_type, dialog, on_outcome))

    def send_reported_request(self, method, now, headers):
        self.send_request(method, headers, now)
        return f"token{len(self.requests)}"

    def send_invite(self, headers, sdp, give_up_s, now):
        self.invites.append(SentInvite(dict(headers()), sdp, give_up_s))
        return self.invites[-1]

    # -- for tests

    def run_until(self, at):
        """Let time pass, alarm by alarm; what the alarms have decided, None left out."""
        n_before = len(self.decided)
        while (due := self.timers.next_at()) is not None and due <= at:
            self.now = due
            self.timers.run_due(due)
        self.now = at
        return [one for one in self.decided[n_before:] if one is not None]


def message(kind, cseq="2 INVITE", body=b"", **headers):
    """A message of the peer: a request where `kind` is a method, a response where it is a code. `_` in a header's name is a hyphen."""
    own = {"To": "<sip:them@b>;tag=2", "From": "<sip:us@a>;tag=1", "Call-ID": "id", "CSeq": cseq}
    if isinstance(kind, str):
        own |= {"CSeq": f"{cseq.split()[0]} {kind}"}
    if body:
        own["Content-Type"] = "application/sdp"
    fields = Headers.from_wire([*own.items(), *((name.replace("_", "-"), value) for name, value in headers.items())])
    return Request(kind, "sip:us@a", fields, body) if isinstance(kind, str) else Response(kind, "Reason", fields, body)
