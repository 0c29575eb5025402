"""What a trunk does before there is a call: host check, challenge, registrar, OPTIONS and its ban.

Enters: requests outside any call. Leaves: responses, or the decision that an INVITE may pass. RFC 3261 sections 10, 11, 22.
"""

from __future__ import annotations

import re
import time

from active_call.testing.phone.sip import Message, host_port, tag_of, uri_of
from active_call.testing.phone.wire import Peer
from active_call.testing.trunk.digest import Challenger, Issued, parameters
from active_call.testing.trunk.ports import TrunkPort

_BAN_WINDOW_S = 10.0


class Admission:
    """Admission at a trunk: who may call, register or ask for options."""

    def __init__(self, trunk: TrunkPort) -> None:
        self._trunk, self._switches, self._judge = trunk, trunk.switches, trunk.judge
        self.challenger = Challenger(trunk.switches)
        self.n_challenges = 0
        self.refused: list[Message] = []
        """INVITEs that were refused for good."""
        self.registrations: list[Message] = []
        """REGISTERs that were accepted."""
        self.binding = ""
        """The Contact URI that is bound; empty after de-registration."""
        self.bound_to: Peer | None = None
        """The flow it was registered over."""
        self._options: list[float] = []

    def admits(self, invite: Message, peer: Peer) -> bool:
        """Whether the call may go on; otherwise the request has been answered or dropped."""
        self._judge.judge_request_form(invite)
        if not self._names_us(invite):
            return False
        before = next((one for one in self.refused if one.uri == invite.uri and one.get("from") == invite.get("from")), None)
        if before is not None:
            self._judge.add_violation("retried-refusal", "a refused call was sent again", invite)
        self._trunk.respond(invite, peer, 100, self._switches.trying)
        if self._switches.challenge and not self._proves_itself(invite, peer, "proxy-authorization", registers=False):
            self._trunk.expect_ack(invite)
            return False
        return True

    def proves_itself(self, request: Message, peer: Peer) -> bool:
        """Whether a request inside a call has good credentials; otherwise it has been challenged or refused."""
        return self._proves_itself(request, peer, "proxy-authorization", registers=False)

    def _names_us(self, request: Message) -> bool:
        if not self._switches.domain:
            return True
        try:
            host, _, _ = host_port(request.uri)
        except ValueError:
            host = request.uri
        if host.lower() == self._switches.domain:
            return True
        self._judge.add_violation("domain", f"{request.uri} does not name {self._switches.domain}", request)
        return False

    def _proves_itself(self, request: Message, peer: Peer, header: str, *, registers: bool) -> bool:
        code, name = (401, "www-authenticate") if registers else (407, "proxy-authenticate")
        value = request.get(header)
        stale = parameters(value).get("nonce", "") not in self.challenger.issued if value else True
        wrong_prefix = bool(self._switches.tech_prefix) and f":{self._switches.tech_prefix}" not in request.uri
        is_stale = bool(value) and self._switches.challenge_goes_stale and self.n_challenges == 1
        if not value or wrong_prefix or is_stale:
            self.n_challenges += 1
            issued = self.challenger.challenge(request.get("call-id"), tag_of(request.get("from")), request.sequence, registers=registers)
            reason = "Unauthorized" if registers else "Proxy Authentication required"
            self._trunk.respond(request, peer, code, reason, headers=[(name, issued.value + (",stale=true" if is_stale else ""))])
            return False
        wrong = self.challenger.wrong(value, request.method, request.uri)
        for what, detail in wrong:
            self._judge.add_violation(what, detail, request)
        if wrong:
            self._trunk.respond(request, peer, 403, "Forbidden")
            self.refused.append(request)
            return False
        if not stale:
            self._judge_second(request, self.challenger.issued[parameters(value)["nonce"]])
        return True

    def _judge_second(self, request: Message, issued: Issued) -> None:
        """The request with credentials continues the one that was challenged (RFC 3261 section 22.2)."""
        if (request.get("call-id"), tag_of(request.get("from"))) != (issued.call_id, issued.from_tag):
            self._judge.add_violation("challenge-dialog", "credentials came with another Call-ID or From tag", request)
        elif request.sequence <= issued.sequence:
            self._judge.add_violation("challenge-dialog", f"CSeq {request.sequence} is not above the challenged {issued.sequence}", request)

    # -- registrar -----------------------------------------------------------------------------------------------------------------------

    def register(self, request: Message, peer: Peer) -> None:
        """REGISTER: refused if the trunk is not a registrar, otherwise 401, 423, or the binding in the carrier's form."""
        self._judge.judge_request_form(request)
        if self._switches.registers != "telnyx":
            self._judge.add_violation("register-trunk", "this trunk is no registrar", request)
            self._trunk.respond(request, peer, 405, "Method Not Allowed")
            return
        if not self._proves_itself(request, peer, "authorization", registers=True):
            return
        contact = request.get("contact")
        asked = _expires(request)
        if 0 < asked < self._switches.min_expires_s:
            self._trunk.respond(request, peer, 423, "Interval Too Brief", headers=[("min-expires", str(self._switches.min_expires_s))])
            return
        self.registrations.append(request)
        self.binding, self.bound_to = ("", None) if asked == 0 else (uri_of(contact), peer)
        headers = []
        if asked:
            granted = min(asked, self._switches.granted_expires_s)
            where = peer if isinstance(peer, tuple) else peer.getpeername()[:2]
            headers.append(("contact", f"<{self.binding};alias={where[0]}~{where[1]}~2>;expires={granted}"))
            if not self._switches.hides_expires:
                headers.append(("expires", str(granted)))
        self._trunk.respond(request, peer, 200, "OK", headers=[*headers, ("server", "Telnyx Registrar")])

    def options(self, request: Message, peer: Peer) -> None:
        """A ping from the peer: 200, unless it comes too often."""
        self._judge.judge_request_form(request)
        now = time.monotonic()
        self._options = [one for one in self._options if now - one < _BAN_WINDOW_S] + [now]
        if self._switches.ban_after_options and len(self._options) > self._switches.ban_after_options:
            self._judge.add_violation("rate", f"{len(self._options)} OPTIONS within {_BAN_WINDOW_S:g} s", request)
            return
        self._trunk.respond(request, peer, 200, "OK")


def _expires(request: Message) -> int:
    found = re.search(r";\s*expires=(\d+)", request.get("contact"), re.IGNORECASE)
    value = found.group(1) if found else request.get("expires")
    return int(value) if value.isdigit() else 3600
