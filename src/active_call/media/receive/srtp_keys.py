"""The SRTP keys of one stream, one context per direction (RFC 3711), and their change by a new offer/answer.

`ConfigureRtp` goes in; sessions that protect and unprotect come out. After a key change, packets with the old key are still in transit: for
`OLD_KEY_S` both keys are tried. While late keys (DTLS) are awaited, no packet is authentic.
"""

from __future__ import annotations

from typing import Final

from active_call.media.link.messages import ConfigureRtp
from active_call.media.receive.columns import ReceiveColumns
from active_call.rtp.srtp import Context, SrtpSession

OLD_KEY_S: Final = 2.0
"""Packets with the key before a re-key are still in transit."""
MAX_SOURCES: Final = 16
"""The peer's SSRCs whose replay windows are kept. A peer with a new SSRC in each packet would slow down every packet of the process."""


class SrtpKeys:
    """The keys of one stream whose datagrams are in `columns`."""

    __slots__ = ("_columns", "_old", "_old_until", "_sources", "are_awaited", "incoming", "outgoing")

    def __init__(self, columns: ReceiveColumns) -> None:
        self._columns = columns
        self.outgoing: SrtpSession | None = None
        """Protects packets; None for plain RTP and while keys are awaited."""
        self.incoming: SrtpSession | None = None
        self.are_awaited = False
        """The keys are negotiated elsewhere (DTLS) and arrive later."""
        self._old: SrtpSession | None = None
        self._old_until = 0.0
        self._sources: dict[int, None] = {}
        """The SSRCs that `incoming` knows, the most recent last."""

    @property
    def receiving(self) -> Context | None:
        """The context that unprotects packets if there is exactly one key."""
        return self.incoming.receiving if self.incoming is not None and self._old is None else None

    @property
    def is_single(self) -> bool:
        """Whether a packet can have at most one key, and it is known: no key needs to be tried."""
        return self._old is None and not self.are_awaited

    def use(self, before: ConfigureRtp | None, order: ConfigureRtp, now: float) -> None:
        """Apply the keys of `order`. Raises ValueError, with nothing changed, for an invalid suite or key.

        A direction whose key has changed gets a new context. Each direction has its own context, because each has its own roll-over
        counter.
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
            self._sources.clear()
        self.outgoing, self.incoming = outgoing, incoming
        self.are_awaited = False

    def note_source(self, ssrc: int, current: int | None) -> None:
        """An authentic packet with this SSRC has arrived, and it is not the `current` source. The oldest of too many is forgotten."""
        sources = self._sources
        sources.pop(ssrc, None)
        sources[ssrc] = None
        if len(sources) <= MAX_SOURCES or self.incoming is None:
            return
        oldest = next(source for source in sources if source != current)
        del sources[oldest]
        self.incoming.forget(oldest)

    def forget_old(self, now: float) -> bool:
        """Drop the key before a re-key after its time. Returns whether it was dropped now."""
        if self._old is None or now <= self._old_until:
            return False
        self._old = None
        return True

    def unprotect(self, row: int, n_bytes: int) -> int:
        """Unprotect the datagram in `row` in place. Returns the packet size, or -1 if it is not authentic."""
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
        datagram[:] = sealed  # an AEAD suite decrypts in place before it refuses
        return self._old.unprotect_in(place, n_bytes)
