"""The ACK to a 2xx: a transaction of its own that nobody answers (RFC 3261 §13.2.2.4).

Enters: a finished ACK and its next hop, failures. Leaves: transmits; the same bytes again for each repetition of the 2xx. A place that
cannot be reached gives way to the next one; one that stays silent is not noticed, as an ACK has no answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from active_call.sip.events import Target
from active_call.sip.syntax.message import Request
from active_call.sip.transaction.client import LIFETIME_T1S, Origin
from active_call.sip.transaction.failover import NextHops

if TYPE_CHECKING:
    from active_call.sip.transaction.layer import TransactionLayer


class Ack:
    """One ACK, for as long as its 2xx may be repeated (64*T1)."""

    __slots__ = ("_branch", "_data", "_destination", "_fallback", "_hops", "_layer", "_origin", "_request", "_transmit_id")

    def __init__(self, layer: TransactionLayer, request: Request, target: Target, origin: Origin) -> None:
        self._layer = layer
        self._request = request
        self._origin = origin
        self._branch = layer.new_branch()
        self._hops = NextHops(layer, target, request.call_id, self)
        self._data = b""
        self._destination = target
        self._fallback: Target | None = None
        self._transmit_id = 0

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and our tag."""
        return self._request.call_id, self._request.from_.tag or ""

    def send(self, now: float) -> None:
        """Send it, at once or when the resolver has answered."""
        self._layer.timers.start(now + LIFETIME_T1S * self._layer.config.t1_s, self._expire, self)
        self._hops.start(now)

    def repeat(self) -> None:
        """Send it again, as it was."""
        if self._data:
            self._transmit_id = self._layer.transmit(self._data, self._destination, self, self._transmit_id)

    def use_hop(self, hop: Target, now: float) -> None:
        """The place to go to now."""
        self._data, self._destination, self._fallback = self._layer.place(self._request, hop, self._branch, self._origin, now)
        self.repeat()

    def on_no_hop(self, reason: str, now: float) -> None:
        """The name leads nowhere; the peer will repeat its 2xx and give up."""

    def handle_transport_error(self, reason: str, now: float) -> None:
        """It could not be sent: by UDP if TCP was chosen for size, else to the next place."""
        del reason
        if self._fallback is not None:
            self._layer.hops.note_no_tcp(self._fallback, now)
            self._data, self._destination = self._layer.write(self._request, self._fallback, self._branch, self._origin), self._fallback
            self._fallback = None
            self.repeat()
        else:
            self._hops.advance(now)

    def _expire(self, now: float) -> None:
        del now
        self._hops.close()
        self._layer.forget_transmit(self._transmit_id)
