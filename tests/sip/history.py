"""One call and a peer that does as it is told, step by step; and what must hold of any history when it is over.

A history is a list of `(kind, what, number)`: what the leg asks for, what the peer requests or replies, time that passes, what breaks.
"""

from __future__ import annotations

import contextlib

from active_call.base.errors import LocalProtocolError
from active_call.sip.events import CallEnded, Credentials, IncomingCall, OutboundInvite, RequestReceived, TransferRequested

LEG_STEPS = (
    "ring",
    "early media",
    "answer",
    "reject",
    "hang up",
    "offer",
    "ask",
    "answer offer",
    "refuse offer",
    "info",
    "update",
    "respond",
    "refer",
    "answer refer",
    "tell transfer",
)
PEER_REQUESTS = (
    "ACK",
    "CANCEL",
    "BYE",
    "INVITE",
    "INVITE sdp",
    "UPDATE",
    "UPDATE sdp",
    "INFO",
    "OPTIONS",
    "PRACK",
    "PRACK sdp",
    "NOTIFY",
    "REFER",
    "repeat",
)
CODES = (100, 180, 183, 200, 202, 302, 401, 404, 408, 422, 481, 487, 491, 500)
WAITS = (0.1, 0.6, 3.0, 20.0, 33.0, 70.0)
BREAKS = ("error", "lost")


class Story:
    """One call and a peer that does as it is told."""

    def __init__(self, wire, flow, *, inbound, sdp, rich):
        self.rich = rich
        self.inbound = inbound
        self.wire = wire
        self.bench = wire.Bench(flow=flow)
        self.n_routes = 0
        self.cseq = 100
        self.n_branches = self.rseq = 0
        self.last = b""
        self.invite_branch = "z9hG4bKpeer1"
        if inbound:
            extra = (("Require", "100rel, timer"), ("Session-Expires", "90;refresher=uas"), ("Allow", "UPDATE")) if rich else ()
            self.feed(wire.request("INVITE", body=wire.OFFER if sdp else b"", extra=(*extra, *self.another_route())))
            self.call = self.bench.of(IncomingCall)[0].call
        else:
            uri = f"sip:+2@192.0.2.9;transport={flow.transport}"
            spec = OutboundInvite(uri, "sip:+1@us.example", wire.OFFER if sdp else None, credentials=(Credentials("u", "p"),))
            self.call = self.bench.endpoint.invite(spec, self.bench.now)
            self.bench.drain()

    def feed(self, data):
        self.last = data
        self.bench.feed(data)

    def leg(self, step, flag):
        endpoint, wire, now = self.bench.endpoint, self.wire, self.bench.now
        with contextlib.suppress(LocalProtocolError):
            match step:
                case "ring":
                    endpoint.ring(self.call, now)
                case "early media":
                    endpoint.ring(self.call, now, sdp=wire.ANSWER)
                case "answer":
                    endpoint.answer(self.call, wire.ANSWER, now)
                case "reject":
                    endpoint.reject(self.call, 486, "Busy Here", now)
                case "hang up":
                    endpoint.hang_up(self.call, now)
                case "offer":
                    endpoint.offer(self.call, wire.OFFER, now)
                case "ask":
                    endpoint.offer(self.call, None, now)
                case "answer offer":
                    endpoint.answer_offer(self.call, wire.ANSWER, now)
                case "refuse offer":
                    endpoint.refuse_offer(self.call, 488, "Not Acceptable Here", now)
                case "info":
                    endpoint.request(self.call, "INFO", now, body=b"x", content_type="text/plain")
                case "update":
                    endpoint.request(self.call, "UPDATE", now)
                case "respond":
                    for event in self.bench.of(RequestReceived)[-1:]:
                        endpoint.respond(event.token, 200 if flag else 100, "OK", now)
                case "refer":
                    endpoint.refer(self.call, "sip:third@192.0.2.9", now)
                case "answer refer":
                    for event in self.bench.of(TransferRequested)[-1:]:
                        endpoint.respond(event.token, 202 if flag else 603, "Whatever", now)
                case "tell transfer":
                    endpoint.notify_transfer(self.call, 180, "Ringing", now, final=flag)
        self.bench.drain()

    def peer(self, step, ahead):
        if step == "repeat":
            self.bench.feed(self.last)
            return
        method, _, sdp = step.partition(" ")
        if self.inbound:
            tags = [m for m in self.bench.sent if m.code > 100]
            options = {"to": tags[-1].get("To")} if tags and method != "CANCEL" else {}
        else:
            invite = self.bench.sent[0]
            options = {"to": invite.get("From"), "sender": invite.get("To") + ";tag=fork-1", "call_id": invite.get("Call-ID")}
        self.n_branches += 1
        branch = f"z9hG4bKnew{self.n_branches}"
        if method in ("ACK", "CANCEL"):
            cseq = self.cseq
            branch = self.invite_branch if method == "CANCEL" or ahead < 0 else branch
        else:
            self.cseq = cseq = max(1, self.cseq + ahead)
        if method == "INVITE":
            self.invite_branch = branch
        body = self.wire.OFFER if sdp else b""
        extra = (*self.extra(method, ahead), *self.another_route())
        self.feed(self.wire.request(method, branch=branch, cseq=cseq, body=body, extra=extra, **options))

    def another_route(self):
        """A Record-Route that no message before had: whoever takes one over after the dialog was made sends to nowhere."""
        self.n_routes += 1
        return (("Record-Route", f"<sip:10.0.0.{self.n_routes};lr>"),)

    def extra(self, method, ahead):
        """The headers that make a request of the peer mean something."""
        if not self.rich:
            return ()
        numbered = [m for m in self.bench.sent if m.all("RSeq")]
        match method:
            case "PRACK" if numbered:
                return (("RAck", f"{numbered[-1].get('RSeq')} {numbered[-1].get('CSeq')}"),)
            case "NOTIFY":
                return (("Event", "refer"), ("Subscription-State", "active" if ahead % 2 else "terminated"))
            case "REFER":
                return (("Refer-To", "<sip:third@192.0.2.9>"),)
            case "INVITE" | "UPDATE":
                return (("Supported", "timer"), ("Session-Expires", f"90;refresher={'uac' if ahead % 2 else 'uas'}"))
        return ()

    def reply(self, code, back):
        ours = [m for m in self.bench.sent if not m.code and m.method != "ACK"]
        if len(ours) < back:
            return
        extra = (("WWW-Authenticate", f'Digest realm="r", nonce="n{len(ours)}"'),) if code == 401 else ()
        if self.rich and code == 200:
            extra = (("Session-Expires", f"90;refresher={'uas' if back % 2 else 'uac'}"), ("Allow", "UPDATE" if back % 2 else "INVITE"))
        elif self.rich and code < 200:
            self.rseq += 1
            extra = (("Require", "100rel"), ("RSeq", str(self.rseq)))
        elif code == 422:
            extra = (("Min-SE", "120"),)
        sdp = self.wire.ANSWER if code in (183, 200) else b""
        self.feed(self.wire.response(ours[-back], code, tag=f"fork-{back}", body=sdp, extra=(*extra, *self.another_route())))

    def tell(self, kind, what, number):
        match kind:
            case "leg":
                self.leg(what, number)
            case "peer":
                self.peer(what, number)
            case "reply":
                self.reply(what, number)
            case "wait":
                self.bench.advance(what)
            case "break" if what == "lost":
                self.bench.endpoint.handle_connection_lost(self.bench.flow, "lost", self.bench.now)
                self.bench.drain()
            case "break":
                for message in self.bench.sent[-number:]:
                    self.bench.endpoint.handle_transport_error(message.transmit.id, "broken", self.bench.now)
                self.bench.drain()

    def finish(self):
        """The legs let go, the peer falls silent, and time runs out."""
        for event in self.bench.of(IncomingCall):
            self.bench.endpoint.hang_up(event.call, self.bench.now)
        self.bench.endpoint.hang_up(self.call, self.bench.now)
        self.bench.drain()
        self.bench.advance(400)

    # -- what must hold

    def assert_over(self):
        """Exactly one CallEnded a call and nothing behind it; every number rising; routes frozen; nothing left."""
        bench = self.bench
        for call in {self.call, *(event.call for event in bench.of(IncomingCall))}:
            about = [event for event in bench.events if getattr(event, "call", None) == call]
            assert [isinstance(event, CallEnded) for event in about].count(True) == 1, about
            assert isinstance(about[-1], CallEnded), about
        assert bench.counts == (0, 0, 0)
        assert bench.endpoint.next_timeout() is None
        core = bench.endpoint._core
        assert bench.endpoint._calls.n_pending == 0
        assert not core.layer._senders
        assert not core.layer._merged
        by_dialog = self.requests()
        self.assert_numbered(by_dialog)
        self.assert_routed(by_dialog)

    def requests(self):
        """Our requests, each once, by dialog: Call-ID, our tag, the peer's tag (empty before there is one)."""
        found, seen = {}, set()
        for message in self.bench.sent:
            if message.code or (message.branch, message.method) in seen:
                continue
            seen.add((message.branch, message.method))
            to_tag = message.to_tag if ";tag=" in message.get("To") else ""
            found.setdefault((message.get("Call-ID"), message.from_tag, to_tag), []).append(message)
        return found

    def assert_numbered(self, by_dialog):
        """RFC 3261 §12.2.1.1: one counter a dialog, each new request higher; ACK and CANCEL have their INVITE's number."""
        for (call_id, our_tag, tag), messages in by_dialog.items():
            outside = by_dialog.get((call_id, our_tag, ""), []) if tag else []
            numbers = [int(m.get("CSeq").split()[0]) for m in messages if m.method not in ("ACK", "CANCEL")]
            assert numbers == sorted(set(numbers)), [m.start for m in messages]
            invites = {int(m.get("CSeq").split()[0]) for m in (*outside, *messages) if m.method == "INVITE"}
            theirs = {int(m.get("CSeq").split()[0]) for m in messages if m.method in ("ACK", "CANCEL")}
            assert theirs <= invites, [m.get("CSeq") for m in messages]

    def assert_routed(self, by_dialog):
        """RFC 3261 §12.2: once the 2xx is acknowledged, the route set is the same for good. An ACK to a refusal belongs to the INVITE."""
        invites = {m.branch for m in self.bench.sent if m.method == "INVITE"}
        for (_, _, tag), messages in by_dialog.items():
            inside = [m for m in messages if tag and m.method != "CANCEL" and not (m.method == "ACK" and m.branch in invites)]
            confirmed = 0 if self.inbound else next((n for n, m in enumerate(inside) if m.method == "ACK"), len(inside))
            routes = [tuple(m.all("Route")) for m in inside[confirmed:]]
            assert len(set(routes)) <= 1, routes
