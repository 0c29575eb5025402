"""The judge of a trunk: every violation has a name, a detail and the bytes that show it.

Enters: messages of the peer beside those they answer. Leaves: `Violation`s. Comparison is byte for byte, as a proxy that looks for its own
Via and Record-Route does it. It must not know sockets or time. RFC 3261 sections 8.1.1, 8.2.6, 12; RFC 3264.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from active_call.testing.phone import sip as phone_sip
from active_call.testing.phone.sip import Message, tag_of, uri_of

PUNISHED = {
    "unreadable": "dropped, or the connection is closed",
    "response-echo": "the proxy cannot match the response; the call is dropped after 32 s",
    "response-record-route": "in-dialog requests go astray, BYE 408",
    "contact": "ACK and BYE never arrive",
    "to-tag": "the dialog cannot be made",
    "sdp": "no sound, or 488",
    "sdp-types": "sound in a codec that was not offered is not played",
    "sdp-crypto": "no sound: the key belongs to another offer",
    "sdp-profile": "rejected: secure media required, or not accepted",
    "sdp-direction": "hold is not held, or the call stays silent",
    "sdp-version": "the change is not seen (RFC 3264 section 8)",
    "slow-response": "the next address is tried: the call is lost for this server",
    "unanswered": "the transaction times out, the call is given up",
    "unexpected-status": "the call ends, or goes elsewhere",
    "no-retransmission": "a lost 2xx is never repeated: the call dies",
    "bye-before-ack": "481: the dialog is not confirmed yet (RFC 3261 section 15)",
    "no-bye": "the call stays open and is charged",
    "request-uri": "silently ignored, the gateway is not found",
    "route": "481 from the edge, dead air for a minute",
    "dialog": "481",
    "cseq-repeated": "taken for a retransmission: never answered, Timer B after 32 s",
    "cseq-order": "500",
    "via-branch": "the transaction cannot be matched",
    "max-forwards": "483, or refused",
    "method-not-allowed": "405",
    "ack-missing": "the 2xx is repeated, then BYE after 32 s",
    "ack-for-failure": "the refusal is repeated until Timer H",
    "ack-uri": "the ACK is not found: BYE after 32 s",
    "ack-route": "the ACK is not found: BYE after 32 s",
    "ack-body": "no answer to the offer in the 2xx",
    "cancel": "CANCEL not matched",
    "refer-bye": "the transferee hears nothing, BYE after 32 s",
    "digest": "403",
    "digest-opaque": "403, or one try in three succeeds",
    "challenge-dialog": "a new call, challenged again",
    "retried-refusal": "rate limits, fraud blocks",
    "domain": "silently dropped",
    "number": "400",
    "caller-id": "403",
    "codec": "415",
    "security": "488: secure media or transport required, or not accepted",
    "connection-reuse": "a fresh connection to the edge's address fails its certificate's name",
    "sni": "the TLS handshake is refused",
    "register-trunk": "not a registrar",
    "rate": "banned",
    "token": "403",
    "session-expired": "BYE: the session was not refreshed",
    "session-timer": "the peers disagree about who refreshes",
    "glare": "both sides wait for the other's answer",
    "prack": "the provisional response is repeated, then 5xx",
    "rtp-marker": "jitter buffers reset in mid-sentence",
    "rtp-silence": "comfort noise is played",
    "rtp-destination": "the sound goes where nobody listens",
}
"""Every name of a violation, and how the carrier reacts to it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach. `octets` is the message that shows it, empty if something did not come."""

    name: str
    detail: str
    octets: bytes = b""

    def __str__(self) -> str:
        shown = self.octets.decode(errors="backslashreplace")
        return f"{self.name} ({PUNISHED[self.name]}): {self.detail}" + (f"\n{shown}" if shown else "")


@dataclass(slots=True)
class Judge:
    """Collects violations. `check` fails the test with all of them."""

    violations: list[Violation] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """The names found so far."""
        return {one.name for one in self.violations}

    def add_violation(self, name: str, detail: str, message: Message | None = None) -> None:
        """Record a violation of the peer. Raises KeyError for a name that `PUNISHED` does not list."""
        _ = PUNISHED[name]
        shown = b""
        if message is not None:
            kept = [(key, value) for key, value in message.headers if key != "content-length"]
            shown = Message(message.start, kept, message.body).encode()
        self.violations.append(Violation(name, detail, shown))

    def check(self) -> None:
        """Raise AssertionError naming every violation, if there is one."""
        if self.violations:
            raise AssertionError("\n".join(map(str, self.violations)))

    def judge_response(self, request: Message, response: Message) -> None:
        """How a response echoes its request (RFC 3261 sections 8.2.6.2 and 12.1.1)."""
        for wrong in phone_sip.wrong_in_response(request, response):
            name = "response-echo"
            if "Record-Route" in wrong:
                name = "response-record-route"
            elif "Contact" in wrong:
                name = "contact"
            elif "tag" in wrong:
                name = "to-tag"
            self.add_violation(name, wrong, response)

    def judge_request_form(self, request: Message) -> None:
        """What every request must have (RFC 3261 section 8.1.1)."""
        if "branch=z9hG4bK" not in request.get("via"):
            self.add_violation("via-branch", f"{request.method}: Via {request.get('via')!r} without the RFC 3261 branch", request)
        hops = request.get("max-forwards")
        if not hops.isdigit() or int(hops) == 0:
            self.add_violation("max-forwards", f"{request.method}: Max-Forwards {hops!r}", request)
        if not tag_of(request.get("from")):
            self.add_violation("dialog", f"{request.method} without a From tag", request)

    def judge_route(self, request: Message, *, contact: str, routes: Sequence[str]) -> str:
        """Whether the request reaches the gateway (section 12.2.1.1): empty, or the name of the violation in its route."""
        is_ack = request.method == "ACK"
        if [_bare(one) for one in request.all("route")] != [_bare(one) for one in routes]:
            name = "ack-route" if is_ack else "route"
            self.add_violation(name, f"{request.method}: Route {request.all('route')} is not the route set {list(routes)}", request)
            return "route"
        if request.uri != contact:
            self.add_violation(
                "ack-uri" if is_ack else "request-uri", f"{request.method}: {request.uri} is not our Contact {contact}", request
            )
            return "request-uri"
        return ""

    def judge_contact(self, message: Message, dialled: tuple[str, int], transport: str) -> None:
        """Whether the Contact of a 2xx leads back to the listener that was dialled."""
        for wrong in phone_sip.wrong_in_contact(message, dialled, transport):
            self.add_violation("contact", wrong, message)
        if uri_of(message.get("contact")).count(";transport=") > 1:
            self.add_violation("contact", "transport named twice", message)


def _bare(route: str) -> str:
    return uri_of(route)
