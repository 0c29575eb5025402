"""The common part of calls in both directions: the dialog, the requests inside it, and its end.

Enters: requests of the peer inside the dialog, what the test wants. Leaves: requests and responses of the gateway, violations. It must not
know how the call came about, see `calling` and `called`. RFC 3261 sections 12, 14, 15; RFC 3515 (transfers), 3311 (UPDATE).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from typing import Literal

from active_call.testing.phone.rtp import bind_pair
from active_call.testing.phone.sip import Message, tag_of, uri_of
from active_call.testing.phone.wire import Peer
from active_call.testing.trunk import descriptions, identity
from active_call.testing.trunk.descriptions import Place, Session
from active_call.testing.trunk.media import Sound
from active_call.testing.trunk.ports import TrunkPort
from active_call.testing.trunk.session_timer import SessionTimer
from active_call.testing.trunk.transactions import T1_S, T2_S, Exchange, Timer
from active_call.testing.trunk.transfer import Transfer

State = Literal["calling", "ringing", "answered", "ended"]
Headers = Sequence[tuple[str, str]]


class Leg:
    """One call of the trunk. The trunk's lock is held whenever a method of it runs."""

    def __init__(self, trunk: TrunkPort, call_id: str) -> None:
        self.trunk, self.switches, self.judge = trunk, trunk.switches, trunk.judge
        self.state: State = "calling"
        self.ended = ""
        """Why the call is over; empty while it is not."""
        self.call_id = call_id
        self.local = self.remote = self.contact = self.target = ""
        self.routes: list[str] = []
        """The route set as the peer must use it."""
        self.sequence, self.remote_sequence = 1, -1
        self.peer: Peer = ("", 0)
        self.requests: list[Message] = []
        """Every request of the peer inside the dialog, repetitions left out."""
        self.acks: list[Message] = []
        self._rtp, self._rtcp = bind_pair(trunk.ip)
        key = secrets.token_bytes(30) if self.switches.secure_media else b""
        self.place = Place(trunk.ip, int(self._rtp.getsockname()[1]), key)
        self.version = 1
        """The version of our last description."""
        self.offered = b""
        """Our last offer."""
        self.peer_session: Session | None = None
        self.sound: Sound | None = None
        self.timer, self.transfer = SessionTimer(self), Transfer(self)
        self._offering: Exchange | None = None
        self._repeating: Timer | None = None
        self._bye_limit: Timer | None = None
        self.n_repeated_2xx = 0
        """How often the peer repeated its 2xx (calling), or we ours (called)."""

    # -- what the test does --------------------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition is true; it is evaluated whenever the trunk has done something. False after the time."""
        return self.trunk.wait(condition, timeout_s)

    def wait_answered(self, timeout_s: float = 5.0) -> bool:
        """Wait for the answer; False after the time."""
        self.wait(lambda: self.state in ("answered", "ended"), timeout_s)
        return self.state == "answered"

    def wait_ended(self, timeout_s: float = 5.0) -> str:
        """Why the call ended, empty when it goes on."""
        self.wait(lambda: bool(self.ended), timeout_s)
        return self.ended

    def wait_final(self, exchange: Exchange, timeout_s: float = 5.0) -> int:
        """The final status of a request of ours; 0, and a violation, when none comes."""
        if not self.wait(lambda: exchange.final is not None, timeout_s):
            self.judge.add_violation(
                "unanswered", f"{exchange.request.method} has no final response after {timeout_s:g} s", exchange.request
            )
        return exchange.status

    def wait_request(self, method: str, timeout_s: float = 5.0, *, count: int = 1) -> Message | None:
        """The `count`th request of that method the peer sends inside the dialog, `None` when it does not come."""

        def found() -> list[Message]:
            return [one for one in self.requests if one.method == method]

        self.wait(lambda: len(found()) >= count, timeout_s)
        return found()[count - 1] if len(found()) >= count else None

    def hang_up(self, *, timeout_s: float = 3.0) -> int:
        """BYE, and its final status."""
        with self.trunk.lock:
            if self.ended:
                return 0
            reason = ("reason", 'Q.850;cause=16;text="Normal call clearing"')
            exchange = self.request("BYE", headers=[reason], on_response=lambda _exchange, response: self._on_bye(response))
        status = self.wait_final(exchange, timeout_s)
        if status not in (0, 200):
            self.judge.add_violation("unexpected-status", f"BYE answered {status}", exchange.final)
        return status

    def reinvite(
        self, *, direction: str = "sendrecv", zero_address: bool = False, offerless: bool = False, contact: str = "", headers: Headers = ()
    ) -> Exchange:
        """Send a re-INVITE: hold, resume, or without a description to ask for the peer's offer. `contact`: the gateway has moved there."""
        with self.trunk.lock:
            self.contact = contact or self.contact
            body = b""
            if not offerless:
                self.version += 1
                body = descriptions.offer(self.switches, self.place, direction=direction, version=self.version, zero_address=zero_address)
                self.offered = body
            self._offering = self.request("INVITE", body=body, headers=[*self.timer.headers(), *headers], on_response=self._on_reinvite)
            return self._offering

    def offer_fax(self) -> Exchange:
        """Send a re-INVITE that offers T.38 instead of audio; a voice agent answers 488 and goes on."""
        with self.trunk.lock:
            self.version += 1
            lines = ["v=0", f"o=root 8127 {self.version} IN IP4 {self.place.ip}", "s=fax", f"c=IN IP4 {self.place.ip}", "t=0 0"]
            lines += [f"m=image {self.place.port + 2} udptl t38", "a=T38FaxVersion:0", "a=T38MaxBitRate:14400", ""]
            return self.request("INVITE", body="\r\n".join(lines).encode(), on_response=self._on_reinvite)

    def update(self, *, direction: str | None = None, headers: Headers = ()) -> Exchange:
        """Send UPDATE, with an offer when a direction is given."""
        with self.trunk.lock:
            body = b""
            if direction is not None:
                self.version += 1
                body = self.offered = descriptions.offer(self.switches, self.place, direction=direction, version=self.version)
            return self.request("UPDATE", body=body, headers=[*self.timer.headers(), *headers], on_response=self._on_update)

    def press_by_info(self, digit: str) -> Exchange:
        """Send a digit by INFO (application/dtmf-relay)."""
        with self.trunk.lock:
            body = f"Signal={digit}\r\nDuration=160\r\n".encode()
            return self.request("INFO", body=body, content_type="application/dtmf-relay")

    # -- our requests --------------------------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "application/sdp",
        on_response: Callable[[Exchange, Message], None] | None = None,
    ) -> Exchange:
        """Send a request inside the dialog."""
        self.sequence += 1
        target = self.target
        if self.switches.mapped_target:
            target = re.sub(r":\d+(;|$)", r":40312\1", target, count=1)  # a port that only the peer's NAT knows
        message = self.message(method, target, self.sequence)
        message.headers += headers
        if body:
            message.headers.append(("content-type", content_type))
            message.body = body
        return self.trunk.transmit_request(message, self.way(), on_response)

    def message(self, method: str, uri: str, sequence: int, *, branch: str = "") -> Message:
        """A request as the edge sends it, with the Via of every hop."""
        found = Message(
            f"{method} {uri} SIP/2.0",
            [
                *(("via", via) for via in identity.vias(self.trunk, branch)),
                ("from", self.local),
                ("to", self.remote),
                ("call-id", self.call_id),
                ("cseq", f"{sequence} {method}"),
                ("max-forwards", str(self.switches.max_forwards)),
                ("user-agent", "Twilio Gateway" if self.switches.carrier_headers == "twilio" else "active-call test trunk"),
            ],
        )
        if method in ("INVITE", "UPDATE", "REFER", "NOTIFY"):
            found.headers.append(("contact", f"<{self.contact}>"))
        if method in ("INVITE", "UPDATE"):
            found.headers.append(("allow", ",".join(self.switches.allow)))
        if method == "INVITE":
            found.headers[1:1] = [("record-route", one) for one in self.own_record_routes()]
        return found

    def own_record_routes(self) -> list[str]:
        """Record-Route of our requests; the same set that the peer was given."""
        return identity.record_routes(self.trunk)

    def way(self) -> Peer:
        """Where the peer is: the connection while it is open, else where its Contact says."""
        if self.trunk.hub.is_open(self.peer) and self.switches.transport != "udp":
            return self.peer
        try:
            self.peer = self.trunk.reach(self.target)
        except (OSError, ValueError) as error:
            self.judge.add_violation("contact", f"{self.target} cannot be reached: {error}")
        return self.peer

    def acknowledge(self, uri: str, sequence: int, body: bytes = b"") -> Message:
        """Send the ACK of a 2xx, a transaction of its own."""
        ack = self.message("ACK", uri, sequence)
        if body:
            ack.headers.append(("content-type", "application/sdp"))
            ack.body = body
        self.trunk.transmit(ack, self.way())
        return ack

    def _on_bye(self, response: Message) -> None:
        if response.status >= 200:
            self.finish("trunk hung up")

    def _on_reinvite(self, exchange: Exchange, response: Message) -> None:
        """Acknowledge, and judge the answer; repeated 2xx are acknowledged again."""
        if response.status < 200:
            return
        if self._offering is exchange:
            self._offering = None
        if self._has_glared and exchange.request is self._crossing and response.status != 491:
            self.judge.add_violation("glare", f"{response.status} answers a re-INVITE that crossed the peer's own, expected 491", response)
        if response.status >= 300:
            return  # the transaction has sent the ACK
        answer = b""
        if not exchange.request.body:
            answer = self._answer_to(response)
        self.acknowledge(self.target, exchange.request.sequence, answer)
        if exchange.final is response:
            self._judge_reanswer(exchange.request, response)
            self.timer.on_response(response)

    def _answer_to(self, response: Message) -> bytes:
        """The answer to the offer in a 2xx."""
        session = descriptions.read(response.body)
        if session.sound is None or session.wrong:
            self.judge.add_violation("sdp", f"a 2xx to an INVITE without offer must have one: {session.wrong}", response)
            return b""
        if (session.sound.profile == "RTP/SAVP") != self.switches.secure_media:
            self.judge.add_violation("sdp-profile", f"{session.sound.profile} offered by the peer in its 2xx", response)
        self._agree(session, response)
        self.version += 1
        return descriptions.answer(self.switches, self.place, session, version=self.version)

    def _judge_reanswer(self, request: Message, response: Message) -> None:
        self._retarget(response)
        if not request.body:
            return
        if not response.body:
            self.judge.add_violation("sdp", "a re-INVITE with an offer has no answer in its 2xx", response)
            return
        held = b"c=IN IP4 0.0.0.0" in request.body
        for name, detail in descriptions.wrong_in_answer(request.body, response.body, held=held):
            self.judge.add_violation(name, detail, response)
        self._agree(descriptions.read(response.body), response)

    def _on_update(self, exchange: Exchange, response: Message) -> None:
        if not 200 <= response.status < 300 or exchange.final is not response:
            return
        self._judge_reanswer(exchange.request, response)
        self.timer.on_response(response)

    def _agree(self, session: Session, message: Message) -> None:
        """Take the peer's new description; its version may only stay when nothing else changes (RFC 3264 section 8)."""
        before = self.peer_session
        if before is not None and len(session.media) < len(before.media):
            self.judge.add_violation("sdp", f"{len(before.media)} m-lines have become {len(session.media)} (RFC 3264 section 8)", message)
        if before is not None and session.version >= 0:
            changed = session.media != before.media
            if session.version < before.version or session.version > before.version + 1:
                self.judge.add_violation("sdp-version", f"version {session.version} after {before.version}", message)
            elif changed and session.version == before.version:
                self.judge.add_violation("sdp-version", f"the description changed, its version {session.version} did not", message)
        self.peer_session = session
        if self.sound is not None and session.sound is not None:
            self.sound.redirect(session.sound)

    def _retarget(self, message: Message) -> None:
        contact = uri_of(message.get("contact"))
        if contact:
            self.target = contact

    # -- the peer's requests -------------------------------------------------------------------------------------------------------------

    def receive(self, request: Message, peer: Peer) -> None:
        """A request of this Call-ID with a To tag, or an ACK; repetitions have been answered before."""
        self.judge.judge_request_form(request)
        if not self._is_local(tag_of(request.get("to"))) or tag_of(request.get("from")) != tag_of(self.remote):
            self.judge.add_violation("dialog", f"{request.method} with tags of another dialog", request)
            self.refuse_request(request, peer, 481, "Call/Transaction Does Not Exist")
            return
        if self.switches.checks_routes:
            wrong = self.judge.judge_route(request, contact=self.contact, routes=self.routes)
            if wrong:
                if wrong == "route":
                    self.refuse_request(request, peer, 481, "Call/Transaction Does Not Exist")
                return
        if request.method == "ACK":
            self._receive_ack(request)
            return
        if request.sequence == self.remote_sequence:
            self.judge.add_violation("cseq-repeated", f"{request.method} with CSeq {request.sequence} again", request)
            return
        if request.sequence < self.remote_sequence:
            self.judge.add_violation("cseq-order", f"{request.method}: CSeq {request.sequence} after {self.remote_sequence}", request)
            self.refuse_request(request, peer, 500, "CSeq Out Of Order")
            return
        self.remote_sequence = request.sequence
        self._accept(request, peer)

    def _is_local(self, tag: str) -> bool:
        return tag == tag_of(self.local)

    def _accept(self, request: Message, peer: Peer) -> None:
        if peer != self.peer and isinstance(peer, tuple) is False and self.trunk.hub.is_open(self.peer):
            self._on_other_connection(request)
        self.requests.append(request)
        if self.state == "ended" and request.method != "BYE":
            self.refuse_request(request, peer, 481, "Call/Transaction Does Not Exist")
        elif request.method not in self.switches.allow:
            self.judge.add_violation("method-not-allowed", f"{request.method} is not in our Allow", request)
            self.refuse_request(request, peer, 405, "Method Not Allowed")
        else:
            self._answer_request(request, peer)

    def _on_other_connection(self, request: Message) -> None:
        """The edge's name is its address: a fresh connection to it fails where the peer was the client."""

    def _answer_request(self, request: Message, peer: Peer) -> None:
        extra = self._marked(peer)
        match request.method:
            case "BYE":
                self.respond(request, peer, 200, "OK")
                self.finish("peer hung up")
            case "INVITE":
                self._receive_reinvite(request, peer, extra)
            case "UPDATE":
                self._receive_update(request, peer, extra)
            case "REFER":
                self.transfer.receive(request, peer, extra)
            case _:
                self.respond(request, peer, 200, "OK", headers=extra)

    def _marked(self, peer: Peer) -> list[tuple[str, str]]:
        """The headers that an edge adds to a 2xx if the request came over a connection that it does not know."""
        if peer == self.peer or isinstance(peer, tuple) or not self.switches.marks_new_connections:
            return []
        self.peer = peer
        host, port = peer.getpeername()[:2]
        return [("record-route", f"<sip:{self.trunk.edge};transport={self.switches.transport};r2=on;lr;twnat=sip:{host}:{port}>")]

    def _receive_reinvite(self, request: Message, peer: Peer, extra: Headers) -> None:
        if self.switches.glares and not self._has_glared:
            self._has_glared = True
            self._crossing = self.reinvite().request
        if self._offering is not None:
            self.refuse_request(request, peer, 491, "Request Pending")
            return
        self._retarget(request)
        self.version += 1
        if request.body:
            session = descriptions.read(request.body)
            for text in session.wrong:
                self.judge.add_violation("sdp", text, request)
            if session.sound is None:
                self.refuse_request(request, peer, 488, "Not Acceptable Here")
                return
            self._agree(session, request)
            body = descriptions.answer(self.switches, self.place, session, version=self.version)
        else:
            body = self.offered = descriptions.offer(self.switches, self.place, version=self.version)
        self.timer.on_request(request)
        self.send_2xx(request, peer, body, [*self.timer.headers_of_2xx(), *extra], wants_answer=not request.body)

    def _receive_update(self, request: Message, peer: Peer, extra: Headers) -> None:
        self.timer.on_request(request)
        body = b""
        if request.body:
            session = descriptions.read(request.body)
            self._agree(session, request)
            self.version += 1
            body = descriptions.answer(self.switches, self.place, session, version=self.version)
        self._retarget(request)
        self.respond(request, peer, 200, "OK", headers=[*self.timer.headers_of_2xx(), *extra], body=body)

    # -- our 2xx and its ACK -------------------------------------------------------------------------------------------------------------

    def send_2xx(self, request: Message, peer: Peer, body: bytes, headers: Headers, *, wants_answer: bool = False) -> None:
        """Answer an INVITE, and repeat that until the ACK comes (RFC 3261 section 13.3.1.4)."""
        octets = self.respond(request, peer, 200, "OK", headers=headers, body=body)
        self._awaited = (request.sequence, wants_answer)

        def again() -> None:
            self.n_repeated_2xx += 1
            self.trunk.hub.send(octets, peer)

        self._repeating = self.trunk.timers.repeat(T1_S, T2_S, self.switches.ack_limit_s, again, self._miss_ack)

    _has_glared = False
    _crossing: Message | None = None
    _awaited: tuple[int, bool] = (-1, False)

    def _miss_ack(self) -> None:
        if not self.ended:
            self.judge.add_violation("ack-missing", f"no ACK of CSeq {self._awaited[0]} within {self.switches.ack_limit_s:g} s")
            self.give_up("no ACK")

    def _receive_ack(self, ack: Message) -> None:
        self.acks.append(ack)
        sequence, wants_answer = self._awaited
        if ack.sequence != sequence:
            self.judge.add_violation("ack-missing", f"ACK of CSeq {ack.sequence}, awaited {sequence}", ack)
            return
        if self._repeating is not None:
            self._repeating.cancel()
            self._repeating = None
            self._on_ack(ack, wants_answer=wants_answer)

    def _on_ack(self, ack: Message, *, wants_answer: bool) -> None:
        if not wants_answer:
            return
        if not ack.body:
            self.judge.add_violation("ack-body", "the 2xx had an offer, the ACK has no answer", ack)
            return
        for name, detail in descriptions.wrong_in_answer(self.offered, ack.body):
            self.judge.add_violation(name, detail, ack)

    # -- the end -------------------------------------------------------------------------------------------------------------------------

    def give_up(self, why: str) -> None:
        """The carrier's own BYE when it has had enough."""
        self.request("BYE", on_response=None)
        self.finish(f"trunk gave up: {why}")

    def finish(self, why: str) -> None:
        """The call is over; sockets of its sound stay until the trunk closes."""
        if self.ended:
            return
        self.ended, self.state = why, "ended"
        self.transfer.stop()
        for timer in (self._repeating, self._bye_limit):
            if timer is not None:
                timer.cancel()
        self.timer.stop()
        if self.sound is not None:
            self.sound.stop_sending()

    def close(self) -> None:
        """Release the sound's sockets and threads."""
        if self.sound is not None:
            self.sound.close()
        self._rtp.close()
        self._rtcp.close()

    def start_sound(self, media: descriptions.Media) -> None:
        """Begin to send and to listen, where the switches want media."""
        if self.switches.supports_media and self.sound is None:
            self.sound = Sound(self._rtp, self._rtcp, self.place.key, media, wraps=self.switches.wraps)

    def respond(self, request: Message, peer: Peer, code: int, reason: str, *, headers: Headers = (), body: bytes = b"") -> bytes:
        """Answer a request; returns the octets, for repetitions."""
        return self.trunk.respond(request, peer, code, reason, headers=headers, body=body, leg=self)

    def refuse_request(self, request: Message, peer: Peer, code: int, reason: str) -> None:
        """Refuse a request inside the dialog."""
        if request.method != "ACK":
            self.trunk.respond(request, peer, code, reason, leg=self)
        if request.method == "INVITE":
            self.trunk.expect_ack(request)

    started_at: float = 0.0
    """When the first INVITE was sent or accepted, in monotonic seconds."""
