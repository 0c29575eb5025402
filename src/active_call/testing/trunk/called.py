"""A call from the user agent to the trunk: 100, challenge, what the carrier checks, progress on several branches, the answer.

Enters: the INVITE and its CANCEL. Leaves: responses, and violations. RFC 3261 sections 8.2, 9.2, 13.3; RFC 3262, 4028.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import replace

from active_call.testing.phone.sip import Message, host_port, tag_of, uri_of
from active_call.testing.phone.wire import Peer
from active_call.testing.trunk import descriptions, identity
from active_call.testing.trunk.descriptions import Session
from active_call.testing.trunk.leg import Leg
from active_call.testing.trunk.ports import TrunkPort
from active_call.testing.trunk.switches import Refusal
from active_call.testing.trunk.transactions import T1_S, T2_S, Timer

_E164 = re.compile(r"\+[1-9]\d{6,14}")


class CalledLeg(Leg):
    """One call to the trunk, from its accepted INVITE on. `invite` is the one that passed the challenge."""

    def __init__(self, trunk: TrunkPort, invite: Message, peer: Peer) -> None:
        super().__init__(trunk, invite.get("call-id"))
        self.invite, self.peer = invite, peer
        self.started_at = time.monotonic()
        self._tag = secrets.token_hex(6)
        self.local, self.remote = f"{invite.get('to')};tag={self._tag}", invite.get("from")
        self.contact = identity.contact(trunk, "" if self.switches.carrier_headers == "twilio" else _user(invite.uri))
        self.record_routes = identity.record_routes(trunk)[::-1]
        self.routes = self.record_routes[::-1]
        self.target = uri_of(invite.get("contact"))
        self.remote_sequence = invite.sequence
        self.sequence = 0
        self.offered_by_peer = Session(-1, ())
        self.pracks: list[Message] = []
        self._to_second: list[Message] = []
        self._reliable: dict[int, Timer] = {}
        self._waiting: list[Timer] = []

    def start(self) -> None:
        """Check, then ring and answer as the switches say."""
        self.judge.judge_contact(self.invite, _contact_of(self.invite), self.switches.transport)
        refusal = self.switches.refusal or self._objection()
        if refusal is not None:
            self.refuse(refusal)
            return
        if not self._read_offer():
            return
        self.timer.begin_as_called(self.invite)
        self._after(self.switches.progress_after_s, self._ring)
        if self.switches.answer_after_s >= 0:
            self._after(self.switches.answer_after_s, self._answer)

    def refuse(self, refusal: Refusal) -> None:
        """Send a final response that ends the call; if the peer repeats the call, that is a violation."""
        self.trunk.respond(self.invite, self.peer, refusal.code, refusal.reason, headers=refusal.headers, leg=self)
        self.trunk.expect_ack(self.invite)
        self.finish(f"{refusal.code} {refusal.reason}")

    def _after(self, delay_s: float, action: object) -> None:
        assert callable(action)
        self._waiting.append(self.trunk.timers.after(delay_s, action))

    # -- what the carrier checks ---------------------------------------------------------------------------------------------------------

    def _objection(self) -> Refusal | None:
        """The first thing the carrier refuses the call for; each is a violation, since a correct peer avoids them."""
        switches, invite = self.switches, self.invite
        number, caller = _user(invite.uri), _user(uri_of(invite.get("from")))
        if switches.checks_numbers and not (_E164.fullmatch(number) and _E164.fullmatch(caller)):
            self.judge.add_violation("number", f"{number!r} called by {caller!r}: both must be +E.164", invite)
            return Refusal(code=400, reason="Invalid Phone Number")
        asserted = invite.get("p-preferred-identity") or invite.get("p-asserted-identity")
        caller = _user(uri_of(asserted)) if asserted and switches.carrier_headers == "telnyx" else caller
        if switches.caller_ids and caller not in switches.caller_ids:
            self.judge.add_violation("caller-id", f"{caller!r} is none of {switches.caller_ids}", invite)
            return switches.caller_refusal
        if switches.token and invite.get("x-telnyx-token") != switches.token:
            self.judge.add_violation("token", f"X-Telnyx-Token {invite.get('x-telnyx-token')!r}", invite)
            return Refusal(code=403, reason="Forbidden")
        return self._security_objection()

    def _security_objection(self) -> Refusal | None:
        switches = self.switches
        sound = descriptions.read(self.invite.body).sound if self.invite.body else None
        if sound is None or not switches.checks_security:
            return None
        is_secure = sound.profile == "RTP/SAVP" and bool(sound.crypto)
        if switches.secure_media and not is_secure:
            self.judge.add_violation("security", f"secure media required, {sound.profile} offered", self.invite)
        elif not switches.secure_media and (sound.profile != "RTP/AVP" or sound.crypto):
            self.judge.add_violation("security", f"secure media not accepted, {sound.profile} offered", self.invite)
        else:
            return None
        return Refusal(code=488, reason="Not Acceptable Here")

    def _read_offer(self) -> bool:
        invite = self.invite
        if not invite.body:
            self.judge.add_violation("sdp", "the INVITE has no offer", invite)
            self.refuse(Refusal(code=488, reason="Not Acceptable Here"))
            return False
        self.offered_by_peer = descriptions.read(invite.body)
        for text in self.offered_by_peer.wrong:
            self.judge.add_violation("sdp", text, invite)
        sound = self.offered_by_peer.sound
        if sound is None or not set(sound.types) & set(self.switches.payload_types) & set(descriptions.SOUND_TYPES):
            self.judge.add_violation("codec", f"none of {self.switches.payload_types} in the offer", invite)
            self.refuse(Refusal(code=415, reason="Unsupported media type"))
            return False
        self.peer_session = self.offered_by_peer
        return True

    # -- ringing and answering -----------------------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        for entry in self.switches.progress:
            code, _, suffix = entry.partition("/")
            headers: list[tuple[str, str]] = []
            body = b""
            if code == "183":
                is_ours = suffix == self.switches.answering_branch
                place = self.place if is_ours else replace(self.place, port=self.place.port + 2)
                body = descriptions.answer(self.switches, place, self.offered_by_peer, version=self.version)
            if self.switches.requires_100rel and "100rel" in ",".join(self.invite.all("supported")):
                headers += self._reliably(int(code), suffix, body)
            reason = {"180": "Ringing", "183": "Session Progress"}.get(code, "Progress")
            self._progress(int(code), reason, suffix, headers, body)
        self.state = "ringing"

    def _progress(self, code: int, reason: str, suffix: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
        branch_contact = [("contact", f"<{self.contact}>")]
        return self.trunk.respond(
            self.invite, self.peer, code, reason, headers=[*branch_contact, *headers], body=body, leg=self, to_tag=self._tag + suffix
        )

    def _reliably(self, code: int, suffix: str, body: bytes) -> list[tuple[str, str]]:
        number = 1000 + len(self._reliable) + 1
        headers = [("require", "100rel"), ("rseq", str(number))]

        def again() -> None:
            self._progress(code, "Again", suffix, headers, body)

        def missed() -> None:
            self.judge.add_violation("prack", f"no PRACK for RSeq {number}", self.invite)
            self.refuse(Refusal(code=500, reason="Server Internal Error"))

        self._reliable[number] = self.trunk.timers.repeat(T1_S, T2_S, self.switches.ack_limit_s, again, missed)
        return headers

    def _answer(self) -> None:
        if self.ended:
            return
        if any(not timer.cancelled for timer in self._reliable.values()):
            self._after(0.05, self._answer)
            return
        self._tag += self.switches.answering_branch
        self.local = f"{self.invite.get('to')};tag={self._tag}"
        body = descriptions.answer(self.switches, self.place, self.offered_by_peer, version=self.version)
        headers = self.timer.headers_of_2xx()
        if self.switches.carrier_headers == "twilio":
            headers.append(("x-twilio-callsid", f"CA{secrets.token_hex(16)}"))
        self.state = "answered"
        self.send_2xx(self.invite, self.peer, body, headers)
        if self.switches.second_branch:
            self._after(0.1, self._answer_again)
        if self.offered_by_peer.sound is not None:
            self.start_sound(self.offered_by_peer.sound)

    def _answer_again(self) -> None:
        """The 2xx of another branch: acknowledged and ended by the caller, while the first one goes on."""
        self._second_tag = secrets.token_hex(6) + self.switches.second_branch
        body = descriptions.answer(self.switches, replace(self.place, port=self.place.port + 2), self.offered_by_peer)
        contact = [("contact", f"<{self.contact}>")]
        self.trunk.respond(self.invite, self.peer, 200, "OK", headers=contact, body=body, leg=self, to_tag=self._second_tag)
        self._bye_limit = self.trunk.timers.after(3.0, self._miss_second_bye)

    def _miss_second_bye(self) -> None:
        missing = {"ACK", "BYE"} - self.second_requests
        if missing:
            self.judge.add_violation("no-bye", f"a second branch answered and got no {' and no '.join(sorted(missing))}", self.invite)

    _second_tag = ""

    @property
    def second_requests(self) -> set[str]:
        """What the peer has sent to the second branch that answered."""
        return {one.method for one in self._to_second}

    def receive(self, request: Message, peer: Peer) -> None:
        """As for every leg, except for the second branch of a fork."""
        if self._second_tag and tag_of(request.get("to")) == self._second_tag:
            self.judge.judge_request_form(request)
            self.judge.judge_route(request, contact=self.contact, routes=self.routes)
            self._to_second.append(request)
            if request.method != "ACK":
                self.respond(request, peer, 200, "OK")
            return
        super().receive(request, peer)

    def receive_cancel(self, cancel: Message, peer: Peer) -> None:
        """CANCEL of the INVITE: 487, or with crossing messages the 200 all the same."""
        self.trunk.respond(cancel, peer, 200, "OK", leg=self)
        if self.state in ("answered", "ended"):
            return
        if self.switches.answers_cancelled:
            self._answer()
            self._bye_limit = self.trunk.timers.after(3.0, self._miss_crossed_bye)
            return
        self.refuse(Refusal(code=487, reason="Request Terminated"))

    def _miss_crossed_bye(self) -> None:
        """A caller that has cancelled and still gets a 2xx ends the call by BYE (RFC 3261 section 15)."""
        if not self.ended:
            self.judge.add_violation("no-bye", "a 2xx crossed the CANCEL: ACK and BYE were due within 3 s", self.invite)
            self.give_up("crossed CANCEL")

    def _accept(self, request: Message, peer: Peer) -> None:
        if request.method == "PRACK":
            self._receive_prack(request, peer)
            return
        if request.method == "BYE" and self.switches.challenges_bye and not self.trunk.admission.proves_itself(request, peer):
            return
        super()._accept(request, peer)

    def _receive_prack(self, request: Message, peer: Peer) -> None:
        self.pracks.append(request)
        found = re.fullmatch(r"(\d+) (\d+) INVITE", request.get("rack"))
        timer = self._reliable.get(int(found.group(1))) if found else None
        if timer is None or found is None or int(found.group(2)) != self.invite.sequence:
            self.judge.add_violation("prack", f"RAck {request.get('rack')!r} names no provisional response of ours", request)
            self.refuse_request(request, peer, 481, "Call/Transaction Does Not Exist")
            return
        timer.cancel()
        self.respond(request, peer, 200, "OK")

    def _on_other_connection(self, request: Message) -> None:
        if self.switches.transport == "tls":
            self.judge.add_violation("connection-reuse", f"{request.method} came over a second connection, the first one is open", request)

    def finish(self, why: str) -> None:
        """The call is over; nothing more is sent for it."""
        for timer in (*self._waiting, *self._reliable.values()):
            timer.cancel()
        super().finish(why)


def _user(uri: str) -> str:
    return uri.partition(":")[2].partition("@")[0] if "@" in uri else ""


def _contact_of(invite: Message) -> tuple[str, int]:
    """Judge the Contact of an INVITE; only its form, because there is no dialled address to compare it with."""
    try:
        host, port, transport = host_port(uri_of(invite.get("contact")))
    except ValueError:
        return "", 0
    return host, port or (5061 if transport == "tls" else 5060)


def same_call(one: Message, other: Message) -> bool:
    """Whether two INVITEs are of one call: Call-ID and From tag."""
    return one.get("call-id") == other.get("call-id") and tag_of(one.get("from")) == tag_of(other.get("from"))
