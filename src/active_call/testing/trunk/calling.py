"""A call from the trunk to the user agent: the INVITE in the carrier's form, failover, early dialogs, CANCEL, the ACK.

Enters: addresses to try, responses. Leaves: requests and violations. RFC 3261 sections 9, 13; RFC 3262 (reliable provisional responses),
RFC 3264.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from active_call.testing.phone.sip import Message, host_port, tag_of, uri_of
from active_call.testing.phone.wire import Peer
from active_call.testing.trunk import descriptions, identity
from active_call.testing.trunk.leg import Headers, Leg
from active_call.testing.trunk.ports import TrunkPort
from active_call.testing.trunk.switches import NO_FAILOVER, TELNYX_FAILOVER
from active_call.testing.trunk.transactions import Exchange, Timer, branch_of


class CallingLeg(Leg):
    """One call from the trunk. `uris` are tried in turn, like the carrier's failover."""

    def __init__(
        self,
        trunk: TrunkPort,
        uris: Sequence[str],
        *,
        caller: str,
        headers: Headers = (),
        over: Peer | None = None,
        direction: str = "sendrecv",
    ) -> None:
        host = trunk.switches.call_id_host
        super().__init__(trunk, secrets.token_hex(16) + (f"@{host}" if host else ""))
        self.caller = caller if trunk.switches.number_plus else caller.lstrip("+")
        self.uris, self.tried = list(uris), list[str]()
        """Addresses not tried yet, and those that were."""
        self.redirected = False
        self.local = identity.caller(trunk, self.caller)
        self.contact = identity.contact(trunk, self.caller)
        self.record_routes = identity.record_routes(trunk)
        self.routes = list(self.record_routes)
        self.sequence = 29044
        self.invite = Message("")
        self.exchange: Exchange | None = None
        self.dialled: tuple[str, int] = ("", 0)
        self.answer: Message | None = None
        self.early_tags: list[str] = []
        self.statuses: list[int] = []
        """Every status of every attempt, in order."""
        self.first_response_s = 0.0
        self._headers, self._over, self._direction = list(headers), over, direction
        self._silence: Timer | None = None
        self._cancelled = False
        self._answered_requests: list[int] = []
        self._confirmed: set[int] = set()

    def own_record_routes(self) -> list[str]:
        """The same set in every request of the call."""
        return self.record_routes

    def start(self) -> None:
        """Send the INVITE to the next address."""
        uri = self.uris.pop(0)
        self.tried.append(uri)
        self.started_at = time.monotonic()
        self.remote = f"<{uri}>" if not self.switches.to_host else f"<sip:{_user(uri)}@{self.switches.to_host}>"
        self.target = uri
        try:
            host, port, _ = host_port(uri)
            self.dialled = (host, port or (5061 if self.switches.transport == "tls" else 5060))
            self.peer = self._over or self.trunk.reach(uri)
        except OSError as error:
            self._go_on(f"{uri}: {error}")
            return
        self.invite = self._make_invite(uri)
        self.exchange = self.trunk.transmit_request(self.invite, self.peer, self._on_response)
        if self.switches.repeats_invite:
            self.trunk.transmit(self.invite, self.peer)
        exchange = self.exchange
        self._silence = self.trunk.timers.after(self.switches.no_response_s, lambda: self._on_silence(exchange))

    def _make_invite(self, uri: str) -> Message:
        switches = self.switches
        self.sequence += 1
        invite = self.message("INVITE", uri, self.sequence)
        if switches.display_name:
            invite.headers = [
                (name, f'"{switches.display_name}" {value}' if name == "contact" else value) for name, value in invite.headers
            ]
        invite.headers += [*identity.carrier_headers(switches, self.caller, _user(uri)), *self.timer.headers(), *self._headers]
        if switches.requires_100rel:
            invite.headers.append(("require", "100rel"))
        if not switches.delayed_offer:
            self.offered = invite.body = descriptions.offer(switches, self.place, direction=self._direction, version=self.version)
            invite.headers.append(("content-type", "application/sdp"))
        if switches.multipart:
            _wrap(invite)
        return invite

    # -- what the test does --------------------------------------------------------------------------------------------------------------

    def cancel(self) -> Exchange:
        """Give up before the answer (RFC 3261 section 9)."""
        with self.trunk.lock:
            self._cancelled = True
            cancel = Message(f"CANCEL {self.invite.uri} SIP/2.0")
            cancel.headers = [("via", self.invite.get("via"))]
            cancel.headers += [(name, self.invite.get(name)) for name in ("from", "to", "call-id")]
            cancel.headers += [("cseq", f"{self.invite.sequence} CANCEL"), ("max-forwards", str(self.switches.max_forwards))]
            return self.trunk.transmit_request(cancel, self.peer, self._judge_cancel)

    def _judge_cancel(self, _exchange: Exchange, response: Message) -> None:
        if response.status != 200:
            self.judge.add_violation("cancel", f"CANCEL of a call that was not answered got {response.status}", response)

    def _accept(self, request: Message, peer: Peer) -> None:
        if request.method == "BYE" and not self.has_acknowledged:
            self.judge.add_violation("bye-before-ack", "the callee may not send BYE before its 2xx is acknowledged", request)
        super()._accept(request, peer)

    def acknowledge(self, uri: str, sequence: int, body: bytes = b"") -> Message:
        """Send the ACK of a 2xx."""
        self.has_acknowledged = True
        return super().acknowledge(uri, sequence, body)

    # -- responses -----------------------------------------------------------------------------------------------------------------------

    def _on_silence(self, exchange: Exchange) -> None:
        if exchange.responses or self.ended or self.exchange is not exchange:
            return
        self.judge.add_violation("slow-response", f"no response within {self.switches.no_response_s:g} s", exchange.request)
        self._go_on("no response")

    def _go_on(self, why: str) -> None:
        """The next address, or the end."""
        if self.uris:
            self.start()
        else:
            self.finish(why)

    def _on_response(self, exchange: Exchange, response: Message) -> None:
        if exchange is not self.exchange:
            return
        self.statuses.append(response.status)
        self.first_response_s = self.first_response_s or time.monotonic() - exchange.sent_at
        if response.status < 200:
            self._on_provisional(response)
        elif response.status < 300:
            self._on_2xx(exchange, response)
        else:
            self._on_refusal(response)

    def _on_provisional(self, response: Message) -> None:
        if response.status == 100:
            return
        tag = tag_of(response.get("to"))
        if tag not in self.early_tags:
            self.early_tags.append(tag)
        if self.state == "calling":
            self.state = "ringing"
        if response.get("rseq"):
            self._acknowledge_provisional(response)
        elif self.switches.requires_100rel:
            self.judge.add_violation("prack", f"{response.status} without RSeq though 100rel was required", response)

    def _acknowledge_provisional(self, response: Message) -> None:
        self.remote, self.target = response.get("to"), uri_of(response.get("contact")) or self.target
        self.request("PRACK", headers=[("rack", f"{response.get('rseq')} {response.get('cseq')}")], on_response=self._judge_prack)

    def _judge_prack(self, _exchange: Exchange, response: Message) -> None:
        if response.status >= 300:
            self.judge.add_violation("prack", f"PRACK answered {response.status}", response)

    def _on_2xx(self, exchange: Exchange, response: Message) -> None:
        if self.answer is not None:
            if tag_of(response.get("to")) != tag_of(self.remote):
                self.judge.add_violation("to-tag", "a second To tag from one user agent", response)
            self.n_repeated_2xx += 1
            if self.switches.acknowledges:
                self.acknowledge(self.target, exchange.request.sequence, self._ack_body)
            return
        self.answer = response
        self.remote, self.target = response.get("to"), uri_of(response.get("contact"))
        self.judge.judge_contact(response, self.dialled, self.switches.transport)
        if not response.get("content-type").lower().startswith("application/sdp"):
            self.judge.add_violation("sdp", f"200 with Content-Type {response.get('content-type')!r}", response)
        self._judge_answer(response)
        if self.switches.acknowledges:
            self.acknowledge(self.target, exchange.request.sequence, self._ack_body)
        else:
            self._repetition = self.trunk.timers.after(1.6, self._judge_repetition)
        self.timer.on_response(response)
        self.state = "answered"
        if self._cancelled:
            self.give_up("answered while being cancelled")
        elif self.peer_session is not None and self.peer_session.sound is not None:
            self.start_sound(self.peer_session.sound)

    _ack_body = b""
    has_acknowledged = False

    def _judge_answer(self, response: Message) -> None:
        if self.switches.delayed_offer:
            self._ack_body = self._answer_to(response)
            return
        for name, detail in descriptions.wrong_in_answer(self.offered, response.body):
            self.judge.add_violation(name, detail, response)
        self._agree(descriptions.read(response.body), response)

    def _judge_repetition(self) -> None:
        """Without an ACK the 2xx comes again after T1, and twice within 1.6 s (section 13.3.1.4), over any transport."""
        if self.n_repeated_2xx < 2 and not self.ended:
            self.judge.add_violation("no-retransmission", f"the 2xx came {self.n_repeated_2xx} more times within 1.6 s", self.answer)

    def _on_refusal(self, response: Message) -> None:
        """The ACK has been sent by the transaction; failover or the end."""
        if self._cancelled:
            if response.status != 487:
                self.judge.add_violation("cancel", f"the cancelled INVITE was answered {response.status}, expected 487", response)
            self.finish(f"cancelled, {response.status}")
            return
        if self.state == "answered":
            return
        if 300 <= response.status < 400 and not self.redirected and response.get("contact"):
            self.redirected = True
            self.uris.insert(0, uri_of(response.get("contact")))
            self._go_on("redirected")
            return
        self._go_on(f"{response.status} {response.reason}") if self._fails_over(response.status) else self.finish(
            f"{response.status} {response.reason}"
        )

    def _fails_over(self, status: int) -> bool:
        match self.switches.failover:
            case "twilio":
                return status not in NO_FAILOVER and status < 600
            case "telnyx":
                return status in TELNYX_FAILOVER
            case _:
                return False

    @property
    def branch(self) -> str:
        """The branch of the INVITE."""
        return branch_of(self.invite)


def _wrap(invite: Message) -> None:
    """Make the description the second part of a multipart body (RFC 5621)."""
    parts = [b"Content-Type: application/isup;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n\x01\x00\x49\x00"]
    parts.append(b"Content-Type: application/sdp\r\nContent-Disposition: session\r\n\r\n" + invite.body)
    invite.body = b"".join(b"--unique-boundary-1\r\n" + part + b"\r\n" for part in parts) + b"--unique-boundary-1--\r\n"
    value = "multipart/mixed;boundary=unique-boundary-1"
    invite.headers = [(name, value if name == "content-type" else text) for name, text in invite.headers]


def _user(uri: str) -> str:
    return uri.partition(":")[2].partition("@")[0] if "@" in uri else ""
