"""The ACK to a 2xx: its own transaction without a response (RFC 3261 §13.2.2.4).

A finished ACK, its next hop and transport errors go in. Transmits come out; each repetition of the 2xx gets the same bytes again. If a
target cannot be reached, the ACK goes to the next one. A silent target is not detected, because an ACK has no response.
"""

from __future__ import annotations

from active_call.sip.events import Target
from active_call.sip.syntax.message import Request
from active_call.sip.transaction.next_hops import NextHops
from active_call.sip.transaction.origin import Origin
from active_call.sip.transaction.ports import RequestPort
from active_call.sip.transaction.tables import LIFETIME_T1S


class Ack:
    """One ACK, kept as long as its 2xx may be repeated (64*T1)."""

    __slots__ = ("_branch", "_data", "_destination", "_fallback", "_hops", "_origin", "_port", "_request", "_transmit_id")

    def __init__(self, port: RequestPort, request: Request, target: Target, origin: Origin) -> None:
        self._port = port
        self._request = request
        self._origin = origin
        self._branch = ""
        self._hops = NextHops(port, target, request.call_id, self)
        self._data = b""
        self._destination = target
        self._fallback: Target | None = None
        self._transmit_id = 0

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and our tag."""
        return self._request.call_id, self._request.from_.tag or ""

    def send(self, now: float) -> None:
        """Send the ACK at once, or when the resolver has answered."""
        self._port.timers.start(now + LIFETIME_T1S * self._port.config.t1_s, self._expire, self)
        self._hops.start(now)

    def repeat(self) -> None:
        """Send the same bytes again."""
        if self._data:
            self._transmit_id = self._port.transmit(self._data, self._destination, self, self._transmit_id)

    def use_hop(self, hop: Target, now: float) -> None:
        """Send the ACK to that target with a new branch (RFC 3263 §4.3)."""
        self._branch = self._port.new_branch()
        self._data, self._destination, self._fallback = self._port.writer.place(self._request, hop, self._branch, self._origin, now)
        self.repeat()

    def on_no_hop(self, reason: str, now: float) -> None:
        """The name does not resolve. The peer repeats its 2xx and then gives up."""

    def handle_transport_error(self, reason: str, now: float) -> None:
        """The ACK could not be sent: use UDP if TCP was chosen for the size, else the next target."""
        del reason
        if self._fallback is not None:
            self._port.hops.note_no_tcp(self._fallback, now)
            self._data = self._port.writer.write(self._request, self._fallback, self._branch, self._origin)
            self._destination, self._fallback = self._fallback, None
            self.repeat()
        else:
            self._hops.advance(now)

    def _expire(self, now: float) -> None:
        del now
        self._hops.close()
        self._port.forget_transmit(self._transmit_id)
