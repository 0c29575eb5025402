"""The gateway's side of a blind transfer: 202, NOTIFY 100, NOTIFY with the outcome, and then the peer's BYE is due (RFC 3515).

Enters: a REFER. Leaves: NOTIFYs, and a violation when the peer stays. It must not know how the target is called: nobody is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from active_call.testing.phone.sip import Message, uri_of
from active_call.testing.phone.wire import Peer
from active_call.testing.trunk.ports import CallPort

if TYPE_CHECKING:
    from active_call.testing.trunk.transactions import Exchange, Timer

_SETUP_S = 0.1
_OUTCOMES = {200: b"SIP/2.0 200 OK\r\n", 486: b"SIP/2.0 486 Busy Here\r\n"}


class Transfer:
    """One call's transfer."""

    def __init__(self, leg: CallPort) -> None:
        self._leg = leg
        self._limit: Timer | None = None
        self.target = ""
        """Where the peer wanted the call to go; empty while it did not."""

    def receive(self, request: Message, peer: Peer, extra: Sequence[tuple[str, str]]) -> None:
        """A REFER inside the dialog."""
        leg = self._leg
        target = uri_of(request.get("refer-to"))
        if not leg.switches.takes_transfers:
            leg.refuse_request(request, peer, 603, "Decline")
            return
        if not target.startswith(("sip:", "tel:")):
            leg.judge.add_violation("unexpected-status", f"Refer-To {request.get('refer-to')!r} is no address", request)
            leg.refuse_request(request, peer, 400, "Bad Refer-To")
            return
        self.target = target
        leg.respond(request, peer, 202, "Accepted", headers=extra)
        self._notify("active;expires=60", b"SIP/2.0 100 Trying\r\n")
        leg.trunk.timers.after(_SETUP_S, self._finish)

    def stop(self) -> None:
        """The call is over."""
        if self._limit is not None:
            self._limit.cancel()

    def _notify(self, state: str, outcome: bytes) -> None:
        headers = [("event", "refer"), ("subscription-state", state)]
        self._leg.request("NOTIFY", headers=headers, body=outcome, content_type="message/sipfrag;version=2.0", on_response=self._judge)

    def _finish(self) -> None:
        leg = self._leg
        if leg.ended or not leg.switches.transfer_outcome:
            return
        self._notify("terminated;reason=noresource", _OUTCOMES[leg.switches.transfer_outcome])
        if leg.switches.transfer_outcome == 200:
            self._limit = leg.trunk.timers.after(leg.switches.refer_bye_limit_s, self._miss_bye)

    def _judge(self, _exchange: Exchange, response: Message) -> None:
        if response.status >= 300:
            self._leg.judge.add_violation("unexpected-status", f"NOTIFY of a transfer answered {response.status}", response)

    def _miss_bye(self) -> None:
        leg = self._leg
        if not leg.ended:
            leg.judge.add_violation("refer-bye", f"no BYE within {leg.switches.refer_bye_limit_s:g} s after the transfer was done")
            leg.give_up("transfer")
