"""Symmetric RTP (RFC 4961): which source a stream accepts, and whether it sends to the signalled or to the observed address.

Each packet is accepted or refused, and the destination follows. Pure: the caller passes `now`.

Theory. Behind a NAT the signalled address is wrong, and only the source address of the packets is right. But anyone can guess a port and
send to it, so an unknown source must first meet the conditions of the table. `source` is the accepted address, with its `ssrc` in the plain
case. `candidate` is another address that may become the source.

| state                        | packet from            | secured                             | plain                               |
|------------------------------|------------------------|-------------------------------------|-------------------------------------|
| no source                    | signalled address      | source at once                      | source at once                      |
| no source                    | another                | source at once (it has the key)     | source after FIRST_PACKETS in a row |
| another source               | signalled address      | like any other                      | source at once                      |
| source, active               | another                | after MOVE_PACKETS in a row         | never                               |
| source, silent               | another                | source at once                      | after MOVE_PACKETS in a row         |
| source                       | the same, another SSRC | accepted                            | accepted once the old SSRC is silent |

A source is silent after SECURED_SILENT_S for a sender with the key, and after PLAIN_SILENT_S for one that only needs the port number. "In a
row" means: from one address, with one SSRC, consecutive sequence numbers, and no accepted packet in between. Packets of a candidate are
played in the secured case and not in the plain case. Another SSRC at the same address must wait for SSRC_SILENT_S without a packet of the
old one, because packets with a forged source address could take over otherwise. After a new offer/answer it need not wait, because the
peer's sender may have changed.
"""

from __future__ import annotations

from typing import Final

FIRST_PACKETS: Final = 3
MOVE_PACKETS: Final = 5
SECURED_SILENT_S: Final = 0.5
PLAIN_SILENT_S: Final = 2.0
"""Sound lost when a NAT changes its port during the call.

Longer than the pauses of most peers, so that these do not admit an unknown source.
"""
SSRC_SILENT_S: Final = 0.1
"""Five packets."""

Address = tuple[str, int]


class Latch:
    """The source and the destination of one stream. `latching` false: send to the signalled address whatever the source is."""

    __slots__ = (
        "_candidate_ssrc",
        "_latching",
        "_next_sequence",
        "_run",
        "_signalled",
        "candidate",
        "destination",
        "heard_at",
        "source",
        "ssrc",
    )

    def __init__(self, signalled: Address, *, latching: bool) -> None:
        self.source: Address | None = None
        self.ssrc: int | None = None
        """SSRC of the source; None: take that of its next packet."""
        self.destination = signalled
        self._signalled = signalled
        self._latching = latching
        self.heard_at = 0.0
        self.candidate: Address | None = None
        self._run = 0
        self._candidate_ssrc = -1
        self._next_sequence = -1

    @property
    def proves_destination(self) -> bool:
        """Whether accepted packets came from the destination and so prove it."""
        return self.source is not None and self.source == self.destination

    def signal(self, address: Address, *, latching: bool) -> None:
        """Apply another offer/answer. The same address keeps the state; another one resets it."""
        self.ssrc = None
        if address == self._signalled and latching == self._latching:
            return
        self._signalled = address
        self._latching = latching
        self.destination = address
        self.source = None
        self._forget_candidate()

    def accept(self, address: Address, ssrc: int, sequence: int, now: float, *, secured: bool) -> bool:
        """Whether to play the packet. Call it only for authentic packets (`secured`) or packets with a negotiated payload type."""
        if address == self.source:
            return self._accept_source(ssrc, now, secured=secured)
        if self._is_acceptable(address, ssrc, sequence, now, secured=secured):
            self._move(address, ssrc, now)
            return True
        return secured

    def _accept_source(self, ssrc: int, now: float, *, secured: bool) -> bool:
        is_bound = self.ssrc is not None and not secured
        if is_bound and ssrc != self.ssrc and now - self.heard_at < SSRC_SILENT_S:
            return False
        self.ssrc = ssrc
        self.heard_at = now
        if self._run:
            self._forget_candidate()
        return True

    def _is_acceptable(self, address: Address, ssrc: int, sequence: int, now: float, *, secured: bool) -> bool:
        if self.source is None and (secured or address == self._signalled):
            return True
        if address == self._signalled and not secured:
            return True
        run = self._count_candidate(address, ssrc, sequence)
        if self.source is None:
            return run >= FIRST_PACKETS
        is_silent = now - self.heard_at >= (SECURED_SILENT_S if secured else PLAIN_SILENT_S)
        if secured:
            return is_silent or run >= MOVE_PACKETS
        return is_silent and run >= MOVE_PACKETS

    def _count_candidate(self, address: Address, ssrc: int, sequence: int) -> int:
        in_a_row = address == self.candidate and ssrc == self._candidate_ssrc and sequence == self._next_sequence
        self._run = self._run + 1 if in_a_row else 1
        self.candidate = address
        self._candidate_ssrc = ssrc
        self._next_sequence = (sequence + 1) & 0xFFFF
        return self._run

    def _move(self, address: Address, ssrc: int, now: float) -> None:
        self.source = address
        self.ssrc = ssrc
        self.heard_at = now
        if self._latching:
            self.destination = address
        self._forget_candidate()

    def _forget_candidate(self) -> None:
        self.candidate = None
        self._run = 0
