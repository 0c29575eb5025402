"""The SRTP keys of one stream, each direction by itself: RFC 3711, and what happens to them in a new offer/answer.

`ConfigureRtp` enters; sessions that protect and unprotect leave. After a change of key, packets of the one before are still on their way:
for `OLD_KEY_S` both are tried. Keys that come late (DTLS) are awaited: nothing is authentic before they are there.
"""

from __future__ import annotations

from typing import Final

from active_call.media.link.messages import ConfigureRtp
from active_call.media.receive.columns import ReceiveColumns
from active_call.rtp.srtp import Context, SrtpSession

OLD_KEY_S: Final = 2.0
"""Packets of the key before a re-key are still on their way."""


class SrtpKeys:
    """The keys of one stream whose datagrams lie in `columns`."""

    __slots__ = ("_columns", "_old", "_old_until", "are_awaited", "incoming", "outgoing")

    def __init__(self, columns: ReceiveColumns) -> None:
        self._columns = columns
        self.outgoing: SrtpSession | None = None
        """What protects; None for plain RTP, and while keys are awaited."""
        self.incoming: SrtpSession | None = None
        self.are_awaited = False
        """The keys are agreed on elsewhere and come later."""
        self._old: SrtpSession | None = None
        self._old_until = 0.0

    @property
    def receiving(self) -> Context | None:
        """What opens packets, when that is one key."""
        return self.incoming.receiving if self.incoming is not None and self._old is None else None

    @property
    def is_single(self) -> bool:
        """There is one key at most that a packet may have, and it is known: packets need not be tried."""
        return self._old is None and not self.are_awaited

    def use(self, before: ConfigureRtp | None, order: ConfigureRtp, now: float) -> None:
        """Take over the keys of `order`. Raises ValueError for a suite or key that cannot be; nothing is changed then.

        A direction whose key has changed gets a new context. Each direction has its own, because each keeps its roll-over counter.
        """
        if not order.suite:
            self.incoming = self.outgoing = self._old = None
            self.are_awaited = order.awaits_keys
            return
        is_new = before is None or before.suite != order.suite
        keys = (order.suite, order.send_key, order.receive_key)
        outgoing = SrtpSession(*keys) if is_new or before is None or before.send_key != order.send_key else self.outgoing
        incoming = SrtpSession(*keys) if is_new or before is None or before.receive_key != order.receive_key else self.incoming
        if incoming is not self.incoming and self.incoming is not None:
            self._old, self._old_until = self.incoming, now + OLD_KEY_S
        self.outgoing, self.incoming = outgoing, incoming
        self.are_awaited = False

    def forget_old(self, now: float) -> bool:
        """Drop the key before a re-key once its time is over; whether it was dropped now."""
        if self._old is None or now <= self._old_until:
            return False
        self._old = None
        return True

    def unprotect(self, row: int, n_bytes: int) -> int:
        """Open the datagram in `row` where it lies. Returns the size of the packet, or -1 when it is not authentic."""
        if self.incoming is None:
            return -1 if self.are_awaited else n_bytes
        place = self._columns.memory.places[row]
        if self._old is None:
            return self.incoming.unprotect_in(place, n_bytes)
        datagram = self._columns.datagram(row, n_bytes)
        sealed = datagram.tobytes()
        size = self.incoming.unprotect_in(place, n_bytes)
        if size >= 0:
            return size
        datagram[:] = sealed  # a suite with AEAD deciphers in place before it refuses
        return self._old.unprotect_in(place, n_bytes)
